//! Chat rooms: who is in which, what was said there last, and when its members are to be told who is there. The
//! master has them, so that a worker that dies takes no history along.
//!
//! A room is while it has a *member* or history. A member is *present*, or *away*: its client is not connected, and its
//! worker collects for it. Names and messages come from strangers, so there are never more rooms, messages and bytes
//! than [`Limits`] says; members are sessions, which have limits of their own. A message is bytes: nobody reads it here.

#[cfg(test)]
mod cost;
#[cfg(test)]
mod history;
mod ledger;
mod room;
#[cfg(test)]
mod tests;

use crate::model::{Mono, SessionId, UserId};
use crate::protocol::cluster::Generation;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use ledger::Ledger;
use room::{Change, Room};
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

/// The least time between two words about who is in a room.
const PAUSE: Duration = Duration::from_secs(1);
/// So many users are named.
const NAMED: usize = 50;
/// Tables that small are not worth shrinking.
const SMALL: usize = 64;

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages kept of each room.
    pub history: usize,
    /// Rooms.
    pub rooms: usize,
    /// Bytes of the messages of all rooms together. What it takes to keep a message, about 50 bytes, is beside that.
    pub bytes: usize,
}

/// Whether there is a room to enter, or to keep a message in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// There is.
    Accepted,
    /// There are as many rooms as there may be, with members all of them. Nothing has changed.
    Full,
}

/// Who is in a room, for those who are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The room.
    pub room: Arc<str>,
    /// Users with at least one present session.
    pub users: usize,
    /// Present sessions, at least one.
    pub sessions: usize,
    /// The first 50 of the users in the order of their names, each with the number of its present sessions.
    pub first: Vec<(UserId, u32)>,
    /// Processes with a present session, in their order.
    pub workers: Vec<Generation>,
}

/// What is there, for the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rooms.
    pub rooms: usize,
    /// Messages that are kept.
    pub messages: usize,
    /// Bytes of these messages.
    pub bytes: usize,
}

/// All rooms. Nothing that can be seen from outside comes in the order of a hash table.
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    /// Names come from outside: seeded.
    rooms: HashMap<Arc<str>, Room, RandomState>,
    /// Rooms without any member, by [`Room::used`]: the first one gives way to a new room.
    empty: BTreeMap<u64, Arc<str>>,
    /// Rooms with something to tell, by the moment for it.
    owed: BTreeSet<(Mono, Arc<str>)>,
    ledger: Ledger,
    /// Counts whatever uses a room.
    uses: u64,
}

