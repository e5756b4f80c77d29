//! What comes from clients: bytes of a connection, messages in them, on their way to the session's endpoint.

use super::sessions::{Dress, Goodbye};
use super::{Hub, State};
use crate::model::Mono;
use crate::os::clock;
use crate::protocol::client::Close;
use crate::session::Key;
use crate::ws::{Event, frame};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll};

/// Reads of one session before the others have their turn.
const TURN: usize = 4;
/// So many messages may wait in a client between what answers pings and what reads them.
const BEHIND: u32 = 8;
/// A client that closes with this, or without a code, has left; with any other it may come back.
const DONE: u16 = 1000;

/// Ends the session with 1011 if its task panics.
struct Guard<'a>(&'a Hub, Key, u32);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.session(self.1, self.2).is_some() {
            state.counters.panics += 1;
            state.end(self.1, Close::Internal);
            if let Some(goodbye) = state.farewells.remove(&self.2) {
                state.leaving -= 1;
                tokio::spawn(goodbye.farewell.send());
            }
        }
    }
}

/// The task of one session's connection: reads, and writes what the hub could not write at once.
pub(super) async fn drive(hub: Hub, key: Key, turn: u32) {
    let goodbye = {
        let guard = Guard(&hub, key, turn);
        poll_fn(|cx| guard.0.lock().poll(key, turn, cx)).await
    };
    let goodbye = goodbye.or_else(|| hub.lock().farewells.remove(&turn));
    if let Some(goodbye) = goodbye {
        // Boxed: an idle session's task stays small.
        Box::pin(say_goodbye(&hub, goodbye)).await;
        hub.lock().leaving -= 1;
    }
}

async fn say_goodbye(hub: &Hub, Goodbye { mut farewell, told }: Goodbye) {
    if let Some(secret) = told
        && farewell.is_heard().await
    {
        hub.lock().bury(secret, Close::Replaced.code());
    }
    farewell.send().await;
}

impl State {
    /// One round of a session's task. `Ready` when the session is over.
    fn poll(&mut self, key: Key, turn: u32, cx: &mut Context<'_>) -> Poll<Option<Goodbye>> {
        for _ in 0..TURN {
            let Some(session) = self.session(key, turn) else {
                return Poll::Ready(self.farewells.remove(&turn));
            };
            let waits = session.outbox.is_some();
            let Some(wire) = session.wire() else { return Poll::Ready(None) };
            wire.watch(cx);
            if waits && wire.poll_writable(cx).is_ready() {
                self.flush(key);
                self.settle();
                continue;
            }
            match wire.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) => self.read(key, turn),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn read(&mut self, key: Key, turn: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // After a panic in another session's task the buffer went with it.
        buffer.resize(super::READ, 0);
        let Some(session) = self.session(key, turn) else { return };
        let events = matches!(session.dress, Dress::Events(_));
        let Some(wire) = session.wire() else { return };
        match wire.read(&mut buffer) {
            Ok(0) => self.end(key, Close::Lost),
            Ok(n) => self.input(key, turn, &mut buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // TCP_USER_TIMEOUT: a listener of events that acknowledges nothing.
            Err(error) if events && error.kind() == ErrorKind::TimedOut => self.end(key, Close::Silent),
            Err(_) => self.end(key, Close::Lost),
        }
        self.buffer = buffer;
        self.settle();
    }

    /// Bytes from a client.
    pub(super) fn input(&mut self, key: Key, turn: u32, bytes: &mut [u8]) {
        let (now, most) = (clock::mono(), self.config.ws.max_message);
        let Some(session) = self.session(key, turn) else { return };
        session.last_in = now;
        if session.dress != Dress::Websocket {
            // Whoever listens to events has said all with the request.
            return;
        }
        let Some(wire) = session.wire() else { return };
        let mut decoder = std::mem::take(&mut wire.decoder);
        let mut events = decoder.feed(bytes, most);
        while let Some(event) = events.next() {
            match event {
                Ok(Event::Text(text)) => self.text(key, text, now),
                Ok(Event::Binary(bytes)) => self.binary(key, bytes, now),
                Ok(Event::Ping(payload)) => self.send_or_end(key, &frame::pong(payload)),
                Ok(Event::Pong(payload)) => self.pong_of(key, payload),
                Ok(Event::Close(said)) => {
                    let done = said.is_none_or(|(code, _)| code == DONE);
                    let close = if done { Close::Done } else { Close::Leaving };
                    self.end_with(key, close, frame::close_echo(said).into());
                }
                Err(violation) => {
                    tracing::debug!(turn, %violation);
                    self.end(key, Close::from_violation(violation.code()));
                }
            }
            self.settle();
            if self.session(key, turn).is_none() {
                return;
            }
        }
        drop(events);
        if let Some(wire) = self.session(key, turn).and_then(super::sessions::Session::wire) {
            wire.decoder = decoder;
        }
    }

    /// A pong: our pings carry the number of the last message before them.
    fn pong_of(&mut self, key: Key, payload: &[u8]) {
        if let (Some(replay), Ok(number)) = (&mut self.sessions[key as usize].replay, payload.try_into()) {
            // The client's machine has them; what reads them may be some behind, and count by itself.
            let number = u32::from_be_bytes(number);
            if self.tight {
                replay.confirm(number.saturating_sub(BEHIND));
            }
        }
    }

    /// A text message from a client.
    fn text(&mut self, key: Key, text: &str, now: Mono) {
        if self.admit(key, now) {
            self.service(key).text(self, key, text);
        }
    }

    /// A binary message from a client.
    fn binary(&mut self, key: Key, bytes: &[u8], now: Mono) {
        if self.admit(key, now) {
            self.service(key).binary(self, key, bytes);
        }
    }

    /// Counts a message; a session that sends too many ends.
    fn admit(&mut self, key: Key, now: Mono) -> bool {
        self.counters.messages_in += 1;
        let limits = &self.config.limits;
        let bucket = &mut self.sessions[key as usize].bucket;
        let admitted = bucket.take(limits.messages_per_session, limits.messages_burst, now).is_ok();
        if !admitted {
            self.end(key, Close::MessageRate);
        }
        admitted
    }
}
