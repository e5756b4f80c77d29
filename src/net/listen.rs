//! The listening sockets: bound once by the master, or passed by systemd, and shared by all workers. A reload keeps the
//! socket of every address that stays, and changes nothing if a new one cannot be bound.

use crate::config::{Config, Listen};
use crate::net::kept::{self, Kept};
use crate::protocol::cluster::{Door, Port};
use crate::protocol::line::Line;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Connections that may wait while no worker accepts; the kernel limits it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Attempts to find a free port that all addresses have in common.
const TRIES: u32 = 16;
/// Checks whether systemd has released a socket, and the pause between two of them: a second in all.
const LET_GO: u32 = 40;
const MOMENT: Duration = Duration::from_millis(25);

#[derive(Debug)]
struct Listener {
    door: Door,
    /// The configured address; `None`: systemd passed the socket.
    wanted: Option<SocketAddr>,
    /// The bound address.
    address: SocketAddr,
    socket: OwnedFd,
}

impl Listener {
    fn share(&self, door: Door) -> Result<Self, ListenError> {
        let socket = self.socket.try_clone().map_err(|error| ListenError::Io(door, self.address, error))?;
        Ok(Self { door, wanted: self.wanted, address: self.address, socket })
    }
}

/// All listening sockets of the daemon.
#[derive(Debug, Default)]
pub struct Listeners(Vec<Listener>);

/// Why a socket cannot be bound.
#[derive(Debug)]
enum ListenError {
    InUse(Door, SocketAddr),
    Overlaps(Door, SocketAddr, SocketAddr),
    NotHere(Door, SocketAddr),
    Privileged(Door, SocketAddr),
    /// systemd passed a socket for TLS.
    NoCertificate(Door, SocketAddr),
    Io(Door, SocketAddr, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(door, at) => write!(f, "{}: {at} is in use by another program", key(*door)),
            Self::Overlaps(door, at, other) => {
                write!(f, "{}: {at} overlaps with {other}, where this daemon listens already", key(*door))
            }
            Self::NotHere(door, at) => write!(f, "{}: {} is no address of this machine", key(*door), at.ip()),
            Self::Privileged(door, at) => {
                write!(
                    f,
                    "{}: no permission for {at}; ports under 1024 need CAP_NET_BIND_SERVICE",
                    key(*door)
                )
            }
            Self::NoCertificate(door, at) => {
                let word = door.word();
                write!(f, "tls.cert: the socket {word} that systemd passed ({at}) needs a certificate")
            }
            Self::Io(door, at, error) => write!(f, "{}: {at}: {error}", key(*door)),
        }
    }
}

impl std::error::Error for ListenError {}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::InUse(..) | ListenError::Overlaps(..) => io::ErrorKind::AddrInUse,
            ListenError::NotHere(..) => io::ErrorKind::AddrNotAvailable,
            ListenError::Privileged(..) => io::ErrorKind::PermissionDenied,
            ListenError::NoCertificate(..) => io::ErrorKind::InvalidInput,
            ListenError::Io(_, _, error) => error.kind(),
        };
        Self::new(kind, error)
    }
}

fn key(door: Door) -> &'static str {
    match (door.port, door.tls) {
        (Port::Http, false) => "http.listen",
        (Port::Ws, false) => "ws.listen",
        (Port::Admin, false) => "admin.listen",
        (Port::Http, true) => "http.listen_tls",
        (Port::Ws, true) => "ws.listen_tls",
        (Port::Admin, true) => "admin.listen_tls",
    }
}

fn wanted(config: &Config, door: Door) -> Option<&Listen> {
    let Config { http, ws, admin, .. } = config;
    match (door.port, door.tls) {
        (Port::Http, false) => Some(&http.listen),
        (Port::Ws, false) => Some(&ws.listen),
        (Port::Admin, false) => admin.listen.as_ref(),
        (Port::Http, true) => http.listen_tls.as_ref(),
        (Port::Ws, true) => ws.listen_tls.as_ref(),
        (Port::Admin, true) => admin.listen_tls.as_ref(),
    }
}

