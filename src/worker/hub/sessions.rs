//! The life of a session in its worker: announced, attached to its connection, ended or suspended.

use super::poll::Polling;
use super::suspend::Away;
use super::{Hub, State};
use crate::model::{Device, Gcra, Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::{self, Close, EventText, Resume};
use crate::protocol::cluster::{self, Endpoint, Open, Slot, ToMaster, Transport};
use crate::protocol::peer::Parcel;
use crate::session::{Key, Outbox, Replay, Subscription};
use crate::transports::sse::Body;
use crate::transports::ws::{Farewell, Wire};
use crate::ws::frame;
use std::net::IpAddr;
use tokio::net::TcpStream;

/// How what a session hears is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Dress {
    /// As WebSocket frames.
    Websocket,
    /// As Server-Sent Events.
    Events(Body),
    /// In the answers to polls.
    Poll,
}

impl Dress {
    fn transport(self) -> Transport {
        match self {
            Self::Websocket => Transport::Websocket,
            Self::Events(_) => Transport::Sse,
            Self::Poll => Transport::Poll,
        }
    }
}

/// How a session is connected.
#[derive(Debug)]
pub(super) enum Link {
    /// Between the master's word and the end of the handshake.
    Opening,
    /// By a connection of its own.
    Wire(Wire),
    /// By polls.
    Poll(Box<Polling>),
    /// Not at all: suspended.
    Away(Box<Away>),
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Tells it from those that had its place before, and from itself before it was suspended.
    pub(super) turn: u32,
    pub(super) user: UserId,
    pub(super) device: Option<Device>,
    pub(super) endpoint: Endpoint,
    /// The name of its stream, where it is on one.
    pub(super) stream: Option<Box<str>>,
    pub(super) address: IpAddr,
    pub(super) since: i64,
    pub(super) dress: Dress,
    pub(super) link: Link,
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) last_in: Mono,
    pub(super) bucket: Gcra,
    /// Main sessions: what comes again to a client that has missed it.
    pub(super) replay: Option<Replay>,
    /// The session that this is a copy of, until its client is known to have heard of it.
    pub(super) origin: Option<Box<Resume>>,
}

/// What a client asks for with its handshake.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Request {
    pub(in crate::worker) user: UserId,
    pub(in crate::worker) device: Option<Device>,
    pub(in crate::worker) endpoint: Endpoint,
    pub(in crate::worker) stream: Option<Box<str>>,
    pub(in crate::worker) address: IpAddr,
    pub(in crate::worker) dress: Dress,
}

/// The last bytes of a session's connection.
#[derive(Debug)]
pub(super) struct Goodbye {
    pub(super) farewell: Farewell,
    /// The secret of a session that was taken over: once its client has heard that, it is not to come back.
    pub(super) told: Option<u128>,
}

/// What a session begins with.
#[derive(Debug)]
pub(in crate::worker) struct Greeting {
    /// Its channels.
    pub(in crate::worker) channels: Vec<String>,
    /// Whether it is one that was there before, and nothing is missing.
    pub(in crate::worker) resumed: bool,
    /// Rooms that it is not in yet.
    pub(in crate::worker) entering: Vec<String>,
}

impl Greeting {
    /// Of a session that was there `before`, or of a new one with the channels that its client asks for.
    pub(in crate::worker) fn new(before: Option<(Vec<String>, Vec<String>)>, asked: Vec<String>) -> Self {
        if let Some((mut channels, entering)) = before {
            channels.extend(entering.iter().cloned());
            return Self { channels, resumed: true, entering };
        }
        let entering = asked.iter().filter(|name| client::room(name).is_some()).cloned().collect();
        Self { channels: asked, resumed: false, entering }
    }
}

/// A session between its announcement and its connection. Dropped before it is attached, the session ends. Never to be
/// dropped while the hub is locked.
#[derive(Debug)]
pub(in crate::worker) struct Opening {
    pub(super) hub: Hub,
    pub(super) key: Key,
    pub(super) turn: u32,
    pub(super) id: SessionId,
    pub(super) dress: Dress,
    /// The session that it is a copy of, until one of them is given up.
    pub(super) origin: Option<Resume>,
    /// It is somebody else's business now.
    pub(super) done: bool,
}

