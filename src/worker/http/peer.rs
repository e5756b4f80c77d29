//! The connection that a request comes over.

use crate::net::guard::Guard;
use crate::protocol::cluster::Port;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// The stream that hyper reads and writes.
pub(super) type Io = Guard<TcpStream>;

/// The other end of a connection, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) port: Port,
}
