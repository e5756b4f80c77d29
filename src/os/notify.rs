//! Messages to systemd, and what it passes to its main process. Without `NOTIFY_SOCKET`, and when systemd does not
//! listen, nothing happens.

use super::clock;
use super::descriptors;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Shortest limit of the watchdog that counts: no shorter one could be kept.
const SHORTEST: Duration = Duration::from_millis(20);
/// Messages that wait while systemd does not read; later ones are lost.
const WAITING: usize = 512;

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
}

impl Notification {
    /// The message as `sd_notify(3)` has it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            // A line end would start another variable.
            Self::Status(text) => format!("STATUS={}", text.replace(['\n', '\r'], " ")),
            Self::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", clock::mono().0 / 1000),
            Self::Stopping(within) => {
                let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
                format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={within}")
            }
        }
    }
}

/// The main process's way to systemd. Messages leave in order, and no call waits.
#[derive(Debug, Default)]
pub struct Systemd {
    waiting: VecDeque<(Box<str>, Vec<OwnedFd>)>,
    /// The socket that systemd did not take the first message from yet.
    socket: Option<UnixDatagram>,
}

impl Systemd {
    /// Sends a message with descriptors, after those that wait.
    pub fn tell(&mut self, text: Box<str>, with: Vec<OwnedFd>) {
        // The newest status is enough, and a sign of life is for its moment.
        let replaced = |old: &str| {
            ["STATUS=", "WATCHDOG=1"].iter().any(|kind| old.starts_with(kind) && text.starts_with(kind))
        };
        self.waiting.retain(|(old, _)| !replaced(old));
        if self.waiting.len() < WAITING {
            self.waiting.push_back((text, with));
        }
        self.write();
    }

    /// Sends what systemd takes now.
    pub fn write(&mut self) {
        while let Some((text, with)) = self.waiting.front() {
            let sent = match self.socket.take().map_or_else(socket, |socket| Ok(Some(socket))) {
                Ok(Some(socket)) => {
                    let with: Vec<_> = with.iter().map(AsFd::as_fd).collect();
                    match descriptors::send(&socket, text.as_bytes(), &with) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            self.socket = Some(socket);
                            return;
                        }
                        sent => sent.map(|_| ()),
                    }
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "systemd does not listen");
            }
            self.waiting.pop_front();
        }
    }

    /// The socket to be polled for writing, while systemd does not take the next message.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}

/// A socket to systemd that does not wait; `None`: systemd has not started this daemon.
fn socket() -> io::Result<Option<UnixDatagram>> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(Some(socket))
}

/// The limit of systemd's watchdog. `None`: nobody watches (also if the limit is 0, or if what the variables say is no
/// number).
#[must_use]
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>());
    let for_us = match number("WATCHDOG_PID") {
        None => true,
        Some(pid) => pid == Ok(std::process::id().into()),
    };
    let limit = number("WATCHDOG_USEC").and_then(Result::ok).filter(|limit| for_us && *limit > 0);
    limit.map(|limit| Duration::from_micros(limit).max(SHORTEST))
}

/// Takes the descriptors that systemd passed (`LISTEN_FDS`), with their `FileDescriptorName=`. Call it once, before
/// there are threads and before anything is opened.
#[must_use]
#[expect(unsafe_code, reason = "systemd passes descriptors by their numbers")]
pub fn passed() -> Vec<(Box<str>, OwnedFd)> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    // Names and numbers alone may be left over from a parent: only LISTEN_PID says whether they are for this process.
    if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
        return Vec::new();
    }
    let count = variable("LISTEN_FDS").parse::<u16>().unwrap_or(0);
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    let mut passed = Vec::new();
    for number in (3..).take(count.into()) {
        let name = names.next().unwrap_or_default();
        // SAFETY: `F_GETFD` of a number that is no descriptor fails, and touches no memory either way.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            continue;
        }
        // SAFETY: the descriptor is open, and by sd_listen_fds(3) it is this process's own; nobody else here takes
        // numbers from there, and this is called once, before anything else is opened.
        passed.push((name.into(), unsafe { OwnedFd::from_raw_fd(number) }));
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    /// The process that the test below starts with an environment of its own.
    #[test]
    #[ignore = "the child of another test"]
    fn act_as_daemon() {
        let mut systemd = Systemd::default();
        let mut tell = |text: String| systemd.tell(text.into(), Vec::new());
        tell(Notification::Ready.text());
        tell(Notification::Status("two\nlines".to_owned()).text());
        tell(Notification::Reloading.text());
        tell("WATCHDOG=1".to_owned());
        tell(Notification::Stopping(Duration::from_secs(15)).text());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        systemd.tell("FDSTORE=1\nFDNAME=kept/x".into(), vec![listener.into()]);
        assert!(systemd.socket().is_none());
        assert_eq!(watchdog(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn systemd_hears_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let variables = [("NOTIFY_SOCKET", path.as_os_str()), ("WATCHDOG_USEC", "10000000".as_ref())];
        let child = child("act_as_daemon", &variables).spawn().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 256];
        let mut next = || {
            let len = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        assert_eq!((next(), next()), ("READY=1".to_owned(), "STATUS=two lines".to_owned()));
        let reloading = next();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!(next(), "WATCHDOG=1");
        assert_eq!(next(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000");
        let mut buffer = [0; 256];
        let mut received = descriptors::receive(&socket, &mut buffer).unwrap();
        assert_eq!(&buffer[..received.bytes], b"FDSTORE=1\nFDNAME=kept/x");
        assert!(TcpListener::from(received.descriptors.pop().unwrap()).local_addr().is_ok());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The process that the test below starts: systemd does not read while it speaks.
    #[test]
    #[ignore = "the child of another test"]
    fn act_unheard() {
        let mut systemd = Systemd::default();
        for n in 0..2_000 {
            let kind = ["STATUS", "OTHER", "WATCHDOG"][n % 3];
            let text = if kind == "WATCHDOG" { "WATCHDOG=1".to_owned() } else { format!("{kind}={n}") };
            systemd.tell(text.into(), Vec::new());
        }
        assert!(systemd.socket().is_some());
        std::fs::write(std::env::var("SAID").unwrap(), "").unwrap();
        while let Some(socket) = systemd.socket() {
            let mut wanted = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::OUT)];
            rustix::event::poll(&mut wanted, None).unwrap();
            systemd.write();
        }
    }

    #[test]
    fn a_systemd_that_does_not_read_keeps_nobody_waiting_and_hears_the_rest_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let said = folder.path().join("said");
        let variables = [("NOTIFY_SOCKET", path.as_os_str()), ("SAID", said.as_os_str())];
        let child = child("act_unheard", &variables).spawn().unwrap();
        let begun = std::time::Instant::now();
        while !said.exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it waits for systemd");
            std::thread::yield_now();
        }
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (mut buffer, mut numbers, mut last) = ([0; 64], Vec::new(), String::new());
        while last != "STATUS=1998" {
            let len = socket.recv(&mut buffer).unwrap();
            last = String::from_utf8(buffer[..len].to_vec()).unwrap();
            numbers.extend(last.split_once("OTHER=").and_then(|(_, number)| number.parse::<u32>().ok()));
        }
        assert!(numbers.len() > WAITING / 2 && numbers.is_sorted(), "{}", numbers.len());
        assert!(child.wait_with_output().unwrap().status.success());
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
        let mut systemd = Systemd::default();
        systemd.tell("READY=1".into(), Vec::new());
        assert!(systemd.socket().is_none());
        assert_eq!(watchdog(), None);
        assert!(passed().is_empty());
    }
}
