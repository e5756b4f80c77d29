//! The order of a source's numbers. A gap is no fault: only the newest price matters.

use crate::model::Mono;
use std::time::Duration;

/// If the numbers have grown for this time, far below the newest one, the source has started to count anew: it must
/// not be ignored for ever. Overtaken prices arrive within less.
const ANEW: Duration = Duration::from_secs(5);
/// The same for numbers that are not far below: more likely a replica that is behind, and catches up. By then the
/// newest price is too old to lose much.
const NEAR_ANEW: Duration = Duration::from_secs(120);
/// The same for numbers above the newest one of some seconds ago: a few numbers that were too high came in between. A
/// replica that is so little behind has caught up by then.
const BACK: Duration = Duration::from_secs(12);

/// The place of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// New, or the beginning of a new count.
    Above,
    /// The newest one again.
    Same,
    Below,
}

/// What is known of the numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    newest: Option<u64>,
    /// The newest one of some seconds ago, [`ANEW`] or more apart: the later one, and the one before.
    before: [Option<u64>; 2],
    turned: Mono,
    below: Option<Below>,
}

/// Numbers below the newest one, and nothing else since.
#[derive(Clone, Copy, Debug)]
struct Below {
    since: Mono,
    first: u64,
    last: u64,
    grown: Mono,
}

impl Numbers {
    /// Whether a number is above all others.
    pub(super) fn is_above(&self, seq: u64) -> bool {
        self.newest.is_some_and(|newest| seq > newest)
    }

    /// Takes the number of a price that was read at `now`.
    pub(super) fn take(&mut self, seq: u64, now: Mono) -> Order {
        let newest = self.newest;
        match newest {
            Some(newest) if seq < newest && !self.begins_anew(seq, newest, now) => Order::Below,
            Some(newest) if seq == newest => {
                self.below = None;
                Order::Same
            }
            _ => {
                if now.since(self.turned) >= ANEW {
                    (self.before, self.turned) = ([newest, self.before[0]], now);
                }
                (self.newest, self.below) = (Some(seq), None);
                Order::Above
            }
        }
    }

