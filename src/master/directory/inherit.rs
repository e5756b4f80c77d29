//! Sessions of a worker that has ended go on at another one.

use super::users::NONE;
use super::{Directory, Entry};
use crate::model::{Device, SessionId};
use crate::protocol::cluster::{Endpoint, Generation, Open, Slot, Transport};
use std::net::IpAddr;

/// A session, as its worker announced it.
struct Announced {
    session: SessionId,
    user: Box<str>,
    device: Option<Device>,
    endpoint: Endpoint,
    transport: Transport,
    address: IpAddr,
    since: i64,
    tag: u32,
}

impl Announced {
    fn open(&self) -> Open<'_> {
        Open {
            session: self.session,
            user: &self.user,
            device: self.device.as_ref().map(Device::as_str),
            endpoint: self.endpoint,
            transport: self.transport,
            address: self.address,
            since: self.since,
            tag: self.tag,
        }
    }
}

impl Directory {
    /// The sessions of a process that has ended go to another one; `page` hears of them. Those of which it had not said
    /// yet that they were gone are forgotten.
    pub fn hand_over(
        &mut self,
        from: Generation,
        to: Generation,
        most: usize,
        mut page: impl FnMut(Vec<Open<'_>>),
    ) {
        let own = self.sessions.iter().filter(|(_, entry)| entry.worker == from).map(|(at, _)| at);
        let own: Vec<_> = own.filter_map(|at| u32::try_from(at).ok()).collect();
        for some in own.chunks(most) {
            let opens: Vec<_> = some.iter().filter_map(|at| self.announced_at(*at)).collect();
            page(opens.iter().map(Announced::open).collect());
            for (at, open) in some.iter().zip(&opens) {
                self.remove(*at);
                self.insert(to, &open.open());
            }
        }
        self.workers.remove(&from);
        self.homes.worker_gone(from);
    }

    fn announced_at(&self, at: u32) -> Option<Announced> {
        let entry = self.sessions.get(at as usize)?;
        let user = (entry.user != NONE).then(|| self.users.get(entry.user).id.as_str().into());
        let Entry { id, device, endpoint, transport, address, since, tag, .. } = entry;
        Some(Announced {
            session: *id,
            user: user.unwrap_or_default(),
            device: device.clone(),
            endpoint: *endpoint,
            transport: *transport,
            address: *address,
            since: *since,
            tag: *tag,
        })
    }

    /// The slot of a process.
    #[must_use]
    pub fn slot(&self, worker: Generation) -> Slot {
        self.workers.get(&worker).map_or(0, |process| process.slot)
    }
}