impl Listeners {
    /// Takes the sockets that systemd passed by the names of doors, and those that were kept for this
    /// daemon, and binds the rest. To be called once, at the start of a master; `held` is what the keeper holds.
    ///
    /// # Errors
    /// Names the configuration key that cannot be fulfilled, and says why.
    pub async fn bind(
        config: &Config,
        line: &Line,
        held: Vec<(Box<str>, OwnedFd)>,
    ) -> io::Result<(Self, Kept)> {
        let known = |name: &str| Door::of(name).is_some() || kept::read(name).is_some();
        let passed: Vec<_> = held.into_iter().filter(|(name, _)| known(name)).collect();
        let names = passed.iter().map(|(name, _)| &**name).filter(|name| kept::read(name).is_some());
        let mut kept = Kept::new(line.clone(), names.map(str::to_owned));
        let mut passed = Self::from_systemd(passed)?;
        let mut listeners = passed.change(config);
        if listeners.is_err() && passed.own().next().is_some() {
            // A kept socket that does not help may be in the way of what is wanted now.
            passed.0.retain(|listener| listener.wanted.is_none());
            kept.forget().await;
            listeners = passed.change(config);
            // systemd 257 closes a socket some moments after it has confirmed.
            for _ in 0..LET_GO {
                if listeners.as_ref().err().is_none_or(|error| error.kind() != io::ErrorKind::AddrInUse) {
                    break;
                }
                tokio::time::sleep(MOMENT).await;
                listeners = passed.change(config);
            }
        }
        let listeners = listeners?;
        drop(passed);
        kept.keep(listeners.own());
        Ok((listeners, kept))
    }

    fn from_systemd(passed: Vec<(Box<str>, OwnedFd)>) -> io::Result<Self> {
        let listener = |(name, passed): (Box<str>, OwnedFd)| {
            let listener = listening(&name, passed)?;
            let (door, wanted) = match kept::read(&name) {
                Some((door, wanted)) => (door, Some(wanted)),
                None => (Door::of(&name).unwrap_or(Port::Admin.into()), None),
            };
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Listener { door, wanted, address, socket: listener.into() })
        };
        passed.into_iter().map(listener).collect::<io::Result<_>>().map(Self)
    }

    /// Makes the sockets for a new configuration: an address that stays keeps its socket, sockets passed by systemd
    /// stay. `self` is unchanged, so that nothing is lost if the new sockets are dropped.
    ///
    /// # Errors
    /// As [`Listeners::bind`]; all new sockets are closed then.
    pub fn change(&self, config: &Config) -> io::Result<Self> {
        self.fits(config)?;
        let listeners =
            self.with(&Door::ALL.map(|door| (door, wanted(config, door)))).map_err(io::Error::from)?;
        listeners.bound(config);
        Ok(listeners)
    }

    /// Whether each socket that systemd passed can be served. A certificate may go without any change of sockets.
    ///
    /// # Errors
    /// As [`Listeners::bind`].
    pub fn fits(&self, config: &Config) -> io::Result<()> {
        let mut passed = self.0.iter().filter(|one| one.door.tls && one.wanted.is_none());
        match passed.next().filter(|_| config.tls.pairs().next().is_none()) {
            Some(one) => Err(ListenError::NoCertificate(one.door, one.address).into()),
            None => Ok(()),
        }
    }

    fn with(&self, all: &[(Door, Option<&Listen>)]) -> Result<Self, ListenError> {
        let mut new = Self::default();
        for (door, listen) in all {
            let mut passed = self.0.iter().filter(|old| old.door == *door && old.wanted.is_none()).peekable();
            if passed.peek().is_some() {
                for old in passed {
                    new.0.push(old.share(*door)?);
                }
            } else if let Some(listen) = listen {
                let group = self.group(*door, listen, &new)?;
                new.0.extend(group);
            }
        }
        Ok(new)
    }

    /// The sockets of one key. All its addresses with port 0 get the same free port, if there is one.
    fn group(&self, door: Door, listen: &Listen, new: &Self) -> Result<Vec<Listener>, ListenError> {
        for last in (0..TRIES).map(|n| n + 1 == TRIES) {
            if let Some(group) = self.try_group(door, listen, new, last)? {
                return Ok(group);
            }
        }
        Ok(Vec::new())
    }

    /// `None`: the common port is not free on all addresses.
    fn try_group(
        &self,
        door: Door,
        listen: &Listen,
        new: &Self,
        last: bool,
    ) -> Result<Option<Vec<Listener>>, ListenError> {
        let mut group: Vec<Listener> = Vec::new();
        let mut missing = None;
        for wanted in &listen.addresses {
            let free = wanted.port() == 0;
            let same = |old: &&Listener| old.wanted == Some(*wanted) && (!free || old.door == door);
            if let Some(old) = self.0.iter().find(same) {
                group.push(old.share(door)?);
                continue;
            }
            let common = group.iter().find(|one| free && one.wanted.is_some_and(|at| at.port() == 0));
            let common = common.map(|one| one.address.port());
            let at = SocketAddr::new(wanted.ip(), common.unwrap_or(wanted.port()));
            match bind(door, *wanted, at, listen) {
                Ok(listener) => group.push(listener),
                Err(ListenError::InUse(..)) if common.is_some() && !last => return Ok(None),
                Err(ListenError::InUse(..)) if common.is_some() => {
                    group.push(bind(door, *wanted, *wanted, listen)?)
                }
                Err(error @ ListenError::InUse(..)) => {
                    return Err(self.overlap(new, &group, door, at).unwrap_or(error));
                }
                Err(error @ ListenError::NotHere(..)) if listen.best_effort => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if group.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(event = "address-left-out", "{error}: left out");
                Ok(Some(group))
            }
            None => Ok(Some(group)),
        }
    }

    /// Returns the error if this daemon itself has the port.
    fn overlap(&self, new: &Self, group: &[Listener], door: Door, at: SocketAddr) -> Option<ListenError> {
        let mut ours = self.0.iter().chain(&new.0).chain(group).map(|listener| listener.address);
        let other = ours.find(|other| {
            let any = other.ip().is_unspecified() || at.ip().is_unspecified();
            other.port() == at.port() && (any || other.ip() == at.ip())
        })?;
        Some(ListenError::Overlaps(door, at, other))
    }

    /// Sets what the kernel may hold for each connection that is accepted from now on: it inherits these limits.
    pub fn bound(&self, config: &Config) {
        let Config { http, ws, heartbeat, .. } = config;
        // Also ends what a client has not acknowledged of a connection that is closed already.
        let unheard = http.idle_timeout.max(heartbeat.timeout);
        for listener in &self.0 {
            let socket = SockRef::from(&listener.socket);
            let set = socket
                .set_send_buffer_size(ws.send_buffer)
                .and_then(|()| socket.set_recv_buffer_size(ws.receive_buffer))
                .and_then(|()| socket.set_tcp_user_timeout(Some(unheard)));
            if let Err(error) = set {
                tracing::debug!(address = %listener.address, %error, "bounds of its buffers");
            }
        }
    }

    /// All sockets with their ports.
    pub fn all(&self) -> impl Iterator<Item = (Door, &OwnedFd)> {
        self.0.iter().map(|listener| (listener.door, &listener.socket))
    }

    /// The sockets that this daemon bound itself, with the configured addresses.
    pub fn own(&self) -> impl Iterator<Item = (Door, SocketAddr, BorrowedFd<'_>)> {
        self.0.iter().filter_map(|one| one.wanted.map(|wanted| (one.door, wanted, one.socket.as_fd())))
    }

    /// The bound addresses of one door.
    pub fn addresses(&self, door: impl Into<Door>) -> impl Iterator<Item = SocketAddr> {
        let door = door.into();
        self.0.iter().filter(move |listener| listener.door == door).map(|listener| listener.address)
    }
}

