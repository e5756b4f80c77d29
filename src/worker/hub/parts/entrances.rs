//! Subscriptions that wait for the master: rooms that sessions are about to enter, and the channels named beside them.
//! Pure: wishes and answers in, deeds out.
//!
//! There is one *entrance* per session and room, and the master is asked once, however often a client changes its mind
//! before the answer: the last wish wins. A *group* is what one message wants; all of it comes about, or nothing.

#[cfg(test)]
mod history;

use super::sessions::SessionRef;
use crate::model::{SessionId, give_back};
use crate::session::ChannelKey;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

/// The channels that one message wants its session subscribed to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Rooms that the session is not in for good.
    pub rooms: BTreeSet<Box<str>>,
    /// Channels that are no rooms.
    pub others: Vec<ChannelKey>,
    /// The client's id, if it wants an `ack`.
    pub id: Option<Box<str>>,
    /// How many of the rooms the master has not answered for.
    missing: usize,
}

impl Group {
    pub fn new(
        rooms: impl IntoIterator<Item = Box<str>>,
        others: Vec<ChannelKey>,
        id: Option<Box<str>>,
    ) -> Self {
        Self { rooms: rooms.into_iter().collect(), others, id, missing: 0 }
    }
}

/// Deeds for the hub, to be carried out in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Deed {
    /// Ask the master to let the session in.
    Ask(Box<str>),
    /// Tell the master that the session is not in the room that it was let into.
    Decline(Box<str>),
    /// Take the session out of a room that it has joined.
    Leave(Box<str>),
    /// The session is in all rooms of a group: it gets the other channels and its answer.
    Grant(Group),
    /// A room of a group is not to be had.
    Refuse(Group),
}

/// Where a session stands with a room. It wants the room as long as a group names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The master has not answered.
    Asked,
    /// The session is a member; the groups that name the room wait for others. `granted`: a group that named it has
    /// come about, so the room stays even if those fail.
    In { granted: bool },
}

/// The waiting subscriptions of one session.
#[derive(Debug)]
struct Waiting {
    /// The session now: it may have been suspended and come back since the master was asked.
    at: SessionRef,
    entrances: BTreeMap<Box<str>, Stage>,
    /// The oldest first.
    groups: Vec<Group>,
}

/// Waiting subscriptions by session. The master knows the ids, too, and a session keeps its id when it comes back.
#[derive(Debug, Default)]
pub struct Entrances {
    waiting: HashMap<SessionId, Waiting, RandomState>,
}

impl Entrances {
    /// Gives memory back after a peak.
    pub fn tidy(&mut self) {
        give_back(&mut self.waiting);
    }

    /// A session wants a group; `is_in` says which rooms it is subscribed to.
    pub fn want(
        &mut self,
        (session, at): (SessionId, SessionRef),
        mut group: Group,
        is_in: impl Fn(&str) -> bool,
    ) -> Vec<Deed> {
        let (entrances, groups) = (BTreeMap::new(), Vec::new());
        let own = self.waiting.entry(session).or_insert(Waiting { at, entrances, groups });
        own.at = at;
        group.rooms.retain(|room| own.entrances.contains_key(room) || !is_in(room));
        let mut deeds = Vec::new();
        for room in &group.rooms {
            let stage = own.entrances.entry(room.clone()).or_insert_with(|| {
                deeds.push(Deed::Ask(room.clone()));
                Stage::Asked
            });
            group.missing += usize::from(*stage == Stage::Asked);
        }
        own.groups.push(group);
        own.grant(&mut deeds);
        self.forget_done(session);
        deeds
    }

    /// A session does not want a room any more. If it is in, the caller takes it out.
    pub fn renounce_room(&mut self, session: SessionId, room: &str) -> Vec<Deed> {
        let mut deeds = Vec::new();
        let Some(own) = self.waiting.get_mut(&session) else { return deeds };
        let asked = usize::from(own.entrances.get(room) == Some(&Stage::Asked));
        for group in &mut own.groups {
            group.missing -= if group.rooms.remove(room) { asked } else { 0 };
        }
        own.grant(&mut deeds);
        self.forget_done(session);
        deeds
    }

    /// A session does not want a channel any more.
    pub fn renounce(&mut self, session: SessionId, channel: ChannelKey) {
        let groups = self.waiting.get_mut(&session).into_iter().flat_map(|own| &mut own.groups);
        groups.for_each(|group| group.others.retain(|other| *other != channel));
    }

