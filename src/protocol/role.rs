//! Roles of the master's children, and how a child introduces itself.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place for a worker: 1 to N, what people call "worker 3".
pub type Slot = u16;

/// The number of a process. It grows with each start, whatever the role: a message that carries an old one is from the
/// dead and matches nothing.
pub type Generation = u32;

/// The part of a child process in the cluster. One process after another takes a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Talks to exchanges.
    Feeder,
    /// Talks to clients.
    Worker(Slot),
}

impl Role {
    /// The roles of a cluster of so many workers.
    pub fn all(workers: Slot) -> impl Iterator<Item = Self> {
        std::iter::once(Self::Feeder).chain((1..=workers).map(Self::Worker))
    }

    /// The slot of a worker.
    #[must_use]
    pub fn worker(self) -> Option<Slot> {
        match self {
            Self::Feeder => None,
            Self::Worker(slot) => Some(slot),
        }
    }

    /// The word for it on the hidden command line and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feeder => "feeder",
            Self::Worker(_) => "worker",
        }
    }
}

/// `feeder`, `worker 3`
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feeder => f.write_str("feeder"),
            Self::Worker(slot) => write!(f, "worker {slot}"),
        }
    }
}

/// The first message of a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::cluster::VERSION`].
    pub version: u32,
    /// Version of the program.
    pub program: Box<str>,
    pub pid: u32,
}
