//! Limits that all sessions of `/command` share: log lines and delayed answers.

use super::sessions::SessionRef;
use crate::model::{Gcra, Mono, Rate, give_back};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
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
    /// PONGs that wait, by session, with their time.
    pongs: HashMap<SessionRef, VecDeque<Mono>, RandomState>,
    /// How many there are.
    waiting: usize,
}

impl Commands {
    /// Notes a PONG that waits until then. False: too many wait already.
    pub fn delay(&mut self, session: SessionRef, until: Mono) -> bool {
        let may = self.waiting < WAITING;
        if may {
            self.waiting += 1;
            self.pongs.entry(session).or_default().push_back(until);
        }
        may
    }

    /// The time of a PONG has come. False: it has left with its session.
    pub fn delayed(&mut self, session: SessionRef) -> bool {
        let Some(own) = self.pongs.get_mut(&session) else { return false };
        let waited = own.pop_front().is_some();
        if own.is_empty() {
            self.pongs.remove(&session);
            give_back(&mut self.pongs);
        }
        self.waiting -= usize::from(waited);
        waited
    }

    /// Takes out the PONGs of a session that leaves.
    pub fn take(&mut self, session: SessionRef) -> Vec<Mono> {
        let own = self.pongs.remove(&session).unwrap_or_default();
        self.waiting -= own.len();
        own.into()
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
