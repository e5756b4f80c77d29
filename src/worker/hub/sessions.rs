//! The life of a session in its worker: opened, attached to its connection, read, ended.

use super::{Hub, State};
use crate::model::{Device, Gcra, Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::{self, Endpoint, Open, Slot, ToMaster, Transport, Verdict};
use crate::session::{Key, Outbox, Subscription};
use crate::transports::ws::{Farewell, Wire};
use crate::ws::{Event, frame};
use std::future::poll_fn;
use std::net::IpAddr;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Reads of one session before the others have their turn.
const TURN: usize = 4;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) device: Option<Device>,
    pub(super) endpoint: Endpoint,
    /// The name of its stream, where it is on one.
    pub(super) stream: Option<Box<str>>,
    pub(super) address: IpAddr,
    since: i64,
    /// `None` between the master's word and the end of the upgrade.
    pub(super) wire: Option<Wire>,
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) last_in: Mono,
    pub(super) bucket: Gcra,
}

/// What a client asks for with its handshake.
#[derive(Debug)]
pub(in crate::worker) struct Request {
    pub(in crate::worker) user: UserId,
    pub(in crate::worker) device: Option<Device>,
    pub(in crate::worker) endpoint: Endpoint,
    pub(in crate::worker) stream: Option<Box<str>>,
    pub(in crate::worker) address: IpAddr,
}

/// A session between its announcement and its connection. Dropped before it is attached, the session ends.
#[derive(Debug)]
pub(in crate::worker) struct Opening {
    hub: Hub,
    key: Key,
    id: SessionId,
}

impl Opening {
    /// Announces a session to the master. The receiver tells whether it may be.
    pub(in crate::worker) fn announce(hub: &Hub, request: Request) -> (Self, oneshot::Receiver<Verdict>) {
        let mut state = hub.lock();
        let (key, id) = state.open(request);
        let (sender, receiver) = oneshot::channel();
        state.requests.opens.insert(id, (key, sender));
        drop(state);
        (Self { hub: hub.clone(), key, id }, receiver)
    }

    /// The handshake is through: the session gets its connection, is greeted and read from now on.
    pub(in crate::worker) fn attach(self, stream: TcpStream, early: &[u8], channels: &[String]) {
        let (hub, key, id) = (self.hub.clone(), self.key, self.id);
        let mut state = hub.lock();
        if state.session(key, id).is_none() {
            let bye = frame::close(Close::Restarting.code(), Close::Restarting.slug());
            tokio::spawn(Box::pin(Farewell::new(stream, bye.into()).send()));
            return;
        }
        state.attach(key, Wire::new(stream), channels);
        state.input(key, id, &mut early.to_vec());
        state.settle();
        drop(state);
        tokio::spawn(drive(hub, key, id));
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.requests.opens.remove(&self.id);
        if state.session(self.key, self.id).is_some_and(|session| session.wire.is_none()) {
            state.end(self.key, Close::Lost);
        }
    }
}

/// Ends the session with 1011 if its task panics.
struct Guard<'a>(&'a Hub, Key, SessionId);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.session(self.1, self.2).is_some() {
            state.counters.panics += 1;
            state.end(self.1, Close::Internal);
            if let Some(farewell) = state.farewells.remove(&self.2) {
                state.leaving -= 1;
                tokio::spawn(farewell.send());
            }
        }
    }
}

/// The task of one session: reads, and writes what the hub could not write at once.
pub(in crate::worker) async fn drive(hub: Hub, key: Key, id: SessionId) {
    let farewell = {
        let guard = Guard(&hub, key, id);
        poll_fn(|cx| guard.0.lock().poll(key, id, cx)).await
    };
    let farewell = farewell.or_else(|| hub.lock().farewells.remove(&id));
    if let Some(farewell) = farewell {
        // Boxed: an idle session's task stays small.
        Box::pin(farewell.send()).await;
        hub.lock().leaving -= 1;
    }
}

impl State {
    /// The session at `key`, if it still is that one.
    pub(super) fn session(&mut self, key: Key, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(key as usize).filter(|session| session.id == id)
    }

