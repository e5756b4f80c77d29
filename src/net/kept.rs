//! Listening sockets that are held for the next master, by the keeper, and for the daemon's next life, by systemd (its
//! descriptor store): a client that connects meanwhile waits in the queue and is served; nobody is refused.

use crate::protocol::cluster::Door;
use crate::protocol::line::Line;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// The prefix of the names.
const OURS: &str = "kept";

/// `kept/http/[;;];3000`: the address that the socket was wanted for. systemd allows no colon in a name.
fn write(door: Door, wanted: SocketAddr) -> String {
    format!("{OURS}/{}/{}", door.word(), wanted.to_string().replace(':', ";"))
}

/// Reads a name written by [`write()`].
pub(super) fn read(name: &str) -> Option<(Door, SocketAddr)> {
    let (word, wanted) = name.strip_prefix(OURS)?.strip_prefix('/')?.split_once('/')?;
    Some((Door::of(word)?, wanted.replace(';', ":").parse().ok()?))
}

/// The names of the sockets that keeper and systemd hold.
#[derive(Debug)]
pub struct Kept {
    names: BTreeSet<String>,
    line: Line,
}

impl Kept {
    /// `names` came back from the keeper, which still has them.
    pub(super) fn new(line: Line, names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect(), line }
    }

    /// Makes keeper and systemd drop all sockets. They are closed when this returns.
    pub(super) async fn forget(&mut self) {
        std::mem::take(&mut self.names).iter().for_each(|name| self.drop_one(name));
        self.line.barrier().await;
    }

    fn drop_one(&self, name: &str) {
        self.line.release(name);
        self.line.unstore(name);
    }

    /// Makes keeper and systemd hold exactly these sockets.
    pub fn keep<'a>(&mut self, sockets: impl Iterator<Item = (Door, SocketAddr, BorrowedFd<'a>)>) {
        let mut names = BTreeSet::new();
        for (door, wanted, socket) in sockets {
            let name = write(door, wanted);
            // systemd does not store the same socket twice.
            match self.line.hold(&name, socket).and_then(|()| self.line.store(&name, socket)) {
                Ok(()) => _ = names.insert(name),
                Err(error) => tracing::error!(event = "descriptor", %error),
            }
        }
        for gone in self.names.difference(&names) {
            self.drop_one(gone);
        }
        self.names = names;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_socket_is_for_and_systemd_takes_it() {
        for (door, wanted) in
            Door::ALL.into_iter().zip(["[::]:3000", "0.0.0.0:8080", "127.0.0.1:0"].into_iter().cycle())
        {
            let wanted = wanted.parse().unwrap();
            let name = write(door, wanted);
            assert!(!name.contains(':') && name.is_ascii(), "{name}");
            assert_eq!(read(&name), Some((door, wanted)));
        }
        for other in ["", "http", "kept/http", "kept/http/x", "kept/tls/0.0.0.0;1", "stored", "connection"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
