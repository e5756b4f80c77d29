//! The figures of `jitter`.

use crate::counters::{Comebacks, Replay};
use crate::losses::Losses;
use crate::receipts::Tally;
use crate::report::counts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The report of `jitter`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Jitter {
    /// Until all had a session.
    pub(crate) seconds: f64,
    /// Everybody was back and had everything in time.
    pub(crate) settled: bool,
    pub(crate) published: u32,
    /// Publications without a 202, which may be missing.
    pub(crate) unanswered: u64,
    /// By the transport that a client began with.
    pub(crate) transports: BTreeMap<&'static str, Losses>,
    pub(crate) comebacks: Comebacks,
    /// By the transport of the comeback, and `all`.
    pub(crate) replay: BTreeMap<&'static str, Replay>,
    /// The slowest replay, in words.
    pub(crate) slowest: String,
    pub(crate) quotes: Tally,
    /// In words, the first ones.
    pub(crate) faults: Vec<String>,
    /// More of them.
    pub(crate) untold: u32,
}

impl Jitter {
    /// Nothing was lost, nothing came twice or in disorder, no 202 was untrue.
    pub(crate) fn good(&self) -> bool {
        self.transports.values().all(|losses| losses.good() && losses.absent == 0) && self.quotes.good()
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (transport, losses) in &self.transports {
            writeln!(f, "{transport:<11} {losses}")?;
        }
        writeln!(f, "published   {} ({} unanswered)", self.published, self.unanswered)?;
        write!(f, "{}", self.comebacks)?;
        for (transport, replay) in &self.replay {
            writeln!(f, "replay {transport:<4} {} from the first packet, {}", replay.count, replay.whole)?;
            writeln!(f, "            from the welcome, {}", replay.from_welcome)?;
        }
        if !self.slowest.is_empty() {
            writeln!(f, "  slowest   {}", self.slowest)?;
        }
        if !self.quotes.answers.is_empty() {
            write!(f, "{}", self.quotes)?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "fault       {fault}"))?;
        if self.untold > 0 {
            writeln!(f, "            and {} more", self.untold)?;
        }
        let settled = if self.settled { "" } else { "; not settled in time" };
        writeln!(f, "{}{settled}", if self.good() { "good" } else { "BAD" })
    }
}

impl fmt::Display for Comebacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u32 = self.cuts.values().sum();
        writeln!(f, "cuts        {total} ({})", counts(&self.cuts))?;
        writeln!(
            f,
            "comebacks   {} resumed, {} polls went on, {} resumed: false, {} ended for good",
            self.resumed, self.continued, self.gaps, self.ended
        )?;
        if self.lost + self.strange > 0 || !self.closed.is_empty() || !self.refused.is_empty() {
            let (closed, refused) = (counts(&self.closed), counts(&self.refused));
            writeln!(
                f,
                "  others    {} lost, {} strange; closed: {closed}; refused: {refused}",
                self.lost, self.strange
            )?;
        }
        Ok(())
    }
}

impl Tally {
    /// Every 202 was true, and once.
    pub(crate) fn good(&self) -> bool {
        self.missing + self.duplicates == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "quotes      {}", counts(&self.answers))?;
        writeln!(
            f,
            "  202       {} delivered, {} missing, {} missing with an excuse, {} twice, {} without a 202",
            self.delivered, self.missing, self.excused, self.duplicates, self.unasked
        )
    }
}