    fn open(&mut self, request: Request) -> (Key, SessionId) {
        let (id, now) = (SessionId::random(), clock::mono());
        let session = Session {
            id,
            user: request.user.clone(),
            device: request.device,
            endpoint: request.endpoint,
            stream: request.stream,
            address: request.address,
            since: clock::wall().0,
            wire: None,
            outbox: None,
            subscriptions: Vec::new(),
            last_in: now,
            bucket: Gcra::default(),
        };
        let key = u32::try_from(self.sessions.insert(session)).unwrap_or(Key::MAX);
        let user = self.users.insert(&request.user, key);
        self.sessions[key as usize].user = user;
        self.digest ^= cluster::digest(id);
        self.tell(&ToMaster::Open(self.sessions[key as usize].announcement()));
        self.note();
        (key, id)
    }

    /// All sessions as the master knows them.
    pub(in crate::worker) fn roster(&self) {
        let all = self.sessions.iter().map(|(_, session)| session.announcement()).collect();
        self.tell(&ToMaster::Roster(all));
    }

    fn attach(&mut self, key: Key, wire: Wire, channels: &[String]) {
        self.counters.opened += 1;
        let now = clock::mono();
        let session = &mut self.sessions[key as usize];
        let (id, user) = (session.id, &session.user);
        tracing::debug!(event = "session-opened", worker = self.me.slot, session = %id, %user);
        session.wire = Some(wire);
        self.timers.watch(key, id, now.after(self.config.heartbeat.interval));
        self.service(key).greet(self, key, channels);
        if let Some(session) = self.session(key, id) {
            session.last_in = now;
        }
        self.flush(key);
    }

