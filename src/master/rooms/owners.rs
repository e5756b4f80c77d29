//! Rooms by the client's address that made each, and which of them gives way.
//!
//! The address that has most rooms loses one first, or messages where it has most bytes: a room in which nobody is
//! present before others, and the one that was used longest ago. So an address that has no more than its part loses
//! nothing to one that has more.

use super::room::{Filed, NOBODY, Room};
use crate::model::give_back;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The place of an owner among all: who has most comes last; of these, one that has an idle room, used longest ago.
type Rank = (usize, bool, Reverse<u64>, IpAddr);

/// The rooms of one owner.
#[derive(Debug, Default)]
struct Owned {
    /// Nobody is present; by last use.
    idle: BTreeMap<u64, Arc<str>>,
    busy: BTreeMap<u64, Arc<str>>,
    by_bytes: BTreeSet<(usize, Arc<str>)>,
    bytes: usize,
}

impl Owned {
    fn len(&self) -> usize {
        self.idle.len() + self.busy.len()
    }

    /// Nobody is present in any of the rooms.
    fn is_absent(&self) -> bool {
        self.busy.is_empty()
    }

    fn rank(&self, owner: IpAddr) -> Rank {
        let first = self.idle.first_key_value().or(self.busy.first_key_value());
        (self.len(), !self.idle.is_empty(), Reverse(first.map_or(0, |(used, _)| *used)), owner)
    }

    fn filed(&mut self, filed: Filed) -> &mut BTreeMap<u64, Arc<str>> {
        if filed.idle { &mut self.idle } else { &mut self.busy }
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
        if let Some(before) = before {
            owned.filed(before).remove(&before.used);
            owned.by_bytes.remove(&(before.bytes, room.name.clone()));
            owned.bytes -= before.bytes;
        }
        if let Some(filed) = filed {
            owned.filed(filed).insert(filed.used, room.name.clone());
            owned.by_bytes.insert((filed.bytes, room.name.clone()));
            owned.bytes += filed.bytes;
        }
        if owned.len() > 0 {
            self.by_rooms.insert(owned.rank(owner));
            self.by_bytes.insert((owned.bytes, owner));
        } else {
            self.owners.remove(&owner);
            give_back(&mut self.owners);
        }
    }

    /// The room that gives way to one that this address makes, of so many at most; `None`: the address has most rooms,
    /// and somebody is in each of its own. A message of no client makes no room give way in which somebody is present.
    pub(super) fn gives_way_to(&self, maker: IpAddr, limit: usize) -> Option<Arc<str>> {
        let own = self.owners.get(&maker);
        let len = own.map_or(0, Owned::len);
        let (most, .., top) = self.by_rooms.last()?;
        let has_most = len >= *most;
        let top = if has_most { own? } else { self.owners.get(top)? };
        let first = |rooms: &BTreeMap<u64, Arc<str>>| rooms.first_key_value().map(|(_, name)| name.clone());
        // Up to a half it may have the rooms of those of whom nobody is present anywhere.
        let absent = || self.first_idle(Owned::is_absent).filter(|_| (len + 1) * 2 <= limit);
        let busy = || first(&top.busy).filter(|_| !has_most && maker != NOBODY);
        first(&top.idle).or_else(absent).or_else(busy)
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
