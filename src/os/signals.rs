//! Signals by their meaning.

use futures_util::{Stream, StreamExt};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};

/// Requests of signals to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// TERM, INT: stop gracefully.
    Stop,
    /// HUP: read the configuration again.
    Reload,
    /// USR2: replace all workers.
    Replace,
    /// USR1: open the log file again.
    Reopen,
}

/// A stream of signals that never ends. Equal signals that arrive together become one; the order is not kept.
pub struct Signals(signal_hook_tokio::Signals);

impl Signals {
    /// Takes over the master's signals. Needs a runtime.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub fn master() -> io::Result<Self> {
        signal_hook_tokio::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]).map(Self)
    }
}

impl Stream for Signals {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Signal>> {
        loop {
            let signal = match ready!(self.0.poll_next_unpin(context)) {
                Some(SIGTERM | SIGINT) => Signal::Stop,
                Some(SIGHUP) => Signal::Reload,
                Some(SIGUSR2) => Signal::Replace,
                Some(SIGUSR1) => Signal::Reopen,
                Some(_) => continue,
                None => return Poll::Ready(None),
            };
            return Poll::Ready(Some(signal));
        }
    }
}

/// Makes TERM, INT, HUP, USR1 and USR2 do nothing in a child. Ctrl-C and systemd reach the whole group, but a child
/// gets its orders over the link; when its master ends, the kernel kills it.
///
/// # Errors
/// As `sigaction(2)`.
pub fn leave_to_master() -> io::Result<()> {
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
        // A flag that nobody reads is the safe way to a handler that does nothing. (Ignored signals would stay ignored
        // in the programs that a child starts; handlers are reset.)
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::process::kill;
    use rustix::process::Signal as Number;
    use std::time::Duration;

    #[tokio::test]
    async fn each_signal_has_its_word() {
        let mut signals = Signals::master().unwrap();
        let pairs = [
            (Number::HUP, Signal::Reload),
            (Number::USR1, Signal::Reopen),
            (Number::USR2, Signal::Replace),
            (Number::TERM, Signal::Stop),
            (Number::INT, Signal::Stop),
        ];
        for (number, signal) in pairs {
            kill(std::process::id(), number);
            let next = tokio::time::timeout(Duration::from_secs(5), signals.next()).await;
            assert_eq!(next, Ok(Some(signal)));
        }
    }
}
