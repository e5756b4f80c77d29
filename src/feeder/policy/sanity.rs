//! Whether a source's tick can be believed, and how far the source is behind. Pure.

use crate::model::{Boot, Mono, Price, Wall};
use rust_decimal::Decimal;
use std::time::Duration;

/// Largest move from one tick of a source to its next that needs no confirmation.
const JUMP: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

/// Holds a jump until something confirms it.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    believed: Option<Price>,
    held: Option<Price>,
}

impl Jumps {
    /// Whether to believe `price`: it is near the last one, or near the held one, which it confirms.
    pub(super) fn take(&mut self, price: Price) -> bool {
        let near = |other: Option<Price>| other.is_some_and(|other| near(price, other));
        if self.believed.is_none() || near(self.believed) || near(self.held) {
            self.believe(price);
            return true;
        }
        self.held = Some(price);
        false
    }

    /// Compares a source's first price with `price`.
    pub(super) fn begin(&mut self, price: Option<Price>) {
        self.believed = self.believed.or(price);
    }

    /// Believes a price that another source confirms.
    pub(super) fn believe(&mut self, price: Price) {
        (self.believed, self.held) = (Some(price), None);
    }

    /// The last price that was believed.
    pub(super) fn believed(&self) -> Option<Price> {
        self.believed
    }
}

/// Whether two prices are near enough to confirm each other.
pub(super) fn near(one: Price, other: Price) -> bool {
    one.deviation(other) <= JUMP
}

/// Time that a smallest difference counts. Limited, because two clocks drift apart, and a source may set its own.
const FLOOR_FOR: Duration = Duration::from_secs(600);
/// A difference smaller than the smallest by more milliseconds than this is a time stamp of the future, until the next
/// one confirms it.
const DOUBTFUL: i64 = 2_000;

/// Measures how far a source is behind its own best: the difference of its time stamp and our clock, minus the smallest
/// such difference of the last minutes. The clocks need not agree, so ours is the one that nobody sets.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// The smallest difference in milliseconds of the current span and of the one before.
    floors: [Option<i64>; 2],
    span: Mono,
    doubtful: Option<i64>,
}

impl Lag {
    /// The lag of a tick stamped `stamp` that was read at `boot`; zero without a time stamp.
    pub(super) fn of(&mut self, stamp: Option<Wall>, boot: Boot, now: Mono) -> Duration {
        let Some(stamp) = stamp else { return Duration::ZERO };
        let ours = i64::try_from(boot.0 / 1_000_000).unwrap_or(i64::MAX);
        let difference = ours.saturating_sub(stamp.0);
        if now.since(self.span) >= FLOOR_FOR {
            (self.floors, self.span) = ([None, self.floors[0]], now);
        }
        if self.lowers(difference) {
            self.floors[0] = Some(self.floors[0].map_or(difference, |floor| floor.min(difference)));
        }
        let floor = self.floor().unwrap_or(difference);
        Duration::from_millis(u64::try_from(difference.saturating_sub(floor)).unwrap_or(0))
    }

    fn floor(&self) -> Option<i64> {
        self.floors.into_iter().flatten().min()
    }

    /// Whether a difference may lower the floor: not if it is far below, unless the previous one was, too.
    fn lowers(&mut self, difference: i64) -> bool {
        let far = |floor: i64| difference < floor.saturating_sub(DOUBTFUL);
        if self.floor().is_some_and(far) && self.doubtful.is_none_or(far) {
            self.doubtful = Some(difference);
            return false;
        }
        self.doubtful = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        Price::parse(text).unwrap()
    }

    #[test]
    fn a_jump_is_held_until_the_next_tick_confirms_it() {
        let mut jumps = Jumps::default();
        assert!(jumps.take(price("100")));
        assert!(jumps.take(price("105")), "five per cent is no jump");
        assert!(!jumps.take(price("1050")));
        assert_eq!(jumps.believed(), Some(price("105")));
        assert!(jumps.take(price("106")), "it was a slip");
        assert!(!jumps.take(price("1050")), "and is held again");
        assert!(jumps.take(price("1040")), "confirmed");
        assert_eq!(jumps.believed(), Some(price("1040")));
    }

    #[test]
    fn noise_confirms_nothing() {
        let mut jumps = Jumps::default();
        assert!(jumps.take(price("100")));
        for noise in ["1000", "10", "5000", "0.01"] {
            assert!(!jumps.take(price(noise)), "{noise}");
        }
    }

    fn lag(lag: &mut Lag, stamp_ms: i64, at_ms: u64) -> u64 {
        let millis =
            lag.of(Some(Wall(stamp_ms)), Boot(at_ms * 1_000_000), Mono(at_ms * 1_000_000)).as_millis();
        u64::try_from(millis).unwrap()
    }

    #[test]
    fn the_lag_is_against_the_source_s_own_best() {
        let mut l = Lag::default();
        assert_eq!(lag(&mut l, 1_000_000, 100), 0, "clocks need not agree");
        assert_eq!(lag(&mut l, 1_001_000, 1_150), 50);
        assert_eq!(lag(&mut l, 1_002_000, 2_000), 0, "100 ms faster: the new best");
        assert_eq!(lag(&mut l, 1_002_000, 32_000), 30_000, "a backlog");
        assert_eq!(l.of(None, Boot(0), Mono(0)), Duration::ZERO);
    }

    #[test]
    fn one_stamp_of_the_future_does_no_harm() {
        let mut l = Lag::default();
        assert_eq!(lag(&mut l, 1_000_000, 100), 0);
        assert_eq!(lag(&mut l, 9_000_000, 200), 0);
        assert_eq!(lag(&mut l, 1_000_200, 300), 0, "the floor is where it was");
    }

    #[test]
    fn a_source_that_sets_its_clock_is_believed_again() {
        let mut l = Lag::default();
        assert_eq!(lag(&mut l, 1_000_000, 0), 0);
        let hour = 3_600_000;
        for second in 1..1_199 {
            assert!(lag(&mut l, 1_000_000 - hour + second * 1000, u64::try_from(second).unwrap() * 1000) > 0);
        }
        assert_eq!(lag(&mut l, 1_000_000 - hour + 1_250_000, 1_250_000), 0, "within two spans");
    }
}
