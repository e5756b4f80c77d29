//! Sessions of dead workers until another worker has adopted them: which one, and when nobody will. Pure.
//!
//! The newborn of the dead worker's slot adopts, since the others have sessions of their own to serve; a survivor only
//! if the newborn takes long. Sessions that were on their way to a worker when it died are given up.

use super::handovers::EventId;
use crate::model::Mono;
use crate::protocol::cluster::{Generation, Slot};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the newborn is waited for: no client should notice a pause of that length.
const NEWBORN: Duration = Duration::from_millis(200);

/// A worker that can adopt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) generation: Generation,
    pub(super) slot: Slot,
    pub(super) sessions: u32,
}

/// To be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// The sessions of the one are adopted by the other.
    Adopt { of: Generation, by: Generation },
    /// The sessions have ended.
    GiveUp { of: Generation },
}

#[derive(Clone, Copy, Debug)]
struct Orphan {
    slot: Slot,
    died: Mono,
    /// Who adopts them.
    by: Option<Generation>,
    /// The handover to that one.
    event: Option<EventId>,
}

/// The dead workers.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    dead: BTreeMap<Generation, Orphan>,
}

impl Orphans {
    /// A worker has died, and its sessions are to be adopted. Those that it was adopting itself are its own since.
    pub(super) fn died(&mut self, of: Generation, slot: Slot, now: Mono) {
        self.dead.insert(of, Orphan { slot, died: now, by: None, event: None });
    }

    /// A worker adopts them since before this master's time, or has done so.
    pub(super) fn goes_on(&mut self, of: Generation, by: Generation, now: Mono) {
        self.dead.insert(of, Orphan { slot: 0, died: now, by: Some(by), event: None });
    }

    /// A worker has ended. Returns those whose sessions it was adopting, which nobody takes any more.
    pub(super) fn ended(&mut self, by: Generation) -> Vec<(Generation, Option<EventId>)> {
        let lost = self.dead.iter().filter(|(_, orphan)| orphan.by == Some(by));
        let lost: Vec<_> = lost.map(|(of, orphan)| (*of, orphan.event)).collect();
        self.dead.retain(|_, orphan| orphan.by != Some(by));
        lost
    }

    /// The handover of the sessions has begun. Returns when their worker died.
    pub(super) fn adopts(&mut self, of: Generation, event: EventId) -> Option<Mono> {
        let orphan = self.dead.get_mut(&of)?;
        orphan.event = Some(event);
        Some(orphan.died)
    }

    /// The sessions have been adopted.
    pub(super) fn adopted(&mut self, of: Generation) -> Option<EventId> {
        self.dead.remove(&of)?.event
    }

