//! Signals by their meaning.

use signal_hook::consts::signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals that the keeper passes to the master.
const FOR_MASTER: [i32; 5] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];

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

impl Signal {
    /// The meaning of a signal's number.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        match number {
            SIGTERM | SIGINT => Some(Self::Stop),
            SIGHUP => Some(Self::Reload),
            SIGUSR2 => Some(Self::Replace),
            SIGUSR1 => Some(Self::Reopen),
            _ => None,
        }
    }
}

/// Signals that the keeper has caught: those for the master, and that a child has ended. Equal signals that arrive
/// together become one; the order is not kept.
#[derive(Debug)]
pub struct Pending {
    wakes: UnixStream,
    caught: [(i32, Arc<AtomicBool>); 5],
}

impl Pending {
    /// Takes over the signals.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub fn new() -> io::Result<Self> {
        let (wakes, wake) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let caught = FOR_MASTER.map(|number| (number, Arc::new(AtomicBool::new(false))));
        for (number, flag) in &caught {
            // In this order: whoever is woken finds the flag set.
            signal_hook::flag::register(*number, flag.clone())?;
            signal_hook::low_level::pipe::register(*number, wake.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, wake)?;
        Ok(Self { wakes, caught })
    }

    /// Readable when a signal has come.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }

    /// The signals for the master since the last call, and whether they mean [`Signal::Stop`].
    pub fn take(&mut self) -> Vec<(i32, bool)> {
        let mut buffer = [0; 64];
        while matches!((&self.wakes).read(&mut buffer), Ok(1..)) {}
        let caught = self.caught.iter().filter(|(_, flag)| flag.swap(false, Ordering::SeqCst));
        caught.map(|(number, _)| (*number, Signal::of(*number) == Some(Signal::Stop))).collect()
    }
}

/// Makes TERM, INT, HUP, USR1 and USR2 do nothing in a child. Ctrl-C and systemd reach the whole group, but a child
/// gets its orders over the link, and the master its signals from the keeper; when that ends, the kernel kills all.
///
/// # Errors
/// As `sigaction(2)`.
pub fn leave_to_master() -> io::Result<()> {
    for signal in FOR_MASTER {
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

    #[test]
    fn each_signal_has_its_word() {
        let mut pending = Pending::new().unwrap();
        let pairs = [
            (Number::HUP, Signal::Reload),
            (Number::USR1, Signal::Reopen),
            (Number::USR2, Signal::Replace),
            (Number::TERM, Signal::Stop),
            (Number::INT, Signal::Stop),
        ];
        for (number, signal) in pairs {
            kill(std::process::id(), number);
            let begun = std::time::Instant::now();
            let mut taken = pending.take();
            while taken.is_empty() && begun.elapsed() < Duration::from_secs(5) {
                std::thread::yield_now();
                taken = pending.take();
            }
            assert_eq!(taken, [(number.as_raw(), signal == Signal::Stop)]);
            assert_eq!(Signal::of(number.as_raw()), Some(signal));
        }
        assert_eq!((pending.take(), Signal::of(9)), (vec![], None));
    }
}
