//! The orders of the supervisor to the master.

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

/// An order to the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process. Answered by `Fleet::started` or `Fleet::start_failed`.
    Start {
        /// Role of the process.
        role: Role,
        /// Number of the process.
        generation: Generation,
    },
    /// Tell a worker to send its sessions away and end.
    Drain {
        /// Number of the process.
        generation: Generation,
    },
    /// Tell a process that the daemon stops.
    Stop {
        /// Number of the process.
        generation: Generation,
    },
    /// Send KILL. The exit is still awaited.
    Kill {
        /// Number of the process.
        generation: Generation,
        why: Why,
    },
    /// Note that a killed process does not end, and is waited for no more. Its end may still come.
    LeftBehind {
        /// Number of the process.
        generation: Generation,
    },
    /// Log that a process died unasked and is started again.
    Died {
        /// Role of the process.
        role: Role,
        /// Number of the process.
        generation: Generation,
        /// Time until the start; zero: at once.
        pause: Duration,
    },
    /// Log that a worker died too often and is not started again.
    GivenUp {
        /// Role of the process.
        role: Role,
        /// The process that died last.
        generation: Generation,
    },
    /// End with status 1: all workers are given up.
    AllFailed,
    /// Log that a replacement did not get ready: the old process, if any, serves on, and the rolling stops.
    ReplacementFailed {
        /// Role of the process.
        role: Role,
        /// Number of the process.
        generation: Generation,
    },
    /// Log that every process that was to be replaced is replaced.
    RollingDone,
    /// End: after a stop, no process is left.
    Gone,
}
