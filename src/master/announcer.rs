//! Moments at which the master tells sessions what nobody asked for: the heartbeat of `/broadcast`, and presence in
//! the cluster. Pure.

use crate::config::Config;
use crate::model::Mono;
use std::time::Duration;

/// The least time between two messages about who is in the cluster.
const PAUSE: Duration = Duration::from_secs(1);

/// Presence in the cluster: users, sessions, and count of all sessions that ever came.
pub(super) type Present = (usize, usize, u64);

/// The last messages and their moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcer {
    /// `broadcast.heartbeat`
    every: Duration,
    heartbeat: Mono,
    present: Present,
    told: Mono,
}

impl Announcer {
    /// Nothing has been said; the first heartbeat comes after one interval.
    pub(super) fn new(config: &Config, now: Mono) -> Self {
        Self { every: config.broadcast.heartbeat, heartbeat: now, present: (0, 0, 0), told: Mono(0) }
    }

    /// Follows another configuration. The next heartbeat is counted from the last one.
    pub(super) fn adopt(&mut self, config: &Config) {
        self.every = config.broadcast.heartbeat;
    }

    /// Whether the heartbeat is to be said now.
    pub(super) fn beats(&mut self, now: Mono) -> bool {
        let due = self.next_beat() <= now;
        if due {
            self.heartbeat = now;
        }
        due
    }

    pub(super) fn next_beat(&self) -> Mono {
        self.heartbeat.after(self.every)
    }

    /// A worker has no word of presence in the cluster that sessions there must hear.
    pub(super) fn tell_again(&mut self) {
        self.present = (usize::MAX, 0, 0);
    }

    /// Whether it is to be said now that `present` are in the cluster.
    pub(super) fn tells(&mut self, present: Present, now: Mono) -> bool {
        let due = present != self.present && now.since(self.told) >= PAUSE;
        if due {
            (self.present, self.told) = (present, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn presence_is_told_at_most_once_a_second_and_in_the_end_as_it_is(
            steps in prop::collection::vec((0u64..700, 0usize..3), 1..100)
        ) {
            let mut now = Mono(1 << 40);
            let mut announcer =
                Announcer { every: Duration::from_secs(30), heartbeat: now, present: (0, 0, 0), told: Mono(0) };
            let (mut told, mut last) = (vec![(now, (0, 0, 0))], (0, 0, 0));
            for (ms, users) in steps {
                now = now.after(Duration::from_millis(ms));
                last = (users, users, 0);
                if announcer.tells(last, now) {
                    told.push((now, last));
                }
            }
            now = now.after(PAUSE);
            if announcer.tells(last, now) {
                told.push((now, last));
            }
            prop_assert_eq!(told.last().unwrap().1, last);
            prop_assert!(told[1..].windows(2).all(|two| two[1].0.since(two[0].0) >= PAUSE && two[0].1 != two[1].1));
        }

        #[test]
        fn the_heartbeat_keeps_its_interval_and_follows_another(every in 1u64..60, other in 1u64..60, look in 1u64..500) {
            let (start, mut beats) = (Mono(1 << 40), vec![]);
            let mut announcer =
                Announcer { every: Duration::from_secs(every), heartbeat: start, present: (0, 0, 0), told: Mono(0) };
            let mut now = start;
            while beats.len() < 5 {
                now = now.after(Duration::from_millis(look));
                if announcer.beats(now) {
                    beats.push(now);
                    announcer.every = Duration::from_secs(other);
                }
            }
            let slack = Duration::from_millis(look);
            beats.insert(0, start);
            let gaps = beats.windows(2).map(|two| two[1].since(two[0]));
            for (n, gap) in gaps.enumerate() {
                let wanted = Duration::from_secs(if n == 0 { every } else { other });
                prop_assert!(gap >= wanted && gap < wanted + slack, "{gap:?} instead of {wanted:?}");
            }
        }
    }
}
