//! Frames to one session: written at once where nothing waits, else left in its outbox for its task, framed for its
//! transport. What is numbered is kept until the client is known to have it.

use super::parts::cover::UNSENT;
use super::parts::prices::OLD;
use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::state::State;
use crate::model::Mono;
use crate::os::clock;
use crate::protocol::client::{Close, Resume};
use crate::session::{self, Answer, Bounds, ChannelKey, Framing, Kind, Label, Outbox};
use crate::transports::sse::Body;
use crate::transports::ws::Written;
use crate::ws::frame;
use bytes::Bytes;
use std::io::{ErrorKind, IoSlice};

/// Frames of an outbox that leave in one write.
const JOIN: usize = 16;
/// With so many watchers statistics may be rarer than `stats.interval` (see `stats::When`).
const STRETCHED: usize = 25;

/// The fate of one frame to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The kernel has all of it.
    Whole,
    /// Some of it waits in the outbox, or for a poll.
    Waiting,
    /// The frame is kept for a client that comes back.
    Kept,
    /// The frame does not fit, or the connection is gone: the session ends.
    Never,
}

/// The answers and messages that a session gets, as events: each has an id to come back with.
fn events(session: &Session, body: Body, frames: &[u8], first: u32) -> Vec<u8> {
    let (mut number, token) = (first, session.token());
    body.events(frames, || {
        let resume = Resume { token: token?, seen: Some(number) };
        number += 1;
        Some(resume)
    })
}

impl State {
    /// Sends one frame, or several joined ones, that are not numbered.
    pub(super) fn send(&mut self, at: SessionRef, bytes: &[u8], shared: impl FnOnce() -> Bytes) -> Sent {
        let Some(session) = self.sessions.get(at) else { return Sent::Never };
        self.log_said(session, bytes.len());
        match (&session.link, session.framing) {
            (Link::Away(_), _) => Sent::Kept,
            (_, Framing::Poll) => self.note_to_poll(at, shared()),
            (_, Framing::Events(body)) => {
                let framed = Bytes::from(body.events(bytes, || None::<Resume>));
                self.write(at, &framed, || framed.clone(), Label::default)
            }
            (_, Framing::Websocket) => self.write(at, bytes, shared, Label::default),
        }
    }

    /// Sends numbered messages, joined in `bytes` and one by one in `each`; or one `answer` to a POST.
    pub(super) fn send_numbered(
        &mut self,
        at: SessionRef,
        bytes: &[u8],
        each: impl Iterator<Item = Bytes>,
        answer: Option<Answer>,
    ) -> Sent {
        self.sessions.get(at).into_iter().for_each(|session| self.log_said(session, bytes.len()));
        let begun = self.survival.cover.begin(at.key());
        #[cfg(debug_assertions)]
        super::poison::look(bytes);
        let sent = self.number_and_send(at, bytes, each, answer);
        if begun {
            self.survival.cover.finish(at.key(), self.last_of(at));
        }
        sent
    }

    fn number_and_send(
        &mut self,
        at: SessionRef,
        bytes: &[u8],
        each: impl Iterator<Item = Bytes>,
        answer: Option<Answer>,
    ) -> Sent {
        let (now, bounds) = (clock::mono(), self.config.bounds());
        let Some(session) = self.sessions.get_mut(at) else { return Sent::Never };
        let (polls, begun) = match &session.link {
            Link::Poll(poll) => (true, poll.has_begun()),
            _ => (false, false),
        };
        let mut first = 0;
        if let Some(replay) = &mut session.replay {
            // Frames that wait for a poll are the client's only copy: none of them is dropped.
            let full = replay.bytes() > 0 && replay.bytes() + bytes.len() > self.config.ws.outbox;
            if full && begun {
                return Sent::Never;
            }
            let all = Bounds { messages: usize::MAX, bytes: usize::MAX };
            first = replay.last() + 1;
            for frame in each {
                replay.push(frame, answer.clone().map(Box::new), now, if polls { all } else { bounds });
            }
        }
        let number = session.replay.as_ref().map_or(0, crate::session::Replay::last);
        let label = || Label { number, answer: answer.map(Box::new) };
        let sent = match (&session.link, session.framing) {
            (Link::Away(_), _) => {
                self.suspended.grew(at, session.memory());
                return Sent::Kept;
            }
            (_, Framing::Poll) => {
                self.news_for_poll(at);
                return Sent::Waiting;
            }
            (_, Framing::Events(body)) => {
                let framed = Bytes::from(events(session, body, bytes, first));
                self.write(at, &framed, || framed.clone(), label)
            }
            (_, Framing::Websocket) => self.write(at, bytes, || Bytes::copy_from_slice(bytes), label),
        };
        self.sent_numbered(at, number, sent);
        sent
    }

