//! Candles for clients.

use super::ServerType;
use crate::model::{Candle, Interval};
use std::fmt::Write as _;

/// Writes the members of a candle, without braces.
fn write(out: &mut String, candle: &Candle) {
    let Candle { time, open, high, low, close, ticks, partial } = candle;
    let _ = write!(
        out,
        r#""time":"{time}","open":"{open}","high":"{high}","low":"{low}","close":"{close}","ticks":{ticks}"#
    );
    if *partial {
        out.push_str(r#","partial":true"#);
    }
}

/// `candle` on a channel.
#[must_use]
pub fn candle(channel: &str, symbol: &str, interval: Interval, candle: &Candle) -> String {
    let mut out = String::with_capacity(256);
    let kind = ServerType::Candle;
    let _ = write!(
        out,
        r#"{{"type":"{kind}","channel":"{channel}","symbol":"{symbol}","interval":"{interval}","#
    );
    write(&mut out, candle);
    out.push('}');
    out
}

/// The answer of `GET /api/v1/history`, oldest first.
#[must_use]
pub fn history(symbol: &str, interval: Interval, candles: &[Candle]) -> String {
    let mut out = String::with_capacity(64 + candles.len() * 144);
    let _ = write!(out, r#"{{"symbol":"{symbol}","interval":"{interval}","candles":["#);
    for (at, candle) in candles.iter().enumerate() {
        out.push_str(if at == 0 { "{" } else { ",{" });
        write(&mut out, candle);
        out.push('}');
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Price, Wall};
    use serde_json::{Value, json};

    #[test]
    fn candles_are_json() {
        let first = Candle::new(Wall(1_763_640_840_000), Price::parse("64250.10").unwrap(), true);
        let second = Candle { time: Wall(1_763_640_900_000), partial: false, ..first };
        let text = history("BTC-USD", Interval::Minute, &[first, second]);
        let object = |time: &str| {
            json!({"time": time, "open": "64250.10", "high": "64250.10", "low": "64250.10",
                   "close": "64250.10", "ticks": 1})
        };
        let (mut one, two) = (object("2025-11-20T12:14:00.000Z"), object("2025-11-20T12:15:00.000Z"));
        one["partial"] = json!(true);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, json!({"symbol": "BTC-USD", "interval": "1m", "candles": [one, two]}));
        let none: Value = serde_json::from_str(&history("BTC-USD", Interval::Second, &[])).unwrap();
        assert_eq!(none["candles"], json!([]));
        let text = candle("candle:BTC-USD@1m", "BTC-USD", Interval::Minute, &second);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["type"], &value["channel"]), (&json!("candle"), &json!("candle:BTC-USD@1m")));
        assert_eq!((&value["interval"], &value["partial"]), (&json!("1m"), &Value::Null));
    }
}
