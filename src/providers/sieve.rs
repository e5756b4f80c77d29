//! What every tick of every source passes before it counts. Pure.
//!
//! - *Order*: a number that is not above the last one of its symbol in this session is an old tick (a duplicate, one
//!   that was overtaken). A gap is no fault: only the newest is wanted.
//! - *Best prices*: a bid or ask that nobody could mean beside that price is not shown (one exchange's own example
//!   has a bid of 637 at a price of 246, another an ask of 100000 at a bid of 0.079).

use super::Tick;
use crate::model::{Mono, Price, Symbol};
use rust_decimal::Decimal;
use std::collections::HashMap;
use std::time::Duration;

/// Bid and ask lie no farther from the price than this part of it.
const SPREAD: Decimal = Decimal::from_parts(5, 0, 0, false, 2);
/// When a symbol's numbers have all been below the last one for so long, the source has begun to count anew:
/// overtaken ticks come between newer ones.
const ANEW: Duration = Duration::from_secs(10);

/// What becomes of a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sieved {
    /// It counts.
    New(Tick),
    /// It is none: not newer than one before.
    Old,
    /// The source counts anew; only a new session can tell its ticks from old ones.
    Anew,
}

/// What is known of one session.
#[derive(Debug, Default)]
pub struct Sieve(HashMap<Symbol, Last>);

#[derive(Debug)]
struct Last {
    seq: u64,
    /// Since when all numbers have been below it.
    below: Option<Mono>,
}

impl Sieve {
    /// Judges a tick that was read at `now`.
    pub fn take(&mut self, tick: Tick, now: Mono) -> Sieved {
        match (tick.seq, self.0.get_mut(&tick.symbol)) {
            (Some(seq), Some(last)) if seq <= last.seq => last.again(seq, now),
            (Some(seq), Some(last)) => {
                *last = Last { seq, below: None };
                Sieved::New(believable(tick))
            }
            (Some(seq), None) => {
                self.0.insert(tick.symbol.clone(), Last { seq, below: None });
                Sieved::New(believable(tick))
            }
            (None, _) => Sieved::New(believable(tick)),
        }
    }
}

impl Last {
    /// A number that is not above the last one.
    fn again(&mut self, seq: u64, now: Mono) -> Sieved {
        if seq == self.seq {
            self.below = None;
            return Sieved::Old;
        }
        let since = *self.below.get_or_insert(now);
        if now.since(since) >= ANEW { Sieved::Anew } else { Sieved::Old }
    }
}

/// Without best prices that nobody could mean.
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

    fn take(sieve: &mut Sieve, seq: u64, seconds: u64) -> &'static str {
        match sieve.take(tick(Some(seq)), Mono(seconds * 1_000_000_000)) {
            Sieved::New(_) => "new",
            Sieved::Old => "old",
            Sieved::Anew => "anew",
        }
    }

    #[test]
    fn what_was_overtaken_is_old_and_a_gap_is_nothing() {
        let mut sieve = Sieve::default();
        let verdicts = [0, 1, 1, 5, 3, 4, 5, 6].map(|seq| take(&mut sieve, seq, 0));
        assert_eq!(verdicts, ["new", "new", "old", "new", "old", "old", "old", "new"]);
    }

    #[test]
    fn numbers_that_stay_below_have_begun_anew_but_a_repeated_one_only_stands_still() {
        let mut sieve = Sieve::default();
        assert_eq!(take(&mut sieve, 1000, 0), "new");
        assert_eq!([1, 5, 9].map(|second| take(&mut sieve, second, second)), ["old"; 3]);
        assert_eq!(take(&mut sieve, 1001, 10), "new", "they were only late");
        assert_eq!([11, 20].map(|second| take(&mut sieve, second, second)), ["old"; 2]);
        assert_eq!(take(&mut sieve, 21, 21), "anew");
        let mut sieve = Sieve::default();
        assert_eq!(take(&mut sieve, 7, 0), "new");
        assert!((1..100).all(|second| take(&mut sieve, 7, second) == "old"));
    }

    #[test]
    fn symbols_have_their_own_numbers_and_some_sources_have_none() {
        let mut sieve = Sieve::default();
        assert_eq!(take(&mut sieve, 7, 0), "new");
        let other = Tick { symbol: Symbol::new("ETH-USD").unwrap(), ..tick(Some(3)) };
        assert!(matches!(sieve.take(other, Mono(0)), Sieved::New(_)));
        for _ in 0..3 {
            assert!(matches!(sieve.take(tick(None), Mono(0)), Sieved::New(_)));
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
            let Sieved::New(tick) = Sieve::default().take(best, Mono(0)) else { panic!("{bid} {ask}") };
            assert_eq!((tick.bid, tick.ask), (price(shown_bid), price(shown_ask)), "{bid} {ask}");
        }
    }

    proptest! {
        #[test]
        fn what_counts_always_grows(seqs in prop::collection::vec(0..50u64, 0..100)) {
            let mut sieve = Sieve::default();
            let new: Vec<_> =
                seqs.iter().filter(|seq| take(&mut sieve, **seq, 0) == "new").copied().collect();
            prop_assert!(new.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(new.last(), seqs.iter().max());
            prop_assert_eq!(new.first(), seqs.first());
        }
    }
}
