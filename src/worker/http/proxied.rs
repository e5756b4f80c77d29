//! What a trusted proxy says before anything else: whose connection it passes on (`http.proxy_protocol`,
//! `ws.proxy_protocol`).

use crate::config::Config;
use crate::net::phase::Phase;
use crate::net::proxied::{self, Passed};
use crate::protocol::cluster::Port;
use crate::worker::hub::{Entrance, Hub, Leaving};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Whether the connections of trusted proxies begin with a header of the PROXY protocol on this port.
fn is_told(config: &Config, port: Port) -> bool {
    match port {
        Port::Http => config.http.proxy_protocol,
        Port::Ws => config.ws.proxy_protocol,
        Port::Admin => false,
    }
}

/// A connection that has been let in.
pub(super) struct Arrived<'c> {
    pub(super) socket: &'c mut TcpStream,
    pub(super) port: Port,
    /// Its name in the crowd.
    pub(super) key: usize,
    pub(super) phase: &'c Phase,
    pub(super) leaving: &'c Leaving,
}

/// Finds out whose connection it is. `None`: it ends, since its proxy does not say.
pub(super) async fn whose(
    hub: &Hub,
    came: Arrived<'_>,
    (address, entrance): (SocketAddr, Entrance),
    within: Duration,
) -> Option<(SocketAddr, Entrance)> {
    if !entrance.is_trusted() || !is_told(&hub.config(), came.port) {
        return Some((address, entrance));
    }
    // Boxed: connections without a header are not to be larger for it.
    Box::pin(listen(hub, came, (address, entrance), within)).await
}

async fn listen(
    hub: &Hub,
    came: Arrived<'_>,
    (address, entrance): (SocketAddr, Entrance),
    within: Duration,
) -> Option<(SocketAddr, Entrance)> {
    let Arrived { socket, port, key, phase, leaving } = came;
    let read = tokio::select! {
        read = timeout(within, proxied::read(socket)) => read,
        () = phase.is_told() => return None,
        () = leaving.over() => return None,
    };
    match read {
        Ok(Ok(Passed::Own)) => Some((address, entrance)),
        Ok(Ok(Passed::For(client))) => Some((client, hub.lock().passed_on(key, entrance, client.ip(), port))),
        Ok(Err(_)) | Err(_) => {
            hub.lock().not_told(address.ip());
            None
        }
    }
}
