//! The moments of the `stats` message.
//!
//! Within a second of a change, at most one in `stats.interval`, none while nothing changes. Where more than [`FREE`]
//! sessions watch, the message also waits until nine other messages per watcher were delivered, so that statistics
//! are at most a tenth of all deliveries. A cluster that sends little else (a quiet feed) still tells its changes
//! after [`LONGEST`].

use crate::model::Mono;
use std::time::Duration;

/// Up to so many watchers cause no wait.
const FREE: u64 = 100;
/// A change waits no longer than this, or than `stats.interval` where that is more.
const LONGEST: Duration = Duration::from_secs(10);
/// Time between two looks while nothing has changed, so that simultaneous changes go out together.
const LOOK: Duration = Duration::from_millis(100);
/// Other deliveries that must precede each delivery of statistics.
const OTHERS: u64 = 9;

/// Deliveries in the whole cluster since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions that would get the message now.
    pub watchers: u64,
    /// Messages to clients.
    pub deliveries: u64,
    /// Statistics among them.
    pub statistics: u64,
}

impl Load {
    fn others(self) -> u64 {
        self.deliveries.saturating_sub(self.statistics)
    }
}

/// Decides when the message goes out.
#[derive(Debug)]
pub struct When {
    interval: Duration,
    /// The last message: its moment, its mark, and the other deliveries until then.
    sent: Option<(Mono, u64, u64)>,
    /// The earliest moment of the next look.
    next: Mono,
    /// Something may have changed since the last look.
    stirred: bool,
}

