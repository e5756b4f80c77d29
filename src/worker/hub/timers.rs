//! Deadlines of the worker: pings, silent sessions, slow ones, tickets, prices that grow old. All are on one wheel.

use super::State;
use super::session::{Link, Session};
use super::sessions::SessionRef;
use crate::model::{Mono, Wheel};
use crate::os::clock;
use crate::protocol::client::Close;
use crate::session::Framing;
use crate::ws::frame;
use std::time::Duration;

/// Resolution of all deadlines, and the time between two ticks.
pub(in crate::worker) const TICK: Duration = Duration::from_millis(100);
const SLOTS: usize = 1024;
/// A tick so late means that the machine or this process stood still; no session is to blame.
const STOOD_STILL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
enum Due {
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

    /// Look for a session's sign of life then.
    pub(super) fn watch(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Beat(session, self.epoch));
    }

    /// Look then whether a session's outbox has moved.
    pub(super) fn suspect(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Slow(session));
    }

    /// Say PONG to a session then.
    pub(super) fn pong(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Pong(session));
    }

    /// Look then at the deadline of a polling session.
    pub(super) fn poll(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Poll(session));
    }

    /// Look then whether a poll can be answered with state.
    pub(super) fn pace(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Pace(session));
    }

    /// Look then whether a client has heard its greeting.
    pub(super) fn look(&mut self, session: SessionRef, at: Mono) {
        self.wheel.insert(at, Due::Look(session));
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
            // Bytes that clients sent meanwhile wait unread in the kernel: no session is to blame for the pause.
            for session in self.sessions.iter_mut() {
                session.last_in = session.last_in.after(gap);
            }
        }
        let mut due = Vec::new();
        self.timers.wheel.expire(now, &mut due);
        for due in due {
            self.do_due(due, now);
            self.settle();
        }
        self.forget_overdue(now);
        let channels = self.prices.due(now, boot);
        self.publish_prices(channels);
    }

    fn do_due(&mut self, due: Due, now: Mono) {
        match due {
            Due::Beat(at, epoch) if epoch == self.timers.epoch => self.beat_due(at, now),
            Due::Beat(..) => {}
            Due::Slow(at) => self.slow_due(at, now),
            Due::Pong(at) => self.pong_due(at),
            Due::Poll(at) => self.poll_due(at, now),
            Due::Pace(at) => self.pace_due(at),
            Due::Look(at) => self.look_due(at),
            Due::Ticket(ticket) => {
                let report = self.tickets.over(ticket);
                self.report(report);
            }
        }
    }

    fn beat_due(&mut self, at: SessionRef, now: Mono) {
        let Some((Link::Wire(wire), session)) = self.sessions.get_mut(at).map(Session::parts) else { return };
        let (interval, timeout) = (self.config.heartbeat.interval, self.config.heartbeat.timeout);
        if let Some(replay) = &mut session.replay {
            // A client that comes back later than that is too late anyway.
            let age =
                if self.suspended.is_tight() { timeout } else { self.config.resume.window.max(timeout) };
            let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
            replay.confirm_before(Mono(now.0.saturating_sub(age)), wire.acknowledged());
        }
        match session.framing {
            // Nothing is heard of them: TCP tells whether they are there (`Wire::lose_after`).
            Framing::Events(_) => {
                self.timers.watch(at, now.after(interval));
                self.send_or_end(at, &frame::ping([]));
            }
            Framing::Websocket => {
                let silent = now.since(session.last_in);
                let (wakes, dies) = (session.last_in.after(interval), session.last_in.after(timeout));
                if silent >= timeout {
                    self.end(at, Close::Silent);
                } else if silent >= interval {
                    self.timers.watch(at, dies.min(now.after(interval)));
                    self.ping(at);
                } else {
                    self.timers.watch(at, wakes);
                }
            }
            Framing::Poll => {}
        }
    }

    fn slow_due(&mut self, at: SessionRef, now: Mono) {
        let Some(session) = self.sessions.get(at) else { return };
        let Some(outbox) = &session.outbox else { return };
        let due = outbox.progress().after(self.config.ws.slow_timeout);
        if matches!(session.link, Link::Opening) {
            // Nothing can be written before the handshake is through, and that has a limit of its own.
            self.timers.suspect(at, now.after(self.config.ws.slow_timeout));
        } else if due <= now {
            self.end(at, Close::Slow);
        } else {
            self.timers.suspect(at, due);
        }
    }
}