    fn sent_numbered(&mut self, at: SessionRef, number: u32, sent: Sent) {
        let Some((link, own)) = self.sessions.get_mut(at).map(Session::parts) else { return };
        let Some(replay) = &mut own.replay else { return };
        if let (Sent::Whole, Link::Wire(wire)) = (sent, &*link) {
            replay.left(number, wire.sent());
        }
        if self.suspended.is_tight()
            && own.framing == Framing::Websocket
            && sent != Sent::Never
            && replay.ask()
        {
            self.ping(at);
        }
    }

    /// Asks a client for a sign of life, and how much it has heard.
    pub(super) fn ping(&mut self, at: SessionRef) {
        let replay = self.sessions.get(at).and_then(|session| session.replay.as_ref());
        let number = replay.map(|replay| replay.last().to_be_bytes());
        let ping = frame::ping(number.as_ref().map_or(&[][..], |number| number));
        self.send_or_end(at, &ping);
    }

    /// Writes to a session's connection, or lets the rest of the frame wait.
    fn write(
        &mut self,
        at: SessionRef,
        bytes: &[u8],
        shared: impl FnOnce() -> Bytes,
        label: impl FnOnce() -> Label,
    ) -> Sent {
        let mut limit = self.config.ws.outbox;
        let Some(session) = self.sessions.get_mut(at) else { return Sent::Never };
        if matches!(session.link, Link::Opening) {
            // Messages that the client missed elsewhere wait here, too.
            limit = limit.saturating_add(self.config.resume.bytes.saturating_mul(2));
        }
        if let Some(outbox) = &mut session.outbox {
            if !outbox.fits(bytes.len(), limit) {
                return Sent::Never;
            }
            outbox.push(shared(), label());
            return Sent::Waiting;
        }
        let begun = self.survival.cover.begin(at.key());
        let written = session.wire().map_or(Written::Part(0), |wire| wire.write(bytes));
        if written != Written::Whole {
            self.survival.cover.touch(at.key(), UNSENT);
        }
        if begun {
            self.survival.cover.finish(at.key(), None);
        }
        match written {
            Written::Whole => {
                self.counters.messages_out += 1;
                Sent::Whole
            }
            Written::Part(gone) => {
                let now = clock::mono();
                let mut outbox = Outbox::new(now);
                outbox.begin(shared(), gone, label());
                session.outbox = Some(Box::new(outbox));
                if let Some(wire) = session.wire() {
                    wire.wake();
                }
                self.timers.suspect(at, now.after(self.config.ws.slow_timeout));
                Sent::Waiting
            }
            Written::Broken => Sent::Never,
        }
    }

    /// A frame that is nobody's ticket and not numbered; a session that cannot take it ends.
    pub(super) fn send_or_end(&mut self, at: SessionRef, bytes: &Bytes) {
        if self.send(at, bytes, || bytes.clone()) == Sent::Never {
            self.end_unsent(at);
        }
    }

    /// A text message to one session, not numbered.
    pub(super) fn say(&mut self, at: SessionRef, text: &str) {
        self.send_or_end(at, &frame::text(text));
    }

    /// An answer to what a main session has said itself.
    pub(super) fn reply(&mut self, at: SessionRef, text: &str) {
        let frame = frame::text(text);
        if self.send_numbered(at, &frame, std::iter::once(frame.clone()), None) == Sent::Never {
            self.end_unsent(at);
        }
    }

