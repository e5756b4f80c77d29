//! Moves of sessions between workers: orders to move, and the batches under way. Pure: what the master's other parts must
//! do is told to the caller.
//!
//! A batch belongs to its target from the moment at which the source asked for it. It ends when the target confirms it. If
//! the target ends before, it is the source's again, and ends when the source says so.

use super::handovers::EventId;
use crate::model::SessionId;
use crate::protocol::cluster::{BatchId, Generation, Moved, TokenName, Which};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// A session under way, and where else the master knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traveller {
    pub session: SessionId,
    /// Its chat rooms.
    pub rooms: Vec<Box<str>>,
    /// Set if it is suspended: its token leads to it.
    pub away: Option<TokenName>,
}

/// An order to a worker; `W` is who waits for its outcome.
#[derive(Debug, PartialEq, Eq)]
pub struct Offload<W> {
    pub from: Generation,
    pub to: Generation,
    pub which: Which,
    pub waiter: Option<W>,
}

/// Who waits for the outcome of an order.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) event: EventId,
    pub(super) asker: Option<oneshot::Sender<Moved>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The target will confirm it.
    Going,
    /// The target has ended; the source will say that it has the sessions again.
    Returning,
}

#[derive(Debug)]
struct Batch {
    to: Generation,
    travellers: Vec<Traveller>,
    stage: Stage,
}

/// The orders and batches.
#[derive(Debug)]
pub struct Moves<W> {
    orders: BTreeMap<u64, Offload<W>>,
    last: u64,
    batches: BTreeMap<BatchId, Batch>,
    /// Workers whose roster is passed over: it began while a batch was under way to them.
    unheard: BTreeSet<Generation>,
}

/// Consequences of the end of a worker.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone<W> {
    /// Sessions that belong to the source of their batch again.
    pub back: Vec<(Generation, Vec<Traveller>)>,
    /// Orders to that worker: nobody answers them.
    pub orders: Vec<Offload<W>>,
}

impl<W> Default for Moves<W> {
    fn default() -> Self {
        Self { orders: BTreeMap::new(), last: 0, batches: BTreeMap::new(), unheard: BTreeSet::new() }
    }
}

impl<W> Moves<W> {
    /// Notes an order, and gives it a number.
    pub fn order(&mut self, offload: Offload<W>) -> u64 {
        self.last += 1;
        self.orders.insert(self.last, offload);
        self.last
    }

    /// Whether a worker has no order.
    pub fn is_idle(&self, from: Generation) -> bool {
        self.orders.values().all(|offload| offload.from != from)
    }

    /// An order has ended.
    pub fn ended(&mut self, from: Generation, order: u64) -> Option<Offload<W>> {
        self.orders.get(&order).filter(|offload| offload.from == from)?;
        self.orders.remove(&order)
    }

    /// A batch belongs to its target.
    pub fn begin(&mut self, id: BatchId, to: Generation, travellers: Vec<Traveller>) {
        self.batches.insert(id, Batch { to, travellers, stage: Stage::Going });
    }

    /// The target confirms a batch. `None`: it has none of that name.
    pub fn arrived(&mut self, target: Generation, id: BatchId) -> Option<Vec<Traveller>> {
        self.take(id, |batch| batch.to == target && batch.stage == Stage::Going)
    }

    /// The source has a batch again.
    pub fn taken_back(&mut self, id: BatchId) -> Option<Vec<Traveller>> {
        self.take(id, |batch| batch.stage == Stage::Returning)
    }

    fn take(&mut self, id: BatchId, is_it: impl Fn(&Batch) -> bool) -> Option<Vec<Traveller>> {
        self.batches.get(&id).filter(|batch| is_it(batch))?;
        self.batches.remove(&id).map(|batch| batch.travellers)
    }

    /// A worker has ended. A batch that it has sent goes on: its target says what has come.
    pub fn gone(&mut self, worker: Generation) -> Gone<W> {
        let (own, others) =
            std::mem::take(&mut self.orders).into_iter().partition(|(_, offload)| offload.from == worker);
        self.orders = others;
        let orders = BTreeMap::into_values(own).collect();
        self.unheard.remove(&worker);
        // What was on its way back is lost with its worker.
        self.batches
            .retain(|id, batch| id.from != worker || (batch.stage == Stage::Going && batch.to != worker));
        let mut back = Vec::new();
        for (id, batch) in &mut self.batches {
            if batch.to == worker && batch.stage == Stage::Going {
                batch.stage = Stage::Returning;
                back.push((id.from, batch.travellers.clone()));
            }
        }
        Gone { back, orders }
    }

    /// A batch whose source has ended, too, comes back to nobody.
    pub fn forget(&mut self, source: Generation) {
        self.batches.retain(|id, batch| id.from != source || batch.stage == Stage::Going);
    }

