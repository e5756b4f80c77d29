//! A session without its socket: a value that can move to another process.

use super::{Channels, Framing, Outbox, Replay, Subscription};
use crate::model::{Device, Gcra, Mono, SessionId, UserId};
use crate::protocol::client::Token;
use crate::protocol::cluster::{Endpoint, Generation, Open};
use crate::protocol::peer::Lease;
use crate::ws::Decoder;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Names of a session: its id, user, device, endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The same wherever the session moves.
    id: SessionId,
    user: UserId,
    /// The client's name of its device.
    pub device: Option<Device>,
    pub endpoint: Endpoint,
    /// The name of the stream; only at the endpoint of streams.
    pub stream: Option<Box<str>>,
    /// The client's address, IPv6 cut to its /64.
    pub address: IpAddr,
    /// When it began: milliseconds since 1970.
    pub since: i64,
}

impl Identity {
    /// A session of that user, there and from there.
    #[must_use]
    pub fn new(id: SessionId, user: UserId, endpoint: Endpoint, address: IpAddr, since: i64) -> Self {
        Self { id, user, device: None, endpoint, stream: None, address, since }
    }

    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Shares the memory of an equal user id.
    pub fn intern(&mut self, user: UserId) {
        debug_assert_eq!(self.user, user, "the same user");
        self.user = user;
    }
}

/// The session that another one is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The worker that holds it.
    pub home: Generation,
    /// The copy's name there.
    pub lease: Lease,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub identity: Identity,
    pub framing: Framing,
    /// State of an unfinished frame or message.
    pub decoder: Decoder,
    /// The last sign of life.
    pub last_in: Mono,
    /// The rate of the client's messages.
    pub bucket: Gcra,
    /// The rate of the client's bytes.
    pub bytes: Gcra,
    /// Frames that the connection has not taken yet; `None`: nothing waits.
    pub outbox: Option<Box<Outbox>>,
    /// Numbered messages that the client may have missed; only main sessions have it.
    pub replay: Option<Replay>,
    /// The channels that it is on.
    pub subscriptions: Vec<Subscription>,
    /// Set until the client of a copy is known to have heard of the copy.
    pub origin: Option<Box<Origin>>,
    /// How often its process has changed.
    pub moves: u32,
}

/// The channels of a session by their names, which all workers know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The channels that it is on.
    pub channels: Vec<Box<str>>,
    /// Of them, those whose newest state it has not been sent.
    pub owed: Vec<Box<str>>,
    /// The rooms that the master has not let it into yet.
    pub entering: Vec<Box<str>>,
}

impl Places {
    /// Leaves out the channels that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.channels.retain(|name| keep(name));
        self.owed.retain(|name| keep(name));
    }
}

impl Session {
    /// A new session, on no channel.
    #[must_use]
    pub fn new(identity: Identity, framing: Framing, replay: Option<Replay>, now: Mono) -> Self {
        Self {
            identity,
            framing,
            decoder: Decoder::new(),
            last_in: now,
            bucket: Gcra::default(),
            bytes: Gcra::default(),
            outbox: None,
            replay,
            subscriptions: Vec::new(),
            origin: None,
            moves: 0,
        }
    }

    /// With what its client comes back; only main sessions have it.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.replay.as_ref().map(|replay| Token { session: self.identity.id, secret: replay.secret })
    }

    #[must_use]
    pub fn announcement(&self) -> Open<'_> {
        let Identity { id, user, device, endpoint, address, since, .. } = &self.identity;
        Open {
            session: *id,
            user: user.as_str(),
            device: device.as_ref().map(Device::as_str),
            endpoint: *endpoint,
            transport: self.framing.transport(),
            address: *address,
            since: *since,
            tag: self.token().map_or(0, |token| token.name().tag),
        }
    }

    /// Leaves out what belongs to the connection: unfinished input, unsent bytes.
    pub fn detach(&mut self) {
        self.decoder = Decoder::new();
        self.outbox = None;
    }

    /// The channels that the session is on. Messages that a walk has not brought it yet are not in the answer: it must
    /// have caught up ([`super::channels::Channel::catch_up`]).
    #[must_use]
    pub fn places(&self, channels: &Channels, entering: Vec<Box<str>>) -> Places {
        let name = |key| channels.get(key).name.clone();
        let noted = self.outbox.iter().flat_map(|outbox| outbox.states());
        let behind = self.subscriptions.iter().filter(|sub| channels.get(sub.channel).owes(**sub));
        let mut owed: Vec<_> = noted.copied().chain(behind.map(|sub| sub.channel)).collect();
        owed.sort_unstable();
        owed.dedup();
        Places {
            channels: self.subscriptions.iter().map(|sub| name(sub.channel)).collect(),
            owed: owed.into_iter().map(name).collect(),
            entering,
        }
    }
}
