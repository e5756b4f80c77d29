//! An exact price.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An exact decimal above zero. The digits are the source's own: `64250.10` stays `64250.10`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Price(Decimal);

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceError {
    /// Not plain decimal digits (`1_0`, `1e5`, `NaN`, `63,000.10`), or more digits than an exact number can have.
    NotDecimal,
    /// Zero or less.
    NotPositive,
    /// A thousand million or more, or below a thousand-millionth.
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
    /// Reads plain digits with at most one point, without a float in between.
    ///
    /// # Errors
    /// Any text that is not an exact, positive decimal within the limits.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        // rust_decimal alone would accept "1_0" and "1." (measured), so the alphabet is checked first.
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

    /// The number, for arithmetic.
    #[must_use]
    pub fn decimal(self) -> Decimal {
        self.0
    }

    /// The price with no more digits than fit 64 bits: at least its first 18. Only computed prices of many digits lose
    /// their last ones.
    #[must_use]
    pub fn compact(self) -> Self {
        let mut value = self.0;
        while value.mantissa() > i128::from(u64::MAX) && value.scale() > 0 {
            value = value.round_dp(value.scale() - 1);
        }
        Self(value)
    }

    /// Restores a [`Price::compact`] from its digits and the number of digits behind the point.
    pub(super) fn from_digits(mantissa: u64, scale: u8) -> Self {
        Self(Decimal::from_i128_with_scale(mantissa.into(), scale.into()))
    }

    /// `|self - other| / other`.
    #[must_use]
    pub fn deviation(self, other: Self) -> Decimal {
        (self.0 - other.0).abs() / other.0
    }

    /// The mean of two prices, with one more digit than they have if it needs one.
    #[must_use]
    pub fn mean(self, other: Self) -> Self {
        let (low, high) = (self.0.min(other.0), self.0.max(other.0));
        let places = low.scale().max(high.scale());
        let exact = low + (high - low) * Decimal::new(5, 1);
        let mut mean = exact;
        mean.rescale(places);
        // The last digit may be rounded if both prices have all the digits that a number can have.
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
}
