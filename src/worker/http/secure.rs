//! The handshake of TLS before the first request: in its turn, within the time that the head of a request has.

use crate::net::phase::Phase;
use crate::net::tls::handshake::{self, Failure, PLAIN};
use crate::net::tls::stream::Stream;
use crate::protocol::cluster::Door;
use crate::worker::hub::{Hub, Leaving};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a client that speaks no TLS may still send before it reads the answer.
const PLAIN_REST: usize = 64 << 10;

/// A connection that has come.
pub(super) struct Came<'c> {
    pub(super) socket: TcpStream,
    pub(super) door: Door,
    /// Whose turn it is.
    pub(super) address: IpAddr,
    pub(super) phase: &'c Phase,
    pub(super) leaving: &'c Leaving,
}

/// Brings a connection to the point where its first request follows. `None`: it has ended.
pub(super) async fn secure(hub: &Hub, came: Came<'_>, within: Duration) -> Option<Stream> {
    if !came.door.tls {
        return Some(came.socket.into());
    }
    // Boxed: connections without TLS are not to be larger for it.
    Box::pin(shake_hands(hub, came, within)).await
}

async fn shake_hands(hub: &Hub, came: Came<'_>, within: Duration) -> Option<Stream> {
    let Came { socket, door, address, phase, leaving } = came;
    let queue = hub.lock().connections.handshakes.queue();
    // A port of TLS is there with its certificate only.
    hub.lock().connections.handshakes.port(door.port)?;
    let known = hub.clone();
    let config = move || known.lock().connections.handshakes.port(door.port);
    let result = tokio::select! {
        result = timeout(within, handshake::begin(socket, || queue.turn(&address), config)) => result,
        () = phase.is_told() => return None,
        () = leaving.over() => return None,
    };
    let failure = match result {
        Ok(Ok(stream)) => {
            let kind = stream.get_ref().1.handshake_kind();
            let resumed = kind == Some(rustls::HandshakeKind::Resumed);
            hub.lock().counters.count_handshake(if resumed { "resumed" } else { "full" });
            return Some(Stream::Tls(Box::new(stream)));
        }
        Ok(Err(failure)) => Some(failure),
        Err(_) => None,
    };
    let word = failure.as_ref().map_or("timeout", Failure::word);
    hub.lock().counters.count_handshake(word);
    match failure {
        Some(Failure::Plain(stream)) => super::linger::close(stream.into(), PLAIN, PLAIN_REST, within).await,
        Some(Failure::Refused(error)) => tracing::debug!(event = "handshake-refused", %address, %error),
        _ => {}
    }
    None
}
