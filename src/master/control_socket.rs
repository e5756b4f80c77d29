//! The control socket as a thing in the file system: made for its owner alone, made again when somebody has swept it
//! away, removed at the end if it is still ours.

use super::control::serve;
use super::event::Event;
use crate::os::trust;
use rustix::fs::Mode;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

/// Interval of looks whether the socket is still at its path.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait, at the end, for the socket's removal. No key: whoever ended the daemon waits for it.
const FAREWELL: Duration = Duration::from_secs(1);
/// Longest wait, at the start, for the death of a daemon whose keeper was killed. No key: the kernel is killing it.
const DEATH: Duration = Duration::from_secs(1);
/// Interval of looks whether it has died.
const MOMENT: Duration = Duration::from_millis(20);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Device and inode.
type Identity = (u64, u64);

/// The path, and the socket of ours that is there.
#[derive(Clone)]
pub(super) struct ControlSocket {
    path: PathBuf,
    ours: Arc<Mutex<Option<Identity>>>,
}

/// What is at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Ours,
    /// Nothing, or a leftover.
    Nothing,
    /// Another daemon, which answers.
    Another,
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn denied(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Fails where a daemon answers already, or a stranger could. One whose keeper was killed gets the time to die: its
/// master lives some moments longer.
pub(super) async fn refuse_second(path: &Path) -> io::Result<()> {
    if folder(path).exists() {
        trust::keepers(folder(path)).map_err(denied)?;
    }
    let until = Instant::now() + DEATH;
    loop {
        let who = match UnixStream::connect(path).await {
            Ok(other) => {
                // Nothing is said before a request: what comes is the end.
                let _ = timeout_at(until, other.readable()).await;
                other
                    .peer_cred()
                    .ok()
                    .and_then(|peer| peer.pid())
                    .map(|pid| format!(" (its master is process {pid})"))
            }
            Err(error) if is_busy(&error) => Some(", and does not answer".to_owned()),
            Err(_) => return Ok(()),
        };
        if Instant::now() >= until {
            let path = path.display();
            let text = format!("{path}: another btc-cluster is running there{}", who.unwrap_or_default());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        sleep(MOMENT).await;
    }
}

/// Whether somebody listens, although too many wait already to be accepted: a daemon that is stopped, say.
fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Whether somebody listens there. Does not wait for a place in the queue.
fn answers(path: &Path) -> bool {
    let connected = || {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&socket2::SockAddr::unix(path)?)
    };
    connected().map_or_else(|error| is_busy(&error), |()| true)
}

impl ControlSocket {
    /// Makes the socket, and serves it from now on. One that nobody answers is a leftover and is replaced.
    pub(super) async fn start(path: &Path, events: mpsc::Sender<Event>) -> io::Result<Self> {
        refuse_second(path).await?;
        let socket = Self { path: path.to_owned(), ours: Arc::default() };
        let listener = socket.bind()?;
        let (renew, renewed) = mpsc::channel(1);
        tokio::spawn(serve(UnixListener::from_std(listener)?, renewed, events));
        tokio::spawn(socket.clone().keep(renew));
        Ok(socket)
    }

    /// Removes the socket, unless another one has taken its place. Its file system may hang: the end does not wait for
    /// that.
    pub(super) async fn remove(self) {
        let _ = timeout(FAREWELL, spawn_blocking(move || self.take_away())).await;
    }

    fn take_away(&self) {
        if self.there() == There::Ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn ours(&self) -> Option<Identity> {
        *self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there(&self) -> There {
        let found = identity(&self.path);
        if found.is_some() && found == self.ours() {
            return There::Ours;
        }
        if found.is_some() && answers(&self.path) { There::Another } else { There::Nothing }
    }

    fn bind(&self) -> io::Result<StdUnixListener> {
        let path = &self.path;
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        trust::own_folder(folder(path)).map_err(denied)?;
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).map_err(told)?,
            Ok(_) => {
                return Err(told(io::Error::new(io::ErrorKind::AlreadyExists, "is there and no socket")));
            }
            Err(_) => {}
        }
        let listener = private(path).map_err(told)?;
        *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = identity(path);
        Ok(listener)
    }

    /// Makes the socket again when it is gone. Looks run on a thread of their own: the file system may hang.
    async fn keep(self, renew: mpsc::Sender<UnixListener>) {
        let mut every = interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trouble = String::new();
        loop {
            every.tick().await;
            let here = self.clone();
            let looked = spawn_blocking(move || match here.there() {
                There::Ours => Ok(None),
                There::Nothing => here.bind().map(Some),
                There::Another => {
                    Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there"))
                }
            });
            let path = self.path.display();
            match looked.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                Ok(None) => trouble.clear(),
                Ok(Some(listener)) => {
                    trouble.clear();
                    tracing::warn!(event = "control-restored", %path, "the control socket was swept away: made again");
                    let Ok(listener) = UnixListener::from_std(listener) else { return };
                    if renew.send(listener).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    if why != trouble {
                        tracing::error!(event = "control-lost", %path, why, "the control socket is gone");
                        trouble = why;
                    }
                }
            }
        }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Binds a socket that never is open to others: its mode is set before it has a name.
fn private(path: &Path) -> io::Result<StdUnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // For a file system that does otherwise.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_its_mode_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_the_own_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/x.sock");
        let first = ControlSocket { path: path.clone(), ours: Arc::default() };
        let listener = first.bind().unwrap();
        assert_eq!(first.there(), There::Ours);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(first.there(), There::Nothing);
        let second = ControlSocket { path: path.clone(), ours: Arc::default() };
        let other = second.bind().unwrap();
        assert_eq!(first.there(), There::Another);
        first.take_away();
        assert!(path.exists(), "the first removes the socket of the second");
        // Nobody accepts: in the end no other connection fits.
        let waits: Vec<_> = std::iter::repeat_with(|| {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&socket2::SockAddr::unix(&path).unwrap()).is_ok().then_some(socket)
        })
        .map_while(|socket| socket)
        .collect();
        assert!(waits.len() > 100);
        assert_eq!(first.there(), There::Another, "one that is stopped");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refusal = runtime.block_on(refuse_second(&path)).unwrap_err().to_string();
        assert!(refusal.ends_with("another btc-cluster is running there, and does not answer"), "{refusal}");
        drop((other, waits));
        assert_eq!(first.there(), There::Nothing, "a leftover");
        std::fs::remove_dir_all(folder.path().join("deeper")).unwrap();
        let again = second.bind().unwrap();
        assert_eq!(second.there(), There::Ours, "with its folder");
        drop(again);
        second.take_away();
        assert!(!path.exists());
        drop(listener);
    }
}
