//! What a process tells of itself each second: that it lives, what it counts, and which sessions it has.

use super::link::LinkSender;
use crate::model::SessionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Time between two beats.
pub const BEAT: Duration = Duration::from_secs(1);

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

/// Sends a beat each second, for ever. A full link costs the beats that it does not take; a broken one ends the process
/// where it is read.
pub async fn send_beats<M: Serialize>(link: &LinkSender, mut beat: impl FnMut() -> M) {
    let mut every = interval(BEAT);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let _ = link.send(&beat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::link::link;
    use tokio::net::UnixStream;

    #[tokio::test(start_paused = true)]
    async fn a_full_link_costs_beats_and_not_the_loop() {
        let (left, right) = UnixStream::pair().unwrap();
        let (sender, _, writer) = link(left);
        let mut receiver = link(right).1;
        let long = "x".repeat(30 << 20);
        while sender.send(&long).is_ok() {}
        let beats = tokio::spawn({
            let sender = sender.clone();
            async move { send_beats(&sender, || "beat").await }
        });
        tokio::time::sleep(BEAT * 10).await;
        assert!(!beats.is_finished(), "the loop ended: a busy child would be killed for silence");
        tokio::spawn(writer.run());
        let mut last = String::new();
        while last != "beat" {
            let mut batch = receiver.receive().await.unwrap();
            while let Some(message) = batch.next::<&str>() {
                last = message.unwrap().to_owned();
            }
        }
        beats.abort();
    }
}
