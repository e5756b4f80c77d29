//! The master's part in a message between two workers, which it does not read.

use serde::{Deserialize, Serialize};

/// The master's notice to the sender of a relayed message. The number is the sender's for its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    None,
    /// [`super::cluster::ToWorker::Unheard`], if it cannot be passed on.
    Unheard(u64),
    /// The same, or [`super::cluster::ToWorker::Taking`] at the moment when it is passed on.
    Passed(u64),
}
