//! The figures of `mixed`.

use crate::counters::{Comebacks, Guests, Replay, Talks};
use crate::losses::Losses;
use crate::receipts::Tally;
use crate::report::{as_f64, counts};
use crate::watch::{Sample, Totals};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// More descriptors than before are connections that were kept: those of this tool's last look, for instance.
const KEPT: usize = 32;

/// The report of `mixed`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Mixed {
    pub(crate) start: Sample,
    pub(crate) minutes: Vec<Sample>,
    pub(crate) end: Sample,
    /// PSS of all processes (else RSS), from the second minute on.
    pub(crate) memory_bytes_per_minute: f64,
    pub(crate) sessions_born: u32,
    /// Clients of this tool that did not end in time.
    pub(crate) left_behind: usize,
    /// From the last client's leaving; `None`: not in time.
    pub(crate) empty_after_s: Option<f64>,
    /// The statistics then.
    pub(crate) totals: Totals,
    /// Main sessions by the transport that they began with.
    pub(crate) transports: BTreeMap<&'static str, Losses>,
    pub(crate) comebacks: Comebacks,
    pub(crate) replay: BTreeMap<&'static str, Replay>,
    /// The slowest replay, in words.
    pub(crate) slowest: String,
    pub(crate) published: u64,
    /// Publications without a 202, of which nobody knows whether they happened.
    pub(crate) unanswered: usize,
    pub(crate) quotes: Tally,
    pub(crate) talks: Talks,
    pub(crate) guests: Guests,
    /// Process and second.
    pub(crate) kills: Vec<(u32, f64)>,
    /// Omitted measurements, with the reason.
    pub(crate) skipped: Vec<String>,
    /// In words, the first ones.
    pub(crate) faults: Vec<String>,
    pub(crate) untold: u32,
}

impl Mixed {
    pub(crate) fn good(&self) -> bool {
        self.transports.values().all(Losses::good)
            && self.quotes.good()
            && self.empty()
            && self.end.descriptors <= self.start.descriptors + KEPT
    }

    fn empty(&self) -> bool {
        self.empty_after_s.is_some() && self.left_behind == 0
    }
}

fn mib(bytes: u64) -> f64 {
    as_f64(bytes) / f64::from(1 << 20)
}

/// Formats a sample as a line.
pub(crate) fn row(at: &Sample, quotes: &Tally, kills: usize) -> String {
    let known = |number: Option<f64>| number.map_or("?".to_owned(), |number| format!("{number:.1}"));
    format!(
        "{:>6.0} s  {:>3} processes  rss {:>7.1}  pss {:>7}  fd {:>6}  sessions {:>6}  main {:>6}  lag {:>6}  \
         202 {:>7}  killed {kills}",
        at.seconds,
        at.processes,
        mib(at.rss_bytes),
        known(at.pss_bytes.map(mib)),
        at.descriptors,
        at.sessions.map_or("?".to_owned(), |sessions| sessions.to_string()),
        at.main,
        known(at.lag_ms),
        quotes.accepted
    )
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", row(&self.end, &self.quotes, self.kills.len()))?;
        let growth = self.memory_bytes_per_minute / 1024.0;
        writeln!(f, "memory      {growth:+.1} KiB per minute from the second minute on")?;
        let (before, after) = (self.start.descriptors, self.end.descriptors);
        writeln!(f, "descriptors {before} at the start, {after} at the end")?;
        match self.empty_after_s {
            Some(seconds) => writeln!(f, "empty       {seconds:.1} s after the last has left")?,
            None => writeln!(f, "NOT EMPTY   {:?}", self.totals)?,
        }
        if self.left_behind > 0 {
            writeln!(f, "            {} clients of this tool did not end", self.left_behind)?;
        }
        writeln!(f, "sessions    {} in all", self.sessions_born)?;
        for (transport, losses) in &self.transports {
            writeln!(f, "  {transport:<9} {losses}")?;
        }
        write!(f, "{}", self.comebacks)?;
        if let Some(replay) = self.replay.get("all").filter(|replay| replay.count > 0) {
            writeln!(f, "replay      {} from the first packet, {}", replay.count, replay.whole)?;
            writeln!(f, "            from the welcome, {}", replay.from_welcome)?;
            writeln!(f, "  slowest   {}", self.slowest)?;
        }
        writeln!(f, "published   {} ({} unanswered)", self.published, self.unanswered)?;
        write!(f, "{}", self.quotes)?;
        let Talks { asked, answered, unanswered } = &self.talks;
        writeln!(f, "questions   {asked} asked, {answered} answered, {unanswered} not, though connected")?;
        let Guests { opened, heard, lost, closed, refused } = &self.guests;
        writeln!(f, "others      {opened} opened, {heard} messages, {lost} lost connections")?;
        if !(closed.is_empty() && refused.is_empty()) {
            writeln!(f, "            closed: {}; refused: {}", counts(closed), counts(refused))?;
        }
        self.skipped.iter().try_for_each(|why| writeln!(f, "skipped     {why}"))?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "fault       {fault}"))?;
        if self.untold > 0 {
            writeln!(f, "            and {} more", self.untold)?;
        }
        writeln!(f, "{}", if self.good() { "good" } else { "BAD" })
    }
}
