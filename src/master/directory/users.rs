//! Users with a session, each name kept once, and their workers.

use crate::model::UserId;
use crate::protocol::cluster::{Endpoint, Generation};
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use std::hash::BuildHasher;

/// The end of a list of sessions.
pub(super) const NONE: u32 = u32::MAX;

/// The sessions of one user at one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub worker: Generation,
    /// All sessions of the user there.
    pub sessions: u32,
    /// Sessions that a quote reaches.
    pub reached: u32,
}

/// Nearly every user is at one worker, which needs no allocation.
#[derive(Debug)]
enum Places {
    One(Place),
    Many(Vec<Place>),
}

impl Places {
    fn as_slice(&self) -> &[Place] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::Many(places) => places,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Place] {
        match self {
            Self::One(place) => std::slice::from_mut(place),
            Self::Many(places) => places,
        }
    }

    fn push(&mut self, place: Place) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, place]),
            Self::Many(places) => places.push(place),
        }
    }

    /// Removes empty places. The last place is never removed: its user is removed first.
    fn prune(&mut self) {
        if let Self::Many(places) = self {
            places.retain(|place| place.sessions > 0);
            if let [only] = places[..] {
                *self = Self::One(only);
            }
        }
    }
}

/// A user with at least one session.
#[derive(Debug)]
pub(super) struct User {
    pub(super) id: UserId,
    /// Kept so that growing the table reads no names.
    hash: u64,
    /// The newest session, head of the list.
    pub(super) head: u32,
    pub(super) sessions: u32,
    /// Sessions on streams.
    pub(super) streams: u32,
    places: Places,
}

impl User {
    pub(super) fn places(&self) -> &[Place] {
        self.places.as_slice()
    }
}

/// Counts of a user after a session came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Sessions of the user now.
    pub(super) sessions: u32,
    /// Sessions of the user at that worker now.
    pub(super) there: u32,
}

/// All users. A `u32` names a user for as long as that user has a session.
#[derive(Debug, Default)]
pub(super) struct Users {
    users: Slab<User>,
    index: HashTable<u32>,
    /// Seeded, since names come from outside; good enough to stand for the name (`access::Buckets`).
    hasher: RandomState,
}

impl Users {
    pub(super) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.iter().map(|(_, user)| user)
    }

    pub(super) fn find(&self, hash: u64, name: &str) -> Option<u32> {
        let same = |at: &u32| {
            let user = &self.users[*at as usize];
            user.hash == hash && user.id.as_str() == name
        };
        self.index.find(hash, same).copied()
    }

    pub(super) fn get(&self, at: u32) -> &User {
        &self.users[at as usize]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut User {
        &mut self.users[at as usize]
    }

    /// Counts one more session of `name` at `worker`. `None`: `name` is no valid name.
    pub(super) fn join(&mut self, name: &str, worker: Generation, on: Endpoint) -> Option<(u32, Change)> {
        let (hash, reached, stream) = (self.hash(name), on.reached(), u32::from(on == Endpoint::Stream));
        let first = Place { worker, sessions: 1, reached: u32::from(reached) };
        let Some(at) = self.find(hash, name) else {
            let id = UserId::new(name).ok()?;
            let user =
                User { id, hash, head: NONE, sessions: 1, streams: stream, places: Places::One(first) };
            // Sessions are descriptors: their count always fits.
            let at = u32::try_from(self.users.insert(user)).unwrap_or(NONE);
            let Self { users, index, .. } = self;
            index.insert_unique(hash, at, |at| users[*at as usize].hash);
            return Some((at, Change { sessions: 1, there: 1 }));
        };
        let user = self.get_mut(at);
        user.sessions += 1;
        user.streams += stream;
        let there = match user.places.as_mut_slice().iter_mut().find(|place| place.worker == worker) {
            Some(place) => {
                place.sessions += 1;
                place.reached += u32::from(reached);
                place.sessions
            }
            None => {
                user.places.push(first);
                1
            }
        };
        Some((at, Change { sessions: user.sessions, there }))
    }

    /// Counts one session less. A user without sessions is removed, and its number becomes invalid.
    pub(super) fn leave(&mut self, at: u32, worker: Generation, on: Endpoint) -> Change {
        let user = self.get_mut(at);
        user.sessions -= 1;
        user.streams -= u32::from(on == Endpoint::Stream);
        let (sessions, mut there) = (user.sessions, 0);
        if let Some(place) = user.places.as_mut_slice().iter_mut().find(|place| place.worker == worker) {
            place.sessions -= 1;
            place.reached -= u32::from(on.reached());
            there = place.sessions;
        }
        if sessions == 0 {
            let hash = user.hash;
            if let Ok(found) = self.index.find_entry(hash, |other| *other == at) {
                found.remove();
            }
            self.users.remove(at as usize);
        } else if there == 0 {
            user.places.prune();
        }
        Change { sessions, there }
    }

    /// Counts a session of a user at another worker. Returns the sessions of the user that are left at the one, and are
    /// at the other now.
    pub(super) fn switch(&mut self, at: u32, from: Generation, to: Generation, on: Endpoint) -> (u32, u32) {
        let name = self.get(at).id.clone();
        let there = self.join(name.as_str(), to, on).map_or(0, |(_, change)| change.there);
        (self.leave(at, from, on).there, there)
    }

    /// Gives memory back after a crowd has left.
    pub(super) fn shrink(&mut self) {
        let Self { users, index, .. } = self;
        index.shrink_to(users.len() * 2, |at| users[*at as usize].hash);
        users.shrink_to_fit();
    }
}
