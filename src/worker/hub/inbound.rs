//! Reads clients: bytes of a connection become messages to the session's endpoint.

use super::parts::connections::Ended;
use super::parts::sessions::SessionRef;
use super::state::{Hub, State};
use crate::access::Permit;
use crate::model::Mono;
use crate::net::phase::Phase;
use crate::os::clock;
use crate::protocol::client::{Close, Token};
use crate::session::Framing;
use crate::transports::ws::Closing;
use crate::ws::{Event, frame};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll};
use std::time::Duration;

/// Reads of one session before the others have their turn.
const TURN: usize = 4;
/// Messages that may wait in a client between the code that answers pings and the code that reads messages.
const BEHIND: u32 = 8;
/// A listener that has shut down its side is asked again after this time, more than a packet takes there and back.
const AGAIN: Duration = Duration::from_millis(400);
/// A client that closes with this, or without a code, has left; with any other it may come back.
const DONE: u16 = 1000;

/// Ends the session with 1011 if its task panics outside of the hub. A panic inside ends the process.
struct Guard<'a>(&'a Hub, SessionRef);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // At the end of the process tasks end without a panic.
        if !std::thread::panicking() {
            return;
        }
        let mut state = self.0.lock();
        if state.sessions.contains(self.1) {
            state.panicked("session");
            state.end(self.1, Close::Internal);
            if let Some(ended) = state.connections.fetch(self.1) {
                state.connections.closed();
                tokio::spawn(ended.closing.send());
            }
        }
    }
}

/// A connection whose last bytes are on their way, until it is closed.
struct Counted<'a>(&'a Hub);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().connections.closed();
    }
}

/// A connection that may give way to a newcomer, though its last bytes are on their way.
struct Lingers<'a> {
    hub: &'a Hub,
    key: usize,
    _permit: Permit,
}

impl Drop for Lingers<'_> {
    fn drop(&mut self) {
        self.hub.lock().crowd.leave(self.key);
    }
}

/// The task of one session's connection: reads, and writes what the hub could not write at once.
pub(super) async fn drive(hub: Hub, at: SessionRef) {
    let ended = {
        let guard = Guard(&hub, at);
        poll_fn(|cx| guard.0.lock().poll(at, cx)).await
    };
    let ended = ended.or_else(|| hub.lock().connections.fetch(at));
    if let Some(ended) = ended {
        let _counted = Counted(&hub);
        // Boxed: an idle session's task stays small.
        Box::pin(close(&hub, ended)).await;
    }
}

async fn close(hub: &Hub, Ended { closing, replaced, permit }: Ended) {
    let phase = Phase::last_words();
    let _lingers = permit.map(|permit| {
        let key = hub.lock().crowd.enter(permit.address(), false, phase.clone());
        Lingers { hub, key, _permit: permit }
    });
    tokio::select! {
        () = phase.is_told() => {}
        () = last_words(hub, closing, replaced) => {}
    }
}

async fn last_words(hub: &Hub, mut closing: Closing, replaced: Option<Token>) {
    if let Some(token) = replaced
        && closing.is_heard().await
    {
        hub.lock().bury(token, Close::Replaced.number());
    }
    closing.send().await;
}

