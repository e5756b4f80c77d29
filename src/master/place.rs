//! Sessions that move because an operator says so, or because workers are uneven. `balance.rs` decides, `moving.rs` moves.

use super::balance::{Counts, Load, Move};
use super::core::Master;
use super::event::Event;
use super::moving::shares;
use crate::model::{Mono, SessionId};
use crate::os::clock;
use crate::protocol::cluster::{Generation, Moved, Role, Slot, ToWorker, Which};
use crate::supervisor::State;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The longest wait for an outcome; `ctl` waits a little longer.
const PATIENCE: Duration = Duration::from_secs(590);
const NO_WORKER: &str = "no other worker is ready to take sessions";

impl From<Moved> for Counts {
    fn from(moved: Moved) -> Self {
        let Moved { held, closed, left, silence, .. } = moved;
        Self { moved: held, refused: closed, left, silence }
    }
}

fn refused(error: impl Into<String>) -> Value {
    json!({ "ok": false, "error": error.into() })
}

fn told(counts: Counts) -> Value {
    let Counts { moved, refused, left, silence } = counts;
    let silence = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
    json!({ "ok": true, "held": moved, "returned": left, "closed": refused, "silence_ms": silence })
}

/// Waits for all of these outcomes. `None`: a worker has ended in the meantime, or it takes too long.
async fn all(outcomes: Vec<oneshot::Receiver<Moved>>) -> Option<Counts> {
    let mut sum = Counts::default();
    for outcome in outcomes {
        sum.add(timeout(PATIENCE, outcome).await.ok()?.ok()?.into());
    }
    Some(sum)
}

const UNKNOWN: &str =
    "the worker has ended in the meantime, or takes too long: `ctl workers` shows what has moved";

impl Master {
    /// Whether an operator has drained a worker. A worker says so, too: a new master has not heard the operator.
    pub(super) fn is_aside(&self, worker: Generation) -> bool {
        let says = self.children.get(worker).is_some_and(|child| child.beat.aside);
        says || self.placing.aside.contains(&worker)
    }

    /// The process of a slot that serves now.
    fn serving(&self, slot: Slot) -> Result<Generation, String> {
        if self.fleet.state(Role::Worker(slot)).is_none() {
            return Err(format!("there is no worker {slot}"));
        }
        let mut ready = self.children.ready_workers().filter(|worker| self.slot_of(*worker) == Some(slot));
        ready.find(|worker| !self.fleet.is_leaving(*worker)).ok_or(format!("worker {slot} is not ready"))
    }

    /// `ctl move`.
    pub(super) fn move_for(&mut self, session: &str, slot: Slot, answer: oneshot::Sender<Value>) {
        match self.begin_move(session, slot) {
            Err(error) => _ = answer.send(refused(error)),
            Ok(outcome) => {
                tokio::spawn(async move {
                    let value = match all(vec![outcome]).await {
                        None => refused(UNKNOWN),
                        Some(counts) if counts.moved + counts.refused == 0 => refused(
                            "the session cannot move at the moment, or has ended: it stays where it is",
                        ),
                        Some(counts) => told(counts),
                    };
                    let _ = answer.send(value);
                });
            }
        }
    }

    fn begin_move(&mut self, session: &str, slot: Slot) -> Result<oneshot::Receiver<Moved>, String> {
        let id = SessionId::parse(session);
        let listed = id.and_then(|id| self.directory.session(id)).ok_or("there is no such session")?;
        let (id, from) = (listed.session_id, listed.generation);
        let to = self.serving(slot)?;
        if from == to {
            return Err(format!("the session is at worker {slot}"));
        }
        if self.is_aside(to) {
            return Err(format!("worker {slot} is drained: it takes no sessions"));
        }
        let (waiter, outcome) = oneshot::channel();
        self.offload(from, to, Which::One(id), Some(waiter));
        Ok(outcome)
    }

    /// `ctl drain`.
    pub(super) fn drain_for(&mut self, slot: Slot, answer: oneshot::Sender<Value>) {
        match self.serving(slot).and_then(|worker| self.set_aside(worker)) {
            Err(error) => _ = answer.send(refused(error)),
            Ok(outcomes) => {
                tokio::spawn(async move {
                    let value = all(outcomes).await.map_or_else(|| refused(UNKNOWN), told);
                    let _ = answer.send(value);
                });
            }
        }
    }