impl Opening {
    /// The handshake is through: the session gets its connection, is greeted and read from now on.
    pub(in crate::worker) fn attach(mut self, stream: TcpStream, early: &[u8], greeting: &Greeting) {
        let (hub, key, turn) = (self.hub.clone(), self.key, self.turn);
        self.done = true;
        let mut state = hub.lock();
        let origin = self.origin.take();
        let Some(session) = state.session(key, turn) else {
            let close = Close::Restarting;
            let bye = match self.dress {
                Dress::Events(body) => body.end(&client::close(close, None)),
                _ => frame::close(close.code(), close.slug()).into(),
            };
            origin.into_iter().for_each(|origin| state.give_up(&origin, false));
            tokio::spawn(Box::pin(Farewell::new(stream, bye).send()));
            return;
        };
        session.link = Link::Wire(Wire::new(stream));
        session.origin = origin.map(Box::new);
        state.attached(key, turn, greeting);
        state.flush(key);
        state.settle_when_heard(key, turn);
        state.input(key, turn, &mut early.to_vec());
        state.settle();
        drop(state);
        tokio::spawn(super::inbound::drive(hub, key, turn));
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.hub.lock();
        state.requests.opens.remove(&self.id);
        if state.session(self.key, self.turn).is_some() {
            // Not `Lost`: nobody knows its token.
            state.end(self.key, Close::Done);
        }
        if let Some(origin) = &self.origin {
            state.give_up(origin, false);
        }
    }
}

impl State {
    /// The session at `key`, if it still is that one.
    pub(super) fn session(&mut self, key: Key, turn: u32) -> Option<&mut Session> {
        self.sessions.get_mut(key as usize).filter(|session| session.turn == turn)
    }

    /// A number that no session here has had.
    pub(super) fn next_turn(&mut self) -> u32 {
        self.turns = self.turns.wrapping_add(1);
        self.turns
    }

    /// A new session, or one that comes from elsewhere.
    pub(super) fn open(&mut self, request: Request, parcel: Option<&Parcel>) -> Key {
        let (now, turn) = (clock::mono(), self.next_turn());
        let polls = request.dress == Dress::Poll;
        let replays = request.endpoint == Endpoint::Ws && (polls || self.resumes());
        let session = Session {
            id: parcel.map_or_else(SessionId::random, |parcel| parcel.session),
            turn,
            user: request.user.clone(),
            device: request.device.or_else(|| parcel.and_then(|parcel| parcel.device.clone())),
            endpoint: request.endpoint,
            stream: request.stream,
            address: request.address,
            since: parcel.map_or_else(|| clock::wall().0, |parcel| parcel.since),
            dress: request.dress,
            link: if polls { Link::Poll(Box::default()) } else { Link::Opening },
            // What waits for a poll is noted there.
            outbox: polls.then(|| Box::new(Outbox::new(now))),
            subscriptions: Vec::new(),
            last_in: now,
            bucket: Gcra::default(),
            replay: replays.then(|| Replay::new(crate::os::process::secret())),
            origin: None,
        };
        let id = session.id;
        let key = u32::try_from(self.sessions.insert(session)).unwrap_or(Key::MAX);
        let user = self.users.insert(&request.user, key);
        self.sessions[key as usize].user = user;
        self.digest ^= cluster::digest(id);
        self.tell(&ToMaster::Open(self.sessions[key as usize].announcement()));
        self.note();
        key
    }

    /// All sessions as the master knows them.
    pub(in crate::worker) fn roster(&self) {
        let here = self.sessions.iter().filter(|(_, session)| !session.is_away());
        let all = here.map(|(_, session)| session.announcement()).collect();
        self.tell(&ToMaster::Roster(all));
    }

