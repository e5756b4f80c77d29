//! What the master tells systemd. All of it does nothing where there is no `NOTIFY_SOCKET`, and a systemd that does
//! not listen is no reason to do anything but go on.

use sd_notify::NotifyState;
use std::time::Duration;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}

/// The daemon serves; also the end of [`reloading`].
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    // A line end would start another variable.
    tell(&[NotifyState::Status(&text.replace(['\n', '\r'], " "))]);
}

/// A reload begins; [`ready`] ends it, whether it went well or not.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock"),
    }
}

/// A stop begins.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A sign of life, for the watchdog. Only from the loop whose life it is a sign of.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be called: half of what systemd allows. `None`: nobody watches.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
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
        ready();
        status("two\nlines");
        reloading();
        alive();
        stopping();
        assert_eq!(watchdog(), Some(Duration::from_secs(5)));
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
        ready();
        assert_eq!(watchdog(), None);
    }
}
