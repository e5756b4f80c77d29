//! What happens because time passes: pings, silent sessions, slow ones, tickets, prices that grow old. One wheel for
//! all sessions of the worker.

use super::State;
use crate::model::{Mono, SessionId, Wheel};
use crate::os::clock;
use crate::protocol::client::Close;
use crate::session::Key;
use crate::ws::frame;
use std::time::Duration;

/// How exact all this is, and how often the worker looks.
pub(in crate::worker) const TICK: Duration = Duration::from_millis(100);
const SLOTS: usize = 1024;
/// A look that comes so late was not our sessions' fault: the machine or this process stood still.
const STOOD_STILL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
enum Due {
    /// Look for a sign of life.
    Beat(Key, u32, u32),
    /// Look whether anything could be written.
    Slow(Key, u32),
    /// Say PONG.
    Pong(Key, u32),
    /// Report what there is.
    Ticket(u64),
}

/// The worker's deadlines.
#[derive(Debug)]
pub(super) struct Timers {
    wheel: Wheel<Due>,
    /// Grows when the heartbeat's times change: older entries mean nothing then.
    epoch: u32,
    last: Mono,
}

/// Enough of an id to see that a place has been used again. `UUIDv7` has its chance at the end.
fn mark(id: SessionId) -> u32 {
    (id.0 & u128::from(u32::MAX)) as u32
}

impl Timers {
    pub(super) fn new(now: Mono) -> Self {
        Self { wheel: Wheel::new(TICK, SLOTS, now), epoch: 0, last: now }
    }

    /// Look for a session's sign of life then.
    pub(super) fn watch(&mut self, key: Key, id: SessionId, at: Mono) {
        self.wheel.insert(at, Due::Beat(key, mark(id), self.epoch));
    }

    /// Look then whether a session's outbox has moved.
    pub(super) fn suspect(&mut self, key: Key, id: SessionId, at: Mono) {
        self.wheel.insert(at, Due::Slow(key, mark(id)));
    }

    /// Say PONG to a session then.
    pub(super) fn pong(&mut self, key: Key, id: SessionId, at: Mono) {
        self.wheel.insert(at, Due::Pong(key, mark(id)));
    }

    /// Report a ticket then.
    pub(super) fn expect(&mut self, ticket: u64, at: Mono) {
        self.wheel.insert(at, Due::Ticket(ticket));
    }

    /// Forget all [`Timers::watch`].
    pub(super) fn renew(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }
}

impl State {
    /// Does what is due. To be called each [`TICK`].
    pub(in crate::worker) fn tick(&mut self, late: Duration) {
        let (now, boot) = (clock::mono(), clock::boot());
        self.counters.lag_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let gap = now.since(self.timers.last);
        self.timers.last = now;
        if gap > STOOD_STILL {
            // What clients sent meanwhile waits in the kernel and was not read yet: nobody is pruned for our own sleep.
            for (_, session) in &mut self.sessions {
                session.last_in = session.last_in.after(gap);
            }
        }
        let mut due = Vec::new();
        self.timers.wheel.expire(now, &mut due);
        for due in due {
            match due {
                Due::Beat(key, marked, epoch) if epoch == self.timers.epoch => {
                    self.beat_due(key, marked, now)
                }
                Due::Beat(..) => {}
                Due::Slow(key, marked) => self.slow_due(key, marked, now),
                Due::Pong(key, marked) => {
                    let same = self.sessions.get(key as usize).is_some_and(|s| mark(s.id) == marked);
                    self.pong_due(same.then_some(key));
                }
                Due::Ticket(ticket) => self.ticket_over(ticket),
            }
            self.settle();
        }
        let channels = self.prices.due(&self.rules, now, boot);
        self.publish_prices(channels);
    }

    fn beat_due(&mut self, key: Key, marked: u32, now: Mono) {
        let Some(session) = self.sessions.get(key as usize).filter(|s| mark(s.id) == marked) else { return };
        let (id, heartbeat) = (session.id, &self.config.heartbeat);
        let (silent, interval, timeout) = (now.since(session.last_in), heartbeat.interval, heartbeat.timeout);
        let (wakes, dies) = (session.last_in.after(interval), session.last_in.after(timeout));
        if silent >= timeout {
            self.end(key, Close::Silent);
        } else if silent >= interval {
            self.timers.watch(key, id, dies.min(now.after(interval)));
            self.send_or_end(key, &frame::ping([]));
        } else {
            self.timers.watch(key, id, wakes);
        }
    }

    fn slow_due(&mut self, key: Key, marked: u32, now: Mono) {
        let Some(session) = self.sessions.get(key as usize).filter(|s| mark(s.id) == marked) else { return };
        let Some(outbox) = &session.outbox else { return };
        let (id, due) = (session.id, outbox.progress().after(self.config.ws.slow_timeout));
        if due <= now {
            self.end(key, Close::Slow);
        } else {
            self.timers.suspect(key, id, due);
        }
    }
}