    /// A session can be reached from now on: it is greeted.
    pub(super) fn attached(&mut self, key: Key, turn: u32, greeting: &Greeting) {
        self.counters.opened += 1;
        let (now, heartbeat) = (clock::mono(), &self.config.heartbeat);
        let session = &self.sessions[key as usize];
        let (id, user) = (session.id, &session.user);
        tracing::debug!(event = "session-opened", worker = self.me.slot, session = %id, %user, resumed = greeting.resumed);
        match (&session.link, session.dress) {
            (Link::Wire(wire), Dress::Events(_)) => {
                // A comment goes out each interval, so a lost client is found as soon as a silent WebSocket is.
                wire.lose_after(heartbeat.timeout.saturating_sub(heartbeat.interval));
                self.timers.watch(key, turn, now.after(heartbeat.interval));
            }
            (Link::Wire(_), _) => self.timers.watch(key, turn, now.after(heartbeat.interval)),
            _ => {}
        }
        self.service(key).greet(self, key, greeting);
        if let Some(session) = self.session(key, turn) {
            session.last_in = now;
        }
    }

    /// Marks a session that is to end as soon as nobody walks the table.
    pub(super) fn doom(&mut self, key: Key, close: Close) {
        let turn = self.sessions[key as usize].turn;
        self.doomed.push((key, turn, close));
    }

    /// Ends the marked sessions, and answers polls for which there is something.
    pub(in crate::worker) fn settle(&mut self) {
        while let Some((key, turn, close)) = self.doomed.pop() {
            if self.session(key, turn).is_some() {
                self.end(key, close);
            }
        }
        self.answer_polls();
    }

    /// Ends a session with the close of that reason.
    pub(super) fn end(&mut self, key: Key, close: Close) {
        let last = self.last_words(key, close, None);
        self.end_with(key, close, last);
    }

    /// Ends a session with a last message before the close.
    pub(super) fn end_saying(&mut self, key: Key, close: Close, event: &EventText<'_>) {
        let last = self.last_words(key, close, Some(event));
        self.end_with(key, close, last);
    }

    /// What a client is to read last.
    fn last_words(&mut self, key: Key, close: Close, event: Option<&EventText<'_>>) -> Vec<u8> {
        let mut last = Vec::new();
        if close == Close::Lost {
            return last;
        }
        let text = event.map(client::system);
        let wait = event.and_then(|event| event.reconnect_in_ms);
        match self.sessions[key as usize].dress {
            Dress::Websocket => {
                text.into_iter().for_each(|text| frame::push_text(&mut last, text));
                frame::push_close(&mut last, close.code(), close.slug());
            }
            Dress::Events(body) => {
                if let Some(text) = text {
                    last = body.events(&frame::text(text), || None::<u32>);
                }
                last.extend(body.end(&client::close(close, wait)));
            }
            Dress::Poll => {
                let words = text.into_iter().chain([client::close(close, wait)]);
                let told = self.last_to_poll(key, words.map(frame::text).collect());
                let secret = self.sessions[key as usize].replay.as_ref().map(|replay| replay.secret);
                if let (true, Close::Replaced, Some(secret)) = (told, close, secret) {
                    self.bury(secret, close.code());
                }
            }
        }
        last
    }