impl State {
    /// Runs one round of a session's task. `Ready` if the session is over.
    fn poll(&mut self, at: SessionRef, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        for _ in 0..TURN {
            let Some(session) = self.sessions.get_mut(at) else {
                return Poll::Ready(self.connections.fetch(at));
            };
            let (waits, is_aside) = (session.outbox.is_some(), session.aside);
            let Some(wire) = session.wire() else { return Poll::Ready(None) };
            wire.watch(cx);
            if waits && wire.poll_writable(cx).is_ready() {
                self.flush(at);
                self.settle();
                continue;
            }
            if is_aside {
                return Poll::Pending;
            }
            match wire.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) => self.read(at),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once. The buffer is lent to the session: one is enough for all.
    pub(super) fn read(&mut self, at: SessionRef) {
        let said = self.begin_read(at.key());
        let mut buffer = std::mem::take(&mut self.buffer);
        self.read_into(at, &mut buffer);
        self.buffer = buffer;
        self.end_read(at.key(), said);
        self.settle();
    }

    fn read_into(&mut self, at: SessionRef, buffer: &mut [u8]) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let events = matches!(session.framing, Framing::Events(_));
        let Some(wire) = session.wire() else { return };
        match wire.read(buffer) {
            Ok(0) if events => {
                wire.hear_no_more();
                self.ask_for_reset(at);
                self.timers.ask(at, clock::mono().after(AGAIN));
            }
            Ok(0) => self.end(at, Close::Lost),
            Ok(n) => self.input(at, &mut buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // TCP_USER_TIMEOUT: a listener of events that acknowledges nothing.
            Err(error) if events && error.kind() == ErrorKind::TimedOut => self.end(at, Close::Silent),
            Err(_) => self.end(at, Close::Lost),
        }
    }

    /// Writes a comment to a listener to events that has shut down its side. If it listens on, it skips the comment; if
    /// it is gone, its machine answers with a reset, and the next write fails.
    pub(super) fn ask_for_reset(&mut self, at: SessionRef) {
        self.send_or_end(at, &frame::ping([]));
    }

    /// Bytes from a client.
    pub(super) fn input(&mut self, at: SessionRef, bytes: &mut [u8]) {
        let (now, most) = (clock::mono(), self.config.ws.max_message);
        let Some(session) = self.sessions.get_mut(at) else { return };
        session.last_in = now;
        self.survival.cover.spoke(at.key(), now.second());
        if session.framing != Framing::Websocket {
            // A listener to events has said all with its request.
            return;
        }
        if session.wire().is_none() || !self.admit_bytes(at, bytes.len(), now) {
            return;
        }
        let Some(session) = self.sessions.get_mut(at) else { return };
        let mut decoder = std::mem::take(&mut session.decoder);
        let mut events = decoder.feed(bytes, most);
        while let Some(event) = events.next() {
            match event {
                Ok(Event::Text(text)) => self.text(at, text, now),
                Ok(Event::Binary(bytes)) => self.binary(at, bytes, now),
                Ok(Event::Ping(payload)) => self.send_or_end(at, &frame::pong(payload)),
                Ok(Event::Pong(payload)) => self.pong_of(at, payload),
                Ok(Event::Close(said)) => {
                    let done = said.is_none_or(|(code, _)| code == DONE);
                    let close = if done { Close::Done } else { Close::Leaving };
                    self.end_with(at, close, frame::close_echo(said).into());
                }
                Err(violation) => {
                    tracing::debug!(?at, %violation);
                    self.end(at, Close::from_violation(violation.code()));
                }
            }
            self.settle();
            if !self.sessions.contains(at) {
                return;
            }
        }
        drop(events);
        if let Some(session) = self.sessions.get_mut(at) {
            session.decoder = decoder;
        }
    }

    /// A pong: our pings carry the number of the last message before them.
    fn pong_of(&mut self, at: SessionRef, payload: &[u8]) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        if let (Some(replay), Ok(number)) = (&mut session.replay, payload.try_into()) {
            // The client's machine has them; what reads them may be some behind, and count by itself.
            let number = u32::from_be_bytes(number);
            if self.suspended.is_tight() {
                replay.confirm(number.saturating_sub(BEHIND));
            }
        }
    }

    /// A text message from a client.
    fn text(&mut self, at: SessionRef, text: &str, now: Mono) {
        #[cfg(debug_assertions)]
        super::poison::look(text.as_bytes());
        if self.admit(at, now) {
            self.log_heard(at, text.as_bytes());
            self.service(at).text(self, at, text);
        }
    }

    /// A binary message from a client.
    fn binary(&mut self, at: SessionRef, bytes: &[u8], now: Mono) {
        if self.admit(at, now) {
            self.log_heard(at, bytes);
            self.service(at).binary(self, at, bytes);
        }
    }

    /// Counts bytes, of pings and unfinished messages too; a session that sends too many ends. One message of the
    /// largest size is always within the rate.
    fn admit_bytes(&mut self, at: SessionRef, bytes: usize, now: Mono) -> bool {
        let (limits, largest) = (&self.config.limits, self.config.ws.max_message);
        let Some(session) = self.sessions.get_mut(at) else { return false };
        let burst = limits.bytes_burst.saturating_add(largest) as u64;
        let admitted = session.bytes.take_many(bytes as u64, limits.bytes(), burst, now).is_ok();
        if !admitted {
            self.end(at, Close::MessageRate);
        }
        admitted
    }

    /// Counts a message; a session that sends too many ends.
    fn admit(&mut self, at: SessionRef, now: Mono) -> bool {
        self.counters.messages_in += 1;
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(at) else { return false };
        let admitted = session.bucket.take(limits.messages_per_session, limits.messages_burst, now).is_ok();
        if !admitted {
            self.end(at, Close::MessageRate);
        }
        admitted
    }
}
