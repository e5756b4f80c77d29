//! Packs that the processes before left: which worker unpacks which part, and when they are forgotten. Pure.

use crate::model::Mono;
use crate::protocol::cluster::Generation;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the first worker that is ready waits for the others. No key: its sessions wait as long.
const OTHERS: Duration = Duration::from_millis(300);

/// A part of a pack: the sessions whose key, divided by `parts`, leaves `part`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    pub of: Generation,
    pub part: u32,
    pub parts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Waits,
    /// With that worker.
    With(Generation),
    Done,
}

/// Counts of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub held: u64,
    pub closed: u64,
    /// Longest time in which a session was with nobody.
    pub silence: Duration,
}

/// The packs that are to be unpacked.
#[derive(Debug, Default)]
pub struct Unpacking {
    parts: Vec<(Part, At)>,
    /// Workers that are ready, in this order.
    ready: Vec<Generation>,
    wanted: usize,
    first: Option<Mono>,
    counts: Counts,
}

impl Unpacking {
    /// Packs of those workers, for so many.
    pub fn new(packs: &BTreeSet<Generation>, wanted: usize) -> Self {
        let parts = u32::try_from(wanted.max(1).div_ceil(packs.len().max(1))).unwrap_or(1);
        let all = packs.iter().copied().flat_map(|of| (0..parts).map(move |part| Part { of, part, parts }));
        let parts = all.map(|part| (part, At::Waits)).collect();
        Self { parts, ready: Vec::new(), wanted, first: None, counts: Counts::default() }
    }

    /// A worker is ready.
    pub fn ready(&mut self, worker: Generation, now: Mono) {
        self.ready.push(worker);
        self.first.get_or_insert(now);
    }

    /// A worker has ended: what it had not finished is lost with it. No other one tries: a session may have killed it.
    pub fn gone(&mut self, worker: Generation) {
        self.ready.retain(|ready| *ready != worker);
        for (part, at) in &mut self.parts {
            if *at == At::With(worker) {
                tracing::warn!(event = "unpack-failed", of = part.of, worker, "the worker died over it");
                *at = At::Done;
            }
        }
    }

    /// The parts that are to be unpacked now, and by whom.
    pub fn orders(&mut self, now: Mono) -> Vec<(Generation, Part)> {
        let late = self.first.is_some_and(|first| now.since(first) >= OTHERS);
        if self.ready.is_empty() || (self.ready.len() < self.wanted && !late) {
            return Vec::new();
        }
        let waits = self.parts.iter_mut().filter(|(_, at)| *at == At::Waits);
        let turns = self.ready.iter().copied().cycle();
        waits
            .zip(turns)
            .map(|((part, at), worker)| {
                *at = At::With(worker);
                (worker, *part)
            })
            .collect()
    }

    /// When [`Unpacking::orders`] has something to say, at the latest.
    pub fn next_deadline(&self) -> Option<Mono> {
        let waits = self.parts.iter().any(|(_, at)| *at == At::Waits);
        self.first.filter(|_| waits && !self.ready.is_empty()).map(|first| first.after(OTHERS))
    }

    /// A worker has unpacked a part. Returns the worker whose pack is unpacked whole by that.
    pub fn done(&mut self, worker: Generation, part: Part, counts: Counts) -> Option<Generation> {
        let own = self.parts.iter_mut().find(|(own, at)| *own == part && *at == At::With(worker))?;
        own.1 = At::Done;
        self.counts.held += counts.held;
        self.counts.closed += counts.closed;
        self.counts.silence = self.counts.silence.max(counts.silence);
        let whole = self.parts.iter().filter(|(own, _)| own.of == part.of).all(|(_, at)| *at == At::Done);
        whole.then_some(part.of)
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.parts.iter().all(|(_, at)| *at == At::Done)
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn packs(of: &[Generation]) -> BTreeSet<Generation> {
        of.iter().copied().collect()
    }

    fn counts(held: u64) -> Counts {
        Counts { held, closed: 1, silence: Duration::from_millis(held) }
    }

    #[test]
    fn each_worker_gets_one_pack_when_there_are_as_many() {
        let mut unpacking = Unpacking::new(&packs(&[3, 4]), 2);
        unpacking.ready(8, Mono(5));
        assert_eq!(unpacking.orders(Mono(5)), []);
        unpacking.ready(9, Mono(6));
        let part = |of| Part { of, part: 0, parts: 1 };
        assert_eq!(unpacking.orders(Mono(6)), [(8, part(3)), (9, part(4))]);
        assert_eq!(unpacking.orders(Mono(7)), []);
        assert_eq!(unpacking.done(8, part(3), counts(7)), Some(3));
        assert_eq!(unpacking.done(8, part(3), counts(7)), None, "once");
        assert!(!unpacking.is_over());
        assert_eq!(unpacking.done(9, part(4), counts(5)), Some(4));
        assert!(unpacking.is_over());
        let all = Counts { held: 12, closed: 2, silence: Duration::from_millis(7) };
        assert_eq!(unpacking.counts(), all);
    }

    #[test]
    fn one_that_does_not_get_ready_is_not_waited_for_long() {
        let mut unpacking = Unpacking::new(&packs(&[3]), 4);
        unpacking.ready(8, Mono(0));
        unpacking.ready(9, Mono(1));
        let late = unpacking.next_deadline().unwrap();
        assert_eq!(unpacking.orders(Mono(2)).len(), 0);
        let orders = unpacking.orders(late);
        assert_eq!(orders.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [8, 9, 8, 9]);
        assert_eq!(unpacking.next_deadline(), None);
    }

    #[test]
    fn without_packs_it_is_over() {
        assert!(Unpacking::default().is_over());
        assert!(Unpacking::new(&packs(&[]), 4).is_over());
    }

    proptest! {
        #[test]
        fn each_session_is_unpacked_by_one_worker_at_most(
            left in prop::collection::btree_set(0..6u32, 0..5), wanted in 1..7usize,
            steps in prop::collection::vec((0..3u8, 0..9u32, 0..200u64), 0..40),
        ) {
            let mut unpacking = Unpacking::new(&left, wanted);
            let (mut now, mut owners) = (Mono(0), BTreeMap::new());
            let mut alive = BTreeSet::new();
            for (what, worker, wait) in steps {
                now = now.after(Duration::from_millis(wait));
                let worker = 100 + worker;
                match what {
                    0 => if alive.insert(worker) { unpacking.ready(worker, now) },
                    1 => if alive.remove(&worker) { unpacking.gone(worker) },
                    _ => {
                        let own: Vec<_> = owners.iter().filter(|(_, by)| **by == worker).map(|(part, _)| *part).collect();
                        for part in own.into_iter().filter(|_| alive.contains(&worker)) {
                            unpacking.done(worker, part, Counts::default());
                        }
                    }
                }
                for (worker, part) in unpacking.orders(now) {
                    prop_assert!(alive.contains(&worker));
                    prop_assert_eq!(owners.insert(part, worker), None, "twice");
                }
            }
            for key in 0..20u32 {
                for of in &left {
                    let mine = |part: &&Part| part.of == *of && key % part.parts == part.part;
                    prop_assert!(owners.keys().filter(mine).count() <= 1);
                }
            }
        }
    }
}
