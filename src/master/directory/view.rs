//! Questions to the directory: counts, the workers of a user, lists of sessions.

use super::users::NONE;
use super::{Directory, Entry, Place};
use crate::model::{SessionId, UserId, Wall};
use crate::protocol::cluster::{Endpoint, Generation, Slot, Transport};
use serde::{Serialize, Serializer};
use std::iter;
use std::net::IpAddr;

/// Places that one page of a list of sessions looks at: some hundred KiB of JSON.
pub const PAGE: u32 = 1024;

/// Counts of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub sessions: usize,
    /// Users with at least one session.
    pub users: usize,
    /// Sessions by endpoint, in the order of [`Endpoint::ALL`].
    pub by_endpoint: [u32; Endpoint::ALL.len()],
    /// Sessions by transport, in the order of [`Transport::ALL`].
    pub by_transport: [u32; Transport::ALL.len()],
}

impl Totals {
    /// Sessions on that endpoint.
    #[must_use]
    pub fn on(&self, endpoint: Endpoint) -> u32 {
        self.by_endpoint[endpoint as usize]
    }
}

/// A user as the statistics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence<'a> {
    pub user: &'a UserId,
    /// Count of sessions.
    pub sessions: u32,
    /// Slots of the workers, in order.
    pub workers: Vec<Slot>,
}

/// A session as it is listed for administrators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<'a> {
    #[serde(serialize_with = "text")]
    pub session_id: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    /// The device, as the client names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a str>,
    pub endpoint: Endpoint,
    pub transport: Transport,
    /// The client's address, IPv6 cut to its /64.
    pub address: IpAddr,
    /// Begin of the session.
    #[serde(serialize_with = "text")]
    pub since: Wall,
    /// Slot of the worker.
    pub worker: Slot,
    /// Process of the worker.
    #[serde(skip)]
    pub generation: Generation,
}

fn text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn joined<'a>(sessions: impl Iterator<Item = Listed<'a>>) -> String {
    let objects: Vec<_> = sessions.filter_map(|listed| serde_json::to_string(&listed).ok()).collect();
    objects.join(",")
}

impl Directory {
    /// Counts of the whole cluster.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            sessions: self.sessions.len(),
            users: self.users.len(),
            by_endpoint: self.endpoints,
            by_transport: self.transports,
        }
    }

    /// Count of all sessions ever opened. Grows also when one comes as another goes, which changes no other count.
    #[must_use]
    pub const fn came(&self) -> u64 {
        self.came
    }

    /// Sessions and users of one process; a user with sessions at two workers counts at both.
    #[must_use]
    pub fn counts(&self, worker: Generation) -> (u32, u32) {
        self.workers.get(&worker).map_or((0, 0), |process| (process.sessions, process.users))
    }

    /// Sessions of one process that have a connection.
    #[must_use]
    pub fn connected(&self, worker: Generation) -> u32 {
        self.workers.get(&worker).map_or(0, |process| process.sessions - process.polls)
    }

    /// Seeded hash that stands for a user, known or not.
    #[must_use]
    pub fn user_key(&self, user: &str) -> u64 {
        self.users.hash(user)
    }

    /// Workers of a user; `key` is the [`Directory::user_key`] of that name. Empty: not connected.
    #[must_use]
    pub fn places(&self, key: u64, user: &str) -> &[Place] {
        self.users.find(key, user).map_or(&[], |at| self.users.get(at).places())
    }

    /// The first users of the statistics: most sessions first, then by name. Empty unless users are ranked.
    pub fn first_users(&self, most: usize) -> impl Iterator<Item = Presence<'_>> {
        self.rank.iter().flat_map(move |rank| rank.first(most)).filter_map(|user| {
            let at = self.users.find(self.users.hash(user.as_str()), user.as_str())?;
            let found = self.users.get(at);
            let slot = |place: &Place| self.workers.get(&place.worker).map(|process| process.slot);
            let mut workers: Vec<_> = found.places().iter().filter_map(slot).collect();
            workers.sort_unstable();
            workers.dedup();
            Some(Presence { user, sessions: found.sessions, workers })
        })
    }

    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<Listed<'_>> {
        self.find(session).map(|at| self.listed(&self.sessions[at as usize]))
    }

    /// A page of the sessions, all or those of one user, as JSON objects with commas between them; and where the next
    /// page begins. A page looks at `places` places of the table from `from` on. A session that is there from the
    /// first page to the last keeps its place, so it is in exactly one of them.
    #[must_use]
    pub fn page(&self, user: Option<&str>, from: u32, places: u32) -> (String, Option<u32>) {
        let few = |user: &str| self.sessions_of(user).nth(places as usize).is_none();
        if let Some(user) = user.filter(|user| from == 0 && few(user)) {
            return (joined(self.sessions_of(user)), None);
        }
        let end = from.saturating_add(places);
        let entries = (from..end).filter_map(|at| self.sessions.get(at as usize));
        let listed = entries.map(|entry| self.listed(entry));
        let text = joined(listed.filter(|listed| user.is_none() || listed.user_id == user));
        (text, (self.sessions.capacity() > end as usize).then_some(end))
    }

    /// The sessions of one user, the newest first.
    pub fn sessions_of(&self, user: &str) -> impl Iterator<Item = Listed<'_>> {
        let newest = self.users.find(self.users.hash(user), user).map_or(NONE, |at| self.users.get(at).head);
        let get = |at: u32| self.sessions.get(at as usize);
        iter::successors(get(newest), move |entry| get(entry.older)).map(|entry| self.listed(entry))
    }

    fn listed<'a>(&'a self, entry: &'a Entry) -> Listed<'a> {
        Listed {
            session_id: entry.id,
            user_id: (entry.user != NONE).then(|| self.users.get(entry.user).id.as_str()),
            device: entry.device.as_ref().map(crate::model::Device::as_str),
            endpoint: entry.endpoint,
            transport: entry.transport,
            address: entry.address,
            since: Wall(entry.since),
            worker: self.workers.get(&entry.worker).map_or(0, |process| process.slot),
            generation: entry.worker,
        }
    }
}
