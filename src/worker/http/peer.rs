//! The connection that a request comes over.

use super::socket::{Life, Socket};
use crate::access::Permit;
use crate::net::guard::Guard;
use crate::net::phase::Phase;
use crate::protocol::cluster::Port;
use axum::extract::Request;
use std::net::SocketAddr;
use std::sync::Arc;

/// The stream that hyper reads and writes.
pub(super) type Io = Guard<Socket>;

/// The other end of a connection, in the extensions of its requests.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) port: Port,
    /// It speaks TLS.
    pub(super) secure: bool,
    /// Counts the connection, also as a session.
    pub(super) permit: Permit,
    pub(super) life: Life,
    pub(super) phase: Phase,
}

impl Peer {
    /// The connection of a request. `None`: the request came over none.
    pub(super) fn of(request: &Request) -> Option<&Arc<Self>> {
        request.extensions().get()
    }
}
