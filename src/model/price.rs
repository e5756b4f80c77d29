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
    /// Not a decimal number (`1_0`, `NaN`, `63,000.10`), or more digits than an exact number can have.
    NotDecimal,
    /// Zero or less.
    NotPositive,
    /// 10^15 or more, or below 10^-15.
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

/// Limits of what counts as a price. Bitcoin costs thousands of millions in some currencies, and some coins cost less
/// than a thousand-millionth of others.
const TOO_HIGH: i64 = 1_000_000_000_000_000;
const LOWEST: Decimal = Decimal::from_parts(1, 0, 0, false, 15);

fn all_digits(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// The power of ten behind `e`.
fn exponent(text: &str) -> Option<i32> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let power: i32 = Some(unsigned).filter(|power| all_digits(power))?.parse().ok()?;
    Some(if text.starts_with('-') { -power } else { power })
}

/// `value * 10^power`, exactly; `None` if that is more than an exact number can have.
fn shift(value: Decimal, power: i32) -> Option<Decimal> {
    let scale = i64::from(value.scale()) - i64::from(power);
    if scale >= 0 {
        let mut value = value;
        value.set_scale(u32::try_from(scale).ok()?).ok()?;
        return Some(value);
    }
    let mut mantissa = value.mantissa();
    for _ in 0..scale.unsigned_abs().min(40) {
        mantissa = mantissa.checked_mul(10)?;
    }
    Decimal::try_from_i128_with_scale(mantissa, 0).ok()
}

impl Price {
    /// Reads plain digits with at most one point, or the scientific notation of JSON (`1.203319678E7`), without a float
    /// in between.
    ///
    /// # Errors
    /// Any text that is not an exact, positive decimal within the limits.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let (digits, power) = match text.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, exponent(power).ok_or(PriceError::NotDecimal)?),
            None => (text, 0),
        };
        // rust_decimal alone would accept "1_0" and "1." (measured), so the alphabet is checked first.
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(PriceError::NotDecimal);
        }
        let value = Decimal::from_str_exact(digits).map_err(|_| PriceError::NotDecimal)?;
        if value <= Decimal::ZERO {
            return Err(PriceError::NotPositive);
        }
        let value = shift(value, power).ok_or(PriceError::NotDecimal)?;
        if value >= Decimal::from(TOO_HIGH) || value < LOWEST {
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

    /// `|self - other| / other`, at most the largest number.
    #[must_use]
    pub fn deviation(self, other: Self) -> Decimal {
        (self.0 - other.0).abs().checked_div(other.0).unwrap_or(Decimal::MAX)
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
        let none =
            ["", ".", "1.", ".5", "1_0", "NaN", "inf", "Infinity", "63,000.10", " 1", "+1", "0x1", "--1"];
        for text in
            none.into_iter().chain(["1e", "e5", "1e+", "1e5.0", "1e5e5", "1.e5", "1e 5", "0x1e5", "1E--5"])
        {
            assert_eq!(Price::parse(text), Err(PriceError::NotDecimal), "{text:?}");
        }
        assert_eq!(Price::parse(&"1".repeat(40)), Err(PriceError::NotDecimal));
        for text in ["0", "0.00", "-1", "-63000.5"] {
            assert_eq!(Price::parse(text), Err(PriceError::NotPositive), "{text:?}");
        }
        for text in ["1000000000000000", "0.0000000000000001", "1e15", "1e-16", "9e27"] {
            assert_eq!(Price::parse(text), Err(PriceError::Absurd), "{text:?}");
        }
        for text in ["1e400", "1e-400", "1e99999999999", "1e29", "1e-29", "1.00000000000000001e-12"] {
            assert_eq!(Price::parse(text), Err(PriceError::NotDecimal), "{text:?}");
        }
        assert_eq!(Price::parse("-1e5"), Err(PriceError::NotPositive));
        assert_eq!(Price::parse("0e400"), Err(PriceError::NotPositive));
    }

    #[test]
    fn the_scientific_notation_is_read_exactly() {
        for (text, digits) in [
            ("1.203319678E7", "12033196.78"),
            ("1.203319678e+7", "12033196.78"),
            ("6.5E4", "65000"),
            ("8.7e-9", "0.0000000087"),
            ("64250.10e0", "64250.10"),
            ("6425010E-2", "64250.10"),
            ("0.00000001652e17", "1652000000"),
            ("1e-15", "0.000000000000001"),
            ("9.99999999999999e14", "999999999999999"),
        ] {
            let price = Price::parse(text).unwrap();
            assert_eq!(price.to_string(), digits, "{text}");
            assert_eq!(Price::parse(digits), Ok(price));
        }
    }

    #[test]
    fn arithmetic_holds_at_the_limits() {
        let of = |text| Price::parse(text).unwrap();
        let prices = [
            "1e-15",
            "0.0000000087",
            "0.9228162514264337593543950335",
            "1652000000",
            "999999999999999.99999",
        ];
        for (one, other) in prices.iter().flat_map(|one| prices.iter().map(|other| (of(one), of(other)))) {
            let (low, high) = (one.min(other), one.max(other));
            assert!((low..=high).contains(&one.mean(other)), "{one} {other}");
            assert_eq!(one.deviation(other).is_zero(), one == other, "{one} {other}");
            let compact = one.compact();
            assert!(compact.deviation(one) < Decimal::new(1, 15), "{one} {compact}");
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
