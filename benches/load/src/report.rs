//! The figures, for people and for programs.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Processes of the daemon.
    pub(crate) processes: usize,
    pub(crate) open: Open,
    pub(crate) memory: Option<Memory>,
    pub(crate) quotes: Option<Quotes>,
    pub(crate) fanout: Option<Fanout>,
    /// The measurement that was omitted, with the reason.
    pub(crate) skipped: Option<String>,
    /// Sessions that the server closed meanwhile, by close code (1006: without one).
    pub(crate) cut: BTreeMap<u16, u64>,
}

/// Handshakes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Open {
    pub(crate) opened: u32,
    /// By what the server said instead.
    pub(crate) failed: BTreeMap<String, u32>,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// From the connection to the `welcome`.
    pub(crate) latency: Latency,
}

/// Memory of all processes (PSS: shared pages count once).
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) before_bytes: u64,
    pub(crate) after_bytes: u64,
    pub(crate) per_session_bytes: f64,
}

/// Quotes by POST.
#[derive(Debug, Serialize)]
pub(crate) struct Quotes {
    pub(crate) posted: u64,
    pub(crate) answers: BTreeMap<String, u64>,
    pub(crate) delivered: u64,
    /// Answered with 202 but never seen on the session.
    pub(crate) lost: u64,
    pub(crate) per_second: f64,
    /// From the POST to the frame on the user's session.
    pub(crate) round_trip: Latency,
    /// From the POST to its answer.
    pub(crate) answer: Latency,
    pub(crate) server_cpu_us_per_quote: f64,
    /// CPU time of this tool, in percent of a core.
    pub(crate) client_cpu_pct: f64,
}

/// Figures of messages to all sessions.
#[derive(Debug, Serialize)]
pub(crate) struct Fanout {
    pub(crate) messages: u32,
    pub(crate) deliveries: u64,
    pub(crate) missing: u64,
    /// From the POST to the frame on each session.
    pub(crate) latency: Latency,
    /// From the POST to the last session.
    pub(crate) all: Latency,
    pub(crate) server_cpu_us_per_delivery: f64,
    pub(crate) client_cpu_pct: f64,
}

impl Memory {
    pub(crate) fn new(before: u64, after: u64, sessions: u32) -> Self {
        let per_session_bytes = (as_f64(after) - as_f64(before)) / f64::from(sessions.max(1));
        Self { before_bytes: before, after_bytes: after, per_session_bytes }
    }
}

/// In milliseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latency {
    /// Computes percentiles of samples in microseconds.
    pub(crate) fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |hundredths: usize| {
            let rank = (micros.len() * hundredths).div_ceil(100).saturating_sub(1);
            micros.get(rank).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        Self { p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", self.p50_ms, self.p99_ms, self.max_ms)
    }
}

/// Counts and bytes as they are shown; none here is large enough to lose anything.
#[expect(clippy::cast_precision_loss, reason = "for display")]
pub(crate) fn as_f64(n: u64) -> f64 {
    n as f64
}

/// A duration as the samples hold it.
pub(crate) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

pub(crate) fn counts<K: fmt::Display, V: fmt::Display>(map: &BTreeMap<K, V>) -> String {
    map.iter().map(|(what, n)| format!("{n} x {what}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = &self.open;
        writeln!(f, "processes   {}", self.processes)?;
        writeln!(
            f,
            "sessions    {} in {:.1} s, {:.0}/s; {}",
            open.opened, open.seconds, open.per_second, open.latency
        )?;
        if !open.failed.is_empty() {
            writeln!(f, "  failed    {}", counts(&open.failed))?;
        }
        if let Some(memory) = &self.memory {
            let mib = |bytes| as_f64(bytes) / f64::from(1 << 20);
            let (before, after) = (mib(memory.before_bytes), mib(memory.after_bytes));
            let each = memory.per_session_bytes / 1024.0;
            writeln!(f, "memory      {each:.2} KiB per idle session ({before:.1} -> {after:.1} MiB)")?;
        }
        if let Some(quotes) = &self.quotes {
            writeln!(f, "quotes      {:.0}/s; round trip {}", quotes.per_second, quotes.round_trip)?;
            writeln!(f, "  answers   {}; {}", counts(&quotes.answers), quotes.answer)?;
            writeln!(f, "  delivered {}, lost {}", quotes.delivered, quotes.lost)?;
            let (server, client) = (quotes.server_cpu_us_per_quote, quotes.client_cpu_pct);
            writeln!(f, "  CPU       {server:.1} us per quote (this tool: {client:.0} % of a core)")?;
        }
        if let Some(fanout) = &self.fanout {
            writeln!(f, "fan-out     {} messages; {}", fanout.messages, fanout.latency)?;
            writeln!(f, "  last      {}", fanout.all)?;
            writeln!(f, "  delivered {}, missing {}", fanout.deliveries, fanout.missing)?;
            let (server, client) = (fanout.server_cpu_us_per_delivery, fanout.client_cpu_pct);
            writeln!(f, "  CPU       {server:.2} us per delivery (this tool: {client:.0} % of a core)")?;
        }
        if let Some(skipped) = &self.skipped {
            writeln!(f, "skipped     {skipped}")?;
        }
        if !self.cut.is_empty() {
            writeln!(f, "cut         {}", counts(&self.cut))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let latency = Latency::of((1..=1000).rev().map(|n| n * 1000).collect());
        assert_eq!(latency, Latency { p50_ms: 500.0, p99_ms: 990.0, max_ms: 1000.0 });
        assert_eq!(Latency::of(vec![7000]), Latency { p50_ms: 7.0, p99_ms: 7.0, max_ms: 7.0 });
        assert_eq!(Latency::of(vec![]), Latency::default());
    }
}