/// Binds `wanted` at `at` (the same but for the port), or at its replacement on a machine without IPv6.
fn bind(door: Door, wanted: SocketAddr, at: SocketAddr, listen: &Listen) -> Result<Listener, ListenError> {
    // `[::]` serves IPv4 as well, unless the configuration has a socket for that.
    let mut others = listen.addresses.iter();
    let v4_too = at.ip().is_unspecified()
        && !others
            .any(|other| other.is_ipv4() && other.ip().is_unspecified() && other.port() == wanted.port());
    let socket = match listen_at(at, !v4_too) {
        Err(error) if v4_too && no_ipv6(at, &error) => {
            tracing::warn!(event = "no-ipv6", "{}: no IPv6 here, 0.0.0.0 instead of {}", key(door), at.ip());
            listen_at(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), at.port()), false)
        }
        result => result,
    };
    let socket = socket.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => ListenError::InUse(door, at),
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => ListenError::NotHere(door, at),
        Some(Errno::ACCESS) => ListenError::Privileged(door, at),
        _ => ListenError::Io(door, at, error),
    })?;
    let address = socket.local_addr().ok().as_ref().and_then(SockAddr::as_socket).unwrap_or(at);
    Ok(Listener { door, wanted: Some(wanted), address, socket: socket.into() })
}

/// A socket that was passed, if it is one that listens for TCP connections.
fn listening(name: &str, passed: OwnedFd) -> io::Result<TcpListener> {
    let socket = Socket::from(passed);
    let tcp = socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
        && socket.domain().is_ok_and(|domain| matches!(domain, Domain::IPV4 | Domain::IPV6));
    if tcp && socket.is_listener().is_ok_and(|listens| listens) {
        return Ok(socket.into());
    }
    let words = format!("what systemd passed as {name} is no TCP socket that listens");
    Err(io::Error::new(io::ErrorKind::InvalidInput, words))
}

fn no_ipv6(at: SocketAddr, error: &io::Error) -> bool {
    at.is_ipv6() && matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn listen_at(at: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(at), kind, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        // Set explicitly: the default is the administrator's (net.ipv6.bindv6only).
        socket.set_only_v6(only_v6)?;
    }
    // Without it a restarted daemon would have to wait for its predecessor's connections.
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
