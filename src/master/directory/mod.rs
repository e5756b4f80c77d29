//! Who is where: every session of the cluster, its user and its worker, and all that is counted of them. Soft
//! state: the workers announce it, their beats are compared with it, a roster rebuilds it.
//!
//! Links are ordered, so what a worker counts itself at the moment of its beat and what has been heard of it up to
//! that beat are exactly the same. A session that was refused (or has moved to another worker) counts for its
//! worker until that worker says `Closed`: such ones are its *ghosts*.

mod arrivals;
#[cfg(test)]
mod crowd;
mod rank;
#[cfg(test)]
mod tests;
mod users;
mod view;

pub use arrivals::{Arrivals, News};
pub use users::Place;
pub use view::{Listed, PAGE, Presence, Totals};

use crate::access::Buckets;
use crate::config::Limits;
use crate::model::{Device, Mono, SessionId};
use crate::protocol::cluster::{
    Beat, Endpoint, Generation, Open, RosterPage, Slot, Transport, Verdict, client_name, digest,
};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, HashTable};
use rank::Rank;
use slab::Slab;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;
use users::{NONE, Users};

/// Tables that small are not worth shrinking.
const SMALL: usize = 4096;

/// One session. 80 bytes.
#[derive(Debug)]
struct Entry {
    id: SessionId,
    device: Option<Device>,
    since: i64,
    address: IpAddr,
    worker: Generation,
    /// Its number in [`Users`], `NONE` for a session that is nobody's (`/echo` asks for no name).
    user: u32,
    /// The user's sessions hang together.
    newer: u32,
    older: u32,
    endpoint: Endpoint,
    transport: Transport,
}

/// One worker process.
#[derive(Debug)]
struct Worker {
    slot: Slot,
    sessions: u32,
    users: u32,
    ghosts: HashSet<SessionId, RandomState>,
    /// Of its sessions and its ghosts.
    digest: u64,
    /// Its sessions that no page of the roster that is coming has named so far.
    unconfirmed: HashSet<SessionId, RandomState>,
}

/// The directory.
#[derive(Debug)]
pub struct Directory {
    ceiling: u32,
    sessions: Slab<Entry>,
    index: HashTable<u32>,
    users: Users,
    workers: BTreeMap<Generation, Worker>,
    addresses: HashMap<IpAddr, u32, RandomState>,
    connects: Buckets,
    endpoints: [u32; Endpoint::ALL.len()],
    transports: [u32; Transport::ALL.len()],
    rank: Option<Rank>,
    came: u64,
    /// Who came to `/broadcast`, and who went.
    pub moves: Arrivals,
    hasher: RandomState,
}

impl Directory {
    /// An empty one. `ceiling` is the most sessions where `limits.sessions` is 0.
    #[must_use]
    pub fn new(ceiling: u32) -> Self {
        Self {
            ceiling,
            sessions: Slab::new(),
            index: HashTable::new(),
            users: Users::default(),
            workers: BTreeMap::new(),
            addresses: HashMap::default(),
            connects: Buckets::default(),
            endpoints: Default::default(),
            transports: Default::default(),
            rank: None,
            came: 0,
            moves: Arrivals::default(),
            hasher: RandomState::default(),
        }
    }

    /// Changes the most sessions where `limits.sessions` is 0.
    pub fn set_ceiling(&mut self, ceiling: u32) {
        self.ceiling = ceiling;
    }

    /// `stats.users`: whether [`Directory::first_users`] has an answer. Keeping the order costs a microsecond a
    /// session and 40 bytes a user, so it is only kept where it is shown.
    pub fn rank_users(&mut self, on: bool) {
        match (on, &self.rank) {
            (true, None) => self.rank = Some(Rank::of(&self.users)),
            (false, Some(_)) => self.rank = None,
            _ => {}
        }
    }

    /// A process that may announce sessions from now on.
    pub fn worker_born(&mut self, generation: Generation, slot: Slot) {
        self.workers.entry(generation).or_insert_with(|| Worker {
            slot,
            sessions: 0,
            users: 0,
            ghosts: HashSet::default(),
            digest: 0,
            unconfirmed: HashSet::default(),
        });
    }

