//! What happens because time passes: pings, silent sessions, slow ones, tickets, prices that grow old. One wheel for
//! all sessions of the worker.

use super::State;
use super::sessions::{Dress, Link};
use crate::model::{Mono, Wheel};
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
    /// A poll has waited long enough.
    Poll(Key, u32, u32),
    /// No poll has come.
    Gap(Key, u32, u32),
    /// A poll may be answered with state again.
    Pace(Key, u32),
    /// A suspended session's client has not come back.
    Forget(Key, u32),
    /// Look whether a client has heard its greeting.
    Look(Key, u32),
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

impl Timers {
    pub(super) fn new(now: Mono) -> Self {
        Self { wheel: Wheel::new(TICK, SLOTS, now), epoch: 0, last: now }
    }

    /// Look for a session's sign of life then. `turn` is the session's.
    pub(super) fn watch(&mut self, key: Key, turn: u32, at: Mono) {
        self.wheel.insert(at, Due::Beat(key, turn, self.epoch));
    }

    /// Look then whether a session's outbox has moved.
    pub(super) fn suspect(&mut self, key: Key, turn: u32, at: Mono) {
        self.wheel.insert(at, Due::Slow(key, turn));
    }

    /// Say PONG to a session then.
    pub(super) fn pong(&mut self, key: Key, turn: u32, at: Mono) {
        self.wheel.insert(at, Due::Pong(key, turn));
    }

    /// Answer a poll then, with whatever there is.
    pub(super) fn poll_over(&mut self, key: Key, turn: u32, asked: u32, at: Mono) {
        self.wheel.insert(at, Due::Poll(key, turn, asked));
    }

    /// Look then whether there was another poll.
    pub(super) fn poll_gap(&mut self, key: Key, turn: u32, asked: u32, at: Mono) {
        self.wheel.insert(at, Due::Gap(key, turn, asked));
    }

    /// Look then whether a poll can be answered with state.
    pub(super) fn pace(&mut self, key: Key, turn: u32, at: Mono) {
        self.wheel.insert(at, Due::Pace(key, turn));
    }

    /// Look then whether a client has heard its greeting.
    pub(super) fn look(&mut self, key: Key, turn: u32, at: Mono) {
        self.wheel.insert(at, Due::Look(key, turn));
    }

    /// Forget a suspended session then.
    pub(super) fn forget(&mut self, key: Key, turn: u32, at: Mono) {
        self.wheel.insert(at, Due::Forget(key, turn));
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
            self.do_due(due, now);
            self.settle();
        }
        let channels = self.prices.due(&self.rules, now, boot);
        self.publish_prices(channels);
    }

    fn do_due(&mut self, due: Due, now: Mono) {
        match due {
            Due::Beat(key, turn, epoch)
                if epoch == self.timers.epoch && self.session(key, turn).is_some() =>
            {
                self.beat_due(key, now);
            }
            Due::Beat(..) => {}
            Due::Pong(key, turn) => {
                let same = self.session(key, turn).is_some();
                self.pong_due(same.then_some(key));
            }
            Due::Forget(key, turn) => self.forget(key, turn),
            Due::Look(key, turn) => self.look_due(key, turn),
            Due::Ticket(ticket) => self.ticket_over(ticket),
            Due::Slow(key, turn)
            | Due::Poll(key, turn, _)
            | Due::Gap(key, turn, _)
            | Due::Pace(key, turn)
                if self.session(key, turn).is_none() => {}
            Due::Slow(key, _) => self.slow_due(key, now),
            Due::Poll(key, _, asked) => self.poll_over(key, asked),
            Due::Gap(key, _, asked) => self.gap_over(key, asked),
            Due::Pace(key, _) => self.pace_due(key),
        }
    }

    fn beat_due(&mut self, key: Key, now: Mono) {
        let (session, heartbeat) = (&mut self.sessions[key as usize], &self.config.heartbeat);
        let Link::Wire(wire) = &session.link else { return };
        let (turn, interval, timeout) = (session.turn, heartbeat.interval, heartbeat.timeout);
        if let Some(replay) = &mut session.replay {
            // Whoever comes back later than that is too late anyway.
            let age = if self.tight { timeout } else { self.config.resume.window.max(timeout) };
            let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            replay.confirm_before(Mono(now.0.saturating_sub(age)), wire.acknowledged());
        }
        match session.dress {
            // Nothing is heard of them: TCP tells whether they are there (`Wire::lose_after`).
            Dress::Events(_) => {
                self.timers.watch(key, turn, now.after(interval));
                self.send_or_end(key, &frame::ping([]));
            }
            Dress::Websocket => {
                let silent = now.since(session.last_in);
                let (wakes, dies) = (session.last_in.after(interval), session.last_in.after(timeout));
                if silent >= timeout {
                    self.end(key, Close::Silent);
                } else if silent >= interval {
                    self.timers.watch(key, turn, dies.min(now.after(interval)));
                    self.ping(key);
                } else {
                    self.timers.watch(key, turn, wakes);
                }
            }
            Dress::Poll => {}
        }
    }

    fn slow_due(&mut self, key: Key, now: Mono) {
        let session = &self.sessions[key as usize];
        let Some(outbox) = &session.outbox else { return };
        let (turn, due) = (session.turn, outbox.progress().after(self.config.ws.slow_timeout));
        if matches!(session.link, Link::Opening) {
            // Nothing can be written before the handshake is through, and that has a limit of its own.
            self.timers.suspect(key, turn, now.after(self.config.ws.slow_timeout));
        } else if due <= now {
            self.end(key, Close::Slow);
        } else {
            self.timers.suspect(key, turn, due);
        }
    }
}
