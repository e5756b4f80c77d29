//! One session: who it is, how it is connected, what waits for its client.

use super::polling::Polling;
use crate::access::tokens::Pass;
use crate::access::{Permit, UNUSED, Use};
use crate::model::{Device, Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::cluster::Endpoint;
use crate::session::{self, ChannelKey, Framing, Identity, More, Outbox, Places, Replay, Subscription};
use crate::transports::ws::Wire;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Uses are compared by how often this time doubles in them.
const MOMENT: Duration = Duration::from_millis(32);
/// Longer uses than 32 ms doubled so often (two minutes) are all the same.
const LONG: Use = 12;
/// A client that says something counts like one that stays 64 times as long.
const SPOKEN: Use = 6;
/// Places of a session in tables, and the allocator's own.
const TABLES: usize = 512;
/// A name beside its letters.
const NAME: usize = 32;

/// The state that a suspended session has instead of a connection.
#[derive(Debug, Default)]
pub struct Away {
    /// The last numbered message that the client is known to have; `None`: it missed messages that are no longer kept.
    pub has: Option<u32>,
    pub since: Mono,
    /// Bytes of memory beside the messages that are kept.
    pub base: usize,
    /// Where the session was. It stays on the channels whose messages are numbered.
    pub places: Places,
}

/// How a session is connected.
#[derive(Debug)]
pub enum Link {
    /// Announced to the master, the handshake is not through.
    Opening,
    /// By a connection of its own.
    Wire(Wire),
    /// By polls.
    Poll(Box<Polling>),
    /// Suspended. Only `Sessions::suspend` makes a session so.
    Away(Box<Away>),
}

/// The wishes of a client in its handshake.
#[derive(Clone, Debug)]
pub(in crate::worker) struct Request {
    pub(in crate::worker) user: UserId,
    pub(in crate::worker) device: Option<Device>,
    pub(in crate::worker) endpoint: Endpoint,
    pub(in crate::worker) stream: Option<Box<str>>,
    pub(in crate::worker) address: IpAddr,
    pub(in crate::worker) framing: Framing,
    /// The connection; none of its own for polls.
    pub(in crate::worker) permit: Option<Permit>,
    /// How the client was admitted; `None`: no token was asked for.
    pub(in crate::worker) pass: Option<Box<Pass>>,
    /// The oldest stream of the user may end for it.
    pub(in crate::worker) takes_over: bool,
}

/// One session of the table: a value that could be anywhere, and how it is connected here.
#[derive(Debug)]
pub struct Session {
    value: session::Session,
    /// Tells the session from others that had its place before, and from itself before it was suspended.
    pub turn: u32,
    pub link: Link,
    /// Counts the connection for as long as the session has it.
    pub permit: Option<Permit>,
    /// When it was greeted on this connection.
    pub begun: Mono,
    /// It is to belong to another worker: its client is not read.
    pub aside: bool,
    /// Its client has come back to it, so has heard of it.
    resumed: bool,
    /// The oldest stream of its user may end for it.
    pub takes_over: bool,
    /// Requests of the client that only the master or time answers.
    pub asked: u32,
    /// The place of its set of channels in the memory of crash cover; `None`: the set has changed.
    pub set: Option<u32>,
    /// How its client was admitted; `None`: no token was asked for.
    pub pass: Option<Box<Pass>>,
}

impl Deref for Session {
    type Target = session::Session;
    fn deref(&self) -> &session::Session {
        &self.value
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut session::Session {
        &mut self.value
    }
}

impl Session {
    /// A new session, or the one that was elsewhere `before`, over a connection of its own.
    pub fn new(
        request: Request,
        before: Option<&session::Session>,
        replay: Option<Replay>,
        now: Mono,
    ) -> Self {
        let Request { user, device, endpoint, stream, address, framing, permit, takes_over, pass } = request;
        let id = before.map_or_else(SessionId::random, |before| before.identity.id());
        let since = before.map_or_else(|| clock::wall().0, |before| before.identity.since);
        let mut identity = Identity::new(id, user, endpoint, address, since);
        identity.device = device.or_else(|| before.and_then(|before| before.identity.device.clone()));
        identity.stream = stream;
        let mut value = session::Session::new(identity, framing, replay, now);
        value.bucket = before.map(|before| before.bucket).unwrap_or_default();
        value.moves = before.map_or(0, |before| before.moves);
        let polls = framing == Framing::Poll;
        // States that wait for the next poll are noted there.
        value.outbox = polls.then(|| Box::new(Outbox::new(now)));
        let link = if polls { Link::Poll(Box::default()) } else { Link::Opening };
        Self {
            value,
            turn: 0,
            link,
            permit,
            begun: now,
            aside: false,
            resumed: before.is_some(),
            takes_over,
            asked: 0,
            set: None,
            pass,
        }
    }

    /// A session that comes from another worker.
    pub fn arrived(value: session::Session, link: Link, permit: Option<Permit>, more: &More) -> Self {
        Self {
            value,
            turn: 0,
            link,
            permit,
            begun: more.begun,
            aside: false,
            resumed: more.resumed,
            takes_over: false,
            asked: 0,
            set: None,
            pass: more.pass.as_deref().and_then(Pass::decode).map(Box::new),
        }
    }

    /// What goes with the session to another worker beside its value.
    pub fn more(&self, pongs: Vec<Mono>) -> More {
        let (said_all, taken_up) = match &self.link {
            Link::Wire(wire) => (wire.has_said_all(), false),
            Link::Poll(poll) => (false, poll.is_taken_up()),
            Link::Opening | Link::Away(_) => (false, false),
        };
        let (moves, bytes, begun, resumed) = (self.moves + 1, self.bytes, self.begun, self.resumed);
        let pass = self.pass.as_ref().map(|pass| pass.encode());
        More { moves, bytes, begun, resumed, said_all, taken_up, pongs, pass }
    }

    /// How much a suspended session was used, as far as another worker knows.
    pub fn was_used(&self) -> Use {
        if self.resumed || self.last_in > self.begun { 1 + SPOKEN } else { 1 }
    }

    /// How much the session was used over a link that has ended: how long, and whether its client ever said something.
    /// Nothing, if no byte of it is known to have arrived.
    pub fn used(&self, link: &Link, now: Mono) -> Use {
        let (heard, spoke) = match link {
            Link::Wire(wire) => (wire.acknowledged() > 0, self.last_in > self.begun),
            Link::Poll(poll) => (poll.is_taken_up(), poll.is_taken_up()),
            Link::Opening | Link::Away(_) => (false, false),
        };
        if !heard && !self.resumed {
            return UNUSED;
        }
        let moments = now.since(self.begun).as_millis() / MOMENT.as_millis();
        let lived = Use::try_from(moments.checked_ilog2().map_or(0, |log| log + 1)).unwrap_or(LONG).min(LONG);
        1 + lived + if spoke || self.resumed { SPOKEN } else { 0 }
    }

    /// Bytes of memory of a suspended session beside the messages that are kept, some more or less.
    pub fn base(&self, places: &Places) -> usize {
        let names = [&places.channels, &places.owed, &places.entering];
        let names: usize = names.into_iter().flatten().map(|name| name.len() + NAME).sum();
        size_of::<Self>()
            + size_of::<Away>()
            + TABLES
            + names
            + self.subscriptions.capacity() * size_of::<Subscription>()
    }

    /// Bytes of memory of a suspended session.
    pub fn memory(&self) -> usize {
        let base = if let Link::Away(away) = &self.link { away.base } else { 0 };
        base + self.replay.as_ref().map_or(0, Replay::memory)
    }

    /// The link and the value, each to be changed.
    pub fn parts(&mut self) -> (&mut Link, &mut session::Session) {
        (&mut self.link, &mut self.value)
    }

    pub fn id(&self) -> SessionId {
        self.identity.id()
    }

    pub fn user(&self) -> &UserId {
        self.identity.user()
    }

    pub fn is_away(&self) -> bool {
        matches!(self.link, Link::Away(_))
    }

    /// Whether the connection is one of TLS.
    pub fn is_secured(&self) -> bool {
        matches!(&self.link, Link::Wire(wire) if wire.is_secured())
    }

    /// The connection, if the session has one of its own.
    pub fn wire(&mut self) -> Option<&mut Wire> {
        if let Link::Wire(wire) = &mut self.link { Some(wire) } else { None }
    }

    pub fn subscription(&self, channel: ChannelKey) -> Option<Subscription> {
        self.subscriptions.iter().find(|own| own.channel == channel).copied()
    }

    pub fn is_on(&self, channel: ChannelKey) -> bool {
        self.subscription(channel).is_some()
    }
}
