//! What the master tells systemd. All of it does nothing where there is no `NOTIFY_SOCKET`, and a systemd that does
//! not listen is no reason to do anything but go on.

use sd_notify::NotifyState;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// The master's line to systemd.
#[derive(Clone, Debug, Default)]
pub struct Notifier;

impl Notifier {
    /// Finds the line in the environment each time it is used, if there is one.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// The daemon serves; also the end of [`Notifier::reloading`].
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        // A line end would start another variable.
        tell(&[NotifyState::Status(&text.replace(['\n', '\r'], " "))]);
    }

    /// A reload begins; [`Notifier::ready`] ends it, whether it went well or not.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "no clock"),
        }
    }

    /// A stop begins.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// A sign of life. Only from the loop whose life it is a sign of.
    pub fn watchdog(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// How often [`Notifier::watchdog`] is to be called: half of what systemd allows. `None`: nobody watches.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}

/// A listening socket that systemd passed, and its `FileDescriptorName=`.
pub type Passed = (String, TcpListener);

/// The TCP listening sockets that systemd passed (`LISTEN_FDS`), those with one of `names`; others are left alone.
/// To be called once, before there are threads: it takes the variables away.
///
/// # Errors
/// One of these is no listening TCP socket.
pub fn passed_sockets(names: &[&str]) -> io::Result<Vec<Passed>> {
    // Names alone may be left over from a parent: only the numbers say whether they are meant for this process.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    let all: Vec<_> = sd_notify::listen_fds_with_names()?.map(|(_, name)| name).collect();
    // Owns them without unsafe code of ours.
    let mut descriptors = listenfd::ListenFd::from_env();
    let mut passed = Vec::new();
    for (at, name) in all.into_iter().enumerate().filter(|(_, name)| names.contains(&&**name)) {
        if let Some(listener) = descriptors.take_tcp_listener(at)? {
            passed.push((name, listener));
        }
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    /// Not a test but the process that the one below starts: the environment is its.
    #[test]
    #[ignore = "the child of another test"]
    fn act_as_daemon() {
        let notifier = Notifier::new();
        notifier.ready();
        notifier.status("two\nlines");
        notifier.reloading();
        notifier.watchdog();
        notifier.stopping();
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn systemd_hears_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let output = Command::new("/proc/self/exe")
            .args(["--exact", "os::notify::tests::act_as_daemon", "--ignored"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "10000000")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut buffer = [0; 256];
        let mut next = || {
            let len = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        assert_eq!((next().trim(), next().trim()), ("READY=1", "STATUS=two lines"));
        let reloading = next();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert_eq!((next().trim(), next().trim()), ("WATCHDOG=1", "STOPPING=1"));
    }

    #[test]
    fn without_systemd_nothing_happens() {
        Notifier::new().ready();
        assert_eq!(Notifier::new().watchdog_interval(), None);
        assert!(passed_sockets(&["http"]).unwrap().is_empty());
    }
}
