//! What became of sessions that another process took over, and how long their clients heard nothing meanwhile. The same
//! words stand in the metrics, the log and `ctl status`.

use crate::model::words;
use serde::{Deserialize, Serialize};
use std::time::Duration;

words! {
    /// What became of one session in a handover: a move, an adoption, a replacement, an upgrade, a restart.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Handover {
        /// Goes on at its new process, on the same connection. Counted by that process.
        Held = "held",
        /// Goes on where it was: it could not move in time, or the process that should have taken it did not.
        Returned = "returned",
        /// Lost its connection (close 1012) and waits, whole, for its client to resume.
        Suspended = "suspended",
        /// Closed: something was under way when its worker died.
        Dirty = "dirty",
        /// Closed: it had no crash cover when its worker died.
        Uncovered = "uncovered",
        /// Closed: two workers died while it was in use.
        Suspect = "suspect-session",
        /// Closed (1012): it could not go to a new process in time.
        Late = "late",
    }
}

impl Handover {
    /// Whether the client keeps its connection.
    #[must_use]
    pub const fn keeps_connection(self) -> bool {
        matches!(self, Self::Held | Self::Returned)
    }
}

/// Sessions by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handovers([u64; Handover::ALL.len()]);

impl Handovers {
    /// Counts sessions.
    pub fn add(&mut self, result: Handover, sessions: u64) {
        self.0[result as usize] += sessions;
    }

    /// Adds the counts of another process or batch.
    pub fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, n)| *sum += n);
    }

    /// Sessions with this result.
    #[must_use]
    pub fn of(&self, result: Handover) -> u64 {
        self.0[result as usize]
    }

    /// Sessions whose client lost its connection.
    #[must_use]
    pub fn closed(&self) -> u64 {
        Handover::ALL
            .into_iter()
            .filter(|result| !result.keeps_connection())
            .map(|result| self.of(result))
            .sum()
    }
}

/// Upper ends of the buckets of [`Silences`], in microseconds: 1 ms to 10 s.
const ENDS: [u64; 13] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
    10_000_000,
];

/// A histogram of times without a message that handovers caused, one for each session that was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silences {
    /// The last one has no end.
    buckets: [u64; ENDS.len() + 1],
    sum_us: u64,
}

impl Silences {
    /// Counts one silence.
    pub fn observe(&mut self, silence: Duration) {
        let us = u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
        self.buckets[ENDS.partition_point(|end| *end < us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds those of another process.
    pub fn add_all(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, n)| *sum += n);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Count of all silences.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All silences together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Each bucket's upper end in seconds, and how many silences lie in this bucket alone.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let ends = ENDS.into_iter().map(|us| Duration::from_micros(us).as_secs_f64());
        ends.chain([f64::INFINITY]).zip(self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_add_up_and_those_without_a_connection_are_closed() {
        let mut one = Handovers::default();
        for (n, result) in (1..).zip(Handover::ALL) {
            one.add(result, n);
        }
        let mut all = one;
        all.add_all(&one);
        assert_eq!((all.of(Handover::Held), all.of(Handover::Late)), (2, 14));
        assert_eq!(one.closed(), 3 + 4 + 5 + 6 + 7);
    }

    #[test]
    fn a_silence_falls_into_the_bucket_whose_end_it_does_not_pass() {
        let mut silences = Silences::default();
        for ms in [0, 1, 2, 3, 200, 201, 10_000, 10_001] {
            silences.observe(Duration::from_millis(ms));
        }
        silences.observe(Duration::from_micros(1_001));
        let filled: Vec<_> = silences.buckets().filter(|(_, n)| *n > 0).collect();
        let expected =
            [(0.001, 2), (0.002, 2), (0.005, 1), (0.2, 1), (0.5, 1), (10.0, 1), (f64::INFINITY, 1)];
        assert_eq!(filled, expected);
        assert_eq!((silences.count(), silences.sum()), (9, Duration::from_micros(20_409_001)));
        let mut twice = silences;
        twice.add_all(&silences);
        assert_eq!((twice.count(), twice.sum()), (18, silences.sum() * 2));
        twice.observe(Duration::MAX);
        assert_eq!(twice.count(), 19);
    }
}
