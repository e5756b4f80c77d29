//! Sessions that belong to another worker from one moment on.

use super::users::NONE;
use super::{Directory, Entry};
use crate::model::{Device, SessionId};
use crate::protocol::cluster::{Generation, Open, Slot, TokenName, Transport, digest};

impl Directory {
    /// Gives a session of one process to another. False: it is not registered there, or there is no such process.
    pub fn switch(&mut self, session: SessionId, from: Generation, to: Generation) -> bool {
        let found = self.find(session).filter(|at| self.sessions[*at as usize].worker == from);
        let Some(at) = found.filter(|_| from != to && self.workers.contains_key(&to)) else { return false };
        let entry = &mut self.sessions[at as usize];
        entry.worker = to;
        let Entry { user, endpoint, transport, .. } = *entry;
        let (left, came) = if user == NONE { (1, 2) } else { self.users.switch(user, from, to, endpoint) };
        let polls = u32::from(transport == Transport::Poll);
        if let Some(process) = self.workers.get_mut(&from) {
            process.sessions -= 1;
            process.polls -= polls;
            process.users -= u32::from(left == 0);
            process.digest ^= digest(session);
        }
        if let Some(process) = self.workers.get_mut(&to) {
            process.remove_tombstone(session);
            process.sessions += 1;
            process.polls += polls;
            process.users += u32::from(came == 1);
            process.digest ^= digest(session);
        }
        true
    }

    /// Lets a token lead to another process. False: it does not lead to the first one.
    pub fn switch_home(&mut self, token: TokenName, from: Generation, to: Generation) -> bool {
        if from == to || !self.workers.contains_key(&to) || !self.homes.leads(from, token) {
            return false;
        }
        self.homes.remove(from, token);
        self.homes.add(to, token);
        true
    }

    /// A session as its worker announced it.
    #[must_use]
    pub fn announcement(&self, session: SessionId) -> Option<Open<'_>> {
        let entry = &self.sessions[self.find(session)? as usize];
        Some(Open {
            session,
            user: if entry.user == NONE { "" } else { self.users.get(entry.user).id.as_str() },
            device: entry.device.as_ref().map(Device::as_str),
            endpoint: entry.endpoint,
            transport: entry.transport,
            address: entry.address,
            since: entry.since,
            tag: entry.tag,
        })
    }

    /// The sessions of a process that has ended go to another one; `page` hears of them, at most so many at once. Those
    /// of which it had not said yet that they were gone are forgotten.
    pub fn hand_over(
        &mut self,
        from: Generation,
        to: Generation,
        most: usize,
        mut page: impl FnMut(Vec<Open<'_>>),
    ) {
        let own = self.sessions.iter().filter(|(_, entry)| entry.worker == from);
        let own: Vec<_> = own.map(|(_, entry)| entry.id).collect();
        for some in own.chunks(most) {
            page(some.iter().filter_map(|id| self.announcement(*id)).collect());
            some.iter().for_each(|id| _ = self.switch(*id, from, to));
        }
        self.workers.remove(&from);
        self.homes.worker_gone(from);
    }

    /// The slot of a process.
    #[must_use]
    pub fn slot(&self, worker: Generation) -> Slot {
        self.workers.get(&worker).map_or(0, |process| process.slot)
    }
}
