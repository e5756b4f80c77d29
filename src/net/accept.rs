//! The accept loop. All workers share the listening sockets, and each of them wakes for every connection; a worker with
//! more sessions than its share lets the others go first. No error ends the loop.

use crate::model::LogLimiter;
use crate::os::clock;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Pause of a process without free descriptors or memory.
const WAIT: Duration = Duration::from_millis(50);

/// The gate's decision about a waiting connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Accept the connection.
    Now,
    /// Leave the connection to the other workers; ask again after this time if it still waits.
    Hold(Duration),
    /// End the loop.
    Stop,
}

/// Decides when to accept, and counts failures.
pub trait Gate {
    /// Called whenever a connection waits.
    fn before_accept(&mut self) -> Go;

    /// Called if descriptors or memory were missing for a connection; it waits on.
    fn accept_error(&mut self);
}

/// Accepts until the gate says stop. Cancel-safe: every accepted connection has been passed to `on_connection`, with
/// its client's address and without Nagle's algorithm.
pub async fn accept_loop(
    listener: TcpListener,
    mut gate: impl Gate,
    mut on_connection: impl FnMut(TcpStream, SocketAddr),
) {
    // Readiness and accept are apart, so that other workers can accept in between.
    let listener = match listener.into_std().and_then(watch) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(event = "accept", %error, "this socket is not served"),
    };
    let mut limiter = LogLimiter::<()>::default();
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        match gate.before_accept() {
            Go::Now => (),
            Go::Hold(time) => {
                sleep(time).await;
                continue;
            }
            Go::Stop => return,
        }
        let Ok(result) = ready.try_io(|listener| accept(listener.get_ref())) else { continue };
        match result {
            Ok((stream, address)) => on_connection(stream, address),
            Err(error) if is_clients(&error) => tracing::trace!(%error, "accept"),
            Err(error) => {
                gate.accept_error();
                if let Some(before) = limiter.change((), clock::mono()) {
                    tracing::warn!(event = "accept-waits", %error, before, "new connections wait");
                }
                sleep(WAIT).await;
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "sound for what owns its descriptor, as this does; its successor is unsafe code"
)]
fn watch(listener: std::net::TcpListener) -> io::Result<AsyncFd<std::net::TcpListener>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

fn accept(listener: &std::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, address) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let stream = std::net::TcpStream::from(socket);
    // Small frames must leave at once. A dead connection refuses this; reading from it will tell.
    let _ = stream.set_nodelay(true);
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    let address = address.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
    Ok((TcpStream::from_std(stream)?, address))
}

/// Whether the client or the network failed, and only this connection (`accept(2)`, "Error handling").
fn is_clients(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NONET
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::TIMEDOUT
        )
    )
}

#[cfg(test)]
mod tests;
