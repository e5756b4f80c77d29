//! Events of the master's loop.

use super::command::Asked;
use crate::protocol::cluster::Generation;
use crate::protocol::link::Batch;

/// Something that happened.
pub(super) enum Event {
    /// A child said something.
    Heard(Generation, Batch),
    /// A child ended, and how.
    Exited(Generation, String),
    /// A question came over the control socket.
    Asked(Asked),
    /// `shutdown.delay` is over.
    StopNow,
}
