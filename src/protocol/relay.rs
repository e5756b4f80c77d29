//! How a message between two workers passes the master, which does not read it.

use serde::{Deserialize, Serialize};

/// What the master tells the sender of a relayed message. The number is the sender's for its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Nothing.
    None,
    /// [`super::cluster::ToWorker::Unheard`], if it cannot be passed on.
    Unheard(u64),
    /// The same, or [`super::cluster::ToWorker::Taking`] at the moment when it is passed on.
    Passed(u64),
}