    /// Numbers that stand still below the newest one, or take turns, are those of frozen replicas.
    fn begins_anew(&mut self, seq: u64, newest: u64, now: Mono) -> bool {
        let begin = Below { since: now, first: seq, last: seq, grown: now };
        let below = self.below.get_or_insert(begin);
        if seq > below.last {
            (below.last, below.grown) = (seq, now);
        } else if now.since(below.grown) >= ANEW {
            *below = begin;
        }
        let patience = match self.before[1] {
            _ if seq < newest / 2 => ANEW,
            Some(before) if below.first > before => BACK,
            _ => NEAR_ANEW,
        };
        seq == below.last && seq > below.first && now.since(below.since) >= patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(numbers: &mut Numbers, seq: u64, seconds: u64) -> bool {
        numbers.take(seq, Mono(seconds * 1_000_000_000)) == Order::Above
    }

    #[test]
    fn what_was_overtaken_is_old_and_a_gap_is_nothing() {
        let mut numbers = Numbers::default();
        let counts = [0, 1, 1, 5, 3, 4, 5, 6].map(|seq| take(&mut numbers, seq, 0));
        assert_eq!(counts, [true, true, false, true, false, false, false, true]);
    }

    #[test]
    fn numbers_that_grow_far_below_have_begun_anew() {
        let mut numbers = Numbers::default();
        assert!(take(&mut numbers, 1000, 0));
        assert_eq!([1, 3, 5].map(|second| take(&mut numbers, second, second)), [false; 3]);
        assert!(take(&mut numbers, 1001, 6), "they were only late");
        assert_eq!([7, 11].map(|second| take(&mut numbers, second, second)), [false; 2]);
        assert_eq!([12, 13, 14].map(|second| take(&mut numbers, second, second)), [true; 3]);
    }

    #[test]
    fn one_absurd_number_costs_seconds() {
        let mut numbers = Numbers::default();
        assert!(take(&mut numbers, 7, 0) && take(&mut numbers, u64::MAX, 0));
        assert_eq!([1, 3, 6, 7].map(|s| take(&mut numbers, 7 + s, s)), [false, false, true, true]);
    }

    #[test]
    fn what_stands_still_is_never_news() {
        let mut numbers = Numbers::default();
        assert!(take(&mut numbers, 957, 0));
        assert!((1..1_000).all(|second| !take(&mut numbers, 957, second)), "a frozen source");
        assert!((1_000..2_000).all(|second| !take(&mut numbers, 957 - second % 2, second)), "two replicas");
        assert!((2_000..3_000).all(|second| !take(&mut numbers, 100, second)), "a frozen one far behind");
        let turns = |second| 100 + second % 2;
        let counts: Vec<_> = (3_000..4_000).map(|second| take(&mut numbers, turns(second), second)).collect();
        assert!(counts.iter().filter(|counts| **counts).count() <= 1, "two frozen ones far behind");
    }

    #[test]
    fn a_replica_that_catches_up_is_old_until_it_has() {
        let mut numbers = Numbers::default();
        assert!(take(&mut numbers, 957, 0));
        let first = (1..100).find(|second| take(&mut numbers, 900 + second, *second));
        assert_eq!(first, Some(58));
        let mut numbers = Numbers::default();
        assert!(take(&mut numbers, 1_000_000, 0));
        let first = (1..1_000).find(|second| take(&mut numbers, 900_000 + second, *second));
        assert_eq!(first, Some(121), "not for ever");
    }

    #[test]
    fn two_numbers_that_are_ahead_cost_seconds() {
        for ahead in [1_000, 1_000_000] {
            let mut numbers = Numbers::default();
            let start = 5_000_000;
            assert!((0..100).all(|second| take(&mut numbers, start + second, second)));
            assert!(take(&mut numbers, start + ahead, 100) && take(&mut numbers, start + ahead + 1, 100));
            let first = (101..1_000).find(|second| take(&mut numbers, start + second, *second));
            assert!(first.is_some_and(|second| second <= 115), "{first:?}");
        }
    }

    #[test]
    fn a_replica_that_is_seconds_behind_never_goes_back() {
        // 100 trades a second; the good replica goes, the other one is behind by some seconds.
        for behind in [1, 3, 8, 30] {
            let mut numbers = Numbers::default();
            assert!((0..100).all(|second| take(&mut numbers, 10_000_000 + second * 100, second)));
            let newest = 10_000_000 + 99 * 100;
            let taken = (100..200)
                .map(|second| (10_000_000 + (second - behind) * 100, second))
                .find(|(seq, second)| take(&mut numbers, *seq, *second));
            assert!(taken.is_some_and(|(seq, _)| seq > newest), "{behind}: {taken:?}");
        }
    }

    proptest! {
        #[test]
        fn what_counts_always_grows(seqs in prop::collection::vec(0..50u64, 0..100)) {
            let mut numbers = Numbers::default();
            let new: Vec<_> =
                seqs.iter().filter(|seq| take(&mut numbers, **seq, 0)).copied().collect();
            prop_assert!(new.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(new.last(), seqs.iter().max());
            prop_assert_eq!(new.first(), seqs.first());
        }

        /// Whatever came before: numbers that grow from 1 on are heard within seconds.
        #[test]
        fn a_new_count_is_heard(seqs in prop::collection::vec((1_000..u64::MAX, 0..20u64), 1..50)) {
            let (mut numbers, mut now) = (Numbers::default(), 0);
            for (seq, wait) in seqs {
                now += wait;
                take(&mut numbers, seq, now);
            }
            let first = (1..30).find(|second| take(&mut numbers, *second, now + second));
            prop_assert!(first.is_some_and(|second| second <= 12), "{:?}", first);
        }
    }
}
