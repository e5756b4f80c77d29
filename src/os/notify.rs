//! Messages to systemd. Without `NOTIFY_SOCKET`, and when systemd does not listen, nothing happens.

use super::descriptors;
use sd_notify::NotifyState;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream as StdUnixStream};
use std::time::Duration;

/// The longest wait for systemd.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shortest period of [`Notification::Watchdog`].
const SHORTEST: Duration = Duration::from_millis(10);

/// A message about the daemon's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// The daemon serves; also the end of [`Notification::Reloading`].
    Ready,
    /// A reload begins; [`Notification::Ready`] ends it, whether it went well or not.
    Reloading,
    /// A stop begins, and may take so long. (`TimeoutStopSec=` knows nothing of the configuration.)
    Stopping(Duration),
    /// A line for `systemctl status`.
    Status(String),
    /// A sign of life of the master's loop. Only that loop may send it.
    Watchdog,
}

/// The master's line to systemd.
#[derive(Clone, Debug, Default)]
pub struct Notifier;

impl Notifier {
    /// Reads the environment at each use.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Sends a message about the daemon's state.
    pub fn tell(&self, notice: &Notification) {
        match notice {
            Notification::Ready => tell(&[NotifyState::Ready]),
            // A line end would start another variable.
            Notification::Status(text) => tell(&[NotifyState::Status(&text.replace(['\n', '\r'], " "))]),
            Notification::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(now) => tell(&[NotifyState::Reloading, now]),
                Err(error) => tracing::debug!(%error, "no clock"),
            },
            Notification::Stopping(within) => {
                let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
                tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within)]);
            }
            Notification::Watchdog => tell(&[NotifyState::Watchdog]),
        }
    }

    /// Leaves a copy of a descriptor with systemd, which passes it to the next process of this service, however this
    /// one ends. False: nobody took the copy. Names have no colon.
    pub fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) -> bool {
        let message = format!("FDSTORE=1\nFDNAME={name}\n");
        let sent = tell_with(&message, descriptor);
        sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "systemd does not listen");
            false
        })
    }

    /// Tells systemd to close the copies of that name.
    pub fn forget(&self, name: &str) {
        tell(&[NotifyState::Custom(&format!("FDSTOREREMOVE=1\nFDNAME={name}"))]);
    }

    /// The period of [`Notification::Watchdog`]: half of what systemd allows. `None`: nobody watches (also if the limit
    /// is 0, or if what the variables say is no number).
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>());
        let for_us = match number("WATCHDOG_PID") {
            None => true,
            Some(pid) => pid == Ok(std::process::id().into()),
        };
        let limit = number("WATCHDOG_USEC").and_then(Result::ok).filter(|limit| for_us && *limit > 0);
        // No limit is so short that it could be kept.
        limit.map(|limit| (Duration::from_micros(limit) / 2).max(SHORTEST))
    }

    /// Waits until systemd has handled all earlier messages, 5 s at most.
    pub fn barrier(&self) {
        let waited = StdUnixStream::pair().and_then(|(mut ours, theirs)| {
            ours.set_read_timeout(Some(PATIENCE))?;
            let sent = tell_with("BARRIER=1", theirs.as_fd())?;
            drop(theirs);
            // systemd closes its copy after all earlier messages.
            if sent { ours.read(&mut [0]) } else { Ok(0) }
        });
        if let Err(error) = waited {
            tracing::debug!(%error, "systemd does not answer");
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}

fn tell_with(message: &str, descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(false) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    descriptors::send(&socket, message.as_bytes(), &[descriptor]).map(|sent| sent == message.len())
}

/// A listening socket that systemd passed, and its `FileDescriptorName=`.
pub type Passed = (String, TcpListener);

/// Takes the TCP listening sockets that systemd passed (`LISTEN_FDS`) under a `wanted` name; others are left alone.
/// Call it once, before there are threads: it removes the variables.
///
/// # Errors
/// A wanted descriptor is no listening TCP socket.
pub fn passed_sockets(wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Passed>> {
    // Names alone may be left over from a parent: only LISTEN_PID says whether they are meant for this process.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    let all: Vec<_> = sd_notify::listen_fds_with_names()?.map(|(_, name)| name).collect();
    // `listenfd` takes ownership, so that no unsafe code is needed here.
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut passed = Vec::new();
    for (at, name) in all.into_iter().enumerate().filter(|(_, name)| wanted(name)) {
        if let Some(listener) = descriptors.take_tcp_listener(at)? {
            passed.push((name, listener));
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// The process that the test below starts with an environment of its own.
    #[test]
    #[ignore = "the child of another test"]
    fn act_as_daemon() {
        let notifier = Notifier::new();
        notifier.tell(&Notification::Ready);
        notifier.tell(&Notification::Status("two\nlines".to_owned()));
        notifier.tell(&Notification::Reloading);
        notifier.tell(&Notification::Watchdog);
        notifier.tell(&Notification::Stopping(Duration::from_secs(15)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(notifier.keep("kept/x", listener.as_fd()));
        notifier.forget("kept/x");
        notifier.barrier();
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn systemd_hears_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let variables = [("NOTIFY_SOCKET", path.as_os_str()), ("WATCHDOG_USEC", "10000000".as_ref())];
        let child = child("act_as_daemon", &variables).spawn().unwrap();
        socket.set_read_timeout(Some(4 * PATIENCE)).unwrap();
        let mut buffer = [0; 256];
        let mut next = || {
            let len = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        assert_eq!((next().trim(), next().trim()), ("READY=1", "STATUS=two lines"));
        let reloading = next();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!(next().trim(), "WATCHDOG=1");
        assert_eq!(next().trim(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000");
        let mut buffer = [0; 256];
        let mut received = descriptors::receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..received.bytes], b"FDSTORE=1\nFDNAME=kept/x\n");
        assert!(TcpListener::from(received.descriptors.pop().unwrap()).local_addr().is_ok());
        let len = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..len].trim_ascii_end(), b"FDSTOREREMOVE=1\nFDNAME=kept/x");
        let received = descriptors::receive(&socket, &mut buffer).unwrap();
        assert_eq!((&buffer[..received.bytes], received.descriptors.len()), (&b"BARRIER=1"[..], 1));
        // The child continues when this end is closed.
        drop(received);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Runs another test of this file in a process whose environment says what systemd says, and no more.
    fn child(test: &str, variables: &[(&str, &std::ffi::OsStr)]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", &format!("os::notify::tests::{test}"), "--ignored"]);
        for name in
            ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
        {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    #[test]
    fn without_systemd_nothing_happens() {
        let output = child("act_without_systemd", &[]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    #[ignore = "the child of another test"]
    fn act_without_systemd() {
        Notifier::new().tell(&Notification::Ready);
        assert_eq!(Notifier::new().watchdog_interval(), None);
        assert!(!Notifier::new().keep("x", std::io::stdin().as_fd()));
        assert!(passed_sockets(|_| true).unwrap().is_empty());
    }
}
