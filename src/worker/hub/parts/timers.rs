//! Deadlines of the worker: pings, silent sessions, slow ones, polls, tickets. All are on one wheel.

use super::sessions::SessionRef;
use crate::model::{Mono, Wheel};
use std::time::Duration;

/// Resolution of all deadlines, and the time between two ticks.
pub(in crate::worker) const TICK: Duration = Duration::from_millis(100);
const SLOTS: usize = 1024;

/// What a deadline is for.
#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// Look for a sign of life.
    Beat(SessionRef, u32),
    /// Look whether anything could be written.
    Slow(SessionRef),
    /// Say PONG.
    Pong(SessionRef),
    /// Look whether a poll has waited long enough, or none has come for too long.
    Poll(SessionRef),
    /// A poll may be answered with state again.
    Pace(SessionRef),
    /// Look whether a client has heard its greeting.
    Look(SessionRef),
    /// Look whether a listener that has shut down its side is there.
    Ask(SessionRef),
    /// Report what there is.
    Ticket(u64),
}

/// The worker's deadlines.
#[derive(Debug)]
pub struct Timers {
    wheel: Wheel<Due>,
    /// Grows when the heartbeat's times change: older entries mean nothing then.
    epoch: u32,
    last: Mono,
}

impl Timers {
    pub fn new(now: Mono) -> Self {
        Self { wheel: Wheel::new(TICK, SLOTS, now), epoch: 0, last: now }
    }

    /// Look for a session's sign of life then.
    pub fn watch(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Beat(session, self.epoch));
    }

    /// Look then whether a listener that has shut down its side is there.
    pub fn ask(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Ask(session));
    }

    /// Look then whether a session's outbox has moved.
    pub fn suspect(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Slow(session));
    }

    /// Say PONG to a session then.
    pub fn pong(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Pong(session));
    }

    /// Look then at the deadline of a polling session.
    pub fn poll(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Poll(session));
    }

    /// Look then whether a poll can be answered with state.
    pub fn pace(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Pace(session));
    }

    /// Look then whether a client has heard its greeting.
    pub fn look(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Look(session));
    }

    /// Report a ticket then.
    pub fn expect(&mut self, ticket: u64, at: Mono) {
        self.wheel.insert(at, Due::Ticket(ticket));
    }

    /// Forget all [`Timers::watch`].
    pub fn renew(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The deadlines that are over, and the time since the last call.
    pub fn expire(&mut self, now: Mono) -> (Vec<Due>, Duration) {
        let gap = now.since(self.last);
        self.last = now;
        let mut due = Vec::new();
        self.wheel.expire(now, &mut due);
        due.retain(|due| !matches!(due, Due::Beat(_, epoch) if *epoch != self.epoch));
        (due, gap)
    }
}
