//! A source's clock, and how late a price is by it.

use super::offsets::AGREE;
use crate::model::Mono;
use std::time::Duration;

/// Time that a best offset counts. Limited, because two clocks drift apart, and a source may set its own.
const BEST_FOR: Duration = Duration::from_secs(600);
/// Time after which a clock that has been ahead by the same amount is one that is wrong: a few stamps of the future
/// are no clock.
const AHEAD_FOR: Duration = Duration::from_secs(60);
/// Time after which a clock that was ahead, and is right now, has been set.
const BACK_FOR: Duration = Duration::from_secs(3);

/// How far a source's stamps are ahead of our boot clock at best.
#[derive(Debug, Default)]
pub(super) struct OwnClock {
    /// The best offset of the current span and of the one before. At most [`AGREE`] above the right time, unless the
    /// clock is one that is ahead.
    bests: [Option<i64>; 2],
    span: Mono,
    /// An offset that is ahead of what is believed, and since when.
    ahead: Option<(i64, Mono)>,
    /// Since when a clock that is ahead gives right stamps.
    back: Option<Mono>,
}

impl OwnClock {
    /// How late a price with this offset is. `reference` is the offset of the right time.
    pub(super) fn lag(&mut self, offset: i64, reference: i64, now: Mono) -> Duration {
        if now.since(self.span) >= BEST_FOR {
            (self.bests, self.span) = ([None, self.bests[0]], now);
        }
        if offset > self.limit(reference) {
            self.run_ahead(offset, now);
            return Duration::ZERO;
        }
        self.ahead = None;
        self.come_back(offset, reference, now);
        let best = self.best();
        if offset >= reference - AGREE {
            // Only the reference may raise it: a clock must not walk ahead.
            let most = best.unwrap_or(i64::MIN).max(reference + AGREE);
            self.bests[0] = self.bests[0].max(Some(offset.min(most)));
        }
        let best = self.best().filter(|best| *best >= reference - AGREE).unwrap_or(reference);
        Duration::from_millis(u64::try_from(best.saturating_sub(offset)).unwrap_or(0))
    }

    /// The largest offset that is believed.
    pub(super) fn limit(&self, reference: i64) -> i64 {
        self.best().unwrap_or(reference).max(reference).saturating_add(AGREE)
    }

    fn best(&self) -> Option<i64> {
        self.bests.into_iter().flatten().max()
    }

    fn run_ahead(&mut self, offset: i64, now: Mono) {
        self.back = None;
        let (was, since) = *self.ahead.get_or_insert((offset, now));
        if offset.abs_diff(was) > AGREE.unsigned_abs() {
            self.ahead = Some((offset, now));
        } else if now.since(since) >= AHEAD_FOR {
            (self.bests, self.ahead) = ([Some(offset), None], None);
        }
    }

    /// Notices that a clock that was ahead has been set right.
    fn come_back(&mut self, offset: i64, reference: i64, now: Mono) {
        let ahead = self.best().is_some_and(|best| best > reference + AGREE);
        if !ahead || offset.abs_diff(reference) > AGREE.unsigned_abs() {
            self.back = None;
        } else if now.since(*self.back.get_or_insert(now)) >= BACK_FOR {
            (self.bests, self.back) = ([None, None], None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(clock: &mut OwnClock, offset: i64, second: u64) -> u64 {
        u64::try_from(clock.lag(offset, 0, Mono(second * 1_000_000_000)).as_millis()).unwrap()
    }

    #[test]
    fn the_lag_is_against_the_source_s_own_best_where_it_is_near_the_right_time() {
        let mut clock = OwnClock::default();
        assert_eq!(lag(&mut clock, -1_500, 0), 0, "clocks need not agree to the second");
        assert_eq!(lag(&mut clock, -1_550, 1), 50);
        assert_eq!(lag(&mut clock, 1_270, 2), 0, "faster: the new best");
        assert_eq!(lag(&mut clock, -30_000, 3), 31_270, "a backlog");
    }

    #[test]
    fn a_source_is_not_its_own_witness() {
        let mut clock = OwnClock::default();
        for second in 0..5_000 {
            assert_eq!(lag(&mut clock, -300_000, second), 300_000);
        }
        assert_eq!(lag(&mut clock, 0, 5_000), 0);
    }

    #[test]
    fn stamps_of_the_future_are_not_taken_on_two_words() {
        let day = 86_400_000;
        let mut clock = OwnClock::default();
        assert_eq!([lag(&mut clock, day, 0), lag(&mut clock, day, 1), lag(&mut clock, 0, 2)], [0; 3]);
        // For an hour each second word is one of tomorrow.
        for second in 3..3_600 {
            assert_eq!(lag(&mut clock, day * i64::try_from(second % 2).unwrap(), second), 0, "{second}");
        }
        // A clock that walks ahead, a second each second.
        let mut clock = OwnClock::default();
        for second in 0..300 {
            lag(&mut clock, i64::try_from(second).unwrap() * 1_000, second);
        }
        assert!(lag(&mut clock, 0, 300) <= 2_000);
    }

    #[test]
    fn a_clock_that_is_ahead_is_measured_by_itself_and_may_be_set() {
        let hour = 3_600_000;
        let mut clock = OwnClock::default();
        for second in 0..=61 {
            assert_eq!(lag(&mut clock, hour, second), 0);
        }
        assert_eq!(lag(&mut clock, hour - 20_000, 62), 20_000);
        // Steadily for long.
        for second in 63..3_000 {
            assert_eq!(lag(&mut clock, hour, second), 0);
        }
        assert_eq!(lag(&mut clock, hour - 20_000, 3_000), 20_000);
        let after = (3_001..).find(|second| lag(&mut clock, 0, *second) == 0);
        assert_eq!(after, Some(3_004));
        assert_eq!(lag(&mut clock, -20_000, 3_005), 20_000);
    }
}
