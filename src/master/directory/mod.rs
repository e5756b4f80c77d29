//! Every session of the cluster, its user and its worker, and their counts. Soft state: workers announce sessions,
//! beats are compared with the directory, a roster rebuilds it.
//!
//! Links are ordered, so the count of a worker at its beat and what the master has heard up to that beat are equal. A
//! session that was refused, or has moved to another worker, counts for its worker until that worker says `Closed`: a
//! *tombstone*. Two clients may come back with one token: the tombstone of a session that has *moved* keeps what was
//! announced, and is a session again if the other one ends first.

mod arrivals;
mod ceilings;
#[cfg(test)]
mod crowd;
mod homes;
mod rank;
mod room;
#[cfg(test)]
mod room_tests;
mod streams;
mod switch;
#[cfg(test)]
pub(super) mod tests;
mod tokens;
mod tombstones;
mod users;
mod view;

pub use arrivals::Arrivals;
pub use ceilings::{Ceilings, Relief};
pub use users::Place;
pub use view::PAGE;

use crate::access::{Buckets, Hold, Pool, UNUSED};
use crate::config::LimitsSection;
use crate::model::{Device, Mono, SessionId};
use crate::protocol::cluster::{
    Beat, Endpoint, Generation, Open, RosterPage, Slot, Transport, Verdict, client_name, digest,
};
use ceilings::{Held, Use};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, HashTable};
use homes::Homes;
use rank::Rank;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;
use users::{NONE, Users};

/// Smaller tables are not worth shrinking.
const SMALL: usize = 4096;

/// A session, in 80 bytes.
#[derive(Debug)]
struct Entry {
    id: SessionId,
    device: Option<Device>,
    since: i64,
    address: IpAddr,
    worker: Generation,
    /// Number in [`Users`]; `NONE` without a user (`/echo` asks for no name).
    user: u32,
    /// Neighbours in the list of the user's sessions.
    newer: u32,
    older: u32,
    /// Of its token's name.
    tag: u32,
    endpoint: Endpoint,
    transport: Transport,
}

#[derive(Debug)]
struct Worker {
    slot: Slot,
    sessions: u32,
    /// Of them, those that poll.
    polls: u32,
    users: u32,
    /// With what was announced of those that have moved.
    tombstones: HashMap<SessionId, Option<Box<[u8]>>, RandomState>,
    /// Digest of sessions and tombstones.
    digest: u64,
    /// Sessions that no page of an unfinished roster has named so far.
    unconfirmed: HashSet<SessionId, RandomState>,
}

#[derive(Debug)]
pub struct Directory {
    ceilings: Ceilings,
    sessions: Slab<Entry>,
    index: HashTable<u32>,
    users: Users,
    workers: BTreeMap<Generation, Worker>,
    /// Where tokens lead that are not those of present sessions.
    homes: Homes,
    addresses: HashMap<IpAddr, Held, RandomState>,
    /// Of them, those of this machine.
    locals: BTreeSet<IpAddr>,
    /// Polling sessions whose cursor has not come back yet: nobody may be there.
    untaken: Pool<SessionId>,
    relief: Vec<Relief>,
    /// Where the last session was that ended for another.
    hand: u32,
    connects: Buckets,
    endpoints: [u32; Endpoint::ALL.len()],
    transports: [u32; Transport::ALL.len()],
    rank: Option<Rank>,
    came: u64,
    /// Comings and goings on `/broadcast`.
    pub moves: Arrivals,
    hasher: RandomState,
}

impl Directory {
    /// Creates an empty directory.
    #[must_use]
    pub fn new(ceilings: Ceilings) -> Self {
        Self {
            ceilings,
            sessions: Slab::new(),
            index: HashTable::new(),
            users: Users::default(),
            workers: BTreeMap::new(),
            homes: Homes::default(),
            addresses: HashMap::default(),
            locals: BTreeSet::new(),
            untaken: Pool::default(),
            relief: Vec::new(),
            hand: 0,
            connects: Buckets::default(),
            endpoints: Default::default(),
            transports: Default::default(),
            rank: None,
            came: 0,
            moves: Arrivals::default(),
            hasher: RandomState::default(),
        }
    }

