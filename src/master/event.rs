//! Events of the master's loop.

use super::balance::Counts;
use super::command::Asked;
use crate::protocol::cluster::Generation;
use crate::protocol::keeper::FromKeeper;
use crate::protocol::link::Batch;
use std::os::fd::OwnedFd;

/// Something that happened.
pub(super) enum Event {
    /// A child said something.
    Heard(Generation, Batch),
    /// A child ended, and how.
    Exited(Generation, String),
    /// A question came over the control socket.
    Asked(Asked),
    /// The keeper said something, with descriptors.
    Keeper(FromKeeper, Vec<OwnedFd>),
    /// Sessions have moved, as `balance.rs` wanted it.
    Balanced(Counts),
    /// `shutdown.delay` is over.
    StopNow,
}
