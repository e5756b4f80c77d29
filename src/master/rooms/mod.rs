//! Chat rooms: their members, their last messages, and when members are told who is there. They live in the master,
//! so that the death of a worker loses no history.
//!
//! A room exists while it has a *member* or history, and may have to give way to another ([`owners`]). A member is
//! *present*, or *away*: its client is not connected, and its worker collects for it. Names and messages come from strangers, so [`Limits`] bounds rooms, messages and
//! bytes; members are sessions, which have limits of their own. A message is opaque bytes.

#[cfg(test)]
mod cost;
#[cfg(test)]
mod history;
mod ledger;
mod owners;
mod room;
#[cfg(test)]
mod tests;

pub use room::{NOBODY, Presence};

use crate::config::ChatSection;
use crate::model::{Mono, SessionId, UserId};
use crate::protocol::cluster::Generation;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use ledger::Ledger;
use owners::Owners;
use room::{Change, Room, SMALL};
use std::collections::BTreeSet;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The least time between two messages about who is in a room.
const PAUSE: Duration = Duration::from_secs(1);

/// Who enters a room.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    pub session: SessionId,
    pub user: &'a UserId,
    /// The client's address: the owner of a room that is made for the session.
    pub address: IpAddr,
}

/// Bounds of all rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Kept messages of each room.
    pub history: usize,
    pub rooms: usize,
    /// Bytes of the messages of all rooms together, without about 50 bytes of overhead per message.
    pub bytes: usize,
}

impl Limits {
    /// Reads `[chat]`.
    #[must_use]
    pub fn of(chat: &ChatSection) -> Self {
        Self { history: chat.history as usize, rooms: chat.rooms as usize, bytes: chat.history_bytes }
    }
}

/// Whether a room can be had, to enter or to keep a message in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The room exists.
    Accepted,
    /// All allowed rooms exist and none of them gives way ([`owners`]). Nothing has changed.
    Full,
}

/// Counts for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub rooms: usize,
    pub messages: usize,
    /// Bytes of kept messages.
    pub bytes: usize,
}

/// All rooms. Nothing visible from outside has the order of a hash table.
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    /// Seeded, since names come from outside.
    rooms: HashMap<Arc<str>, Room, RandomState>,
    /// Which room gives way to a new one, and which loses a message.
    owners: Owners,
    /// Rooms with something to tell, by its moment.
    owed: BTreeSet<(Mono, Arc<str>)>,
    ledger: Ledger,
    /// Count of all uses of rooms.
    uses: u64,
}