impl When {
    /// Nothing was sent yet. `interval` is `stats.interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, sent: None, next: Mono(0), stirred: true }
    }

    /// Follows another `stats.interval`.
    pub fn configure(&mut self, interval: Duration) {
        self.interval = interval;
        self.next = Mono(0);
        self.stirred = true;
    }

    /// Whether to look now. Ask whenever something happened; the answer is rarely yes.
    pub fn looks(&mut self, now: Mono) -> bool {
        let looks = now >= self.next;
        self.stirred |= !looks;
        looks
    }

    /// Whether the message goes out now. Ask only if [`When::looks`] said yes.
    pub fn sends(&mut self, now: Mono, mark: u64, load: Load) -> bool {
        let changed = self.sent.is_none_or(|(_, sent, _)| sent != mark);
        if changed && self.may(now, load) {
            self.sent = Some((now, mark, load.others()));
            self.next = now.after(self.interval.max(LOOK));
            self.stirred = false;
            return true;
        }
        self.next = now.after(LOOK);
        // A change that waits needs another look, even if nothing more happens.
        self.stirred = changed;
        false
    }

    /// The next look if nothing happens; the end of time if none is needed.
    #[must_use]
    pub fn next(&self, now: Mono) -> Mono {
        if self.stirred { self.next.max(now) } else { Mono(u64::MAX) }
    }

    fn may(&self, now: Mono, load: Load) -> bool {
        let Some((at, _, others)) = self.sent else { return true };
        let since = now.since(at);
        let paid = load.others().saturating_sub(others) >= load.watchers.saturating_mul(OTHERS);
        since >= self.interval && (load.watchers <= FREE || paid || since >= LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Mono = Mono(1_000_000_000_000);

    fn at(ms: u64) -> Mono {
        START.after(Duration::from_millis(ms))
    }

    fn watched(watchers: u64) -> Load {
        Load { watchers, ..Load::default() }
    }

    fn looks(when: &mut When, now: Mono, mark: u64, load: Load) -> bool {
        when.looks(now) && when.sends(now, mark, load)
    }

    /// The moments in milliseconds at which a message goes out. `mark` says what there is; the loop turns when
    /// something changes and when it was asked to.
    fn sent(interval: u64, until: u64, mark: impl Fn(u64) -> u64, load: impl Fn(u64) -> Load) -> Vec<u64> {
        let mut when = When::new(Duration::from_millis(interval));
        let (mut times, mut turns, mut before) = (vec![], 0, None);
        for ms in 0..until {
            let stirs = before != Some(mark(ms));
            before = Some(mark(ms));
            if (stirs || when.next(at(ms)) <= at(ms)) && looks(&mut when, at(ms), mark(ms), load(ms)) {
                times.push(ms);
            }
            turns += u32::from(stirs);
        }
        assert!(turns > 0);
        times
    }

    #[test]
    fn nothing_changes_nothing_is_sent_and_nobody_is_woken() {
        assert_eq!(sent(1000, 60_000, |_| 1, |_| watched(5)), [0]);
        let mut when = When::new(Duration::from_secs(1));
        assert!(when.next(at(0)) <= at(0), "the first message needs no event");
        assert!(looks(&mut when, at(0), 1, watched(5)));
        assert_eq!(when.next(at(0)), Mono(u64::MAX));
        assert!(!looks(&mut when, at(5000), 1, watched(5)));
        assert_eq!(when.next(at(5000)), Mono(u64::MAX));
    }

    #[test]
    fn a_change_goes_out_at_once_and_the_next_after_the_interval() {
        let changes = |ms: u64| [0, 5000, 5010, 5020, 9000].iter().filter(|at| **at <= ms).count() as u64;
        assert_eq!(sent(1000, 20_000, changes, |_| watched(5)), [0, 5000, 6000, 9000]);
        assert_eq!(sent(3000, 20_000, changes, |_| watched(5)), [0, 5000, 8000, 11_000]);
    }

    #[test]
    fn what_changes_all_the_time_goes_out_each_interval() {
        assert_eq!(sent(1000, 5001, |ms| ms, |_| watched(100)), [0, 1000, 2000, 3000, 4000, 5000]);
    }

    #[test]
    fn a_change_that_is_undone_before_its_time_is_none() {
        let mark = |ms: u64| u64::from((5000..5010).contains(&ms) || (5200..5250).contains(&ms));
        assert_eq!(sent(1000, 20_000, mark, |_| watched(5)), [0, 5000, 6000]);
    }

    #[test]
    fn many_watchers_wait_for_nine_other_messages_each_or_ten_seconds() {
        let busy = |ms| Load { watchers: 101, deliveries: ms * 101 * 9 / 4000, statistics: 0 };
        assert_eq!(sent(1000, 9000, |ms| ms, busy), [0, 4000, 8000]);
        assert_eq!(sent(1000, 31_000, |ms| ms, |_| watched(101)), [0, 10_000, 20_000, 30_000]);
        assert_eq!(sent(15_000, 31_000, |ms| ms, |_| watched(101)), [0, 15_000, 30_000]);
        assert_eq!(sent(1000, 3000, |ms| ms, |_| watched(100)), [0, 1000, 2000]);
        let once = |ms| u64::from(ms >= 2000);
        assert_eq!(
            sent(1000, 31_000, once, |_| watched(101)),
            [0, 10_000],
            "nothing else happens until then"
        );
    }

    #[test]
    fn a_shorter_interval_holds_at_once() {
        let mut when = When::new(Duration::from_secs(60));
        assert!(looks(&mut when, at(0), 1, watched(0)));
        assert!(!looks(&mut when, at(5000), 2, watched(0)));
        when.configure(Duration::from_secs(7));
        assert!(!looks(&mut when, at(5001), 2, watched(0)), "not sooner than that either");
        when.configure(Duration::from_secs(1));
        assert!(looks(&mut when, at(5002), 2, watched(0)));
        assert!(!looks(&mut when, at(6500), 2, watched(0)));
        assert_eq!(when.next(at(6500)), Mono(u64::MAX), "nothing has changed");
    }

    proptest! {
        #[test]
        fn statistics_are_a_tenth_at_most_and_come_in_time(
            events in proptest::collection::vec((1u64..700, any::<bool>(), 0u64..4000), 1..200),
            watchers in 101u64..2000,
        ) {
            let mut when = When::new(Duration::from_secs(1));
            let (mut ms, mut mark, mut load) = (0, 1, watched(watchers));
            let (mut last, mut changed) = (None::<u64>, Some(0));
            for (step, changes, deliveries) in events {
                ms += step;
                if changes {
                    mark += 1;
                    changed.get_or_insert(ms);
                }
                load.deliveries += deliveries;
                if looks(&mut when, at(ms), mark, load) {
                    prop_assert!(changed.is_some(), "nothing had changed");
                    prop_assert!(last.is_none_or(|last| ms - last >= 1000), "sooner than the interval");
                    let stretched = last.is_some_and(|last| ms - last >= 10_000);
                    load.deliveries += watchers;
                    load.statistics += watchers;
                    let tenth = load.statistics <= watchers + load.deliveries / 10;
                    prop_assert!(tenth || stretched || last.is_none(), "{load:?}");
                    if stretched {
                        // The ones that waited ten seconds are not paid for.
                        load = watched(watchers);
                        when = When::new(Duration::from_secs(1));
                        looks(&mut when, at(ms), mark, load);
                    }
                    (last, changed) = (Some(ms), None);
                } else if let Some(since) = changed {
                    prop_assert!(ms - since.max(last.unwrap_or(0)) < 10_000 + 700, "waited too long");
                }
            }
        }
    }
}
