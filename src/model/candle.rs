//! Candles: the prices of a second, a minute or an hour.

use super::{PairSet, PairTable, Price, Symbol, Wall, words};
use serde::{Deserialize, Serialize};

words! {
    /// The length of a candle. Candles start at whole multiples of their length since 1970, UTC.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Interval {
        /// `1s`
        Second = "1s",
        /// `1m`
        Minute = "1m",
        /// `1h`
        Hour = "1h",
    }
}

impl Interval {
    /// Finds an interval by its word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.as_str() == text)
    }

    /// The length in milliseconds.
    #[must_use]
    pub fn millis(self) -> i64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The start of the interval that contains `at`.
    #[must_use]
    pub fn start(self, at: Wall) -> Wall {
        Wall(at.0.saturating_sub(at.0.rem_euclid(self.millis())))
    }

    /// The end of the interval that contains `at`: the first moment after it.
    #[must_use]
    pub fn end(self, at: Wall) -> Wall {
        Wall(self.start(at).0.saturating_add(self.millis()))
    }
}

/// The prices of one interval. An interval without a price has no candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candle {
    /// The start of the interval.
    pub time: Wall,
    /// The first price.
    pub open: Price,
    /// The highest price.
    pub high: Price,
    /// The lowest price.
    pub low: Price,
    /// The last price.
    pub close: Price,
    /// The number of prices.
    pub ticks: u32,
    /// Whether part of the interval was not watched, so that prices may be missing.
    pub partial: bool,
    /// The pairs that the sources of these prices quote.
    pub pairs: PairSet,
}

impl Candle {
    /// A candle of one price, whose pair is not known.
    #[must_use]
    pub fn new(time: Wall, price: Price, partial: bool) -> Self {
        let pairs = PairSet::UNKNOWN;
        Self { time, open: price, high: price, low: price, close: price, ticks: 1, partial, pairs }
    }

    /// Adds the prices of a later candle.
    pub fn merge(&mut self, later: &Self) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.ticks = self.ticks.saturating_add(later.ticks);
        self.partial |= later.partial;
        self.pairs.merge(later.pairs);
    }

    /// Whether the candle is possible: prices in order, at least one price, start at a multiple of the interval.
    #[must_use]
    pub fn is_sound(&self, interval: Interval) -> bool {
        let ends = [self.open, self.close];
        interval.start(self.time) == self.time
            && self.ticks > 0
            && ends.into_iter().all(|price| self.low <= price && price <= self.high)
    }
}

/// The newest candles of a symbol, as sent to all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candles {
    pub symbol: Symbol,
    /// A candle per interval, in the order of [`Interval::ALL`]: the newest closed second, and the current minute and
    /// hour.
    pub newest: [Candle; 3],
    /// Whether their prices are made up.
    pub mock: bool,
    /// The names of their pairs.
    pub pairs: PairTable,
}

/// A price in nine bytes, for storing many candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digits(u64, u8);

impl Digits {
    fn of(price: Price) -> Self {
        let exact = price.compact().decimal();
        let mantissa = u64::try_from(exact.mantissa()).unwrap_or(u64::MAX);
        Self(mantissa, u8::try_from(exact.scale()).unwrap_or(0))
    }

    fn price(self) -> Price {
        Price::from_digits(self.0, self.1)
    }
}

/// A candle in 48 bytes; a [`Candle`] takes twice as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    mantissas: [u64; 4],
    /// Seconds since 1970.
    time: u32,
    /// The highest bit means partial.
    ticks: u32,
    scales: [u8; 4],
    /// As [`PairSet::pack`].
    pairs: u16,
    last_pair: u8,
}

const PARTIAL: u32 = 1 << 31;

impl Packed {
    /// Packs a candle of whole seconds between 1970 and 2106 whose prices are [`Price::compact`].
    #[must_use]
    pub fn new(candle: &Candle) -> Self {
        let digits = [candle.open, candle.high, candle.low, candle.close].map(Digits::of);
        let partial = if candle.partial { PARTIAL } else { 0 };
        let (pairs, last_pair) = candle.pairs.pack();
        Self {
            mantissas: digits.map(|digits| digits.0),
            time: u32::try_from(candle.time.0 / 1_000).unwrap_or(0),
            ticks: candle.ticks.min(PARTIAL - 1) | partial,
            scales: digits.map(|digits| digits.1),
            pairs,
            last_pair,
        }
    }

    /// The start of the interval.
    #[must_use]
    pub fn time(&self) -> Wall {
        Wall(i64::from(self.time) * 1_000)
    }

    /// Unpacks the candle.
    #[must_use]
    pub fn candle(&self) -> Candle {
        let price = |at: usize| Digits(self.mantissas[at], self.scales[at]).price();
        Candle {
            time: self.time(),
            open: price(0),
            high: price(1),
            low: price(2),
            close: price(3),
            ticks: self.ticks & !PARTIAL,
            partial: self.ticks & PARTIAL != 0,
            pairs: PairSet::unpack((self.pairs, self.last_pair)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(text: &str) -> Price {
        Price::parse(text).unwrap()
    }

    #[test]
    fn an_interval_is_aligned() {
        let at = Wall(1_763_640_863_123);
        let starts = Interval::ALL.map(|interval| interval.start(at).to_string());
        let expected = ["2025-11-20T12:14:23.000Z", "2025-11-20T12:14:00.000Z", "2025-11-20T12:00:00.000Z"];
        assert_eq!(starts, expected);
        assert_eq!(Interval::Hour.end(at).to_string(), "2025-11-20T13:00:00.000Z");
        assert_eq!(Interval::Minute.start(Wall(-1)), Wall(-60_000));
        for interval in Interval::ALL {
            assert_eq!(Interval::parse(interval.as_str()), Some(interval));
        }
        assert_eq!(["", "1S", "5m", "1d"].map(Interval::parse), [None; 4]);
    }

    #[test]
    fn a_packed_candle_is_small_and_keeps_its_digits() {
        assert_eq!(size_of::<Packed>(), 48);
        let candle = Candle {
            time: Wall(1_763_640_863_000),
            open: price("64250.10"),
            high: price("999999999.999999999"),
            low: price("0.000000001000"),
            close: price("64250"),
            ticks: 954,
            partial: true,
            pairs: PairTable::default().set(&Symbol::new("BTC-USDT").unwrap()),
        };
        assert_eq!(Packed::new(&candle).candle(), candle);
        assert_eq!(Packed::new(&candle).candle().open.to_string(), "64250.10");
        assert!(candle.is_sound(Interval::Second) && !candle.is_sound(Interval::Minute));
        assert!(!Candle { high: price("64250.05"), ..candle }.is_sound(Interval::Second));
    }

    proptest! {
        #[test]
        fn any_price_packs(whole in 0u32..1_000_000_000, fraction in "[0-9]{1,19}") {
            let Ok(exact) = Price::parse(&format!("{whole}.{fraction}")) else { return Ok(()) };
            let compact = exact.compact();
            prop_assert!(exact.deviation(compact) < rust_decimal::Decimal::new(1, 15));
            prop_assert_eq!(compact.compact(), compact);
            let candle = Candle::new(Wall(0), compact, false);
            prop_assert_eq!(Packed::new(&candle).candle(), candle);
            if whole.to_string().len() + fraction.len() <= 18 {
                prop_assert_eq!(compact.to_string(), exact.to_string());
            }
        }
    }
}
