//! One session: who it is, how it is connected, what waits for its client.

use super::poll::Polling;
use super::suspend::Away;
use crate::model::{Device, Gcra, Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::Resume;
use crate::protocol::cluster::{Endpoint, Open, Transport};
use crate::protocol::peer::Parcel;
use crate::session::{ChannelKey, Outbox, Replay, Subscription};
use crate::transports::sse::Body;
use crate::transports::ws::Wire;
use std::net::IpAddr;

/// The form in which a client gets its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Framing {
    /// WebSocket frames.
    Websocket,
    /// Server-Sent Events.
    Events(Body),
    /// JSON in the answers to polls.
    Poll,
}

impl Framing {
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
}

/// One session. The table of sessions keeps indices of what is private here.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    user: UserId,
    /// Tells the session from others that had its place before, and from itself before it was suspended.
    pub(super) turn: u32,
    /// The session that this one is a copy of, until the client is known to have heard of the copy.
    pub(super) origin: Option<Box<Resume>>,
    pub(super) device: Option<Device>,
    pub(super) endpoint: Endpoint,
    /// The name of the stream; only at the endpoint of streams.
    pub(super) stream: Option<Box<str>>,
    pub(super) address: IpAddr,
    pub(super) since: i64,
    pub(super) framing: Framing,
    pub(super) link: Link,
    /// Frames that the connection has not taken yet; `None`: nothing waits.
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) last_in: Mono,
    /// The rate of the client's messages.
    pub(super) bucket: Gcra,
    /// Numbered messages that the client may have missed; only main sessions have it.
    pub(super) replay: Option<Replay>,
}

impl Session {
    /// A new session, or a copy of one that was elsewhere.
    pub(super) fn new(request: Request, parcel: Option<&Parcel>, replay: Option<Replay>, now: Mono) -> Self {
        let polls = request.framing == Framing::Poll;
        Self {
            id: parcel.map_or_else(SessionId::random, |parcel| parcel.session),
            user: request.user,
            turn: 0,
            origin: None,
            device: request.device.or_else(|| parcel.and_then(|parcel| parcel.device.clone())),
            endpoint: request.endpoint,
            stream: request.stream,
            address: request.address,
            since: parcel.map_or_else(|| clock::wall().0, |parcel| parcel.since),
            framing: request.framing,
            link: if polls { Link::Poll(Box::default()) } else { Link::Opening },
            // States that wait for the next poll are noted there.
            outbox: polls.then(|| Box::new(Outbox::new(now))),
            subscriptions: Vec::new(),
            last_in: now,
            bucket: Gcra::default(),
            replay,
        }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn user(&self) -> &UserId {
        &self.user
    }

    /// Shares the memory of an equal id.
    pub(super) fn intern(&mut self, user: UserId) {
        debug_assert_eq!(self.user, user, "the same user");
        self.user = user;
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(self.link, Link::Away(_))
    }

    /// The connection, if the session has one of its own.
    pub(super) fn wire(&mut self) -> Option<&mut Wire> {
        if let Link::Wire(wire) = &mut self.link { Some(wire) } else { None }
    }

    pub(super) fn subscription(&self, channel: ChannelKey) -> Option<Subscription> {
        self.subscriptions.iter().find(|own| own.channel == channel).copied()
    }

    pub(super) fn is_on(&self, channel: ChannelKey) -> bool {
        self.subscription(channel).is_some()
    }

    /// The announcement to the master.
    pub(super) fn announcement(&self) -> Open<'_> {
        Open {
            session: self.id,
            user: self.user.as_str(),
            device: self.device.as_ref().map(Device::as_str),
            endpoint: self.endpoint,
            transport: self.framing.transport(),
            address: self.address,
            since: self.since,
        }
    }
}
