//! Counting in a process, and adding up.

use crate::protocol::cluster::{Counters, Handover};
use std::collections::BTreeMap;
use std::time::Duration;

/// Adds one to `key`. Only the first of a kind allocates.
fn one_more(counts: &mut BTreeMap<String, u64>, key: &str) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => _ = counts.insert(key.to_owned(), 1),
    }
}

fn sum<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        match into.get_mut(key) {
            Some(sum) => *sum += count,
            None => _ = into.insert(key.clone(), *count),
        }
    }
}

impl Counters {
    /// Counts a session closed with this code.
    pub fn count_closed(&mut self, code: u16) {
        *self.closed.entry(code).or_default() += 1;
    }

    /// Counts an upgrade refused for this reason.
    pub fn count_refused(&mut self, slug: &str) {
        one_more(&mut self.refused, slug);
    }

    /// Counts a connection or a session that ended for another.
    pub fn count_gave_way(&mut self, what: &str) {
        one_more(&mut self.gave_way, what);
    }

    /// Counts a handshake of TLS with this outcome.
    pub fn count_handshake(&mut self, outcome: &str) {
        one_more(&mut self.handshakes, outcome);
    }

    /// Counts an HTTP response with this status.
    pub fn count_http(&mut self, status: u16) {
        *self.http.entry(status).or_default() += 1;
    }

    /// Counts a quote with this outcome.
    pub fn count_quote(&mut self, slug: &str) {
        one_more(&mut self.quotes, slug);
    }

    /// Counts sessions by what became of them in a handover. Who ends a handover counts it: the process that has a session
    /// now, else the one that gave it up, else the master.
    pub fn handover(&mut self, result: Handover, sessions: u64) {
        self.handovers.add(result, sessions);
    }

    /// Counts the time in which a session that was held heard nothing.
    pub fn silence(&mut self, silence: Duration) {
        self.silences.observe(silence);
    }

    /// Adds the counters of another process without its gauges, which have no sum over time.
    pub fn add_sums(&mut self, other: &Self) {
        let Self { messages_in, messages_out, stats_out, opened, closed, refused, http, quotes, .. } = self;
        *messages_in += other.messages_in;
        *messages_out += other.messages_out;
        *stats_out += other.stats_out;
        *opened += other.opened;
        sum(closed, &other.closed);
        sum(refused, &other.refused);
        sum(http, &other.http);
        sum(quotes, &other.quotes);
        self.conflated += other.conflated;
        self.accept_errors += other.accept_errors;
        sum(&mut self.handshakes, &other.handshakes);
        self.panics += other.panics;
        self.cpu_us += other.cpu_us;
        self.resumed += other.resumed;
        self.gaps += other.gaps;
        sum(&mut self.gave_way, &other.gave_way);
        self.handovers.add_all(&other.handovers);
        self.silences.add_all(&other.silences);
    }

    /// Adds the gauges of a living process: the longest lag counts, all others add up.
    pub fn add_gauges(&mut self, other: &Self) {
        self.rss += other.rss;
        self.connections += other.connections;
        self.suspended += other.suspended;
        self.suspended_bytes += other.suspended_bytes;
        self.covered += other.covered;
        self.uncovered += other.uncovered;
        self.bound += other.bound;
        self.lag_us = self.lag_us.max(other.lag_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_kind() {
        let (mut one, mut two) = (Counters { rss: 5, lag_us: 7, ..Counters::default() }, Counters::default());
        one.count_closed(1001);
        one.count_refused("full");
        one.count_refused("full");
        two.count_refused("full");
        two.count_http(200);
        two.count_quote("delivered");
        two.cpu_us = 3;
        let mut all = Counters::default();
        all.add_sums(&one);
        all.add_sums(&two);
        assert_eq!((all.refused["full"], all.closed[&1001], all.http[&200], all.cpu_us), (3, 1, 1, 3));
        assert_eq!((all.quotes["delivered"], all.rss, all.lag_us), (1, 0, 0));
        all.add_gauges(&one);
        assert_eq!((all.rss, all.lag_us, all.cpu_us), (5, 7, 3));
    }
}
