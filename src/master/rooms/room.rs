//! A room: its members and their counts.

use crate::model::{Mono, SessionId, UserId};
use crate::protocol::cluster::Generation;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Most users named in one message.
pub(super) const NAMED: usize = 50;
/// Smaller tables are not worth shrinking.
pub(super) const SMALL: usize = 64;

/// Owner of a room that no client made.
pub const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// How a room is filed: whether nobody is present, its last use, the bytes of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filed {
    pub(super) idle: bool,
    pub(super) used: u64,
    pub(super) bytes: usize,
}

/// A message about who is in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    pub room: Arc<str>,
    /// Users with at least one present session.
    pub users: usize,
    /// Present sessions, at least one.
    pub sessions: usize,
    /// The first 50 users by name, each with the count of its present sessions.
    pub first: Vec<(UserId, u32)>,
    /// Processes with a present session, in their order.
    pub workers: Vec<Generation>,
}

/// Consequence of the coming or going of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Members, but not who is present.
    Members,
    /// Presence, or its place.
    Presence,
}

/// A session in a room.
#[derive(Debug)]
struct Member {
    worker: Generation,
    present: bool,
    user: UserId,
}

/// Members at one process, at least one.
#[derive(Debug)]
struct Place {
    worker: Generation,
    members: u32,
    present: u32,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: Arc<str>,
    /// Unseeded, since ids of sessions come from workers.
    members: HashMap<SessionId, Member, RandomState>,
    /// Users with present sessions, and their count.
    users: BTreeMap<UserId, u32>,
    /// In the order of the processes: so few that a table would be slower.
    places: Vec<Place>,
    present: usize,
    /// The address of who made the room.
    pub(super) owner: IpAddr,
    /// The session that made it.
    pub(super) maker: SessionId,
    /// The oldest message first.
    pub(super) history: VecDeque<Box<[u8]>>,
    /// Bytes of the history.
    pub(super) bytes: usize,
    /// How the room stands among those of its owner.
    pub(super) filed: Option<Filed>,
    /// The last use, as a number that no other room has.
    pub(super) used: u64,
    /// The last message about presence.
    pub(super) told: Option<Mono>,
    /// The next message about presence.
    pub(super) owed: Option<Mono>,
}

impl Room {
    pub(super) fn new(name: Arc<str>, (owner, maker): (IpAddr, SessionId)) -> Self {
        Self {
            name,
            owner,
            maker,
            bytes: 0,
            filed: None,
            members: HashMap::default(),
            users: BTreeMap::new(),
            places: Vec::new(),
            present: 0,
            history: VecDeque::new(),
            used: 0,
            told: None,
            owed: None,
        }
    }

    /// Whether the room has no member, present or away.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The number of present sessions.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    #[cfg(test)]
    pub(super) fn workers(&self) -> impl Iterator<Item = Generation> {
        self.places.iter().map(|place| place.worker)
    }

    pub(super) fn enter(&mut self, worker: Generation, session: SessionId, user: &UserId) -> Change {
        let same = |it: &Member| it.present && it.worker == worker && it.user == *user;
        if self.members.get(&session).is_some_and(same) {
            return Change::None;
        }
        // The session was away or elsewhere: it is counted anew.
        self.remove(session);
        self.members.insert(session, Member { worker, present: true, user: user.clone() });
        let place = self.place(worker);
        place.members += 1;
        place.present += 1;
        self.present += 1;
        *self.users.entry(user.clone()).or_default() += 1;
        Change::Presence
    }

    pub(super) fn away(&mut self, worker: Generation, session: SessionId) -> Change {
        let member = self.members.get_mut(&session).filter(|it| it.present && it.worker == worker);
        let Some(member) = member else { return Change::None };
        member.present = false;
        let user = member.user.clone();
        if let Some(place) = self.places.iter_mut().find(|place| place.worker == worker) {
            place.present -= 1;
        }
        self.absent(&user);
        Change::Presence
    }

