//! What sessions use, by kind and by address.

use crate::model::SessionId;
use crate::protocol::cluster::{Generation, Open, Transport};
use std::net::IpAddr;

/// The most sessions where `limits.sessions` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Those that have a descriptor each.
    pub connected: u32,
    /// Those that poll, whatever `limits.sessions` is.
    pub polling: u32,
}

/// Sessions of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) connected: u32,
    pub(super) polling: u32,
}

/// What makes room for others, to be told to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// The directory has ended this session.
    Evicted { worker: Generation, session: SessionId },
    /// The directory has ended this stream: a newer one of its user takes its place.
    Replaced { worker: Generation, session: SessionId },
    /// The worker is to end the polling session whose client has been away longest.
    Shed { worker: Generation },
    /// The worker is to end sessions whose clients were never heard, of one address or of all.
    Silent { worker: Generation, of: Option<IpAddr> },
}

/// What a new session would use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) transport: Transport,
    pub(super) address: IpAddr,
}

impl Held {
    pub(super) fn of(self, transport: Transport) -> u32 {
        if transport == Transport::Poll { self.polling } else { self.connected }
    }

    pub(super) fn all(self) -> u32 {
        self.connected + self.polling
    }

    pub(super) fn of_mut(&mut self, transport: Transport) -> &mut u32 {
        if transport == Transport::Poll { &mut self.polling } else { &mut self.connected }
    }
}

impl Use {
    pub(super) fn of(open: &Open<'_>) -> Self {
        Self { transport: open.transport, address: open.address }
    }
}
