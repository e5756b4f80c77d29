//! The connection that a request comes over.

use super::socket::Socket;
use crate::access::Permit;
use crate::net::guard::Guard;
use crate::net::phase::Phase;
use crate::protocol::cluster::Port;
use axum::extract::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The stream that hyper reads and writes.
pub(super) type Io = Guard<Socket>;

/// A connection and its other end, shared, in the extensions of its requests.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) port: Port,
    pub(super) phase: Phase,
    /// Counts the connection for as long as it lives, also as a session.
    pub(super) permit: Permit,
    /// Cancelled when the client has shut down its side.
    pub(super) said_all: CancellationToken,
}

impl Peer {
    /// The connection of a request.
    pub(super) fn of(request: &Request) -> Option<&Arc<Self>> {
        request.extensions().get()
    }
}
