//! What a process tells of itself each second: that it lives, what it counts, and which sessions it has.

use crate::model::SessionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counters of one process since its start, plain sums, and its gauges.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages from clients.
    pub messages_in: u64,
    /// Messages to clients that left whole.
    pub messages_out: u64,
    /// Of those, statistics.
    pub stats_out: u64,
    /// Sessions opened.
    pub opened: u64,
    /// Sessions closed, by close code.
    pub closed: BTreeMap<u16, u64>,
    /// Refused upgrades, by problem slug.
    pub refused: BTreeMap<String, u64>,
    /// HTTP responses, by status.
    pub http: BTreeMap<u16, u64>,
    /// Quotes answered, by outcome slug.
    pub quotes: BTreeMap<String, u64>,
    /// State messages that replaced an unsent older one.
    pub conflated: u64,
    /// Accept errors (descriptors used up).
    pub accept_errors: u64,
    /// Panics caught in sessions or requests.
    pub panics: u64,
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// Resident memory in bytes, a gauge.
    pub rss: u64,
    /// How late the last timer was in microseconds, a gauge.
    pub lag_us: u64,
    /// Open connections of any kind, a gauge.
    pub connections: u64,
    /// Sessions that a client came back to.
    pub resumed: u64,
    /// Clients that came back and found a gap: they were told, and began anew.
    pub gaps: u64,
    /// Sessions that wait for their client, a gauge.
    pub suspended: u64,
}

/// A child's sign of life, one a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Sessions it has announced and not yet ended.
    pub sessions: u32,
    /// All their ids, combined by exclusive or (halves of the number folded).
    pub digest: u64,
    /// Users with at least one session there.
    pub users: u32,
    /// Sessions subscribed to `stats`.
    pub stats_watchers: u32,
    /// Its counters.
    pub counters: Counters,
}

/// Folds a session's id for [`Beat::digest`].
#[must_use]
pub fn digest(session: SessionId) -> u64 {
    let bytes = session.0.to_le_bytes();
    let half = |at: usize| bytes[at..at + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    half(0) ^ half(8).rotate_left(17)
}