    /// The welcome, before whatever waits already.
    pub(super) fn send_first(&mut self, at: SessionRef, welcome: Bytes) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let welcome = match session.framing {
            Framing::Events(body) => {
                let mut bytes = body.start();
                bytes.extend(events(session, body, &welcome, 0));
                bytes.into()
            }
            Framing::Websocket => welcome,
            Framing::Poll => {
                let _ = self.note_to_poll(at, welcome);
                return;
            }
        };
        match &mut session.outbox {
            Some(outbox) => outbox.push_first(welcome),
            None => {
                if self.write(at, &welcome, || welcome.clone(), Label::default) == Sent::Never {
                    self.end_unsent(at);
                }
            }
        }
    }

    /// The newest statistics to a newcomer that wants them: where the next will be long in coming, and where they are
    /// from after it was `announced`, so that they count it already and its arrival brings no more. Other ones
    /// would only be wrong: the next come within a second.
    pub(super) fn send_stats(&mut self, at: SessionRef, announced: Mono) {
        let Some(stats) = self.channels.find("stats") else { return };
        let channel = self.channels.get(stats);
        if channel.members() <= STRETCHED && channel.made < announced {
            return;
        }
        let wants = self.sessions.get(at).is_some_and(|session| session.is_on(stats));
        self.send_state(at, stats, wants);
    }

    /// The newest candles and presence to a newcomer that wants them: the next may be long in coming.
    pub(super) fn send_rare_states(&mut self, at: SessionRef) {
        let is_rare = |channel: &ChannelKey| {
            matches!(self.channels.get(*channel).kind, Kind::Candle { .. } | Kind::Presence)
        };
        let own = self.sessions.get(at).into_iter().flat_map(|session| &session.subscriptions);
        let own = own.map(|subscription| subscription.channel);
        for channel in own.filter(is_rare).collect::<Vec<_>>() {
            self.send_state(at, channel, true);
        }
    }

    /// The newest state of a channel to one session.
    pub(super) fn send_state(&mut self, at: SessionRef, channel: ChannelKey, wanted: bool) {
        let own = self.channels.get(channel);
        if !wanted || !own.kind.is_state() || own.frames().is_empty() {
            return;
        }
        if matches!(own.kind, Kind::Price { .. }) {
            self.prices.encode(self.channels.get_mut(channel), clock::mono(), false);
        }
        match self.sessions.get_mut(at).and_then(|session| session.outbox.as_mut()) {
            Some(outbox) => {
                outbox.push_state(channel);
                self.news_for_poll(at);
            }
            None => {
                let bytes = Bytes::copy_from_slice(self.channels.get(channel).frames());
                self.send_or_end(at, &bytes);
            }
        }
    }

    /// Writes as much of a session's outbox as its socket takes.
    pub(super) fn flush(&mut self, at: SessionRef) {
        let now = clock::mono();
        let mut done = Vec::new();
        loop {
            self.encode_waiting(at, now);
            let Some(session) = self.sessions.get_mut(at) else { break };
            let (link, session::Session { outbox: waiting, replay, .. }) = session.parts();
            let (Some(outbox), Link::Wire(wire)) = (&mut *waiting, link) else { break };
            if outbox.is_empty() {
                *waiting = None;
                self.survival.cover.touch(at.key(), UNSENT);
                break;
            }
            let mut slices = [IoSlice::new(&[]); JOIN];
            let count = outbox.slices(&mut slices);
            match wire.write_vectored(&slices[..count]) {
                Ok(n) => {
                    self.counters.messages_out += outbox.wrote(n, now, |label, behind| {
                        done.extend(label.answer.as_ref().map(|answer| answer.ticket));
                        if let (Some(replay), 1..) = (&mut *replay, label.number) {
                            replay.left(label.number, wire.sent().saturating_sub(behind as u64));
                        }
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.later.doom(at, Close::Lost);
                    break;
                }
            }
        }
        for ticket in done {
            let report = self.tickets.delivered(ticket);
            self.uplink.report(report);
        }
    }

    /// Turns the noted states into frames once nothing else waits, and makes old answers anew.
    fn encode_waiting(&mut self, at: SessionRef, now: Mono) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Some(mut outbox) = session.outbox.take() else { return };
        let (prices, framing) = (&self.prices, session.framing);
        outbox.refresh(now, OLD, |answer, number| {
            let text = prices.answer(&answer.symbol, answer.id, clock::boot())?;
            let frame = frame::text(text);
            Some(match framing {
                Framing::Events(body) => events(session, body, &frame, number).into(),
                _ => frame,
            })
        });
        for channel in outbox.take_states() {
            let bytes = Bytes::copy_from_slice(self.prices.fresh(self.channels.get_mut(channel), now));
            let bytes = match framing {
                Framing::Events(body) => body.events(&bytes, || None::<Resume>).into(),
                _ => bytes,
            };
            outbox.push(bytes, Label::default());
        }
        if let Some(session) = self.sessions.get_mut(at) {
            session.outbox = Some(outbox);
        }
    }
}
