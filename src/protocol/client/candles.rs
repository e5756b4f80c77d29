//! Candles for clients.

use super::{MOCK, ServerType};
use crate::model::{Candle, Candles, Interval, PairTable};
use std::fmt::Write as _;

/// Writes the members of a candle, without braces. `pairs` names all pairs of a candle that mixes some, the one of its
/// last price first.
fn write(out: &mut String, candle: &Candle, (mock, pairs): (bool, &PairTable)) {
    let Candle { time, open, high, low, close, ticks, partial, pairs: set } = candle;
    let _ = write!(
        out,
        r#""time":"{time}","open":"{open}","high":"{high}","low":"{low}","close":"{close}","ticks":{ticks}"#
    );
    if *partial {
        out.push_str(r#","partial":true"#);
    }
    if mock {
        out.push_str(MOCK);
    }
    let names = pairs.names(*set).unwrap_or_default();
    if let Some(last) = names.first() {
        let _ = write!(out, r#","pair":"{last}""#);
    }
    if names.len() > 1 {
        for (at, name) in names.iter().enumerate() {
            let _ = write!(out, r#"{}"{name}""#, if at == 0 { r#","pairs":["# } else { "," });
        }
        out.push(']');
    }
}

/// `candle` on a channel.
#[must_use]
pub fn candle(channel: &str, interval: Interval, candles: &Candles) -> String {
    let Candles { symbol, newest, mock, pairs } = candles;
    let mut out = String::with_capacity(256);
    let kind = ServerType::Candle;
    let _ = write!(
        out,
        r#"{{"type":"{kind}","channel":"{channel}","symbol":"{symbol}","interval":"{interval}","#
    );
    write(&mut out, &newest[interval as usize], (*mock, pairs));
    out.push('}');
    out
}

/// The answer of `GET /api/v1/history`, oldest first.
#[must_use]
pub fn history(
    symbol: &str,
    interval: Interval,
    candles: &[Candle],
    (mock, pairs): (bool, &PairTable),
) -> String {
    let mut out = String::with_capacity(64 + candles.len() * 176);
    let made_up = if mock { MOCK } else { "" };
    let _ = write!(out, r#"{{"symbol":"{symbol}","interval":"{interval}"{made_up},"candles":["#);
    for (at, candle) in candles.iter().enumerate() {
        out.push_str(if at == 0 { "{" } else { ",{" });
        write(&mut out, candle, (mock, pairs));
        out.push('}');
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Price, Symbol, Wall};
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn candle_at(minute: i64) -> Candle {
        Candle::new(Wall(1_763_640_840_000 + minute * 60_000), Price::parse("64250.10").unwrap(), false)
    }

    fn json_at(time: &str) -> Value {
        json!({"time": time, "open": "64250.10", "high": "64250.10", "low": "64250.10",
               "close": "64250.10", "ticks": 1})
    }

    #[test]
    fn candles_are_json() {
        let (first, second) = (Candle { partial: true, ..candle_at(0) }, candle_at(1));
        let none = PairTable::default();
        let text = history("BTC-USD", Interval::Minute, &[first, second], (false, &none));
        let (mut one, two) = (json_at("2025-11-20T12:14:00.000Z"), json_at("2025-11-20T12:15:00.000Z"));
        one["partial"] = json!(true);
        assert_eq!(read(&text), json!({"symbol": "BTC-USD", "interval": "1m", "candles": [one, two]}));
        let empty = history("BTC-USD", Interval::Second, &[], (false, &none));
        assert_eq!(read(&empty)["candles"], json!([]));
    }

    #[test]
    fn a_made_up_candle_and_one_of_two_pairs_say_so() {
        let [usd, usdt] = ["BTC-USD", "BTC-USDT"].map(|text| Symbol::new(text).unwrap());
        let mut pairs = PairTable::default();
        let one = Candle { pairs: pairs.set(&usdt), ..candle_at(0) };
        let mut mixed = Candle { pairs: pairs.set(&usdt), ..candle_at(1) };
        mixed.pairs.merge(pairs.set(&usd));
        let value = read(&history("BTC-USD", Interval::Minute, &[one, mixed], (true, &pairs)));
        assert_eq!(value["mock"], json!(true));
        let told = |at: usize| {
            let candle = &value["candles"][at];
            (candle["mock"].clone(), candle["pair"].clone(), candle["pairs"].clone())
        };
        assert_eq!(told(0), (json!(true), json!("BTC-USDT"), Value::Null));
        assert_eq!(told(1), (json!(true), json!("BTC-USD"), json!(["BTC-USD", "BTC-USDT"])));
        let candles = Candles { symbol: usd, newest: [one, mixed, one], mock: false, pairs };
        let value = read(&candle("candle:BTC-USD@1m", Interval::Minute, &candles));
        assert_eq!((&value["type"], &value["channel"]), (&json!("candle"), &json!("candle:BTC-USD@1m")));
        assert_eq!((&value["interval"], &value["partial"]), (&json!("1m"), &Value::Null));
        assert_eq!((&value["mock"], &value["pairs"]), (&Value::Null, &json!(["BTC-USD", "BTC-USDT"])));
    }
}
