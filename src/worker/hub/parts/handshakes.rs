//! TLS of a worker: what a handshake needs at this moment, and the handshakes that wait for their turn.

use crate::config::{Config, TlsVersion};
use crate::net::tls::given::{Given, Ports};
use crate::net::tls::queue::Queue;
use crate::protocol::cluster::Port;
use rustls::ServerConfig;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Certificates and secrets in force, and the queue.
pub(in crate::worker) struct Handshakes {
    /// Of the master; `None`: there is no TLS.
    given: Option<Given>,
    /// Made of it.
    ports: Option<Ports>,
    min_version: TlsVersion,
    queue: Queue<IpAddr>,
}

impl Default for Handshakes {
    fn default() -> Self {
        let queue = Queue::new(1, Duration::from_secs(1));
        Self { given: None, ports: None, min_version: TlsVersion::V1_2, queue }
    }
}

impl std::fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshakes").field("given", &self.given).finish_non_exhaustive()
    }
}

impl Handshakes {
    /// Takes the live keys of a configuration.
    pub fn adopt(&mut self, config: &Config) {
        self.queue.adopt(config.tls.handshakes_at_once, config.http.header_timeout);
        if self.min_version != config.tls.min_version {
            self.min_version = config.tls.min_version;
            self.make();
        }
    }

    /// Takes what the master gives. Connections keep what they began with.
    pub(in crate::worker) fn give(&mut self, bytes: &[u8]) {
        let given = Given::decode(bytes);
        if given.is_none() && !bytes.is_empty() {
            tracing::error!("certificates that cannot be read are ignored");
            return;
        }
        self.given = given;
        self.make();
    }

    fn make(&mut self) {
        self.ports = match self.given.as_ref().map(|given| given.ports(self.min_version)) {
            Some(Ok(ports)) => Some(ports),
            Some(Err(error)) => return tracing::error!(%error, "TLS stays as it was"),
            None => None,
        };
    }

    /// What a handshake that begins now is done with.
    pub(in crate::worker) fn port(&self, port: Port) -> Option<Arc<ServerConfig>> {
        let ports = self.ports.as_ref()?;
        Some(match port {
            Port::Http | Port::Ws => ports.public.clone(),
            Port::Admin => ports.admin.clone(),
        })
    }

    /// Where handshakes wait.
    pub(in crate::worker) fn queue(&self) -> Queue<IpAddr> {
        self.queue.clone()
    }
}