    /// Whether nothing is to be moved.
    pub fn is_quiet(&self) -> bool {
        self.orders.is_empty()
    }

    /// Whether a worker has an order.
    pub fn is_ordered(&self, worker: Generation) -> bool {
        self.orders.values().any(|offload| offload.from == worker)
    }

    /// Whether the beats of a worker may differ from the directory: a batch from or to it is under way.
    pub fn is_under_way(&self, worker: Generation) -> bool {
        self.batches.iter().any(|(id, batch)| id.from == worker || batch.to == worker)
    }

    /// Whether a page of a worker's roster counts. One that begins while a batch is under way to the worker would not
    /// name sessions that belong to it: all of it is passed over.
    pub fn hears_roster(&mut self, worker: Generation, first: bool) -> bool {
        if first && self.is_under_way(worker) {
            self.unheard.insert(worker);
        } else if first {
            self.unheard.remove(&worker);
        }
        !self.unheard.contains(&worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: BatchId = BatchId { from: 1, number: 1 };

    fn travellers(n: u128) -> Vec<Traveller> {
        vec![Traveller { session: SessionId(n), rooms: vec![], away: None }]
    }

    #[test]
    fn a_batch_ends_once_and_only_by_whom_it_belongs_to() {
        let mut moves = Moves::<()>::default();
        moves.begin(ID, 2, travellers(1));
        assert!(moves.is_under_way(1) && moves.is_under_way(2) && !moves.is_under_way(3));
        assert_eq!((moves.arrived(3, ID), moves.taken_back(ID)), (None, None));
        assert_eq!(moves.arrived(2, ID), Some(travellers(1)));
        assert_eq!(moves.arrived(2, ID), None);
    }

    #[test]
    fn a_roster_that_begins_while_a_batch_is_under_way_is_passed_over() {
        let mut moves = Moves::<()>::default();
        assert!(moves.hears_roster(2, true));
        moves.begin(ID, 2, travellers(1));
        assert!(moves.hears_roster(2, false), "it began before");
        assert!(!moves.hears_roster(2, true));
        moves.arrived(2, ID);
        assert!(!moves.hears_roster(2, false) && moves.hears_roster(2, true));
    }

    #[test]
    fn orders_end_with_their_worker() {
        let mut moves = Moves::default();
        let offload = || Offload { from: 1, to: 2, which: Which::All, waiter: Some("ctl") };
        let (first, second) = (moves.order(offload()), moves.order(offload()));
        assert_eq!((moves.ended(2, first), moves.ended(1, first)), (None, Some(offload())));
        assert_eq!(moves.gone(1).orders, [offload()]);
        assert_eq!(moves.ended(1, second), None);
    }

    proptest! {
        /// Workers hand over and die in any order: each batch ends once, or comes back once, or dies with both.
        #[test]
        fn no_batch_is_left_behind(acts in proptest::collection::vec((0..4u8, 1..5u32, 1..5u32), 0..80)) {
            let (mut moves, mut alive, mut number) = (Moves::<()>::default(), vec![1u32, 2, 3, 4], 0u32);
            let mut under_way: BTreeMap<BatchId, (Generation, bool)> = BTreeMap::new();
            for (act, one, two) in acts {
                let (a, b) = (alive[one as usize - 1], alive[two as usize - 1]);
                match act {
                    0 | 1 if a != b => {
                        number += 1;
                        let id = BatchId { from: a, number };
                        moves.begin(id, b, travellers(number.into()));
                        under_way.insert(id, (b, false));
                    }
                    2 => {
                        for (id, (to, returns)) in std::mem::take(&mut under_way) {
                            let done = if returns { moves.taken_back(id) } else { moves.arrived(to, id) };
                            prop_assert_eq!(done, Some(travellers(id.number.into())));
                        }
                    }
                    3 => {
                        let back: BTreeSet<_> = moves.gone(a).back.into_iter().map(|(from, _)| from).collect();
                        for (from, dead) in back.iter().map(|from| (*from, !alive.contains(from))) {
                            if dead { moves.forget(from) }
                        }
                        let mut expected = BTreeSet::new();
                        under_way.retain(|id, (to, returns)| {
                            if id.from == a && (*returns || *to == a) { return false }
                            if *to == a && !*returns {
                                *returns = true;
                                expected.insert(id.from);
                                return alive.contains(&id.from);
                            }
                            true
                        });
                        prop_assert_eq!(back, expected);
                        alive[one as usize - 1] = 100 + number + one;
                        number += 10;
                    }
                    _ => {}
                }
                prop_assert_eq!(moves.batches.len(), under_way.len());
            }
        }
    }
}
