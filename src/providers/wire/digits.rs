//! Reads prices and time stamps from JSON without a float in between.

use crate::model::{Price, Wall, one_line};
use crate::providers::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// 2009-01-03, the first block, to 2100, in milliseconds: the range of valid time stamps.
const STAMPS: std::ops::Range<i64> = 1_230_940_800_000..4_102_444_800_000;

/// Reads a price from a JSON string or number, digit by digit.
///
/// # Errors
/// [`Fault::Skip`] for anything that is no price.
pub(in crate::providers) fn price(raw: &RawValue) -> Result<Price, Fault> {
    let text = text(raw)?;
    Price::parse(&text).map_err(|error| Fault::Skip(format!("price {:.40}: {error}", text)))
}

/// Reads an optional price: `None` if it is absent, zero or no price.
pub(in crate::providers) fn maybe(raw: Option<&RawValue>) -> Option<Price> {
    raw.and_then(|raw| price(raw).ok())
}

/// Reads an optional number; `None` for anything that is none (some exchanges write -1 for "no trade yet").
pub(in crate::providers) fn number(raw: Option<&RawValue>) -> Option<u64> {
    raw.and_then(|raw| raw.get().parse().ok())
}

fn text(raw: &RawValue) -> Result<Cow<'_, str>, Fault> {
    let text = raw.get();
    if text.starts_with('"') {
        // A string with escapes cannot be borrowed, and no source escapes digits.
        return serde_json::from_str::<&str>(text).map(Cow::Borrowed).map_err(|error| skip(&error));
    }
    Ok(Cow::Borrowed(text))
}

/// A time stamp in milliseconds or microseconds since 1970; `None` if it is out of range.
pub(in crate::providers) fn stamp(number: i64) -> Option<Wall> {
    let millis = if number > 100_000_000_000_000 { number / 1000 } else { number };
    STAMPS.contains(&millis).then_some(Wall(millis))
}

/// A time stamp in RFC 3339; `None` if it is invalid or out of range.
pub(in crate::providers) fn rfc3339(text: &str) -> Option<Wall> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond).and_then(stamp)
}

/// Parses a message, or the body of an answer.
///
/// # Errors
/// [`Fault::Skip`] if it has another form.
pub(in crate::providers) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(plain(bytes)).map_err(|error| skip(&error))
}

/// A text without the byte order mark that some servers put before it.
pub(in crate::providers) fn plain(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// The fault for a message that serde cannot parse.
pub(in crate::providers) fn skip(error: &serde_json::Error) -> Fault {
    Fault::Skip(one_line(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<String, Fault> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        price(raw).map(|price| price.to_string())
    }

    #[test]
    fn digits_come_through_as_they_are() {
        for (json, digits) in [
            ("105899.40", "105899.40"),
            ("\"61685.99000000\"", "61685.99000000"),
            ("96353.9044445288", "96353.9044445288"),
            // Numbers in scientific notation, exactly.
            ("1.203319678E7", "12033196.78"),
            ("\"8.7e-9\"", "0.0000000087"),
            // Currencies of small units, and coins of small value.
            ("1652000000", "1652000000"),
            ("\"1652000000.50\"", "1652000000.50"),
            ("0.0000000087", "0.0000000087"),
        ] {
            assert_eq!(read(json).unwrap(), digits);
        }
        assert!(parse::<&RawValue>("\u{feff}{\"a\":1}".as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_price_is_skipped() {
        for json in [
            "null",
            "true",
            "{}",
            "[1]",
            "\"\"",
            "\"NaN\"",
            "\"1_0\"",
            "1e400",
            "\"63,000.10\"",
            "0",
            "-1",
            "\"0.-10000\"",
            "\"\\u0031\"",
        ] {
            assert!(matches!(read(json), Err(Fault::Skip(_))), "{json}");
        }
        assert!(read(&"9".repeat(40)).is_err());
    }

    #[test]
    fn a_stamp_is_read_in_either_unit_and_only_where_it_can_be_one() {
        assert_eq!(stamp(1_723_161_601_271), Some(Wall(1_723_161_601_271)));
        assert_eq!(stamp(1_723_161_600_123_456), Some(Wall(1_723_161_600_123)));
        for nonsense in [0, -1, 1_723_161_601, i64::MAX, i64::MIN] {
            assert_eq!(stamp(nonsense), None);
        }
        assert_eq!(rfc3339("2022-12-01T00:00:00.122581Z"), Some(Wall(1_669_852_800_122)));
        for nonsense in
            ["", "now", "0001-01-01T00:00:00.000000Z", "1970-01-01T00:00:00.000000Z", "2022-12-01"]
        {
            assert_eq!(rfc3339(nonsense), None, "{nonsense}");
        }
    }
}
