//! Sessions that move between this worker and others.

use super::expected::Expected;
use super::leaving::Leaving;
use super::session::Session;
use crate::model::Mono;
use crate::session::Places;

/// A session without a place in the table: it is on its way.
#[derive(Debug)]
pub struct Traveller {
    pub session: Session,
    pub places: Places,
    /// When answers are due that were put off.
    pub pongs: Vec<Mono>,
    /// When the client was last read; `None`: it never left this worker.
    pub stopped: Option<Mono>,
    /// The master knows it as suspended.
    pub was_away: bool,
    /// Its connection could not come along: its client has acknowledged so many bytes.
    pub cut: Option<u64>,
}

/// Sessions that leave and sessions that come.
#[derive(Debug, Default)]
pub struct Moving {
    pub leaving: Leaving<Traveller>,
    pub expected: Expected<Traveller>,
}