    pub(super) fn leave(&mut self, worker: Generation, session: SessionId) -> Change {
        if self.members.get(&session).is_none_or(|it| it.worker != worker) {
            return Change::None;
        }
        let change = self.remove(session);
        if self.members.capacity() > SMALL.max(self.members.len() * 8) {
            // The work is bounded by the departures since the last time.
            self.members.shrink_to(self.members.len() * 2);
        }
        change
    }

    /// A member is at another process from now on. Who is present does not change.
    pub(super) fn switch(&mut self, session: SessionId, is_away: bool, from: Generation, to: Generation) {
        let is_it = |it: &&mut Member| it.worker == from && !(is_away && it.present);
        let Some(member) = self.members.get_mut(&session).filter(is_it) else { return };
        member.worker = to;
        let present = u32::from(member.present);
        let place = self.place(to);
        place.members += 1;
        place.present += present;
        self.leave_place(from, present);
    }

    /// The place of a process, which is made if there is none.
    fn place(&mut self, worker: Generation) -> &mut Place {
        let place = self.places.binary_search_by_key(&worker, |place| place.worker);
        let at = place.unwrap_or_else(|at| {
            self.places.insert(at, Place { worker, members: 0, present: 0 });
            at
        });
        &mut self.places[at]
    }

    fn leave_place(&mut self, worker: Generation, present: u32) {
        let Ok(at) = self.places.binary_search_by_key(&worker, |place| place.worker) else { return };
        let place = &mut self.places[at];
        place.members -= 1;
        place.present -= present;
        if place.members == 0 {
            self.places.remove(at);
        }
    }

    /// Removes all members at a process.
    pub(super) fn worker_gone(&mut self, worker: Generation) -> Change {
        let Ok(at) = self.places.binary_search_by_key(&worker, |place| place.worker) else {
            return Change::None;
        };
        let present = self.places.remove(at).present;
        let gone = self.members.extract_if(|_, member| member.worker == worker);
        let gone: Vec<_> = gone.filter_map(|(_, member)| member.present.then_some(member.user)).collect();
        gone.iter().for_each(|user| self.absent(user));
        self.members.shrink_to(self.members.len() * 2);
        if present > 0 { Change::Presence } else { Change::Members }
    }

    /// The present members at a process are at another one from now on, which must hear who is here.
    pub(super) fn hand_over(&mut self, from: Generation, to: Generation) -> Change {
        let own = self.members.iter().filter(|(_, member)| member.worker == from && member.present);
        let own: Vec<_> = own.map(|(session, member)| (*session, member.user.clone())).collect();
        let gone = self.worker_gone(from);
        own.iter().map(|(session, user)| self.enter(to, *session, user)).last().unwrap_or(gone)
    }

    /// The message about who is present.
    pub(super) fn tell(&mut self, now: Mono) -> Presence {
        self.told = Some(now);
        self.owed = None;
        let present = self.places.iter().filter(|place| place.present > 0);
        Presence {
            room: self.name.clone(),
            users: self.users.len(),
            sessions: self.present,
            first: self.users.iter().take(NAMED).map(|(user, sessions)| (user.clone(), *sessions)).collect(),
            workers: present.map(|place| place.worker).collect(),
        }
    }

    /// Gives memory back if most of it is unused.
    pub(super) fn shrink_history(&mut self) {
        if self.history.capacity() > SMALL.max(self.history.len() * 8) || self.history.is_empty() {
            self.history.shrink_to(self.history.len() * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.members.capacity()
    }

    fn remove(&mut self, session: SessionId) -> Change {
        let Some(member) = self.members.remove(&session) else { return Change::None };
        self.leave_place(member.worker, u32::from(member.present));
        if !member.present {
            return Change::Members;
        }
        self.absent(&member.user);
        Change::Presence
    }

    /// Counts one present session of a user less.
    fn absent(&mut self, user: &UserId) {
        self.present -= 1;
        if let Some(sessions) = self.users.get_mut(user) {
            *sessions -= 1;
            if *sessions == 0 {
                self.users.remove(user);
            }
        }
    }
}
