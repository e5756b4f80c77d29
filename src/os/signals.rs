//! Signals, as words.

use futures_util::StreamExt;
use rustix::process::Pid;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_tokio::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What somebody wants of the master by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// TERM, INT: a graceful stop.
    Stop,
    /// HUP: read the configuration again.
    Reload,
    /// USR2: replace all workers.
    Replace,
    /// USR1: open the log file anew.
    Reopen,
}

/// The master's signals. Equal ones that come together are one; the order is not kept.
pub struct Requests(Signals);

impl Requests {
    /// Takes the signals over from here on. Needs a runtime.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub fn new() -> io::Result<Self> {
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]).map(Self)
    }

    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Request {
        loop {
            return match self.0.next().await {
                Some(SIGTERM | SIGINT) => Request::Stop,
                Some(SIGHUP) => Request::Reload,
                Some(SIGUSR2) => Request::Replace,
                Some(SIGUSR1) => Request::Reopen,
                Some(_) => continue,
                // Only a closed handle ends the stream, and there is none.
                None => std::future::pending().await,
            };
        }
    }
}

/// The signals of a child. Ctrl-C and systemd reach the whole group, but a child takes its orders over the link.
pub struct ChildSignals {
    terminations: Signals,
    parent: Option<Pid>,
}

impl ChildSignals {
    /// INT, HUP, USR1 and USR2 do nothing from here on. Needs a runtime.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub fn new() -> io::Result<Self> {
        // A flag that nobody reads is the safe way to a handler that does nothing.
        for signal in [SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let parent = rustix::process::getppid();
        Ok(Self { terminations: Signals::new([SIGTERM])?, parent })
    }

    /// A TERM after the parent is gone; one before that is ignored. Cancel-safe.
    pub async fn orphan_told_to_stop(&mut self) {
        loop {
            match self.terminations.next().await {
                Some(_) if rustix::process::getppid() != self.parent => return,
                Some(_) => (),
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::process::kill;
    use rustix::process::Signal;
    use std::time::Duration;

    #[tokio::test]
    async fn each_signal_has_its_word() {
        let mut requests = Requests::new().unwrap();
        let pairs = [
            (Signal::HUP, Request::Reload),
            (Signal::USR1, Request::Reopen),
            (Signal::USR2, Request::Replace),
            (Signal::TERM, Request::Stop),
            (Signal::INT, Request::Stop),
        ];
        for (signal, request) in pairs {
            kill(std::process::id(), signal);
            let next = tokio::time::timeout(Duration::from_secs(5), requests.next()).await;
            assert_eq!(next, Ok(request));
        }
    }
}
