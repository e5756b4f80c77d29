//! Time stamps of answers whose form nobody knows beforehand.

use super::digits;
use super::reply::date;
use crate::model::Wall;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use std::str::FromStr;

/// From these numbers on a count since 1970 is in milliseconds, microseconds, nanoseconds. (As seconds, milliseconds and
/// microseconds they are beyond the year 5000, as what they are taken for in 1973.)
const UNITS: [i64; 3] = [100_000_000_000, 100_000_000_000_000, 100_000_000_000_000_000];

/// Reads a stamp in RFC 3339, as a date of HTTP, or as a number in any usual unit, also with decimals; `None` for
/// anything else, and for a moment before bitcoin or after 2100.
pub(in crate::providers) fn any(text: &str) -> Option<Wall> {
    let text = text.trim();
    if let Some(number) = Decimal::from_str(text).ok().or_else(|| Decimal::from_scientific(text).ok()) {
        let [milli, micro, nano] = UNITS.map(Decimal::from);
        let thousand = Decimal::ONE_THOUSAND;
        let millis = match number {
            nanos if nanos >= nano => nanos / thousand / thousand,
            micros if micros >= micro => micros / thousand,
            millis if millis >= milli => millis,
            seconds => seconds.checked_mul(thousand)?,
        };
        return digits::stamp(millis.trunc().to_i64()?);
    }
    digits::rfc3339(text).or_else(|| date(text).and_then(|wall| digits::stamp(wall.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_in_any_usual_form() {
        let at = |ms: i64| Some(Wall(1_795_000_000_000 + ms));
        for (text, wall) in [
            ("1795000000", at(0)),
            ("1795000000.25", at(250)),
            ("1.795e9", at(0)),
            ("1795000000123", at(123)),
            ("1795000000123.7", at(123)),
            ("1795000000123456", at(123)),
            ("1795000000123456789", at(123)),
            ("2026-11-18T11:06:40Z", at(0)),
            ("2026-11-18T12:06:40.123456+01:00", at(123)),
            ("Wed, 18 Nov 2026 11:06:40 GMT", at(0)),
        ] {
            assert_eq!(any(text), wall, "{text}");
        }
        let nonsense = [
            "",
            "now",
            "0",
            "-1",
            "1",
            "12:06:40",
            "2026-11-18",
            "1e40",
            "NaN",
            "99999999999999999999999",
            "null",
        ];
        for text in nonsense {
            assert_eq!(any(text), None, "{text}");
        }
    }
}
