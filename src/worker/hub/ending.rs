//! The end of a session: of itself, by a fault, by an administrator, or because its worker ends.

use super::parts::connections::Ended;
use super::parts::meanwhile::Came;
use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::state::State;
use crate::log::id;
use crate::model::{SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::{self, Close, EventText};
use crate::protocol::cluster::{Handover, Slot, ToMaster};
use crate::session::{Framing, Replay};
use crate::ws::frame;

/// Sessions of a user that are sent away come back within so many milliseconds.
const SPREAD: u64 = 1000;

/// Why a session ends that others have end.
pub(super) fn sent_away(close: Close) -> EventText<'static> {
    let (reason, reconnect_in_ms) = match close {
        Close::Replaced => ("a newer stream of this user has taken its place", None),
        Close::Reconnect => {
            ("an administrator wants the client to connect again", Some(fastrand::u64(..SPREAD)))
        }
        Close::TokenInvalid => ("no valid token was shown", None),
        Close::TokenRevoked => ("the token was revoked", None),
        Close::TokenExpired => ("the token is past its end", None),
        _ => ("by an administrator", None),
    };
    EventText { close, reason, reconnect_in_ms }
}

impl State {
    /// Ends the marked sessions, and answers polls for which there is something.
    pub(in crate::worker) fn settle(&mut self) {
        loop {
            while let Some((at, close)) = self.later.doomed() {
                self.end(at, close);
            }
            self.answer_polls();
            if !self.settle_words() {
                break;
            }
        }
    }

    /// Ends a session. One that has ended already is left alone.
    pub(super) fn end(&mut self, at: SessionRef, close: Close) {
        let last = self.last_bytes(at, close, None);
        self.end_with(at, close, last);
    }

    /// Ends a session with a last message before the close.
    pub(super) fn end_saying(&mut self, at: SessionRef, close: Close, event: &EventText<'_>) {
        let last = self.last_bytes(at, close, Some(event));
        self.end_with(at, close, last);
    }

    /// The last bytes on a session's connection. A polling session gets its last messages at once.
    fn last_bytes(&mut self, at: SessionRef, close: Close, event: Option<&EventText<'_>>) -> Vec<u8> {
        let mut last = Vec::new();
        let Some(session) = self.sessions.get(at).filter(|_| close != Close::Lost) else { return last };
        let text = event.map(client::system);
        let wait = event.and_then(|event| event.reconnect_in_ms);
        match session.framing {
            Framing::Websocket => {
                text.into_iter().for_each(|text| frame::push_text(&mut last, text));
                frame::push_close(&mut last, close.code(), close.slug());
            }
            Framing::Events(body) => {
                if let Some(text) = text {
                    last = body.events(&frame::text(text), || None::<u32>);
                }
                last.extend(body.end(&client::close(close, wait)));
            }
            Framing::Poll => {
                let token = session.token();
                let texts = text.into_iter().chain([client::close(close, wait)]);
                let told = self.last_to_poll(at, texts.map(frame::text).collect());
                if let (true, Close::Replaced, Some(token)) = (told, close, token) {
                    self.bury(token, close.number());
                }
            }
        }
        last
    }

    /// Ends a session; `last` are the last bytes on its connection. It is suspended if its client may come back.
    pub(super) fn end_with(&mut self, at: SessionRef, close: Close, last: Vec<u8>) {
        let stays = close.leaves_open() && self.may_be_suspended(at);
        let Some(session) = self.sessions.get_mut(at) else { return };
        debug_assert!(!session.is_away(), "it has ended before");
        self.survival.release(at.key());
        let Some(session) = self.sessions.get_mut(at) else { return };
        let (id, user) = (session.id(), session.user().clone());
        let token = session.token();
        let link = std::mem::replace(&mut session.link, Link::Opening);
        let permit = session.permit.take();
        let quiet = close == Close::Full || matches!(&link, Link::Poll(poll) if !poll.is_taken_up());
        let used = session.used(&link, clock::mono());
        let (mut lost, outbox) = (Vec::new(), session.outbox.take());
        let begun = outbox.map(|outbox| outbox.end(|answer| lost.push(answer.ticket)));
        if matches!(link, Link::Poll(_)) {
            lost.extend(session.replay.iter_mut().flat_map(Replay::take_tickets));
        }
        for ticket in lost {
            // The connection that has taken a session over gets its answers, too.
            let report = self.tickets.lost(ticket, stays || close == Close::Replaced);
            self.uplink.report(report);
        }
        // The client may not have heard of this copy: the original is what it knows.
        self.sessions.take_origin(at).into_iter().for_each(|origin| self.give_up(&origin, false));
        let connected = !matches!(link, Link::Opening);
        let mut acknowledged = None;
        if let Link::Wire(wire) = link {
            acknowledged = stays.then(|| wire.acknowledged());
            wire.wake();
            if close != Close::Lost {
                let mut bytes = begun.map(Vec::from).unwrap_or_default();
                bytes.extend_from_slice(&last);
                let replaced = (close == Close::Replaced).then_some(token).flatten();
                self.connections.close(at, Ended { closing: wire.finish(bytes), replaced, permit });
            }
        }
        if connected {
            self.counters.count_closed(close.code());
            log_end(self.me.slot, (id, &user), close, quiet);
        }
        if stays {
            self.suspend(at, acknowledged, used);
        } else {
            self.entrances.gone(id, at);
            // The client of a replaced session is told by the end of its connection, if that is heard.
            let told = connected && close.is_final() && close != Close::Replaced;
            self.discard(at, Some(close).filter(|_| told));
        }
        // After the token leads to what is left of the session.
        self.tell_closed(id, at);
        self.note();
    }