    /// Follows another configuration. `ranked`, `stats.users`: whether [`Directory::first_users`] has an answer;
    /// keeping the order costs a microsecond a session and 40 bytes a user.
    pub fn configure(&mut self, ranked: bool, ceilings: Ceilings) {
        self.ceilings = ceilings;
        match (ranked, &self.rank) {
            (true, None) => self.rank = Some(Rank::of(&self.users)),
            (false, Some(_)) => self.rank = None,
            _ => {}
        }
    }

    /// Notes a process that may announce sessions from now on.
    pub fn worker_born(&mut self, generation: Generation, slot: Slot) {
        self.workers.entry(generation).or_insert_with(|| Worker {
            slot,
            sessions: 0,
            polls: 0,
            users: 0,
            tombstones: HashMap::default(),
            digest: 0,
            unconfirmed: HashSet::default(),
        });
    }

    /// Admits a session, or says why not; others may have ended for it ([`Directory::take_relief`]). A session that is
    /// already registered has moved: its worker is updated, limits are not checked again. An unknown process gets
    /// `Full`.
    pub fn open(
        &mut self,
        worker: Generation,
        open: &Open<'_>,
        limits: &LimitsSection,
        now: Mono,
    ) -> Verdict {
        let Some(process) = self.workers.get_mut(&worker) else { return Verdict::Full };
        process.remove_tombstone(open.session);
        if let Some(at) = self.find(open.session) {
            let other = self.announcement(open.session).map(|other| Worker::encoded(&other));
            let before = self.remove(at);
            if before != worker
                && let Some(process) = self.workers.get_mut(&before)
            {
                process.add_tombstone(open.session, other);
            }
            self.insert(worker, open);
            return Verdict::Accepted;
        }
        let mut verdict = self.judge(open, limits, now);
        if verdict != Verdict::Accepted
            && let Some(victim) = self.victim((open.endpoint, open.user), Use::of(open), limits)
            && self.rate(open.address, limits, now) == Verdict::Accepted
        {
            self.evict(victim);
            verdict = self.judge(open, limits, now);
        }
        if matches!(verdict, Verdict::Accepted | Verdict::Full) {
            self.relieve(Use::of(open), limits);
        }
        if matches!(verdict, Verdict::Accepted | Verdict::Full | Verdict::AddressLimit) {
            self.look_for_silent(Use::of(open), limits);
        }
        if verdict == Verdict::Accepted {
            self.came += 1;
            if open.transport == Transport::Poll {
                self.untaken.add(open.session, Hold { owner: open.address, used: UNUSED, bytes: 0 });
            }
            if open.endpoint == Endpoint::Broadcast {
                self.moves.note(true, || client_name(open.user, open.address, open.session));
            }
            self.insert(worker, open);
        } else if let Some(process) = self.workers.get_mut(&worker) {
            process.add_tombstone(open.session, None);
        }
        verdict
    }

    /// Removes a session of `worker`; a session of another process is left alone. True: it was in the directory.
    pub fn closed(&mut self, worker: Generation, session: SessionId) -> bool {
        if self.workers.get_mut(&worker).is_none_or(|process| process.remove_tombstone(session)) {
            return false;
        }
        let Some(at) = self.find(session).filter(|at| self.sessions[*at as usize].worker == worker) else {
            return false;
        };
        self.end(at);
        true
    }

    /// Removes a process that has ended, and all its sessions. Returns their count.
    pub fn worker_gone(&mut self, worker: Generation) -> usize {
        // Scans all sessions, 5 ns each.
        let of = |entry: &Entry| entry.worker == worker;
        let gone: Vec<_> = self.sessions.iter().filter(|(_, entry)| of(entry)).map(|(at, _)| at).collect();
        self.workers.remove(&worker);
        for at in &gone {
            self.end(u32::try_from(*at).unwrap_or(NONE));
        }
        self.homes.worker_gone(worker);
        gone.len()
    }

