//! Rooms by the client's address that made each, and which of them gives way.
//!
//! The address that has most rooms loses one first, or messages where it has most bytes: a room in which nobody is
//! present before others, and the one that was used longest ago. So an address that has no more than its part loses
//! nothing to one that has more. Of the rooms of one address in which somebody is present, the session that made most
//! loses one first: many users may have one address.

use super::room::{Filed, NOBODY, Room};
use crate::model::{SessionId, give_back};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The place of an owner among all: who has most comes last; of these, one that has an idle room, used longest ago.
type Rank = (usize, bool, Reverse<u64>, IpAddr);

/// Rooms of one owner in which somebody is present, by the session that made them.
#[derive(Debug, Default)]
struct Busy {
    makers: BTreeMap<SessionId, BTreeMap<u64, Arc<str>>>,
    /// Who made most comes last; of these, the one with the room used longest ago.
    by_rooms: BTreeSet<(usize, Reverse<u64>, SessionId)>,
    /// When each was used last.
    uses: BTreeSet<u64>,
}

impl Busy {
    fn change(&mut self, maker: SessionId, change: impl FnOnce(&mut BTreeMap<u64, Arc<str>>)) {
        let rooms = self.makers.entry(maker).or_default();
        let place = |rooms: &BTreeMap<u64, Arc<str>>| {
            rooms.first_key_value().map(|(used, _)| (rooms.len(), Reverse(*used), maker))
        };
        place(rooms).into_iter().for_each(|before| _ = self.by_rooms.remove(&before));
        change(rooms);
        match place(rooms) {
            Some(after) => _ = self.by_rooms.insert(after),
            None => _ = self.makers.remove(&maker),
        }
    }

    fn insert(&mut self, maker: SessionId, used: u64, name: Arc<str>) {
        self.uses.insert(used);
        self.change(maker, |rooms| _ = rooms.insert(used, name));
    }

    fn remove(&mut self, maker: SessionId, used: u64) {
        self.uses.remove(&used);
        self.change(maker, |rooms| _ = rooms.remove(&used));
    }

    /// The room, used longest ago, of the session that made most, which must be more than so many.
    fn first(&self, least: usize) -> Option<Arc<str>> {
        let (_, _, maker) = self.by_rooms.last().filter(|(rooms, ..)| *rooms > least)?;
        self.makers.get(maker)?.first_key_value().map(|(_, name)| name.clone())
    }

    /// How many a session made.
    fn of(&self, maker: SessionId) -> usize {
        self.makers.get(&maker).map_or(0, BTreeMap::len)
    }
}

/// The rooms of one owner.
#[derive(Debug, Default)]
struct Owned {
    /// Nobody is present; by last use.
    idle: BTreeMap<u64, Arc<str>>,
    busy: Busy,
    by_bytes: BTreeSet<(usize, Arc<str>)>,
    bytes: usize,
}

impl Owned {
    fn len(&self) -> usize {
        self.idle.len() + self.busy.uses.len()
    }

    /// Nobody is present in any of the rooms.
    fn is_absent(&self) -> bool {
        self.busy.uses.is_empty()
    }

    fn rank(&self, owner: IpAddr) -> Rank {
        let first = self.idle.keys().chain(&self.busy.uses).next();
        (self.len(), !self.idle.is_empty(), Reverse(first.copied().unwrap_or(0)), owner)
    }

    fn insert(&mut self, filed: Filed, room: &Room) {
        let name = room.name.clone();
        if filed.idle {
            self.idle.insert(filed.used, name);
        } else {
            self.busy.insert(room.maker, filed.used, name);
        }
        self.by_bytes.insert((filed.bytes, room.name.clone()));
        self.bytes += filed.bytes;
    }

    fn remove(&mut self, filed: Filed, room: &Room) {
        if filed.idle {
            self.idle.remove(&filed.used);
        } else {
            self.busy.remove(room.maker, filed.used);
        }
        self.by_bytes.remove(&(filed.bytes, room.name.clone()));
        self.bytes -= filed.bytes;
    }
}

