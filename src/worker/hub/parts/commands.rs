//! Limits that all sessions of `/command` share: log lines and delayed answers.

use crate::model::{Gcra, Mono, Rate};
use std::time::Duration;

/// Clients' nonsense is logged so often in a worker: they must not fill the log.
const LOGGED: Rate = Rate { count: 1, per: Duration::from_secs(1) };
/// So many lines of it at once.
const BURST: u32 = 20;
/// PONGs that may wait for their time in a worker; beyond it they come at once.
const WAITING: usize = 100_000;

/// The limits, and how much of them is used.
#[derive(Debug, Default)]
pub struct Commands {
    logged: Gcra,
    unlogged: u64,
    /// How many PONGs wait.
    waiting: usize,
}

impl Commands {
    /// Counts a PONG that waits. False: too many wait already.
    pub fn delay(&mut self) -> bool {
        let may = self.waiting < WAITING;
        self.waiting += usize::from(may);
        may
    }

    /// A PONG waits no more.
    pub fn delayed(&mut self) {
        self.waiting -= 1;
    }

    /// How many lines were left out before one that may be logged now; `None`: it is left out, too.
    pub fn log(&mut self, now: Mono) -> Option<u64> {
        if self.logged.take(LOGGED, BURST, now).is_err() {
            self.unlogged += 1;
            return None;
        }
        Some(std::mem::take(&mut self.unlogged))
    }
}
