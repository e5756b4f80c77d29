//! Does what is due: pings, the end of silent and of slow sessions, tickets, prices that grow old.

use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::parts::timers::Due;
use super::state::State;
use crate::model::Mono;
use crate::os::clock;
use crate::protocol::client::Close;
use crate::session::Framing;
use crate::ws::frame;
use std::time::Duration;

/// A tick so late means that the machine or this process stood still; no session is to blame.
const STOOD_STILL: Duration = Duration::from_secs(2);

impl State {
    /// Does what is due. To be called each [`TICK`](super::TICK).
    pub(in crate::worker) fn tick(&mut self, late: Duration) {
        let (now, boot) = (clock::mono(), clock::boot());
        self.counters.lag_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let (due, gap) = self.timers.expire(now);
        if gap > STOOD_STILL {
            // Bytes that clients sent meanwhile wait unread in the kernel: no session is to blame for the pause.
            for session in self.sessions.iter_mut() {
                session.last_in = session.last_in.after(gap);
            }
        }
        for due in due {
            self.do_due(due, now);
            self.settle();
        }
        self.look_at_held(boot);
        self.look_at_lives(boot);
        self.forget_overdue(now);
        self.look_after_wards(now);
        self.offload_next();
        let channels = self.prices.due(now, boot);
        self.publish_prices(channels);
        self.settle();
    }

    fn do_due(&mut self, due: Due, now: Mono) {
        match due {
            Due::Beat(at, _) => self.beat_due(at, now),
            Due::Slow(at) => self.slow_due(at, now),
            Due::Pong(at) => self.pong_due(at),
            Due::Poll(at) => self.poll_due(at, now),
            Due::Pace(at) => self.pace_due(at),
            Due::Ask(at) => self.ask_for_reset(at),
            Due::Look(at) => self.look_due(at),
            Due::Ticket(ticket) => {
                let report = self.tickets.over(ticket);
                self.uplink.report(report);
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