    /// Takes a page of a roster. The sessions and tokens of all its pages, and no others, are those of `worker`. No session is
    /// refused here: they exist. A session that belongs to another process by now is left there.
    pub fn roster(&mut self, worker: Generation, page: &RosterPage<'_>) {
        if !self.workers.contains_key(&worker) {
            return;
        }
        if page.first {
            self.begin_roster(worker);
        }
        page.away.iter().for_each(|token| self.homes.confirm(worker, *token));
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
                Some(_) => {
                    process
                        .into_iter()
                        .for_each(|it| it.add_tombstone(open.session, Some(Worker::encoded(open))));
                }
            }
        }
        if page.last {
            self.end_roster(worker);
        }
    }

    /// Makes all sessions of `worker` doubtful until a page names them.
    fn begin_roster(&mut self, worker: Generation) {
        self.homes.begin_roster(worker);
        let own = self.sessions.iter().filter(|(_, entry)| entry.worker == worker);
        let own: HashSet<_, RandomState> = own.map(|(_, entry)| entry.id).collect();
        if let Some(process) = self.workers.get_mut(&worker) {
            process.unconfirmed = own;
            std::mem::take(&mut process.tombstones).keys().for_each(|gone| process.digest ^= digest(*gone));
        }
    }

    /// Removes the sessions that no page has named.
    fn end_roster(&mut self, worker: Generation) {
        self.homes.end_roster(worker);
        let left = self.workers.get_mut(&worker).map(|process| std::mem::take(&mut process.unconfirmed));
        for session in left.into_iter().flatten() {
            if let Some(at) = self.find(session).filter(|at| self.sessions[*at as usize].worker == worker) {
                self.remove(at);
                self.revive(session);
            }
        }
    }

    /// Whether a beat of `worker` agrees with the directory. If not, ask the worker for its roster.
    #[must_use]
    pub fn agrees(&self, worker: Generation, beat: &Beat) -> bool {
        self.announced(worker) == Some((beat.sessions, beat.digest)) && self.homes.digest(worker) == beat.kept
    }

    /// Count and digest of the sessions that `worker` has announced and not yet ended.
    #[must_use]
    pub fn announced(&self, worker: Generation) -> Option<(u32, u64)> {
        let process = self.workers.get(&worker)?;
        Some((process.sessions + u32::try_from(process.tombstones.len()).unwrap_or(u32::MAX), process.digest))
    }

    /// Gives back memory that is not needed. Call it about once a second.
    pub fn tidy(&mut self, now: Mono) {
        self.connects.tidy(now);
        self.homes.tidy();
        if self.index.capacity() > SMALL.max(self.sessions.len() * 8) {
            self.shrink();
        }
    }

    /// The verdict of [`Directory::open`] for a new session of that user from that address. Takes nothing from the
    /// rate.
    #[must_use]
    pub fn admission(&self, who: (Endpoint, &str, IpAddr), limits: &LimitsSection, now: Mono) -> Verdict {
        let (endpoint, user, address) = who;
        let wanted = Use { transport: Transport::Websocket, address };
        let counted = self.count((endpoint, user), wanted, limits);
        let finds_room = || self.victim((endpoint, user), wanted, limits).is_some();
        if counted == Verdict::Accepted || finds_room() { self.rate(address, limits, now) } else { counted }
    }

    /// Checks the limits in the order of the verdicts. A refused session takes nothing from the rate of its address.
    fn judge(&mut self, open: &Open<'_>, limits: &LimitsSection, now: Mono) -> Verdict {
        let counted = self.count((open.endpoint, open.user), Use::of(open), limits);
        if counted != Verdict::Accepted {
            return counted;
        }
        let address = self.hasher.hash_one(open.address);
        Self::rated(self.connects.take(address, limits.connects_per_address, now))
    }

    /// Checks the limits of counts.
    fn count(&self, who: (Endpoint, &str), wanted: Use, limits: &LimitsSection) -> Verdict {
        if self.is_full(wanted, limits) { Verdict::Full } else { self.count_own(who, wanted, limits) }
    }

    /// Checks the limits of one client.
    fn count_own(&self, (endpoint, user): (Endpoint, &str), wanted: Use, limits: &LimitsSection) -> Verdict {
        let over = |count: u32, limit: u32| limit > 0 && count >= limit;
        let known = self.users.find(self.users.hash(user), user).map(|at| self.users.get(at));
        let streams = known.map_or(0, |user| user.streams);
        if over(known.map_or(0, |user| user.sessions), limits.sessions_per_user) {
            Verdict::UserLimit
        } else if endpoint == Endpoint::Stream && over(streams, limits.connections_per_user) {
            Verdict::StreamLimit
        } else if self.has_share(wanted, limits) {
            Verdict::AddressLimit
        } else {
            Verdict::Accepted
        }
    }

    /// Checks the rate of an address, and takes nothing from it.
    fn rate(&self, address: IpAddr, limits: &LimitsSection, now: Mono) -> Verdict {
        Self::rated(self.connects.peek(self.hasher.hash_one(address), limits.connects_per_address, now))
    }

    fn rated(rate: Result<(), Duration>) -> Verdict {
        rate.map_or_else(Verdict::ConnectRate, |()| Verdict::Accepted)
    }

    fn find(&self, session: SessionId) -> Option<u32> {
        let same = |at: &u32| self.sessions[*at as usize].id == session;
        self.index.find(self.hasher.hash_one(session), same).copied()
    }

    /// Inserts a session that is not registered.
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
            tag: open.tag,
            endpoint: open.endpoint,
            transport: open.transport,
        };
        let older = entry.older;
        // Sessions are descriptors or bounded: their count always fits.
        let at = u32::try_from(self.sessions.insert(entry)).unwrap_or(NONE);
        let Self { sessions, index, hasher, .. } = self;
        index.insert_unique(hasher.hash_one(open.session), at, |at| {
            hasher.hash_one(sessions[*at as usize].id)
        });
        if let Some(older) = sessions.get_mut(older as usize) {
            older.newer = at;
        }
        self.endpoints[open.endpoint as usize] += 1;
        self.transports[open.transport as usize] += 1;
        self.count_address((open.address, open.transport), true);
        if let Some((user, change)) = joined {
            self.users.get_mut(user).head = at;
            if let Some(rank) = &mut self.rank {
                rank.change(&self.users.get(user).id, change.sessions - 1, change.sessions);
            }
        }
        if let Some(process) = self.workers.get_mut(&worker) {
            process.sessions += 1;
            process.polls += u32::from(open.transport == Transport::Poll);
            process.users += u32::from(joined.is_some_and(|(_, change)| change.there == 1));
            process.digest ^= digest(open.session);
        }
    }

    /// Removes a session that has ended.
    fn end(&mut self, at: u32) {
        let entry = &self.sessions[at as usize];
        if entry.endpoint == Endpoint::Broadcast {
            let user = (entry.user != NONE).then(|| self.users.get(entry.user).id.as_str());
            let name = || client_name(user.unwrap_or_default(), entry.address, entry.id);
            self.moves.note(false, name);
        }
        let id = entry.id;
        self.remove(at);
        self.revive(id);
    }

    /// Removes a session and returns its worker.
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
        self.endpoints[entry.endpoint as usize] -= 1;
        self.transports[entry.transport as usize] -= 1;
        self.untaken.remove(entry.id);
        self.count_address((entry.address, entry.transport), false);
        let last_there = entry.user != NONE && self.leave(&entry, at);
        if let Some(process) = self.workers.get_mut(&entry.worker) {
            process.sessions -= 1;
            process.polls -= u32::from(entry.transport == Transport::Poll);
            process.users -= u32::from(last_there);
            process.digest ^= digest(entry.id);
        }
        entry.worker
    }

    /// Takes a session from its user. True: it was the user's last one at that worker.
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

    /// Gives memory back after many sessions have left at once.
    fn shrink(&mut self) {
        let Self { sessions, index, hasher, users, addresses, .. } = self;
        index.shrink_to(sessions.len() * 2, |at| hasher.hash_one(sessions[*at as usize].id));
        sessions.shrink_to_fit();
        users.shrink();
        addresses.shrink_to(addresses.len() * 2);
    }
}
