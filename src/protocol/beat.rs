//! A process's sign of life, each second: its counters, and a digest of its sessions.

use super::handover::{Handovers, Silences};
use crate::model::SessionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Time between two beats.
pub const BEAT: Duration = Duration::from_secs(1);

/// Counters of one process since its start, plain sums, and its gauges.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Messages from clients.
    pub messages_in: u64,
    /// Messages to clients that left whole.
    pub messages_out: u64,
    /// Statistics among these messages.
    pub stats_out: u64,
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
    /// Lateness of the last timer in microseconds, a gauge.
    pub lag_us: u64,
    /// Open connections of any kind, a gauge.
    pub connections: u64,
    /// Sessions to which a client came back.
    pub resumed: u64,
    /// Clients that came back after a gap and began with a new session.
    pub gaps: u64,
    /// Suspended sessions, a gauge.
    pub suspended: u64,
    /// Connections and sessions that ended for others, by what they were.
    pub gave_way: BTreeMap<String, u64>,
    /// Memory of suspended sessions, a gauge.
    pub suspended_bytes: u64,
    /// Sessions by what became of them in handovers.
    pub handovers: Handovers,
    /// Times without a message that handovers caused.
    pub silences: Silences,
    /// Sessions that would survive the death of this process, if nothing is under way; a gauge.
    pub covered: u64,
    /// Sessions that would not, a gauge.
    pub uncovered: u64,
    /// Handshakes of TLS, by outcome.
    #[serde(default)]
    pub handshakes: BTreeMap<String, u64>,
    /// Sessions whose connections no other process can go on with, a gauge.
    pub bound: u64,
}

/// A worker's sign of life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// Sessions that are announced and not yet ended.
    pub sessions: u32,
    /// Exclusive or of their ids, each folded by [`digest`].
    pub digest: u64,
    /// Exclusive or of the digests of the tokens that are [`super::cluster::ToMaster::Away`] here.
    pub kept: u64,
    /// The worker takes no sessions: an operator has drained it.
    pub aside: bool,
    /// Users with at least one session at this worker.
    pub users: u32,
    /// Sessions subscribed to `stats`.
    pub stats_watchers: u32,
    /// Counters of the process.
    pub counters: Counters,
}

/// Folds a session's id for [`Beat::digest`].
#[must_use]
pub fn digest(session: SessionId) -> u64 {
    let bytes = session.0.to_le_bytes();
    let half = |at: usize| bytes[at..at + 8].iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    half(0) ^ half(8).rotate_left(17)
}

/// Sends a beat each second, for ever. A full or broken link costs the beats that it does not take.
pub async fn send_beats(mut send: impl FnMut()) {
    let mut every = interval(BEAT);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        send();
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
            async move { send_beats(|| _ = sender.send(&"beat")).await }
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
