//! How a message between two workers passes the master, which does not read it.

use serde::{Deserialize, Serialize};

/// What the master tells the sender of a relayed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Nothing.
    None,
    /// With [`super::cluster::ToWorker::Unheard`], that it could not be passed on.
    Unheard(u64),
    /// The same; and with [`super::cluster::ToWorker::Taking`], when it is passed on.
    Passed(u64),
}