impl Rooms {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            rooms: HashMap::default(),
            empty: BTreeMap::new(),
            owed: BTreeSet::new(),
            ledger: Ledger::default(),
            uses: 0,
        }
    }

    /// Other limits. Smaller ones are enforced at once, except that nobody is put out of a room: while there are more
    /// rooms with members than may be, there are no new ones, and whichever is left by its last member is no more.
    pub fn configure(&mut self, limits: Limits) {
        self.limits = limits;
        let long = |room: &&Room| room.history.len() > limits.history;
        let long: Vec<_> = self.rooms.values().filter(long).map(|room| room.name.clone()).collect();
        for name in long {
            self.drop_oldest(&name, limits.history);
        }
        // In this order: what a room takes along when it goes need not go from others.
        self.fit_rooms();
        self.fit_bytes();
    }

    /// `session` of `user` at the process `worker` is present from now on; the room is made where there is none. One
    /// that was away is back, and one that was at another process has moved. Said twice it is once.
    ///
    /// Length and alphabet of a room's name are the caller's concern; what is kept of `user` is a clone.
    pub fn enter(
        &mut self,
        room: &str,
        worker: Generation,
        session: SessionId,
        user: &UserId,
        now: Mono,
    ) -> Entry {
        if !self.provide(room) {
            return Entry::Full;
        }
        self.change(room, now, |room| room.enter(worker, session, user));
        Entry::Accepted
    }

    /// A member is not present any more, but wants to miss nothing. Says another process than the one it is at, or is
    /// it no member: nothing changes.
    pub fn away(&mut self, room: &str, worker: Generation, session: SessionId, now: Mono) {
        self.change(room, now, |room| room.away(worker, session));
    }

    /// A session is no member any more. Says another process than the one it is at, or is it none: nothing changes.
    pub fn leave(&mut self, room: &str, worker: Generation, session: SessionId, now: Mono) {
        self.change(room, now, |room| room.leave(worker, session));
    }

    /// A process has ended, and all its sessions have left; that is no use of a room. It looks at every room, and at
    /// every member of those where the process has one, 0.3 to 0.7 us for each that leaves: 2 ms for a room of 10,000 of
    /// which it has a quarter, 8 ms for 1000 rooms of 100, 14 ms for 10,000 rooms with history that only it was in.
    pub fn worker_gone(&mut self, worker: Generation, now: Mono) {
        let of = |room: &mut Room| (room.worker_gone(worker), room.name.clone());
        let changed: Vec<_> = self.rooms.values_mut().map(of).filter(|(it, _)| *it != Change::None).collect();
        for (change, name) in changed {
            self.settle(&name, change, now);
        }
        // Only when all are where they belong, so that the one that goes is the one that was used longest ago.
        self.fit_rooms();
    }

    /// Keeps a message, and makes the room where there is none. One that is longer than all histories together may be
    /// is not kept.
    pub fn publish(&mut self, room: &str, message: &[u8]) -> Entry {
        let keep = self.limits.history > 0 && message.len() <= self.limits.bytes;
        if keep && !self.provide(room) {
            return Entry::Full;
        }
        let Some(found) = self.rooms.get_mut(room) else { return Entry::Accepted };
        self.uses += 1;
        if found.is_empty() {
            self.empty.remove(&found.used);
            self.empty.insert(self.uses, found.name.clone());
        }
        found.used = self.uses;
        if keep {
            self.ledger.push(found, message);
            self.drop_oldest(room, self.limits.history);
            self.fit_bytes();
        }
        Entry::Accepted
    }

    /// What was said last, the oldest first.
    pub fn history<'a>(&'a self, room: &str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.rooms.get(room).into_iter().flat_map(|room| room.history.iter().map(|(_, bytes)| &**bytes))
    }

    /// The newest messages, joined, the oldest first: as many whole ones as fit into so many bytes.
    #[must_use]
    pub fn newest(&self, room: &str, most: usize) -> Vec<u8> {
        let all: Vec<_> = self.history(room).collect();
        let mut size = 0;
        let fits = all.iter().rev().take_while(|message| {
            size += message.len();
            size <= most
        });
        all[all.len() - fits.count()..].concat()
    }

    /// The processes that must get a message: those with a member, be it present or away, in their order.
    pub fn workers<'a>(&'a self, room: &str) -> impl Iterator<Item = Generation> + use<'a> {
        self.rooms.get(room).into_iter().flat_map(Room::workers)
    }

    /// Rooms where it has changed who is present since that was told last. Each is told at once, and then at most once
    /// a second (one that was gone meanwhile is a new one); where nobody is present there is nobody to tell. Whatever is
    /// not taken from the iterator stays due.
    pub fn due(&mut self, now: Mono) -> impl Iterator<Item = Presence> {
        iter::from_fn(move || {
            let name = self.owed.first().filter(|(at, _)| *at <= now).map(|(_, name)| name.clone())?;
            self.owed.pop_first();
            self.rooms.get_mut(&name).map(|room| room.tell(now))
        })
    }

    /// When [`Rooms::due`] has something next. A moment that is past already where it has something now.
    #[must_use]
    pub fn next(&self) -> Option<Mono> {
        self.owed.first().map(|(at, _)| *at)
    }

    /// Gives memory back after many rooms are gone. To be called about once a second; the rooms do it for themselves.
    pub fn tidy(&mut self) {
        if self.rooms.capacity() > SMALL.max(self.rooms.len() * 8) {
            self.rooms.shrink_to(self.rooms.len() * 2);
        }
    }

    /// What is there.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { rooms: self.rooms.len(), messages: self.ledger.messages(), bytes: self.ledger.bytes() }
    }

    /// Whether there is such a room, be it by making it. A new one is without anything: who asks puts something in.
    fn provide(&mut self, name: &str) -> bool {
        if self.rooms.contains_key(name) {
            return true;
        }
        if self.rooms.len() >= self.limits.rooms {
            let Some((_, oldest)) = self.empty.pop_first() else { return false };
            self.forget(&oldest);
        }
        let name: Arc<str> = name.into();
        self.rooms.insert(name.clone(), Room::new(name));
        true
    }

    /// Changes the members of a room.
    fn change(&mut self, name: &str, now: Mono, change: impl FnOnce(&mut Room) -> Change) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let (before, change) = (room.is_empty().then_some(room.used), change(room));
        if change == Change::None {
            return;
        }
        self.uses += 1;
        room.used = self.uses;
        if let Some(before) = before {
            self.empty.remove(&before);
        }
        self.settle(name, change, now);
        self.fit_rooms();
    }

    /// Puts a room whose members have changed where it belongs.
    fn settle(&mut self, name: &str, change: Change, now: Mono) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        if room.present() == 0 {
            if let Some(at) = room.owed.take() {
                self.owed.remove(&(at, room.name.clone()));
            }
        } else if change == Change::Presence && room.owed.is_none() {
            let at = room.told.map_or(now, |told| told.after(PAUSE).max(now));
            room.owed = Some(at);
            self.owed.insert((at, room.name.clone()));
        }
        if room.is_empty() {
            if room.history.is_empty() {
                self.forget(name);
            } else {
                self.empty.insert(room.used, room.name.clone());
            }
        }
    }

    /// Leaves `keep` messages of a room.
    fn drop_oldest(&mut self, name: &str, keep: usize) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        self.ledger.trim(room, keep);
        if room.is_empty() && room.history.is_empty() {
            self.empty.remove(&room.used);
            self.forget(name);
        }
    }

    fn fit_bytes(&mut self) {
        while self.ledger.bytes() > self.limits.bytes {
            let Some(name) = self.ledger.oldest() else { return };
            let keep = self.rooms.get(&name).map_or(0, |room| room.history.len().saturating_sub(1));
            self.drop_oldest(&name, keep);
        }
    }

    fn fit_rooms(&mut self) {
        while self.rooms.len() > self.limits.rooms {
            let Some((_, oldest)) = self.empty.pop_first() else { return };
            self.forget(&oldest);
        }
    }

    /// Takes out a room without members that stands in `empty` and `owed` no more.
    fn forget(&mut self, name: &str) {
        if let Some(mut room) = self.rooms.remove(name) {
            self.ledger.trim(&mut room, 0);
        }
    }
}