    /// Tells the master that a session has ended. The master knows one session of each id: while another copy of it
    /// is present here, that is the one.
    pub(super) fn tell_closed(&self, id: SessionId, at: SessionRef) {
        let mut all = self.sessions.all_of(id);
        match all.find(|(other, session)| *other != at && !session.is_away()) {
            Some((_, other)) => self.uplink.tell(&ToMaster::Open(other.announcement())),
            None => self.uplink.tell(&ToMaster::Closed(id)),
        }
    }

    /// Ends the session of an id, as an administrator wants it.
    pub(in crate::worker) fn kick(&mut self, id: SessionId, close: Close) {
        if self.hold(id, Came::Kick(id, close.number())) {
            return;
        }
        self.sessions.find(id).into_iter().for_each(|at| self.send_away(at, close));
    }

    /// Ends a session for a reason that its client is told, also where the client has no connection yet.
    pub(super) fn send_away(&mut self, at: SessionRef, close: Close) {
        let opens = |session: &Session| {
            matches!(session.link, Link::Opening) && !matches!(session.framing, Framing::Poll)
        };
        if let Some(session) = self.sessions.get(at).filter(|session| opens(session)) {
            self.requests.ends_early(session.id(), close);
        }
        self.end_saying(at, close, &sent_away(close));
    }

    /// Sends away the next sessions, at most `most` of them, and says how many. Each is told to come back after a
    /// time of its own: `first` for the first, `each` more for each other, in milliseconds.
    pub(in crate::worker) fn dismiss(
        &mut self,
        close: Close,
        most: usize,
        (first, each): (u64, u64),
    ) -> usize {
        let next = self.sessions.present().take(most).map(|(at, _)| at).collect();
        self.dismiss_these(close, next, (first, each))
    }

    /// As [`State::dismiss`], of those that no other process can go on with: their clients find their sessions by their
    /// tokens.
    pub(in crate::worker) fn dismiss_secured(&mut self, most: usize, spread: (u64, u64)) -> usize {
        let next = self.sessions.present().filter(|(_, session)| session.is_secured());
        let next = next.take(most).map(|(at, _)| at).collect();
        self.dismiss_these(Close::Restarting, next, spread)
    }

    fn dismiss_these(&mut self, close: Close, next: Vec<SessionRef>, (first, each): (u64, u64)) -> usize {
        for (place, at) in (0..).zip(&next) {
            let event = EventText {
                close,
                reason: if close == Close::Shutdown { "the daemon stops" } else { "the worker is replaced" },
                reconnect_in_ms: Some(first + place * each),
            };
            if close == Close::Restarting {
                let session = self.sessions.get(*at);
                let waits = session.is_some_and(|session| session.replay.is_some()) && self.config.resumes();
                self.counters.handover(if waits { Handover::Suspended } else { Handover::Late }, 1);
            }
            self.end_saying(*at, close, &event);
        }
        next.len()
    }

    /// Whether no request is under way.
    pub(in crate::worker) fn is_quiet(&self) -> bool {
        self.connections.all_closed() && self.counters.connections == 0
    }

    /// Whether nobody is here any more, and nothing on its way.
    pub(in crate::worker) fn empty(&self) -> bool {
        let all_moved = self.moving.expected.is_empty() && !self.moving.leaving.is_under_way();
        let nobody = self.sessions.population() == 0 && all_moved;
        nobody && self.connections.all_closed() && self.counters.connections == 0
    }
}

/// Logs an end: under its reason where the worker cuts a session, else as `session-closed`. What the worker cuts for a reason interests the operator; coming and going does not. `quiet`: a crowd of
/// such sessions may end at once, and one line tells of all.
fn log_end(worker: Slot, (session, user): (SessionId, &UserId), close: Close, quiet: bool) {
    let (reason, code) = (close.slug(), close.code());
    match close {
        Close::Done
        | Close::Leaving
        | Close::Shutdown
        | Close::Restarting
        | Close::Lost
        | Close::Reconnect
        | Close::Replaced => {
            tracing::debug!(event = "session-closed", worker, session = %id(session), user = %id(user), code, reason);
        }
        _ if quiet => {
            tracing::debug!(event = reason, worker, session = %id(session), user = %id(user), code, reason)
        }
        _ => {
            tracing::info!(event = reason, worker, session = %id(session), user = %id(user), code, reason, "session ended")
        }
    }
}
