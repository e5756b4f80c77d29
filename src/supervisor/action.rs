//! What the supervisor wants done.

use crate::protocol::cluster::{Generation, Role};
use std::time::Duration;

/// Why a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No beat for `cluster.worker_timeout`.
    Silent,
    /// Not ready within `cluster.start_timeout`.
    NotReady,
    /// Drained, but not gone in time.
    Lingering,
    /// Told to stop, but not gone within the grace.
    Grace,
}

/// What the master is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process; answered by [`super::Fleet::started`] or [`super::Fleet::start_failed`].
    Start {
        /// As what.
        role: Role,
        /// Its number.
        generation: Generation,
    },
    /// Tell it to send its sessions away and end.
    Drain {
        /// Which.
        generation: Generation,
    },
    /// Tell it that the daemon stops.
    Stop {
        /// Which.
        generation: Generation,
    },
    /// KILL; its exit is still awaited.
    Kill {
        /// Which.
        generation: Generation,
        /// What it did.
        why: Why,
    },
    /// To be logged: it died unasked, and is started again.
    Died {
        /// As what.
        role: Role,
        /// Which.
        generation: Generation,
        /// After so long; zero: at once.
        pause: Duration,
    },
    /// It died too often: nobody starts it any more.
    GivenUp {
        /// As what.
        role: Role,
        /// Which died last.
        generation: Generation,
    },
    /// All workers are given up: the master exits 1.
    AllFailed,
    /// A replacement did not get ready: the old one serves on (where there is one), the rolling stops.
    ReplacementFailed {
        /// As what.
        role: Role,
        /// Which.
        generation: Generation,
    },
    /// All that were to be replaced are.
    RollingDone,
    /// After a stop: no process is left.
    Gone,
}