    /// A channel is no more.
    pub fn channel_gone(&mut self, channel: ChannelKey) {
        let groups = self.waiting.values_mut().flat_map(|own| &mut own.groups);
        groups.for_each(|group| group.others.retain(|other| *other != channel));
    }

    /// A session has ended or was suspended: it wants nothing. What the master still answers is declined.
    pub fn gone(&mut self, session: SessionId, at: SessionRef) {
        // Another copy may wait meanwhile.
        if let Some(own) = self.waiting.get_mut(&session).filter(|own| own.at == at) {
            own.groups.clear();
        }
        self.forget_done(session);
    }

    /// The session that waits, as it is known now.
    pub fn session(&self, session: SessionId) -> Option<SessionRef> {
        self.waiting.get(&session).map(|own| own.at)
    }

    /// Whether a session wants the room that the master was asked for.
    pub fn wants(&self, session: SessionId, room: &str) -> bool {
        self.waiting.get(&session).is_some_and(|own| own.names(room))
    }

    /// The master has answered: the session was `let_in`, and if so it has `joined` the room, or not.
    pub fn answered(&mut self, (session, room): (SessionId, &str), let_in: bool, joined: bool) -> Vec<Deed> {
        let mut deeds = Vec::new();
        if let_in && !joined {
            deeds.push(Deed::Decline(room.into()));
        }
        let Some(own) = self.waiting.get_mut(&session) else { return deeds };
        if !joined {
            own.fail(room, &mut deeds);
        } else if !own.join(room, &mut deeds) {
            return deeds;
        }
        self.forget_done(session);
        deeds
    }

    /// The rooms that a session is about to enter.
    pub fn rooms(&self, session: SessionId) -> impl Iterator<Item = &str> {
        let own = self.waiting.get(&session).into_iter();
        own.flat_map(|own| {
            let asked = own.entrances.iter().filter(|(_, stage)| **stage == Stage::Asked);
            asked.map(|(room, _)| &**room).filter(|room| own.names(room))
        })
    }

    /// The channels that are no rooms and wait for one, each as often as a group names it.
    pub fn others(&self, session: SessionId) -> impl Iterator<Item = ChannelKey> {
        let groups = self.waiting.get(&session).into_iter().flat_map(|own| &own.groups);
        groups.flat_map(|group| group.others.iter().copied())
    }

    /// Rooms that a session is in for good are its subscriptions, and no entrances any more.
    fn forget_done(&mut self, session: SessionId) {
        let Some(own) = self.waiting.get_mut(&session) else { return };
        let Waiting { entrances, groups, .. } = own;
        entrances.retain(|room, stage| {
            *stage == Stage::Asked || groups.iter().any(|group| group.rooms.contains(room))
        });
        if entrances.is_empty() && groups.is_empty() {
            self.waiting.remove(&session);
        }
    }
}

impl Waiting {
    fn names(&self, room: &str) -> bool {
        self.groups.iter().any(|group| group.rooms.contains(room))
    }

    /// The session has joined a room. True if a group was granted.
    fn join(&mut self, room: &str, deeds: &mut Vec<Deed>) -> bool {
        if let Some(stage) = self.entrances.get_mut(room) {
            *stage = Stage::In { granted: false };
        }
        for group in &mut self.groups {
            group.missing -= usize::from(group.rooms.contains(room));
        }
        self.grant(deeds)
    }

    /// Grants the groups that wait for nothing any more. True if there are any.
    fn grant(&mut self, deeds: &mut Vec<Deed>) -> bool {
        let before = deeds.len();
        for group in self.groups.extract_if(.., |group| group.missing == 0) {
            for room in &group.rooms {
                self.entrances.insert(room.clone(), Stage::In { granted: true });
            }
            deeds.push(Deed::Grant(group));
        }
        deeds.len() > before
    }

    /// A room is not to be had. Refuses the groups that name it; what they alone have brought about is undone.
    fn fail(&mut self, room: &str, deeds: &mut Vec<Deed>) {
        self.entrances.remove(room);
        let failed: Vec<_> = self.groups.extract_if(.., |group| group.rooms.contains(room)).collect();
        let groups = &self.groups;
        for room in failed.iter().flat_map(|group| &group.rooms) {
            let stays = groups.iter().any(|group| group.rooms.contains(room));
            if !stays && self.entrances.get(room) == Some(&Stage::In { granted: false }) {
                self.entrances.remove(room);
                deeds.push(Deed::Leave(room.clone()));
            }
        }
        deeds.extend(failed.into_iter().map(Deed::Refuse));
    }
}