    /// May this session be? It is in the directory when the verdict is `Accepted`. One that is known already has
    /// moved (or is said twice): it goes to the new place and is not measured again. A process that is not known
    /// is told `Full`.
    pub fn open(&mut self, worker: Generation, open: &Open<'_>, limits: &Limits, now: Mono) -> Verdict {
        let Some(process) = self.workers.get_mut(&worker) else { return Verdict::Full };
        process.lay(open.session);
        if let Some(at) = self.find(open.session) {
            self.moves.still = true;
            let before = self.remove(at);
            if before != worker
                && let Some(process) = self.workers.get_mut(&before)
            {
                process.haunt(open.session);
            }
            self.insert(worker, open);
            self.moves.still = false;
            return Verdict::Accepted;
        }
        let verdict = self.judge(open, limits, now);
        if verdict == Verdict::Accepted {
            self.came += 1;
            self.insert(worker, open);
        } else if let Some(process) = self.workers.get_mut(&worker) {
            process.haunt(open.session);
        }
        verdict
    }

    /// A session is no more, says `worker`. One that belongs to another process is left alone. Whether it was in
    /// the directory.
    pub fn closed(&mut self, worker: Generation, session: SessionId) -> bool {
        if self.workers.get_mut(&worker).is_none_or(|process| process.lay(session)) {
            return false;
        }
        let Some(at) = self.find(session).filter(|at| self.sessions[*at as usize].worker == worker) else {
            return false;
        };
        self.remove(at);
        true
    }

    /// A process has ended, and all its sessions with it; so many they were.
    pub fn worker_gone(&mut self, worker: Generation) -> usize {
        let gone = self.clear(worker);
        self.workers.remove(&worker);
        gone
    }

    /// Takes a page of a roster. The sessions of all its pages, and no others, are those of `worker`. No session is
    /// refused here: they exist. A session that belongs to another process by now is left there.
    pub fn roster(&mut self, worker: Generation, page: &RosterPage<'_>) {
        if !self.workers.contains_key(&worker) {
            return;
        }
        self.moves.still = true;
        if page.first {
            self.begin_roster(worker);
        }
        for open in &page.sessions {
            let found = self.find(open.session).map(|at| (at, self.sessions[at as usize].worker));
            let process = self.workers.get_mut(&worker);
            match found {
                None => self.insert(worker, open),
                Some((at, owner)) if owner == worker => {
                    if process.is_some_and(|process| process.unconfirmed.remove(&open.session)) {
                        self.remove(at);
                        self.insert(worker, open);
                    }
                }
                Some(_) => process.into_iter().for_each(|process| process.haunt(open.session)),
            }
        }
        if page.last {
            self.end_roster(worker);
        }
        self.moves.still = false;
    }

    /// Until a page names them, all sessions of `worker` are doubtful.
    fn begin_roster(&mut self, worker: Generation) {
        let own = self.sessions.iter().filter(|(_, entry)| entry.worker == worker);
        let own: HashSet<_, RandomState> = own.map(|(_, entry)| entry.id).collect();
        if let Some(process) = self.workers.get_mut(&worker) {
            process.unconfirmed = own;
            std::mem::take(&mut process.ghosts).iter().for_each(|ghost| process.digest ^= digest(*ghost));
        }
    }

    /// Takes out what no page has named.
    fn end_roster(&mut self, worker: Generation) {
        let left = self.workers.get_mut(&worker).map(|process| std::mem::take(&mut process.unconfirmed));
        for session in left.into_iter().flatten() {
            if let Some(at) = self.find(session).filter(|at| self.sessions[*at as usize].worker == worker) {
                self.remove(at);
            }
        }
    }

    /// Whether a beat and the directory tell the same of `worker`; if not, it should be asked for its roster.
    #[must_use]
    pub fn agrees(&self, worker: Generation, beat: &Beat) -> bool {
        self.announced(worker) == Some((beat.sessions, beat.digest))
    }