    fn set_aside(&mut self, worker: Generation) -> Result<Vec<oneshot::Receiver<Moved>>, String> {
        if !self.takers().any(|other| other != worker) {
            return Err(NO_WORKER.to_owned());
        }
        self.placing.aside.insert(worker);
        let _ = self.children.tell(worker, &ToWorker::Aside(true));
        tracing::info!(event = "worker-drained", worker = self.slot_of(worker), "takes no sessions any more");
        Ok(self.empty(worker))
    }

    /// The workers that sessions may move to.
    fn takers(&self) -> impl Iterator<Item = Generation> {
        self.children.ready_workers().filter(|worker| self.takes_sessions(*worker))
    }

    /// Moves all sessions of a worker that is aside to the others.
    fn empty(&mut self, worker: Generation) -> Vec<oneshot::Receiver<Moved>> {
        let others: Vec<_> = self.takers().filter(|other| *other != worker).collect();
        let sessions = self.directory.counts(worker).0;
        let shares = shares(sessions, others, |to| self.directory.counts(to).0);
        let order = |(to, which)| {
            let (waiter, outcome) = oneshot::channel();
            self.offload(worker, to, which, Some(waiter));
            outcome
        };
        shares.into_iter().map(order).collect()
    }

    /// Drained workers take sessions again.
    pub(super) fn take_back(&mut self) {
        let aside: Vec<_> = self.children.workers().filter(|worker| self.is_aside(*worker)).collect();
        self.placing.aside.clear();
        for worker in aside {
            let _ = self.children.tell(worker, &ToWorker::Aside(false));
        }
    }

    /// `ctl rebalance`.
    pub(super) fn rebalance_for(&mut self, answer: oneshot::Sender<Value>) {
        if self.takers().nth(1).is_none() {
            let _ = answer.send(refused("there are no two workers that are ready to take sessions"));
            return;
        }
        self.placing.waiters.push(answer);
        self.placing.balance.ask();
        self.place(clock::mono());
    }

    /// Sessions of a worker that cannot move, as it said last.
    fn bound(&self, worker: Generation) -> u32 {
        let bound = self.children.get(worker).map_or(0, |child| child.beat.counters.bound);
        u32::try_from(bound).unwrap_or(u32::MAX)
    }

    /// One move of a round has ended.
    pub(super) fn balanced(&mut self, counts: Counts) {
        self.placing.balance.ended(counts, clock::mono());
    }

    /// Moves what is to move. About once a second.
    pub(super) fn place(&mut self, now: Mono) {
        let loads = |master: &Self| -> Vec<Load> {
            let load = |worker| {
                let (sessions, bound) = (master.directory.connected(worker), master.bound(worker));
                Load { worker, sessions, bound }
            };
            master.takers().map(load).collect()
        };
        let loads = loads(self);
        let settled =
            !self.fleet.rows().iter().any(|row| row.state == State::Draining) && self.moves.is_quiet();
        for Move { from, to, sessions } in self.placing.balance.plan(&loads, settled, now) {
            let (waiter, outcome) = oneshot::channel::<Moved>();
            let events = self.events.clone();
            tokio::spawn(async move {
                let counts = outcome.await.map(Counts::from).unwrap_or_default();
                // The loop has ended before.
                let _ = events.send(Event::Balanced(counts)).await;
            });
            self.offload(from, to, Which::Count(sessions), Some(waiter));
        }
        if let Some(counts) = self.placing.balance.take_outcome() {
            if counts != Counts::default() {
                let Counts { moved, refused, left, silence } = counts;
                let silence_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(event = "rebalanced", moved, refused, left, silence_ms);
            }
            for waiter in self.placing.waiters.drain(..) {
                let _ = waiter.send(told(counts));
            }
        }
        self.placing.aside.retain(|worker| self.children.get(*worker).is_some());
        let late: Vec<_> = self.children.workers().filter(|worker| self.is_aside(*worker)).collect();
        for worker in late {
            // Some could not move, or came over a connection that was there before.
            if self.directory.counts(worker).0 > self.bound(worker) && !self.moves.is_ordered(worker) {
                drop(self.empty(worker));
            }
        }
    }
}
