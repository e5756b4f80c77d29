//! The last comeback of a client, and the messages that it had to bring.

use crate::decoder::End;
use std::fmt;
use tokio::time::Instant;

/// A comeback.
#[derive(Debug)]
pub(crate) struct Back {
    /// When the client last heard anything.
    pub(crate) stopped: Instant,
    /// The kind of the cut or end.
    pub(crate) how: &'static str,
    /// The process that had its session.
    pub(crate) from: u32,
    /// When it connected.
    pub(crate) syn: Instant,
    /// The token that the client sent.
    pub(crate) resume: Option<String>,
    pub(crate) welcomed: Option<Instant>,
    pub(crate) outcome: Option<&'static str>,
    /// By channel: what was published before it connected; 0 when that has come.
    pub(crate) targets: Vec<u32>,
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ago, away) = (self.syn.elapsed().as_millis(), (self.syn - self.stopped).as_millis());
        let (resume, outcome) = (self.resume.as_deref(), self.outcome.unwrap_or("no welcome yet"));
        let (how, from, resume) = (self.how, self.from, resume.unwrap_or("nothing"));
        write!(f, "back {ago} ms ago, {away} ms after {how}, from worker {from} with {resume}: {outcome}")
    }
}

/// Whether the client is not to come back with what it has.
pub(crate) fn is_final(end: End) -> bool {
    matches!(
        end,
        End::Closed(1000 | 1002 | 1003 | 1007..=1009 | 4000..=4099) | End::Refused(204 | 400 | 410)
    )
}
