//! What a source tells the core.

use super::Now;
use super::halt::Halted;
use crate::model::Boot;
use crate::providers::{Budget, Fault, Tick};
use std::time::Duration;

/// An event of a source.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub source: u32,
    pub leg: usize,
    pub what: What,
}

/// Event of a source, see [`Note`].
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A session began.
    Began,
    /// A price so late was read at that moment.
    Tick(Tick, Duration, Now),
    /// A price that nobody trades at was read at that moment.
    Halted(Tick, Halted, Now),
    /// The source's word while it does not trade; `None` when it trades again.
    Halt(Option<String>),
    /// A price that is known already.
    Repeated,
    /// A price that is older than what is known, with the words for it.
    Old(String),
    /// Something unreadable, or a price that was not requested.
    Bad(String),
    /// The used part of the source's limit.
    Budget(Budget),
    /// The session ended.
    Ended(Fault),
    /// The next session begins at that moment.
    Pause(Boot),
    /// The leg stands by because the first one gives prices.
    StandBy,
}