impl Rooms {
    /// Creates no room.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            rooms: HashMap::default(),
            owners: Owners::default(),
            owed: BTreeSet::new(),
            ledger: Ledger::default(),
            uses: 0,
        }
    }

    /// Follows other limits. Smaller limits apply at once, except that nobody who is present is removed: while too many
    /// rooms have such members, no room is created.
    pub fn configure(&mut self, limits: Limits) {
        self.limits = limits;
        let long = |room: &&Room| room.history.len() > limits.history;
        let long: Vec<_> = self.rooms.values().filter(long).map(|room| room.name.clone()).collect();
        for name in long {
            self.drop_oldest(&name, limits.history);
        }
        // Rooms first: messages that go with a room need not be taken from others.
        self.fit_rooms();
        self.fit_bytes();
    }

    /// Makes a session at the process `worker` present, and creates the room if needed. A session that was away is back,
    /// a session at another process has moved, a second call changes nothing.
    ///
    /// The caller checks length and alphabet of the name; `user` is cloned.
    pub fn enter(&mut self, room: &str, worker: Generation, who: Visitor<'_>, now: Mono) -> Entry {
        if !self.provide(room, (who.address, who.session)) {
            return Entry::Full;
        }
        self.change(room, now, |room| room.enter(worker, who.session, who.user));
        Entry::Accepted
    }

    /// Makes a member away: not present, but it wants to miss nothing. Nothing changes for a member at another
    /// process and for a session that is no member.
    pub fn away(&mut self, room: &str, worker: Generation, session: SessionId, now: Mono) {
        self.change(room, now, |room| room.away(worker, session));
    }

    /// Removes a member. Nothing changes for a member at another process and for a session that is no member.
    pub fn leave(&mut self, room: &str, worker: Generation, session: SessionId, now: Mono) {
        self.change(room, now, |room| room.leave(worker, session));
    }

    /// A member is at another process from now on. Nothing changes for a member at any other process, nor for one that
    /// is present when a suspended session with its id moves: that is a copy of it.
    pub fn switch(
        &mut self,
        room: &str,
        (session, is_away): (SessionId, bool),
        from: Generation,
        to: Generation,
    ) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.switch(session, is_away, from, to);
        }
    }

    /// Removes all members at a process that has ended; that is no use of a room. Scans every room, and every member
    /// of rooms where the process has one, 0.3 to 0.7 us for each that leaves: 2 ms for a room of 10,000 with a
    /// quarter of them there, 8 ms for 1000 rooms of 100, 14 ms for 10,000 rooms with history whose only member was
    /// there.
    pub fn worker_gone(&mut self, worker: Generation, now: Mono) {
        let of = |room: &mut Room| (room.worker_gone(worker), room.name.clone());
        let changed: Vec<_> = self.rooms.values_mut().map(of).filter(|(it, _)| *it != Change::None).collect();
        for (change, name) in changed {
            self.settle(&name, change, now);
        }
        // After all are where they belong, so that the least recently used room goes.
        self.fit_rooms();
    }

    /// The sessions of a process that has ended were given to another one. Those that were away there are no members
    /// any more.
    pub fn hand_over(&mut self, from: Generation, to: Generation, now: Mono) {
        let of = |room: &mut Room| (room.hand_over(from, to), room.name.clone());
        let changed: Vec<_> = self.rooms.values_mut().map(of).filter(|(it, _)| *it != Change::None).collect();
        for (change, name) in changed {
            self.settle(&name, change, now);
        }
        self.fit_rooms();
    }

    /// Keeps a message, and creates the room if needed. A message longer than all histories may be together is not
    /// kept.
    pub fn publish(&mut self, room: &str, message: &[u8]) -> Entry {
        let keep = self.limits.history > 0 && message.len() <= self.limits.bytes;
        if keep && !self.provide(room, (NOBODY, SessionId(0))) {
            return Entry::Full;
        }
        let Some(found) = self.rooms.get_mut(room) else { return Entry::Accepted };
        self.uses += 1;
        found.used = self.uses;
        if keep {
            self.ledger.push(found, message);
        }
        self.owners.file(found);
        if keep {
            self.drop_oldest(room, self.limits.history);
            self.fit_bytes();
        }
        Entry::Accepted
    }

    /// Rooms that have lost messages since the last call, and how many they have left. To be called after each change.
    pub fn take_trimmed(&mut self) -> Vec<(Arc<str>, u32)> {
        self.ledger.take_trimmed()
    }

    /// The kept messages, the oldest first.
    pub fn history<'a>(&'a self, room: &str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.rooms.get(room).into_iter().flat_map(|room| room.history.iter().map(|bytes| &**bytes))
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

    /// Rooms whose presence has changed since it was told. Each is told at once, and then at most once a second (a
    /// room that ended meanwhile counts as new), and not while nobody is present. What is not taken from the iterator
    /// stays due.
    pub fn due(&mut self, now: Mono) -> impl Iterator<Item = Presence> {
        iter::from_fn(move || {
            let name = self.owed.first().filter(|(at, _)| *at <= now).map(|(_, name)| name.clone())?;
            self.owed.pop_first();
            self.rooms.get_mut(&name).map(|room| room.tell(now))
        })
    }

    /// The next moment at which [`Rooms::due`] has something; in the past if it has something now.
    #[must_use]
    pub fn next(&self) -> Option<Mono> {
        self.owed.first().map(|(at, _)| *at)
    }

    /// Gives memory back after many rooms have ended. Call it about once a second; each room does so for itself.
    pub fn tidy(&mut self) {
        if self.rooms.capacity() > SMALL.max(self.rooms.len() * 8) {
            self.rooms.shrink_to(self.rooms.len() * 2);
        }
    }

    /// Counts for the metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { rooms: self.rooms.len(), messages: self.ledger.messages(), bytes: self.ledger.bytes() }
    }

    /// Whether the room exists, if need be by creating it. The caller puts something into a new room.
    fn provide(&mut self, name: &str, maker: (IpAddr, SessionId)) -> bool {
        if self.rooms.contains_key(name) {
            return true;
        }
        if self.rooms.len() > self.limits.rooms {
            return false;
        }
        if self.rooms.len() == self.limits.rooms {
            let Some(least) = self.owners.gives_way_to(maker, self.limits.rooms) else { return false };
            self.forget(&least);
        }
        let name: Arc<str> = name.into();
        self.rooms.insert(name.clone(), Room::new(name, maker));
        true
    }

    /// Changes the members of a room.
    fn change(&mut self, name: &str, now: Mono, change: impl FnOnce(&mut Room) -> Change) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let change = change(room);
        if change == Change::None {
            return;
        }
        self.uses += 1;
        room.used = self.uses;
        self.settle(name, change, now);
        self.fit_rooms();
    }

    /// Files a room whose members have changed under `owners` and `owed`.
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
        self.owners.file(room);
        if room.is_empty() && room.history.is_empty() {
            self.forget(name);
        }
    }

    /// Drops the oldest messages of a room; `keep` stay.
    fn drop_oldest(&mut self, name: &str, keep: usize) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        self.ledger.trim(room, keep);
        self.owners.file(room);
        if room.is_empty() && room.history.is_empty() {
            self.forget(name);
        }
    }

    fn fit_bytes(&mut self) {
        while self.ledger.bytes() > self.limits.bytes {
            let Some(name) = self.owners.heaviest() else { return };
            let keep = self.rooms.get(&name).map_or(0, |room| room.history.len().saturating_sub(1));
            self.drop_oldest(&name, keep);
        }
    }

    fn fit_rooms(&mut self) {
        while self.rooms.len() > self.limits.rooms {
            let Some(least) = self.owners.gives_way() else { return };
            self.forget(&least);
        }
    }

    /// Removes a room. Messages still reach those who are in it, for all workers hear of each; who comes finds nothing.
    fn forget(&mut self, name: &str) {
        let Some(mut room) = self.rooms.remove(name) else { return };
        self.owners.forget(&mut room);
        self.ledger.trim(&mut room, 0);
        if let Some(at) = room.owed {
            self.owed.remove(&(at, room.name));
        }
    }
}
