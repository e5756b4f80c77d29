//! Checks every tick of every source before it counts. Pure.
//!
//! - *Order*: a number that is not above its symbol's last one in this session is an old tick (a duplicate, or
//!   overtaken). A gap is no fault: only the newest tick matters.
//! - *Best prices*: a bid or ask too far from the price is dropped (one exchange's own example has a bid of 637 at a
//!   price of 246, another an ask of 100000 at a bid of 0.079).

use super::Tick;
use crate::model::{Mono, Price, Symbol};
use rust_decimal::Decimal;
use std::collections::HashMap;
use std::time::Duration;

/// Most distance of bid and ask from the price, as a part of it.
const SPREAD: Decimal = Decimal::from_parts(5, 0, 0, false, 2);
/// If all numbers have been below the last one for this time, the source has started to count anew: it must not be
/// ignored for ever. Overtaken ticks arrive within less.
const ANEW: Duration = Duration::from_secs(5);

/// The state of one session.
#[derive(Debug, Default)]
pub struct TickFilter(HashMap<Symbol, Last>);

#[derive(Debug)]
struct Last {
    seq: u64,
    /// Since when all numbers have been below it.
    below: Option<Mono>,
}

impl TickFilter {
    /// Returns the tick as it counts; `None` if it is not newer than the one before. `now` is when it was read.
    pub fn take(&mut self, tick: Tick, now: Mono) -> Option<Tick> {
        if let Some(seq) = tick.seq {
            let last = self.0.get_mut(&tick.symbol);
            if last.is_some_and(|last| !last.grows(seq, now)) {
                return None;
            }
            self.0.insert(tick.symbol.clone(), Last { seq, below: None });
        }
        Some(believable(tick))
    }
}

impl Last {
    fn grows(&mut self, seq: u64, now: Mono) -> bool {
        if seq < self.seq {
            return now.since(*self.below.get_or_insert(now)) >= ANEW;
        }
        self.below = None;
        seq > self.seq
    }
}

/// Drops best prices that are too far from the price.
fn believable(mut tick: Tick) -> Tick {
    let near = |best: &Price| best.deviation(tick.price) <= SPREAD;
    (tick.bid, tick.ask) = (tick.bid.filter(near), tick.ask.filter(near));
    if tick.bid.zip(tick.ask).is_some_and(|(bid, ask)| bid > ask) {
        (tick.bid, tick.ask) = (None, None);
    }
    tick
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tick(seq: Option<u64>) -> Tick {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let price = Price::parse("100").unwrap();
        Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time: None, seq }
    }

    fn take(filter: &mut TickFilter, seq: u64, seconds: u64) -> bool {
        filter.take(tick(Some(seq)), Mono(seconds * 1_000_000_000)).is_some()
    }

    #[test]
    fn what_was_overtaken_is_old_and_a_gap_is_nothing() {
        let mut filter = TickFilter::default();
        let counts = [0, 1, 1, 5, 3, 4, 5, 6].map(|seq| take(&mut filter, seq, 0));
        assert_eq!(counts, [true, true, false, true, false, false, false, true]);
    }

    #[test]
    fn numbers_that_stay_below_have_begun_anew_but_a_repeated_one_only_stands_still() {
        let mut filter = TickFilter::default();
        assert!(take(&mut filter, 1000, 0));
        assert_eq!([1, 3, 5].map(|second| take(&mut filter, second, second)), [false; 3]);
        assert!(take(&mut filter, 1001, 6), "they were only late");
        assert_eq!([7, 11].map(|second| take(&mut filter, second, second)), [false; 2]);
        assert_eq!([12, 13, 14].map(|second| take(&mut filter, second, second)), [true; 3]);
        let mut filter = TickFilter::default();
        assert!(take(&mut filter, 7, 0));
        assert!((1..100).all(|second| !take(&mut filter, 7, second)), "a frozen source");
        let answers = (100..150).map(|second| (7 - second % 2, second));
        assert!(
            answers.into_iter().all(|(seq, second)| !take(&mut filter, seq, second)),
            "two frozen replicas"
        );
    }

    #[test]
    fn symbols_have_their_own_numbers_and_some_sources_have_none() {
        let mut filter = TickFilter::default();
        assert!(take(&mut filter, 7, 0));
        let other = Tick { symbol: Symbol::new("ETH-USD").unwrap(), ..tick(Some(3)) };
        assert!(filter.take(other, Mono(0)).is_some());
        for _ in 0..3 {
            assert!(filter.take(tick(None), Mono(0)).is_some());
        }
    }

    #[test]
    fn best_prices_that_nobody_means_are_not_shown() {
        let price = |text: &str| (!text.is_empty()).then(|| Price::parse(text).unwrap());
        for (bid, ask, shown_bid, shown_ask) in [
            ("99.9", "100.1", "99.9", "100.1"),
            ("95", "105", "95", "105"),
            ("259", "259.1", "", ""),
            ("99.9", "100000", "99.9", ""),
            ("0.5", "100.1", "", "100.1"),
            ("100.2", "99.8", "", ""),
            ("100", "100", "100", "100"),
            ("", "", "", ""),
        ] {
            let best = Tick { bid: price(bid), ask: price(ask), ..tick(None) };
            let tick = TickFilter::default().take(best, Mono(0)).unwrap();
            assert_eq!((tick.bid, tick.ask), (price(shown_bid), price(shown_ask)), "{bid} {ask}");
        }
    }

    proptest! {
        #[test]
        fn what_counts_always_grows(seqs in prop::collection::vec(0..50u64, 0..100)) {
            let mut filter = TickFilter::default();
            let new: Vec<_> =
                seqs.iter().filter(|seq| take(&mut filter, **seq, 0)).copied().collect();
            prop_assert!(new.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(new.last(), seqs.iter().max());
            prop_assert_eq!(new.first(), seqs.first());
        }
    }
}
