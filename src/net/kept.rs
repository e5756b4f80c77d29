//! Listening sockets that systemd keeps for the daemon's next life (its descriptor store): a client that connects while
//! the daemon restarts waits in the queue and is served; nobody is refused.

use crate::os::notify::Notifier;
use crate::protocol::cluster::Port;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// The prefix of the names.
const OURS: &str = "kept";
const PORTS: [(Port, &str); 3] = [(Port::Http, "http"), (Port::Ws, "ws"), (Port::Admin, "admin")];

/// `kept/http/[;;];3000`: the address that the socket was wanted for. systemd allows no colon in a name.
fn write(port: Port, wanted: SocketAddr) -> String {
    let word = PORTS.iter().find(|(known, _)| *known == port).map_or("", |(_, word)| word);
    format!("{OURS}/{word}/{}", wanted.to_string().replace(':', ";"))
}

/// Reads a name written by [`write()`].
pub(super) fn read(name: &str) -> Option<(Port, SocketAddr)> {
    let (word, wanted) = name.strip_prefix(OURS)?.strip_prefix('/')?.split_once('/')?;
    let (port, _) = PORTS.iter().find(|(_, known)| *known == word)?;
    Some((*port, wanted.replace(';', ":").parse().ok()?))
}

/// The names of the sockets that systemd holds.
#[derive(Debug)]
pub struct Kept {
    names: BTreeSet<String>,
    notifier: Notifier,
}

impl Kept {
    /// `names` came back from systemd, which still has them.
    pub(super) fn new(notifier: Notifier, names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect(), notifier }
    }

    /// Makes systemd drop all sockets. They are closed when this returns.
    pub(super) fn forget(&mut self) {
        self.names.iter().for_each(|name| self.notifier.forget(name));
        self.names.clear();
        self.notifier.barrier();
    }

    /// Makes systemd hold exactly these sockets.
    pub fn keep<'a>(&mut self, sockets: impl Iterator<Item = (Port, SocketAddr, BorrowedFd<'a>)>) {
        let mut names = BTreeSet::new();
        for (port, wanted, socket) in sockets {
            let name = write(port, wanted);
            // systemd does not store the same socket twice.
            if self.notifier.keep(&name, socket) {
                names.insert(name);
            }
        }
        for gone in self.names.difference(&names) {
            self.notifier.forget(gone);
        }
        self.names = names;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_socket_is_for_and_systemd_takes_it() {
        for (port, wanted) in [
            (Port::Http, "[::]:3000"),
            (Port::Ws, "0.0.0.0:8080"),
            (Port::Admin, "127.0.0.1:0"),
            (Port::Http, "[fe80::1%3]:1"),
        ] {
            let wanted = wanted.parse().unwrap();
            let name = write(port, wanted);
            assert!(!name.contains(':') && name.is_ascii(), "{name}");
            assert_eq!(read(&name), Some((port, wanted)));
        }
        for other in ["", "http", "kept/http", "kept/http/x", "kept/tls/0.0.0.0;1", "stored", "connection"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