    /// Ends a session; `last` are the last bytes on its connection. Where the client may come back it is suspended.
    pub(super) fn end_with(&mut self, key: Key, close: Close, last: Vec<u8>) {
        let stays = close.leaves_open() && self.may_be_suspended(key);
        let session = &mut self.sessions[key as usize];
        debug_assert!(!session.is_away(), "it has ended before");
        let (id, turn, user) = (session.id, session.turn, session.user.clone());
        let secret = session.replay.as_ref().map(|replay| replay.secret);
        let link = std::mem::replace(&mut session.link, Link::Opening);
        let (mut lost, outbox) = (Vec::new(), session.outbox.take());
        let begun = outbox.map(|outbox| outbox.end(|answer| lost.push(answer.ticket)));
        if matches!(link, Link::Poll(_)) {
            lost.extend(session.replay.iter_mut().flat_map(Replay::take_tickets));
        }
        for ticket in lost {
            // Whoever has taken it over has its answers, too.
            self.ticket_lost(ticket, stays || close == Close::Replaced);
        }
        if let Some(origin) = self.sessions[key as usize].origin.take() {
            // Its client may not have heard of this copy: the other one is what it has.
            self.give_up(&origin, false);
        }
        self.users.remove(&user, key);
        self.digest ^= cluster::digest(id);
        self.tell(&ToMaster::Closed(id));
        let connected = !matches!(link, Link::Opening);
        let mut acknowledged = None;
        if let Link::Wire(wire) = link {
            acknowledged = stays.then(|| wire.acknowledged());
            wire.wake();
            if close != Close::Lost {
                let mut bytes = begun.map(Vec::from).unwrap_or_default();
                bytes.extend_from_slice(&last);
                let told = (close == Close::Replaced).then_some(secret).flatten();
                self.farewells.insert(turn, Goodbye { farewell: wire.finish(bytes), told });
                self.leaving += 1;
            }
        }
        if connected {
            self.counters.count_closed(close.code());
            log_end(self.me.slot, (id, &user), close);
        }
        if stays {
            self.suspend(key, acknowledged);
        } else {
            // One that was replaced is told by its connection's end, if that is heard.
            let told = connected && close.is_final() && close != Close::Replaced;
            self.discard(key, Some(close).filter(|_| told));
        }
        self.note();
    }

    /// Ends a session by its id, as an administrator wants it.
    pub(in crate::worker) fn kick(&mut self, id: SessionId, close: Close) {
        let found = self.sessions.iter().find(|(_, session)| session.id == id && !session.is_away());
        if let Some(key) = found.and_then(|(key, _)| u32::try_from(key).ok()) {
            let event = EventText { close, reason: "by an administrator", reconnect_in_ms: None };
            self.end_saying(key, close, &event);
        }
    }

    /// Sends away the next sessions, at most `most` of them, and says how many. Each is told to come back after a
    /// time of its own: `first` for the first, `each` more for each other, in milliseconds.
    pub(in crate::worker) fn dismiss(
        &mut self,
        close: Close,
        most: usize,
        (first, each): (u64, u64),
    ) -> usize {
        let here = self.sessions.iter().filter(|(_, session)| !session.is_away());
        let keys: Vec<Key> = here.take(most).filter_map(|(key, _)| u32::try_from(key).ok()).collect();
        for (place, key) in (0..).zip(&keys) {
            let event = EventText {
                close,
                reason: if close == Close::Shutdown { "the daemon stops" } else { "the worker is replaced" },
                reconnect_in_ms: Some(first + place * each),
            };
            self.end_saying(*key, close, &event);
        }
        keys.len()
    }

    /// Whether nobody is here any more, and nothing on its way.
    pub(in crate::worker) fn empty(&self) -> bool {
        self.population() == 0 && self.leaving == 0 && self.counters.connections == 0
    }
}

/// Coming and going is nobody's business; what we cut for a reason is the operator's, who asks why tabs drop.
fn log_end(worker: Slot, (session, user): (SessionId, &UserId), close: Close) {
    let (event, code) = (close.slug(), close.code());
    match close {
        Close::Done
        | Close::Leaving
        | Close::Shutdown
        | Close::Restarting
        | Close::Lost
        | Close::Replaced => {
            tracing::debug!(event, worker, %session, %user, code);
        }
        _ => tracing::info!(event, worker, %session, %user, code, "session ended"),
    }
}

impl Session {
    /// Whether it is suspended.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.link, Link::Away(_))
    }

    /// Its own connection.
    pub(super) fn wire(&mut self) -> Option<&mut Wire> {
        if let Link::Wire(wire) = &mut self.link { Some(wire) } else { None }
    }

    fn announcement(&self) -> Open<'_> {
        Open {
            session: self.id,
            user: self.user.as_str(),
            device: self.device.as_ref().map(Device::as_str),
            endpoint: self.endpoint,
            transport: self.dress.transport(),
            address: self.address,
            since: self.since,
        }
    }
}