    /// Sessions that `worker` has announced and not yet ended, and their digest.
    #[must_use]
    pub fn announced(&self, worker: Generation) -> Option<(u32, u64)> {
        let process = self.workers.get(&worker)?;
        Some((process.sessions + u32::try_from(process.ghosts.len()).unwrap_or(u32::MAX), process.digest))
    }

    /// Forgets what needs no memory any more. To be called about once a second.
    pub fn tidy(&mut self, now: Mono) {
        self.connects.tidy(now);
        if self.index.capacity() > SMALL.max(self.sessions.len() * 8) {
            self.shrink();
        }
    }

    /// What [`Directory::open`] would say now to a new session of that user from that address. Nothing is taken.
    #[must_use]
    pub fn admission(&self, who: (Endpoint, &str, IpAddr), limits: &Limits, now: Mono) -> Verdict {
        let (counted, (_, _, address)) = (self.count(who, limits), who);
        let rate = self.connects.peek(self.hasher.hash_one(address), limits.connects_per_address, now);
        if counted == Verdict::Accepted { Self::rated(rate) } else { counted }
    }

    /// The limits, in the order in which a verdict names them. A refused one takes nothing from the address's rate.
    fn judge(&mut self, open: &Open<'_>, limits: &Limits, now: Mono) -> Verdict {
        let counted = self.count((open.endpoint, open.user, open.address), limits);
        if counted != Verdict::Accepted {
            return counted;
        }
        let address = self.hasher.hash_one(open.address);
        Self::rated(self.connects.take(address, limits.connects_per_address, now))
    }

    /// The limits of how many there are.
    fn count(&self, (endpoint, user, address): (Endpoint, &str, IpAddr), limits: &Limits) -> Verdict {
        let over = |count: u32, limit: u32| limit > 0 && count >= limit;
        let most = if limits.sessions == 0 { self.ceiling } else { limits.sessions };
        let known = self.users.find(self.users.hash(user), user).map(|at| self.users.get(at));
        let streams = known.map_or(0, |user| user.streams);
        if self.sessions.len() >= most as usize {
            Verdict::Full
        } else if over(known.map_or(0, |user| user.sessions), limits.sessions_per_user) {
            Verdict::UserLimit
        } else if endpoint == Endpoint::Stream && over(streams, limits.connections_per_user) {
            Verdict::StreamLimit
        } else if over(self.addresses.get(&address).copied().unwrap_or(0), limits.sessions_per_address) {
            Verdict::AddressLimit
        } else {
            Verdict::Accepted
        }
    }

    fn rated(rate: Result<(), Duration>) -> Verdict {
        rate.map_or_else(Verdict::ConnectRate, |()| Verdict::Accepted)
    }

    fn find(&self, session: SessionId) -> Option<u32> {
        let same = |at: &u32| self.sessions[*at as usize].id == session;
        self.index.find(self.hasher.hash_one(session), same).copied()
    }

    /// Puts in a session that is not there.
    fn insert(&mut self, worker: Generation, open: &Open<'_>) {
        let joined = self.users.join(open.user, worker, open.endpoint);
        let user = joined.map_or(NONE, |(user, _)| user);
        let entry = Entry {
            id: open.session,
            device: open.device.and_then(|text| Device::new(text).ok()),
            since: open.since,
            address: open.address,
            worker,
            user,
            newer: NONE,
            older: joined.map_or(NONE, |(user, _)| self.users.get(user).head),
            endpoint: open.endpoint,
            transport: open.transport,
        };
        let older = entry.older;
        // Sessions are descriptors: there are never so many of them that a number does not fit.
        let at = u32::try_from(self.sessions.insert(entry)).unwrap_or(NONE);
        let Self { sessions, index, hasher, .. } = self;
        index.insert_unique(hasher.hash_one(open.session), at, |at| {
            hasher.hash_one(sessions[*at as usize].id)
        });
        if let Some(older) = sessions.get_mut(older as usize) {
            older.newer = at;
        }
        if open.endpoint == Endpoint::Broadcast {
            self.moves.note(true, || client_name(open.user, open.address, open.session));
        }
        self.endpoints[open.endpoint as usize] += 1;
        self.transports[open.transport as usize] += 1;
        *self.addresses.entry(open.address).or_default() += 1;
        if let Some((user, change)) = joined {
            self.users.get_mut(user).head = at;
            if let Some(rank) = &mut self.rank {
                rank.change(&self.users.get(user).id, change.sessions - 1, change.sessions);
            }
        }
        if let Some(process) = self.workers.get_mut(&worker) {
            process.sessions += 1;
            process.users += u32::from(joined.is_some_and(|(_, change)| change.there == 1));
            process.digest ^= digest(open.session);
        }
    }

