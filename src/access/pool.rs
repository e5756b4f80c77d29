//! Things that clients hold of one pool, and which of them gives way when the pool is full. Pure.
//!
//! Things that were never used go first, of whomever. Then the owner that holds most loses one, the least used of its
//! own and of these the oldest. So an owner that holds no more than its part (the pool by the number of owners) loses
//! nothing that was used.

use crate::model::give_back;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
#[cfg(test)]
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::net::IpAddr;

/// A weight that has changed by less than this is not noted anew.
const GRAIN: usize = 1 << 10;

/// How much a thing was used: [`UNUSED`], or more for more.
pub type Use = u8;

/// The client is not known to have heard of the thing.
pub const UNUSED: Use = 0;

/// One thing as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who holds it: the client's address, IPv6 cut to its /64.
    pub owner: IpAddr,
    pub used: Use,
    /// Its memory in bytes.
    pub bytes: usize,
}

/// What a pool has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Things,
    Bytes,
}

/// Everything that one owner holds in one lane.
#[derive(Debug, Default)]
struct Owned<K> {
    /// The least used first, the oldest of these first.
    things: BTreeSet<(Use, u64, K)>,
    bytes: usize,
}

/// Owners, by what they hold.
#[derive(Debug)]
struct Lane<K> {
    owners: HashMap<IpAddr, Owned<K>, RandomState>,
    by_things: BTreeSet<(usize, IpAddr)>,
    by_bytes: BTreeSet<(usize, IpAddr)>,
}

/// The pool.
#[derive(Debug)]
pub struct Pool<K> {
    all: HashMap<K, (u64, Hold), RandomState>,
    /// Things that came so far: their order.
    came: u64,
    unused: Lane<K>,
    used: Lane<K>,
    bytes: usize,
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { owners: HashMap::default(), by_things: BTreeSet::new(), by_bytes: BTreeSet::new() }
    }
}

impl<K> Default for Pool<K> {
    fn default() -> Self {
        Self { all: HashMap::default(), came: 0, unused: Lane::default(), used: Lane::default(), bytes: 0 }
    }
}

impl<K: Copy + Ord> Lane<K> {
    /// Changes what one owner holds.
    fn change(&mut self, owner: IpAddr, change: impl FnOnce(&mut Owned<K>)) {
        let owned = self.owners.entry(owner).or_insert_with(|| Owned { things: BTreeSet::new(), bytes: 0 });
        let before = (owned.things.len(), owned.bytes);
        change(owned);
        let after = (owned.things.len(), owned.bytes);
        if after.0 == 0 {
            self.owners.remove(&owner);
            give_back(&mut self.owners);
        }
        for (index, before, after, stays) in [
            (&mut self.by_things, before.0, after.0, after.0 > 0),
            (&mut self.by_bytes, before.1, after.1, after.0 > 0),
        ] {
            index.remove(&(before, owner));
            if stays {
                index.insert((after, owner));
            }
        }
    }

    fn first_of(&self, owner: IpAddr) -> Option<K> {
        self.owners.get(&owner)?.things.first().map(|(.., thing)| *thing)
    }

    fn first(&self, measure: Measure) -> Option<K> {
        let index = match measure {
            Measure::Things => &self.by_things,
            Measure::Bytes => &self.by_bytes,
        };
        self.first_of(index.last()?.1)
    }
}

impl<K: Copy + Ord + Hash> Pool<K> {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Memory of all things, some more or less.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn lane(&mut self, hold: Hold) -> &mut Lane<K> {
        if hold.used == UNUSED { &mut self.unused } else { &mut self.used }
    }

    /// A thing comes. One that is there already is counted anew.
    pub fn add(&mut self, thing: K, hold: Hold) {
        self.remove(thing);
        self.came += 1;
        let came = self.came;
        self.all.insert(thing, (came, hold));
        self.bytes += hold.bytes;
        self.lane(hold).change(hold.owner, |owned| {
            owned.things.insert((hold.used, came, thing));
            owned.bytes += hold.bytes;
        });
    }

    /// A thing goes.
    pub fn remove(&mut self, thing: K) {
        let Some((came, hold)) = self.all.remove(&thing) else { return };
        self.bytes -= hold.bytes;
        self.lane(hold).change(hold.owner, |owned| {
            owned.things.remove(&(hold.used, came, thing));
            owned.bytes -= hold.bytes;
        });
        give_back(&mut self.all);
    }

    /// A thing weighs so much now.
    pub fn weigh(&mut self, thing: K, bytes: usize) {
        let Some((_, hold)) = self.all.get_mut(&thing) else { return };
        if hold.bytes.abs_diff(bytes) < GRAIN {
            return;
        }
        let before = std::mem::replace(&mut hold.bytes, bytes);
        let hold = *hold;
        self.bytes = self.bytes - before + bytes;
        self.lane(hold).change(hold.owner, |owned| owned.bytes = owned.bytes - before + bytes);
    }

    /// The thing that gives way next.
    pub fn next(&self, measure: Measure) -> Option<K> {
        self.unused.first(measure).or_else(|| self.used.first(measure))
    }

    /// The thing of an owner that gives way next.
    pub fn next_of(&self, owner: IpAddr) -> Option<K> {
        self.unused.first_of(owner).or_else(|| self.used.first_of(owner))
    }

