//! A price and everything that must be said with it: where it comes from, what it quotes, how old it is.

use super::{Boot, Contribution, Symbol, Wall};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An exact decimal above zero. The digits are the source's own: `64250.10` stays `64250.10`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Price(Decimal);

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceError {
    /// Not plain decimal digits (`1_0`, `1e5`, `NaN`, `63,000.10`), or more of them than are exact.
    NotDecimal,
    /// Zero or less.
    NotPositive,
    /// A thousand million or more, or below a thousand-millionth: nobody's price.
    Absurd,
}

impl fmt::Display for PriceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotDecimal => "not a plain decimal number",
            Self::NotPositive => "not above zero",
            Self::Absurd => "not a price that anybody pays",
        })
    }
}

impl std::error::Error for PriceError {}

impl Price {
    /// Reads plain digits with at most one point. Never goes through a float.
    ///
    /// # Errors
    /// Anything that is not an exact, positive, believable decimal.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        // rust_decimal alone would take "1_0" and "1." (measured): the alphabet is checked first.
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(PriceError::NotDecimal);
        }
        let value = Decimal::from_str_exact(text).map_err(|_| PriceError::NotDecimal)?;
        if value <= Decimal::ZERO {
            return Err(PriceError::NotPositive);
        }
        if value >= Decimal::from(1_000_000_000) || value < Decimal::new(1, 9) {
            return Err(PriceError::Absurd);
        }
        Ok(Self(value))
    }

    /// The number itself, for arithmetic.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        self.0
    }

    /// The same with no more digits than fit 64 bits: at least its first 18, so that only prices of many digits (a
    /// computed one) lose their last.
    #[must_use]
    pub fn compact(self) -> Self {
        let mut value = self.0;
        while value.mantissa() > i128::from(u64::MAX) && value.scale() > 0 {
            value = value.round_dp(value.scale() - 1);
        }
        Self(value)
    }

    /// From the digits of a [`Price::compact`] and how many of them stand behind the point.
    pub(super) fn from_digits(mantissa: u64, scale: u8) -> Self {
        Self(Decimal::from_i128_with_scale(mantissa.into(), scale.into()))
    }

    /// `|self - other| / other`.
    #[must_use]
    pub fn deviation(self, other: Self) -> Decimal {
        (self.0 - other.0).abs() / other.0
    }

    /// The price in the middle of two, with one digit more than they have where it needs one.
    #[must_use]
    pub fn mean(self, other: Self) -> Self {
        let (low, high) = (self.0.min(other.0), self.0.max(other.0));
        let places = low.scale().max(high.scale());
        let exact = low + (high - low) * Decimal::new(5, 1);
        let mut mean = exact;
        mean.rescale(places);
        // Of two prices with all the digits that a number can have, the last digit may be rounded.
        Self(if mean == exact { mean } else { exact }.clamp(low, high))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One published price, as it travels from the feeder through the master into every worker. What a client sees
/// of it is made by `protocol::client`, with the age of that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// What was asked for.
    pub symbol: Symbol,
    /// What the source really quotes, `BTC-USDT` for instance.
    pub pair: Symbol,
    /// The price.
    pub price: Price,
    /// The best bid, where the source tells one.
    pub bid: Option<Price>,
    /// The best ask, where the source tells one.
    pub ask: Option<Price>,
    /// The provider's name in the configuration.
    pub source: Arc<str>,
    /// Whether the price is made up (a provider of kind `mock`).
    pub mock: bool,
    /// The exchange's own stamp.
    pub time: Option<Wall>,
    /// When we read it, for people.
    pub received_at: Wall,
    /// When we read it, for the age.
    pub received: Boot,
    /// How far the feed was behind its own best when this came: counts into the age.
    pub lag: Duration,
    /// The source's own interval between prices, where it has one (a polled source).
    pub interval: Duration,
    /// Numbers the symbol's published prices. Given by the master.
    pub seq: u64,
    /// What each source said, where the price was made of several; else empty.
    pub sources: Arc<[Contribution]>,
}

/// How old a price may get: `price.fresh_for`, `price.max_age`, `price.forget_after`, `price.on_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Up to this age a price is fresh.
    pub fresh_for: Duration,
    /// Past this age it is stale whatever its source's interval, and refused where `refuse_stale`.
    pub max_age: Duration,
    /// Past this age there is no price.
    pub forget_after: Duration,
    /// `on_stale = "refuse"`.
    pub refuse_stale: bool,
}

/// What may be said of a price at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Young enough.
    Fresh,
    /// To be shown as old.
    Stale,
    /// Not to be shown at all.
    Gone,
}

impl Rules {
    /// Fresh, stale or gone: a price of that age, from a source that gives one each `interval` (zero: at any time).
    #[must_use]
    pub fn health(&self, age: Duration, interval: Duration) -> Health {
        if age > self.forget_after || (self.refuse_stale && age > self.max_age) {
            Health::Gone
        } else if age > self.stale_after(interval) {
            Health::Stale
        } else {
            Health::Fresh
        }
    }