    /// What is due; `ready` can adopt. After `patience` nobody does.
    pub(super) fn tick(&mut self, now: Mono, ready: &[Ready], patience: Duration) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for (of, orphan) in self.dead.iter_mut().filter(|(_, orphan)| orphan.by.is_none()) {
            let newborn = ready.iter().find(|ready| ready.slot == orphan.slot && ready.generation > *of);
            let waits = now.since(orphan.died);
            let survivor = || ready.iter().min_by_key(|ready| (ready.sessions, ready.generation));
            let by = newborn.or_else(|| survivor().filter(|_| waits >= NEWBORN));
            if let Some(by) = by.map(|ready| ready.generation) {
                orphan.by = Some(by);
                deeds.push(Deed::Adopt { of: *of, by });
            } else if waits >= patience {
                deeds.push(Deed::GiveUp { of: *of });
            }
        }
        let given_up = deeds.iter().filter_map(|deed| match deed {
            Deed::GiveUp { of } => Some(*of),
            Deed::Adopt { .. } => None,
        });
        given_up.for_each(|of| _ = self.dead.remove(&of));
        deeds
    }

    /// The daemon ends: nobody adopts any more.
    pub(super) fn give_up_all(&mut self) -> Vec<Generation> {
        let waiting = self.dead.iter().filter(|(_, orphan)| orphan.by.is_none());
        let waiting = waiting.map(|(of, _)| *of).collect();
        self.dead.retain(|_, orphan| orphan.by.is_some());
        waiting
    }

    /// The next moment at which [`Orphans::tick`] may have something to do.
    pub(super) fn next_deadline(&self, patience: Duration) -> Option<Mono> {
        let waiting = self.dead.values().filter(|orphan| orphan.by.is_none());
        let next = |orphan: &Orphan| [orphan.died.after(NEWBORN), orphan.died.after(patience)];
        waiting.flat_map(next).min()
    }

    /// Whether nobody waits to be adopted.
    pub(super) fn is_empty(&self) -> bool {
        self.dead.values().all(|orphan| orphan.by.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn ready(generation: Generation, slot: Slot, sessions: u32) -> Ready {
        Ready { generation, slot, sessions }
    }

    #[test]
    fn the_newborn_adopts_and_a_survivor_only_if_it_takes_long() {
        let (mut orphans, now) = (Orphans::default(), Mono(1 << 40));
        let (other, more) = (ready(3, 2, 9), ready(4, 3, 5));
        orphans.died(7, 1, now);
        assert_eq!(orphans.tick(now, &[other, more], PATIENCE), []);
        let newborn = ready(8, 1, 0);
        assert_eq!(orphans.tick(now, &[other, newborn], PATIENCE), [Deed::Adopt { of: 7, by: 8 }]);
        assert_eq!((orphans.tick(now, &[newborn], PATIENCE), orphans.is_empty()), (vec![], true));
        assert_eq!((orphans.ended(8), orphans.ended(8)), (vec![(7, None)], vec![]));
        orphans.died(8, 1, now);
        let late = now.after(NEWBORN);
        assert_eq!(orphans.next_deadline(PATIENCE), Some(late));
        assert_eq!(orphans.tick(late, &[other, more], PATIENCE), [Deed::Adopt { of: 8, by: 4 }]);
        orphans.adopted(8);
        orphans.died(4, 3, now);
        assert_eq!(orphans.tick(now.after(PATIENCE), &[], PATIENCE), [Deed::GiveUp { of: 4 }]);
        assert_eq!(orphans.next_deadline(PATIENCE), None);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Dies(usize),
        Born(Slot),
        Adopted(usize),
        Passes(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => any::<usize>().prop_map(Event::Dies),
            3 => (1..4u16).prop_map(Event::Born),
            2 => any::<usize>().prop_map(Event::Adopted),
            3 => (1..3000u64).prop_map(Event::Passes),
        ]
    }

    proptest! {
        #[test]
        fn sessions_have_one_owner_and_in_the_end_each_was_adopted_or_given_up(
            events in prop::collection::vec(event(), 1..60)
        ) {
            let (mut orphans, mut now, mut last) = (Orphans::default(), Mono(1 << 40), 3);
            let mut living: Vec<_> = (1..4).map(|n| ready(n, n as Slot, n)).collect();
            // The dead whose sessions nobody has yet, those on their way, and those that are settled.
            let mut waiting = BTreeSet::<Generation>::new();
            let mut on_the_way = BTreeSet::<(Generation, Generation)>::new();
            let mut settled = BTreeSet::new();
            for event in events {
                match event {
                    Event::Dies(n) if !living.is_empty() => {
                        let dead = living.swap_remove(n % living.len());
                        for (of, _) in orphans.ended(dead.generation) {
                            prop_assert!(on_the_way.remove(&(of, dead.generation)));
                            settled.insert(of);
                        }
                        orphans.died(dead.generation, dead.slot, now);
                        waiting.insert(dead.generation);
                    }
                    Event::Born(slot) if living.iter().all(|ready| ready.slot != slot) => {
                        last += 1;
                        living.push(ready(last, slot, 0));
                    }
                    Event::Adopted(n) => {
                        if let Some(pair) = on_the_way.iter().copied().nth(n % 4) {
                            orphans.adopted(pair.0);
                            on_the_way.remove(&pair);
                            settled.insert(pair.0);
                        }
                    }
                    Event::Passes(ms) => now = now.after(Duration::from_millis(ms)),
                    _ => {}
                }
                for deed in orphans.tick(now, &living, PATIENCE) {
                    let of = match deed {
                        Deed::Adopt { of, by } => {
                            prop_assert!(living.iter().any(|ready| ready.generation == by));
                            on_the_way.insert((of, by));
                            of
                        }
                        Deed::GiveUp { of } => {
                            settled.insert(of);
                            of
                        }
                    };
                    prop_assert!(waiting.remove(&of), "once");
                }
                prop_assert_eq!(orphans.is_empty(), waiting.is_empty());
                prop_assert!(orphans.next_deadline(PATIENCE).is_some() != waiting.is_empty());
            }
            orphans.tick(now.after(PATIENCE), &[], PATIENCE);
            prop_assert!(orphans.is_empty());
        }
    }
}
