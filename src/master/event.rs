//! Events of the master's loop.

use super::balance::Counts;
use super::command::Asked;
use super::trial::Candidate;
use crate::net::tls::certificates::Files;
use crate::net::tls::renewal::Look;
use crate::protocol::cluster::Generation;
use crate::protocol::keeper::FromKeeper;
use crate::protocol::link::Batch;
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// The result of a trial, and who waits for it.
pub(super) struct Tried {
    pub(super) path: PathBuf,
    pub(super) result: Result<Candidate, String>,
    pub(super) answer: oneshot::Sender<Value>,
}

/// Something that happened.
pub(super) enum Event {
    /// A child said something.
    Heard(Generation, Batch),
    /// A child ended, and how.
    Exited(Generation, String),
    /// A question came over the control socket.
    Asked(Asked),
    /// The keeper said something.
    Keeper(FromKeeper, Vec<OwnedFd>),
    /// A program was tried.
    Tried(Box<Tried>),
    /// Sessions have moved, as `balance.rs` wanted it.
    Balanced(Counts),
    /// Files of certificates have been read.
    Looked(Vec<(Files, Look)>),
    /// `log.file` was full and has been moved aside.
    LogRotated,
    /// `shutdown.delay` is over.
    StopNow,
}
