//! The connection that a request comes over.

use super::socket::Socket;
use crate::net::guard::Guard;
use crate::protocol::cluster::Port;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// The stream that hyper reads and writes.
pub(super) type Io = Guard<Socket>;

/// The other end of a connection, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) port: Port,
}

/// Cancelled when the client has shut down its side of the connection, in the extensions of its requests.
#[derive(Clone, Debug)]
pub(super) struct SaidAll(pub(super) CancellationToken);