    fn stale_after(&self, interval: Duration) -> Duration {
        self.fresh_for.max(interval * 2).min(self.max_age)
    }
}

impl Quote {
    /// Time since it was read, plus the feed's own lag then.
    #[must_use]
    pub fn age(&self, now: Boot) -> Duration {
        now.since(self.received) + self.lag
    }

    /// Fresh, stale or gone at `now`.
    #[must_use]
    pub fn health(&self, rules: &Rules, now: Boot) -> Health {
        rules.health(self.age(now), self.interval)
    }

    /// The next moment at which [`Quote::health`] may answer differently, `None` when it never will.
    #[must_use]
    pub fn next_change(&self, rules: &Rules, now: Boot) -> Option<Boot> {
        let age = self.age(now);
        let gone =
            if rules.refuse_stale { rules.max_age.min(rules.forget_after) } else { rules.forget_after };
        [rules.stale_after(self.interval), gone]
            .into_iter()
            .filter(|limit| age <= *limit)
            .min()
            .map(|limit| self.received.after(limit.saturating_sub(self.lag)).after(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_keeps_its_digits() {
        for text in ["64250.10", "1", "0.00000100", "95500"] {
            assert_eq!(Price::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_price() {
        for text in ["", ".", "1.", ".5", "1_0", "1e5", "NaN", "inf", "63,000.10", " 1", "+1", "0x1", "--1"] {
            assert_eq!(Price::parse(text), Err(PriceError::NotDecimal), "{text:?}");
        }
        assert_eq!(Price::parse(&"1".repeat(40)), Err(PriceError::NotDecimal));
        for text in ["0", "0.00", "-1", "-63000.5"] {
            assert_eq!(Price::parse(text), Err(PriceError::NotPositive), "{text:?}");
        }
        for text in ["1000000000", "0.0000000001"] {
            assert_eq!(Price::parse(text), Err(PriceError::Absurd), "{text:?}");
        }
    }

    #[test]
    fn a_mean_has_no_more_digits_than_it_needs() {
        let all = "0.9228162514264337593543950335";
        for (one, other, mean) in [
            ("64000.10", "64000.30", "64000.20"),
            ("64000.10", "64000.15", "64000.125"),
            ("1", "2", "1.5"),
            ("1.0", "2.00", "1.50"),
            ("7", "7", "7"),
            (all, all, all),
            ("0.00000001", "999999999", "499999999.500000005"),
        ] {
            let (one, other) = (Price::parse(one).unwrap(), Price::parse(other).unwrap());
            assert_eq!(
                (one.mean(other).to_string(), other.mean(one).to_string()),
                (mean.into(), mean.into())
            );
        }
    }

    fn quote(interval: u64, lag: u64) -> Quote {
        let symbol = Symbol::new("BTC-USD").unwrap();
        Quote {
            pair: symbol.clone(),
            symbol,
            price: Price::parse("1").unwrap(),
            bid: None,
            ask: None,
            source: "x".into(),
            mock: false,
            time: None,
            received_at: Wall(0),
            received: Boot(0),
            lag: Duration::from_secs(lag),
            interval: Duration::from_secs(interval),
            seq: 1,
            sources: Arc::default(),
        }
    }

    #[test]
    fn a_price_grows_stale_and_is_forgotten() {
        let rules = |refuse_stale| Rules {
            fresh_for: Duration::from_secs(10),
            max_age: Duration::from_secs(120),
            forget_after: Duration::from_secs(600),
            refuse_stale,
        };
        let at = |s: u64| Boot(s * 1_000_000_000);
        let health = |q: &Quote, refuse, s| q.health(&rules(refuse), at(s));
        let pushed = quote(0, 0);
        assert_eq!(health(&pushed, false, 10), Health::Fresh);
        assert_eq!(health(&pushed, false, 11), Health::Stale);
        assert_eq!(health(&pushed, false, 601), Health::Gone);
        assert_eq!(health(&pushed, true, 121), Health::Gone);
        let polled = quote(30, 0);
        assert_eq!(health(&polled, false, 59), Health::Fresh);
        assert_eq!(health(&polled, false, 61), Health::Stale);
        assert_eq!(health(&quote(600, 0), false, 121), Health::Stale, "always past max_age");
        assert_eq!(health(&quote(0, 5), false, 6), Health::Stale, "the lag counts");
    }

    #[test]
    fn the_next_change_is_when_the_health_changes() {
        let rules = Rules {
            fresh_for: Duration::from_secs(10),
            max_age: Duration::from_secs(120),
            forget_after: Duration::from_secs(600),
            refuse_stale: false,
        };
        let quote = quote(0, 2);
        let (mut now, mut seen) = (Boot(0), vec![quote.health(&rules, Boot(0))]);
        while let Some(next) = quote.next_change(&rules, now) {
            assert!(next > now);
            now = next;
            seen.push(quote.health(&rules, now));
        }
        assert_eq!(seen, [Health::Fresh, Health::Stale, Health::Gone]);
    }
}
