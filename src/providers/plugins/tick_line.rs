//! The grammar of programs and plain recordings, one tick a line: `{"price":"61000.20","ts":1763640000123,"seq":7}`, a
//! bare `61000.20`, `{}` for a sign of life, `#` for a comment.
//!
//! Further members: `bid`, `ask`, `symbol`, `pair`, `recv_ns` (time of reception, nanoseconds since 1970). `ts` is the
//! exchange's time stamp in milliseconds. Unknown members are ignored.

use crate::model::Symbol;
use crate::providers::wire::digits;
use crate::providers::{Fault, Tick};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest line in bytes.
pub(in crate::providers) const LONGEST: usize = 4096;

/// A tick and its time of reception.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::providers) struct TickLine {
    pub tick: Tick,
    /// Whether the line names its pair; if not, the pair is the symbol.
    pub paired: bool,
    /// Nanoseconds since 1970; taken from `ts` if there is no `recv_ns`.
    pub at: Option<i64>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    symbol: Option<Symbol>,
    pair: Option<Symbol>,
    ts: Option<i64>,
    recv_ns: Option<i64>,
    seq: Option<u64>,
}

/// Reads a line; `None` if it contains no tick. `symbol` is the symbol of a line that names none.
///
/// # Errors
/// [`Fault::Skip`] for any other line.
pub(in crate::providers) fn read(line: &[u8], symbol: &Symbol) -> Result<Option<TickLine>, Fault> {
    let line = digits::plain(line).trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let members = if line.starts_with(b"{") {
        serde_json::from_slice(line).map_err(|error| digits::skip(&error))?
    } else {
        let price: &RawValue = serde_json::from_slice(line).map_err(|error| digits::skip(&error))?;
        Members {
            price: Some(price),
            bid: None,
            ask: None,
            symbol: None,
            pair: None,
            ts: None,
            recv_ns: None,
            seq: None,
        }
    };
    let Some(price) = members.price else { return Ok(None) };
    let symbol = members.symbol.unwrap_or_else(|| symbol.clone());
    let paired = members.pair.is_some();
    let tick = Tick {
        pair: members.pair.unwrap_or_else(|| symbol.clone()),
        symbol,
        price: digits::price(price)?,
        bid: digits::maybe(members.bid),
        ask: digits::maybe(members.ask),
        time: members.ts.and_then(digits::stamp),
        seq: members.seq,
    };
    Ok(Some(TickLine { tick, paired, at: members.recv_ns.or_else(|| members.ts?.checked_mul(1_000_000)) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Wall;

    fn of(line: &str) -> Result<Option<TickLine>, Fault> {
        read(line.as_bytes(), &Symbol::new("BTC-USD").unwrap())
    }

    #[test]
    fn a_line_with_everything() {
        let line = of(
            r#" {"price":"61000.20","bid":"61000.1","ask":61000.30,"ts":1763640000123,"recv_ns":1763640000200000001,
               "seq":7,"symbol":"BTC-EUR","pair":"XBT-EUR","size":"1"} "#,
        );
        let line = line.unwrap().unwrap();
        assert_eq!(line.at, Some(1_763_640_000_200_000_001));
        assert_eq!(line.tick.time, Some(Wall(1_763_640_000_123)));
        assert_eq!((line.tick.symbol.as_str(), line.tick.pair.as_str()), ("BTC-EUR", "XBT-EUR"));
        assert_eq!((line.tick.price.to_string().as_str(), line.tick.seq), ("61000.20", Some(7)));
        assert_eq!(line.tick.ask.map(|p| p.to_string()), Some("61000.30".to_owned()));
    }

    #[test]
    fn a_line_with_little() {
        let line = of(r#"{"price":"61000.20","ts":1763640000123}"#).unwrap().unwrap();
        assert_eq!(line.at, Some(1_763_640_000_123_000_000));
        assert_eq!(line.tick.pair.as_str(), "BTC-USD");
        let bare = of("61000.20").unwrap().unwrap();
        assert_eq!((bare.tick.price.to_string().as_str(), bare.at), ("61000.20", None));
    }

    #[test]
    fn a_line_without_a_tick() {
        for line in ["", "  ", "# comment", "{}", r#"{"note":1}"#] {
            assert_eq!(of(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_none() {
        for line in
            ["garbage", "{", "<html>", "1 2", "NaN", r#"{"price":"1_0"}"#, "0", r#"{"price":1,"ts":"x"}"#]
        {
            assert!(matches!(of(line), Err(Fault::Skip(_))), "{line}");
        }
    }
}
