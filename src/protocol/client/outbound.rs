//! Messages to clients. What is sent often is written by hand, into text that is shared by all who get it; every
//! text that goes in is either JSON already or of an alphabet that needs no escape.

use super::Close;
use crate::model::{Boot, Contribution, Health, Quote, RequestId, Rules, Symbol, Wall};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;

/// A quote's text without the parts that change with time, written once per price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteText {
    fixed: String,
}

impl QuoteText {
    /// Writes all that stays the same.
    #[must_use]
    pub fn new(quote: &Quote) -> Self {
        let mut fixed = String::with_capacity(256);
        let _ = write!(
            fixed,
            r#""symbol":"{}","pair":"{}","price":"{}","source":{},"time":"#,
            quote.symbol,
            quote.pair,
            quote.price,
            quoted(&quote.source)
        );
        match quote.time {
            Some(time) => _ = write!(fixed, r#""{time}""#),
            None => fixed.push_str("null"),
        }
        let _ = write!(fixed, r#","received_at":"{}","seq":{}"#, quote.received_at, quote.seq);
        for (name, price) in [("bid", quote.bid), ("ask", quote.ask)] {
            if let Some(price) = price {
                let _ = write!(fixed, r#","{name}":"{price}""#);
            }
        }
        Self { fixed }
    }

    /// The members of the quote with its age and health at `now`, without braces.
    fn write(&self, out: &mut String, quote: &Quote, rules: &Rules, now: Boot) {
        let stale = quote.health(rules, now) != Health::Fresh;
        let _ = write!(out, r#"{},"age_ms":{},"stale":{stale}"#, self.fixed, quote.age(now).as_millis());
    }

    /// The quote as an object of its own, without its sources.
    #[must_use]
    pub fn object(&self, quote: &Quote, rules: &Rules, now: Boot) -> String {
        let mut out = String::with_capacity(self.fixed.len() + 48);
        out.push('{');
        self.write(&mut out, quote, rules, now);
        out.push('}');
        out
    }

    /// The quote as an object of its own, with its sources where it has some.
    #[must_use]
    pub fn whole(&self, quote: &Quote, rules: &Rules, now: Boot) -> String {
        let mut out = String::with_capacity(self.fixed.len() + 48 + SOURCE * quote.sources.len());
        out.push('{');
        self.write(&mut out, quote, rules, now);
        write_sources(&mut out, &quote.sources, rules, now);
        out.push('}');
        out
    }
}

/// About so many bytes are written of one source.
const SOURCE: usize = 110;

/// `,"sources":[...]`, nothing where there are none.
fn write_sources(out: &mut String, sources: &[Contribution], rules: &Rules, now: Boot) {
    for (at, part) in sources.iter().enumerate() {
        out.push_str(if at == 0 { r#","sources":["# } else { "," });
        let (source, verdict) = (quoted(&part.source), part.verdict(rules, now).as_str());
        let _ = match &part.said {
            Some(said) => write!(
                out,
                r#"{{"source":{source},"pair":"{}","price":"{}","age_ms":{},"verdict":"{verdict}"}}"#,
                said.pair,
                said.price,
                said.age(now).as_millis()
            ),
            None => write!(
                out,
                r#"{{"source":{source},"pair":null,"price":null,"age_ms":null,"verdict":"{verdict}"}}"#
            ),
        };
    }
    if !sources.is_empty() {
        out.push(']');
    }
}

/// A text as JSON.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// The answer to a POST (`request`) or to a session's own question (`id`).
#[must_use]
pub fn quote(
    request: Option<RequestId>,
    id: Option<&RawValue>,
    (text, quote): (&QuoteText, &Quote),
    (rules, now): (&Rules, Boot),
) -> String {
    let mut out = String::with_capacity(400 + SOURCE * quote.sources.len());
    out.push_str(r#"{"type":"quote","#);
    if let Some(request) = request {
        let _ = write!(out, r#""request_id":"{request}","#);
    }
    if let Some(id) = id {
        let _ = write!(out, r#""id":{id},"#);
    }
    text.write(&mut out, quote, rules, now);
    write_sources(&mut out, &quote.sources, rules, now);
    out.push('}');
    out
}

/// A published price on its channel.
#[must_use]
pub fn price(channel: &str, (text, quote): (&QuoteText, &Quote), (rules, now): (&Rules, Boot)) -> String {
    let mut out = String::with_capacity(400);
    let _ = write!(out, r#"{{"type":"price","channel":"{channel}","#);
    text.write(&mut out, quote, rules, now);
    out.push('}');
    out
}

/// There is no price on that channel now.
#[must_use]
pub fn none_price(channel: &str, symbol: &str) -> String {
    format!(r#"{{"type":"price","channel":"{channel}","symbol":"{symbol}","price":null}}"#)
}

/// `system`: from now on the symbol's price is of another pair.
#[must_use]
pub fn pair_changed(symbol: &Symbol, from: &Symbol, to: &Symbol, source: &str) -> String {
    let source = quoted(source);
    format!(
        r#"{{"type":"system","event":"pair-changed","symbol":"{symbol}","from":"{from}","to":"{to}","source":{source}}}"#
    )
}

/// The start of a channel's message; `data` as JSON and a brace follow.
#[must_use]
pub fn message_prefix(channel: &str, from: Option<&str>, time: Wall) -> String {
    let from = from.map(|from| format!(r#""from":{},"#, quoted(from))).unwrap_or_default();
    format!(r#"{{"type":"message","channel":"{channel}",{from}"time":"{time}","data":"#)
}

/// What somebody published on a channel.
#[must_use]
pub fn channel_message(channel: &str, from: Option<&str>, time: Wall, data: &str) -> String {
    let mut out = message_prefix(channel, from, time);
    out.push_str(data);
    out.push('}');
    out
}

/// The first message of every session.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "INTERFACE: the welcome message")]
pub struct Welcome<'a> {
    pub session_id: &'a str,
    pub user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'a str>,
    pub worker: WelcomeWorker,
    pub server: WelcomeServer,
    pub time: String,
    pub heartbeat_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<&'a str>,
    pub resumed: bool,
    pub channels: Vec<&'a str>,
    pub price: Option<&'a RawValue>,
}

/// Which process serves the session.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "INTERFACE: the welcome message")]
pub struct WelcomeWorker {
    pub id: u16,
    pub pid: u32,
}

/// Which program.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "INTERFACE: the welcome message")]
pub struct WelcomeServer {
    pub name: &'static str,
    pub version: &'static str,
}

#[derive(Serialize)]
struct Typed<'a, T: Serialize> {
    r#type: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

fn typed<T: Serialize>(kind: &str, body: &T) -> String {
    serde_json::to_string(&Typed { r#type: kind, body }).unwrap_or_default()
}

impl<'a> Welcome<'a> {
    /// Of that session on that worker.
    #[must_use]
    pub fn new(session: &'a str, user: &'a str, (id, pid): (u16, u32), time: Wall) -> Self {
        Self {
            session_id: session,
            user_id: user,
            device: None,
            worker: WelcomeWorker { id, pid },
            server: WelcomeServer { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            time: time.to_string(),
            heartbeat_ms: 0,
            resume: None,
            resumed: false,
            channels: Vec::new(),
            price: None,
        }
    }
}

/// `welcome`.
#[must_use]
pub fn welcome(body: &Welcome<'_>) -> String {
    typed("welcome", body)
}

/// Something that happens to the session or the daemon.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "INTERFACE: the system message")]
pub struct EventText<'a> {
    pub event: &'a str,
    pub reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect_in_ms: Option<u64>,
}

/// `close`: the last message where there is no close frame.
#[must_use]
pub fn close(close: Close, reconnect_in_ms: Option<u64>) -> String {
    let wait = reconnect_in_ms.map(|ms| format!(r#","reconnect_in_ms":{ms}"#)).unwrap_or_default();
    format!(r#"{{"type":"close","code":{},"reason":"{}"{wait}}}"#, close.code(), close.slug())
}

/// `system`.
#[must_use]
pub fn system(event: &EventText<'_>) -> String {
    typed("system", event)
}

fn with_id(kind: &str, id: Option<&RawValue>, rest: &str) -> String {
    let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
    format!(r#"{{"type":"{kind}"{id}{rest}}}"#)
}

/// `ack`: done as asked.
#[must_use]
pub fn ack(id: &RawValue) -> String {
    with_id("ack", Some(id), "")
}

/// `pong`.
#[must_use]
pub fn pong(id: Option<&RawValue>) -> String {
    with_id("pong", id, "")
}

/// `echo`.
#[must_use]
pub fn echo(id: Option<&RawValue>, data: &RawValue) -> String {
    with_id("echo", id, &format!(r#","data":{data}"#))
}

/// `error`: not done; the session stays.
#[must_use]
pub fn error(id: Option<&RawValue>, code: &str, message: &str) -> String {
    with_id("error", id, &format!(r#","code":"{code}","message":{}"#, quoted(message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Price, SourcePrice, SourceVerdict};
    use std::time::Duration;

    fn example() -> Quote {
        Quote {
            symbol: Symbol::new("BTC-USD").unwrap(),
            pair: Symbol::new("BTC-USDT").unwrap(),
            price: Price::parse("64250.10").unwrap(),
            bid: Some(Price::parse("64250.00").unwrap()),
            ask: None,
            source: "binance".into(),
            mock: false,
            time: Some(Wall(1_763_640_863_120)),
            received_at: Wall(1_763_640_863_125),
            received: Boot(0),
            lag: Duration::from_millis(5),
            interval: Duration::ZERO,
            seq: 7,
            sources: std::sync::Arc::default(),
        }
    }

    const RULES: Rules = Rules {
        fresh_for: Duration::from_secs(10),
        max_age: Duration::from_secs(20),
        forget_after: Duration::from_secs(30),
        refuse_stale: false,
    };

    #[test]
    fn the_sources_are_in_answers_and_not_in_ticks() {
        let part = |source: &str, verdict, price: Option<&str>| Contribution {
            source: source.into(),
            verdict,
            said: price.map(|price| SourcePrice {
                pair: Symbol::new("BTC-USD").unwrap(),
                price: Price::parse(price).unwrap(),
                received: Boot(0),
                lag: Duration::from_millis(5),
                interval: Duration::ZERO,
            }),
        };
        let sources = [
            part("a", SourceVerdict::Agrees, Some("64250.10")),
            part("b", SourceVerdict::Deviates, Some("1.5")),
            part("c", SourceVerdict::None, None),
        ];
        let quote_ = Quote { sources: sources.into(), ..example() };
        let (text, now) = (QuoteText::new(&quote_), Boot(1_000_000_000));
        let expected = serde_json::json!([
            {"source": "a", "pair": "BTC-USD", "price": "64250.10", "age_ms": 1005, "verdict": "agrees"},
            {"source": "b", "pair": "BTC-USD", "price": "1.5", "age_ms": 1005, "verdict": "deviates"},
            {"source": "c", "pair": null, "price": null, "age_ms": null, "verdict": "none"},
        ]);
        let answer = quote(None, None, (&text, &quote_), (&RULES, now));
        for text in [answer, text.whole(&quote_, &RULES, now)] {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["sources"], expected);
        }
        let tick = price("price:BTC-USD", (&text, &quote_), (&RULES, now));
        for text in [tick, text.object(&quote_, &RULES, now)] {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!((value.get("sources"), &value["price"]), (None, &serde_json::json!("64250.10")));
        }
    }

    #[test]
    fn a_quote_says_all_of_itself() {
        let (quote_, rules) = (example(), RULES);
        let text = QuoteText::new(&quote_);
        let id = RawValue::from_string("7".into()).unwrap();
        let sent = quote(Some(RequestId(1)), Some(&id), (&text, &quote_), (&rules, Boot(11_000_000_000)));
        let value: serde_json::Value = serde_json::from_str(&sent).unwrap();
        let expected = serde_json::json!({
            "type": "quote", "request_id": "00000000-0000-0000-0000-000000000001", "id": 7,
            "symbol": "BTC-USD", "pair": "BTC-USDT", "price": "64250.10", "source": "binance",
            "time": "2025-11-20T12:14:23.120Z", "received_at": "2025-11-20T12:14:23.125Z", "seq": 7,
            "bid": "64250.00", "age_ms": 11005, "stale": true
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn small_messages_are_json() {
        let id = RawValue::from_string("\"a\"".into()).unwrap();
        for text in [
            ack(&id),
            pong(None),
            echo(Some(&id), &id),
            error(None, "x", "say \"no\""),
            channel_message("news", Some("a"), Wall(0), "[1]"),
            none_price("price:BTC-USD", "BTC-USD"),
            pair_changed(&example().symbol, &example().pair, &example().symbol, "a\"b"),
            system(&EventText { event: "shutdown", reason: "stop", reconnect_in_ms: Some(1) }),
            super::close(Close::Shutdown, Some(1)),
            welcome(&Welcome::new("s", "u", (1, 2), Wall(0))),
        ] {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(value["type"].is_string(), "{text}");
        }
    }
}