    /// One round of a session's task. `Ready` when the session is over.
    fn poll(&mut self, key: Key, id: SessionId, cx: &mut Context<'_>) -> Poll<Option<Farewell>> {
        for _ in 0..TURN {
            let Some(session) = self.session(key, id) else { return Poll::Ready(self.farewells.remove(&id)) };
            let Some(wire) = session.wire.as_mut() else { return Poll::Ready(None) };
            wire.watch(cx);
            if session.outbox.is_some() && wire.poll_writable(cx).is_ready() {
                self.flush(key);
                self.settle();
                continue;
            }
            match wire.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) => self.read(key, id),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn read(&mut self, key: Key, id: SessionId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // After a panic in another session's task the buffer went with it.
        buffer.resize(super::READ, 0);
        let Some(wire) = self.session(key, id).and_then(|session| session.wire.as_ref()) else { return };
        match wire.read(&mut buffer) {
            Ok(0) => self.end(key, Close::Lost),
            Ok(n) => self.input(key, id, &mut buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.end(key, Close::Lost),
        }
        self.buffer = buffer;
        self.settle();
    }

    /// Bytes from a client.
    fn input(&mut self, key: Key, id: SessionId, bytes: &mut [u8]) {
        let (now, most) = (clock::mono(), self.config.ws.max_message);
        let Some(session) = self.session(key, id) else { return };
        session.last_in = now;
        let Some(wire) = session.wire.as_mut() else { return };
        let mut decoder = std::mem::take(&mut wire.decoder);
        let mut events = decoder.feed(bytes, most);
        while let Some(event) = events.next() {
            match event {
                Ok(Event::Text(text)) => self.text(key, text, now),
                Ok(Event::Binary(bytes)) => self.binary(key, bytes, now),
                Ok(Event::Ping(payload)) => self.send_or_end(key, &frame::pong(payload)),
                Ok(Event::Pong(_)) => {}
                Ok(Event::Close(said)) => self.end_with(key, Close::Done, frame::close_echo(said).into()),
                Err(violation) => {
                    tracing::debug!(session = %id, %violation);
                    self.end(key, Close::from_violation(violation.code()));
                }
            }
            self.settle();
            if self.session(key, id).is_none() {
                return;
            }
        }
        drop(events);
        if let Some(wire) = self.session(key, id).and_then(|session| session.wire.as_mut()) {
            wire.decoder = decoder;
        }
    }

    /// Marks a session that is to end as soon as nobody walks the table.
    pub(super) fn doom(&mut self, key: Key, close: Close) {
        self.doomed.push((key, close));
    }

    /// Ends the marked sessions.
    pub(in crate::worker) fn settle(&mut self) {
        while let Some((key, close)) = self.doomed.pop() {
            if self.sessions.contains(key as usize) {
                self.end(key, close);
            }
        }
    }

    /// Ends a session with the close frame of that reason.
    pub(super) fn end(&mut self, key: Key, close: Close) {
        let last =
            if close == Close::Lost { Vec::new() } else { frame::close(close.code(), close.slug()).into() };
        self.end_with(key, close, last);
    }

    /// Ends a session; `last` is what its client is to read last.
    pub(super) fn end_with(&mut self, key: Key, close: Close, last: Vec<u8>) {
        let mut session = self.sessions.remove(key as usize);
        self.users.remove(&session.user, key);
        self.digest ^= cluster::digest(session.id);
        for subscription in std::mem::take(&mut session.subscriptions) {
            self.leave(subscription);
        }
        let mut lost = Vec::new();
        let begun = session.outbox.take().map(|outbox| outbox.end(|answer| lost.push(answer.ticket)));
        for ticket in lost {
            self.ticket_lost(ticket);
        }
        self.tell(&ToMaster::Closed(session.id));
        self.note();
        if let Some(wire) = session.wire {
            self.counters.count_closed(close.code());
            log_end(self.me.slot, (session.id, &session.user), close);
            wire.wake();
            if close != Close::Lost {
                let mut bytes = begun.map(Vec::from).unwrap_or_default();
                bytes.extend_from_slice(&last);
                self.farewells.insert(session.id, wire.finish(bytes));
                self.leaving += 1;
            }
        }
    }

    /// Ends a session by its id, as an administrator wants it.
    pub(in crate::worker) fn kick(&mut self, id: SessionId, close: Close) {
        let found = self.sessions.iter().find(|(_, session)| session.id == id).map(|(key, _)| key);
        if let Some(key) = found.and_then(|key| u32::try_from(key).ok()) {
            let text = client::system(&client::EventText {
                event: close.slug(),
                reason: "by an administrator",
                reconnect_in_ms: None,
            });
            self.end_saying(key, close, &text);
        }
    }

    /// Ends a session with a last message before the close frame.
    pub(super) fn end_saying(&mut self, key: Key, close: Close, text: &str) {
        let mut last = Vec::with_capacity(text.len() + 64);
        frame::push_text(&mut last, text);
        frame::push_close(&mut last, close.code(), close.slug());
        self.end_with(key, close, last);
    }

    /// Sends away the next sessions, at most `most` of them, and says how many. Each is told to come back after a
    /// time of its own: `first` for the first, `each` more for each other, in milliseconds.
    pub(in crate::worker) fn dismiss(
        &mut self,
        close: Close,
        most: usize,
        (first, each): (u64, u64),
    ) -> usize {
        let keys: Vec<Key> =
            self.sessions.iter().take(most).filter_map(|(key, _)| u32::try_from(key).ok()).collect();
        for (place, key) in (0..).zip(&keys) {
            let event = client::EventText {
                event: close.slug(),
                reason: if close == Close::Shutdown { "the daemon stops" } else { "the worker is replaced" },
                reconnect_in_ms: Some(first + place * each),
            };
            self.end_saying(*key, close, &client::system(&event));
        }
        keys.len()
    }

    /// Whether nobody is here any more, and nothing on its way.
    pub(in crate::worker) fn empty(&self) -> bool {
        self.sessions.is_empty() && self.leaving == 0 && self.counters.connections == 0
    }
}

/// Coming and going is nobody's business; what we cut for a reason is the operator's, who asks why tabs drop.
fn log_end(worker: Slot, (session, user): (SessionId, &UserId), close: Close) {
    let (event, code) = (close.slug(), close.code());
    match close {
        Close::Done | Close::Shutdown | Close::Restarting | Close::Lost => {
            tracing::debug!(event, worker, %session, %user, code);
        }
        _ => tracing::info!(event, worker, %session, %user, code, "session ended"),
    }
}

impl Session {
    fn announcement(&self) -> Open<'_> {
        Open {
            session: self.id,
            user: self.user.as_str(),
            device: self.device.as_ref().map(Device::as_str),
            endpoint: self.endpoint,
            transport: Transport::Websocket,
            address: self.address,
            since: self.since,
        }
    }
}