#[derive(Debug, Default)]
pub(super) struct Owners {
    owners: HashMap<IpAddr, Owned, RandomState>,
    by_rooms: BTreeSet<Rank>,
    by_bytes: BTreeSet<(usize, IpAddr)>,
}

impl Owners {
    /// Files a room anew after it has changed. The last use of a room is no other room's.
    pub(super) fn file(&mut self, room: &mut Room) {
        let filed = Filed { idle: room.present() == 0, used: room.used, bytes: room.bytes };
        self.refile(room, Some(filed));
    }

    /// A room is no more.
    pub(super) fn forget(&mut self, room: &mut Room) {
        self.refile(room, None);
    }

    fn refile(&mut self, room: &mut Room, filed: Option<Filed>) {
        let before = std::mem::replace(&mut room.filed, filed);
        if before == filed {
            return;
        }
        let owner = room.owner;
        let owned = self.owners.entry(owner).or_default();
        self.by_rooms.remove(&owned.rank(owner));
        self.by_bytes.remove(&(owned.bytes, owner));
        before.into_iter().for_each(|before| owned.remove(before, room));
        filed.into_iter().for_each(|filed| owned.insert(filed, room));
        if owned.len() > 0 {
            self.by_rooms.insert(owned.rank(owner));
            self.by_bytes.insert((owned.bytes, owner));
        } else {
            self.owners.remove(&owner);
            give_back(&mut self.owners);
        }
    }

    /// The room that gives way to one that a session of this address makes, of so many at most; `None`: the address has
    /// most rooms, somebody is in each of its own, and no other session made more of them. A message of no client makes
    /// no room give way in which somebody is present.
    pub(super) fn gives_way_to(&self, (owner, maker): (IpAddr, SessionId), limit: usize) -> Option<Arc<str>> {
        let own = self.owners.get(&owner);
        let len = own.map_or(0, Owned::len);
        let (most, .., top) = self.by_rooms.last()?;
        let has_most = len >= *most;
        let top = if has_most { own? } else { self.owners.get(top)? };
        let idle = top.idle.first_key_value().map(|(_, name)| name.clone());
        // Up to a half it may have the rooms of those of whom nobody is present anywhere.
        let absent = || self.first_idle(Owned::is_absent).filter(|_| (len + 1) * 2 <= limit);
        let least = if has_most { top.busy.of(maker) + 1 } else { 0 };
        let busy = || top.busy.first(least).filter(|_| owner != NOBODY);
        idle.or_else(absent).or_else(busy)
    }

    /// The idle room, used longest ago, of the owner of such that has most.
    fn first_idle(&self, is_such: impl Fn(&Owned) -> bool) -> Option<Arc<str>> {
        let idle = self.by_rooms.iter().rev().filter(|(_, has_idle, ..)| *has_idle);
        let mut owners = idle.filter_map(|(.., owner)| self.owners.get(owner));
        let owned = owners.find(|owned| is_such(owned))?;
        owned.idle.first_key_value().map(|(_, name)| name.clone())
    }

    /// The room that gives way where there may be fewer from now on; `None`: somebody is in each.
    pub(super) fn gives_way(&self) -> Option<Arc<str>> {
        self.first_idle(|_| true)
    }

    /// The room that loses a message where there are too many bytes: that of most bytes, of the owner of most.
    pub(super) fn heaviest(&self) -> Option<Arc<str>> {
        let (_, owner) = self.by_bytes.last()?;
        self.owners.get(owner)?.by_bytes.last().map(|(_, name)| name.clone())
    }

    /// Rooms in which nobody is present, and all of them.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let all = || self.owners.values();
        assert_eq!((self.by_rooms.len(), self.by_bytes.len()), (self.owners.len(), self.owners.len()));
        (all().map(|it| it.idle.len()).sum(), all().map(Owned::len).sum())
    }
}