    /// Takes out a session and says where it was.
    fn remove(&mut self, at: u32) -> Generation {
        let entry = self.sessions.remove(at as usize);
        if let Ok(found) = self.index.find_entry(self.hasher.hash_one(entry.id), |other| *other == at) {
            found.remove();
        }
        if let Some(newer) = self.sessions.get_mut(entry.newer as usize) {
            newer.older = entry.older;
        }
        if let Some(older) = self.sessions.get_mut(entry.older as usize) {
            older.newer = entry.newer;
        }
        if entry.endpoint == Endpoint::Broadcast {
            let user = (entry.user != NONE).then(|| self.users.get(entry.user).id.as_str());
            let name = || client_name(user.unwrap_or_default(), entry.address, entry.id);
            self.moves.note(false, name);
        }
        self.endpoints[entry.endpoint as usize] -= 1;
        self.transports[entry.transport as usize] -= 1;
        if let Some(count) = self.addresses.get_mut(&entry.address) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&entry.address);
            }
        }
        let last_there = entry.user != NONE && self.leave(&entry, at);
        if let Some(process) = self.workers.get_mut(&entry.worker) {
            process.sessions -= 1;
            process.users -= u32::from(last_there);
            process.digest ^= digest(entry.id);
        }
        entry.worker
    }

    /// Takes a session from its user; whether it was the user's last one at that worker.
    fn leave(&mut self, entry: &Entry, at: u32) -> bool {
        let user = self.users.get_mut(entry.user);
        if user.head == at {
            user.head = entry.older;
        }
        let name = self.rank.is_some().then(|| user.id.clone());
        let change = self.users.leave(entry.user, entry.worker, entry.endpoint);
        if let (Some(rank), Some(name)) = (&mut self.rank, name) {
            rank.change(&name, change.sessions + 1, change.sessions);
        }
        change.there == 0
    }

    /// Takes out all that `worker` has announced.
    fn clear(&mut self, worker: Generation) -> usize {
        let of = |entry: &Entry| entry.worker == worker;
        // A scan of all, as it happens only when a process dies or has drifted: 5 ns a session.
        let gone: Vec<_> = self.sessions.iter().filter(|(_, entry)| of(entry)).map(|(at, _)| at).collect();
        for at in &gone {
            self.remove(u32::try_from(*at).unwrap_or(NONE));
        }
        if let Some(process) = self.workers.get_mut(&worker) {
            process.ghosts = HashSet::default();
            process.digest = 0;
        }
        gone.len()
    }

    /// Gives memory back after many have left at once.
    fn shrink(&mut self) {
        let Self { sessions, index, hasher, users, addresses, .. } = self;
        index.shrink_to(sessions.len() * 2, |at| hasher.hash_one(sessions[*at as usize].id));
        sessions.shrink_to_fit();
        users.shrink();
        addresses.shrink_to(addresses.len() * 2);
    }
}

impl Worker {
    /// Counts a session that it has announced and that is not its in the directory.
    fn haunt(&mut self, session: SessionId) {
        if self.ghosts.insert(session) {
            self.digest ^= digest(session);
        }
    }

    /// Counts such a one no more; whether it was one.
    fn lay(&mut self, session: SessionId) -> bool {
        let was = self.ghosts.remove(&session);
        if was {
            self.digest ^= digest(session);
        }
        was
    }
}