    /// How many things each owner holds.
    #[cfg(test)]
    pub fn owners(&self) -> BTreeMap<IpAddr, usize> {
        let mut all = BTreeMap::new();
        for (_, hold) in self.all.values() {
            *all.entry(hold.owner).or_default() += 1;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn hold(owner: u8, used: Use, bytes: usize) -> Hold {
        Hold { owner: IpAddr::V4(Ipv4Addr::new(192, 0, 2, owner)), used, bytes }
    }

    #[test]
    fn who_has_most_gives_way_first_and_what_was_never_used_before_all() {
        let mut pool = Pool::default();
        for thing in 0..5 {
            pool.add(thing, hold(1, 3, 1));
        }
        pool.add(10, hold(2, 3, 100));
        pool.add(11, hold(2, UNUSED, 1));
        assert_eq!((pool.next(Measure::Things), pool.next(Measure::Bytes)), (Some(11), Some(11)));
        pool.remove(11);
        assert_eq!((pool.next(Measure::Things), pool.next(Measure::Bytes)), (Some(0), Some(10)));
        pool.add(5, hold(1, 2, 1));
        assert_eq!(pool.next(Measure::Things), Some(5), "the least used of its own");
        pool.weigh(5, 5_000);
        assert_eq!((pool.next(Measure::Bytes), pool.bytes()), (Some(5), 5_105));
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Add { owner: u8, used: Use, bytes: usize },
        Remove(usize),
        Weigh(usize, usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            // One owner comes more often than all others.
            6 => (0..4u8, 0..3u8, 1..9usize).prop_map(|(owner, used, bytes)| Act::Add { owner: owner * 85 / 128, used, bytes: bytes * 900 }),
            4 => (0..9u8, 0..3u8, 1..9usize).prop_map(|(owner, used, bytes)| Act::Add { owner, used, bytes: bytes * 900 }),
            2 => any::<usize>().prop_map(Act::Remove),
            3 => (any::<usize>(), 0..20usize).prop_map(|(which, bytes)| Act::Weigh(which, bytes * 900)),
        ]
    }

    proptest! {
        /// Nobody loses for another what is within its own part, be it counted or weighed.
        #[test]
        fn nobody_loses_for_one_that_holds_more(
            acts in proptest::collection::vec(act(), 1..200),
            most in 1..20usize,
            heavy in 4_000..60_000usize,
        ) {
            let (mut pool, mut model, mut next) = (Pool::default(), BTreeMap::<u32, (u64, Hold)>::new(), 0);
            for act in acts {
                let pick = |which: usize, model: &BTreeMap<u32, _>| model.keys().nth(which % model.len().max(1)).copied();
                match act {
                    Act::Add { owner, used, bytes } => {
                        next += 1;
                        pool.add(next, hold(owner, used, bytes));
                        model.insert(next, (next.into(), hold(owner, used, bytes)));
                    }
                    Act::Remove(which) => {
                        let Some(thing) = pick(which, &model) else { continue };
                        pool.remove(thing);
                        model.remove(&thing);
                    }
                    Act::Weigh(which, bytes) => {
                        let Some(thing) = pick(which, &model) else { continue };
                        pool.weigh(thing, bytes);
                        let (_, hold) = model.get_mut(&thing).unwrap();
                        if hold.bytes.abs_diff(bytes) >= GRAIN {
                            hold.bytes = bytes;
                        }
                    }
                }
                let sum = |model: &BTreeMap<u32, (u64, Hold)>| model.values().map(|(_, hold)| hold.bytes).sum::<usize>();
                for measure in [Measure::Things, Measure::Bytes] {
                    while if measure == Measure::Things { pool.len() > most } else { pool.bytes() > heavy } {
                        let thing = pool.next(measure).unwrap();
                        let (came, lost) = model[&thing];
                        let holds = |owner| {
                            let own = model.values().map(|(_, it)| it).filter(|it| it.owner == owner && (it.used == UNUSED) == (lost.used == UNUSED));
                            if measure == Measure::Things { own.count() } else { own.map(|it| it.bytes).sum() }
                        };
                        let anything_unused = model.values().any(|(_, it)| it.used == UNUSED);
                        prop_assert!(!anything_unused || lost.used == UNUSED, "the unused first");
                        let all_owners = model.values().map(|(_, it)| it.owner).collect::<BTreeSet<_>>();
                        prop_assert!(all_owners.iter().all(|other| holds(*other) <= holds(lost.owner)), "who has most");
                        let own = model.values().filter(|(_, it)| it.owner == lost.owner && (it.used == UNUSED) == (lost.used == UNUSED));
                        prop_assert!(own.map(|(came, it)| (it.used, *came)).min() == Some((lost.used, came)), "the least used, the oldest");
                        pool.remove(thing);
                        model.remove(&thing);
                    }
                }
                prop_assert_eq!((pool.len(), pool.bytes()), (model.len(), sum(&model)));
                prop_assert_eq!(pool.owners().values().sum::<usize>(), model.len());
                for owner in pool.owners().into_keys() {
                    let own = model.iter().filter(|(_, (_, it))| it.owner == owner);
                    let first = own.min_by_key(|(_, (came, it))| (it.used, *came)).map(|(thing, _)| *thing);
                    prop_assert_eq!(pool.next_of(owner), first);
                }
                let indexed = pool.unused.by_things.len() + pool.used.by_things.len();
                prop_assert_eq!(indexed, pool.unused.owners.len() + pool.used.owners.len());
                prop_assert_eq!(pool.unused.by_bytes.len() + pool.used.by_bytes.len(), indexed);
            }
            for thing in model.into_keys() {
                pool.remove(thing);
            }
            prop_assert!(pool.unused.owners.is_empty() && pool.used.owners.is_empty() && pool.bytes() == 0);
        }
    }
}
