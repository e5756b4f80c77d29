//! Messages to clients, which `docs/interface.md` describes. Frequent messages are written by hand, into text that all
//! recipients share; every text that goes in is JSON already or of an alphabet that needs no escape.

use super::{Close, ErrorCode};
use crate::model::{Boot, Contribution, Health, Quote, RequestId, Rules, Symbol, Wall, words};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;
use std::time::Duration;

words! {
    /// The `type` of a message to a client.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum ServerType {
        /// The first message of a session.
        Welcome = "welcome",
        /// The price, as an answer.
        Quote = "quote",
        /// The price, as the state of a channel.
        Price = "price",
        /// A candle, as the state of a channel.
        Candle = "candle",
        /// Statistics of the cluster.
        Stats = "stats",
        /// Users and sessions that are present.
        Presence = "presence",
        /// A message that was published on a channel.
        Message = "message",
        /// An event of the session or of the daemon.
        System = "system",
        /// The answer to `ping`.
        Pong = "pong",
        /// The answer to `echo`; on `/broadcast`, the sender's own message.
        Echo = "echo",
        /// A message of the client was obeyed.
        Ack = "ack",
        /// A message of the client was refused.
        Error = "error",
        /// The last message where there is no close frame.
        Close = "close",
        /// `/broadcast`: another client's message.
        Broadcast = "broadcast",
        /// `/broadcast`: clients that came.
        ClientConnected = "client_connected",
        /// `/broadcast`: clients that left.
        ClientDisconnected = "client_disconnected",
    }
}

/// The `event` of a `system` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// From the next price on, the source quotes another pair.
    PairChanged,
    /// The configuration has other ages at which a price is old.
    PriceRules,
    /// The session goes on at another process, on the same connection.
    Moved,
    /// The session's token ends soon.
    TokenExpiring,
    /// A fresh token has ended these subscriptions.
    Unsubscribed,
    /// A stream has taken the place of the user's oldest one.
    TookOver,
    /// `/broadcast`: the daemon lives.
    Heartbeat,
    /// The session is about to be closed.
    Closing(Close),
}

impl SystemEvent {
    /// All events. Other closes are not announced: the client is to blame, or gone.
    pub const ALL: [Self; 17] = [
        Self::PairChanged,
        Self::PriceRules,
        Self::Moved,
        Self::TokenExpiring,
        Self::Unsubscribed,
        Self::TookOver,
        Self::Heartbeat,
        Self::Closing(Close::Shutdown),
        Self::Closing(Close::Restarting),
        Self::Closing(Close::TokenInvalid),
        Self::Closing(Close::TokenRevoked),
        Self::Closing(Close::TokenExpired),
        Self::Closing(Close::Forbidden),
        Self::Closing(Close::Replaced),
        Self::Closing(Close::Disconnected),
        Self::Closing(Close::StreamRemoved),
        Self::Closing(Close::Reconnect),
    ];

    /// The word that clients read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PairChanged => "pair-changed",
            Self::PriceRules => "price-rules",
            Self::Moved => "moved",
            Self::TokenExpiring => "token-expiring",
            Self::Unsubscribed => "unsubscribed",
            Self::TookOver => "took-over",
            Self::Heartbeat => "heartbeat",
            Self::Closing(close) => close.slug(),
        }
    }
}

/// The member of all that is made up.
pub(super) const MOCK: &str = r#","mock":true"#;

/// A quote's text without the members that change with time, written once per price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteText {
    fixed: String,
}

impl QuoteText {
    /// Writes the members that stay the same.
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
        if !quote.interval.is_zero() {
            let _ = write!(fixed, r#","interval_ms":{}"#, quote.interval.as_millis());
        }
        if quote.mock {
            fixed.push_str(MOCK);
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

/// Bytes that one source takes, about.
const SOURCE: usize = 110;

/// Writes `,"sources":[...]`, or nothing if there are none.
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

/// `quote`: the answer to a POST (`request`) or to a question of the session (`id`).
#[must_use]
pub fn quote(
    request: Option<RequestId>,
    id: Option<&RawValue>,
    (text, quote): (&QuoteText, &Quote),
    (rules, now): (&Rules, Boot),
) -> String {
    let mut out = String::with_capacity(400 + SOURCE * quote.sources.len());
    let _ = write!(out, r#"{{"type":"{}","#, ServerType::Quote);
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

/// `price` on a channel.
#[must_use]
pub fn price(channel: &str, (text, quote): (&QuoteText, &Quote), (rules, now): (&Rules, Boot)) -> String {
    let mut out = String::with_capacity(400);
    let _ = write!(out, r#"{{"type":"{}","channel":"{channel}","#, ServerType::Price);
    text.write(&mut out, quote, rules, now);
    out.push('}');
    out
}

/// `price` without a price, for a channel.
#[must_use]
pub fn none_price(channel: &str, symbol: &str) -> String {
    let kind = ServerType::Price;
    format!(r#"{{"type":"{kind}","channel":"{channel}","symbol":"{symbol}","price":null}}"#)
}

/// `system`, `pair-changed`: from the next price on, the source quotes another pair.
#[must_use]
pub fn pair_changed(symbol: &Symbol, from: &Symbol, to: &Symbol, source: &str) -> String {
    let (kind, event, source) = (ServerType::System, SystemEvent::PairChanged.as_str(), quoted(source));
    format!(
        r#"{{"type":"{kind}","event":"{event}","symbol":"{symbol}","from":"{from}","to":"{to}","source":{source}}}"#
    )
}

/// The start of a channel's message; `data` as JSON and a brace follow.
#[must_use]
pub fn message_prefix(channel: &str, from: Option<&str>, time: Wall) -> String {
    let from = from.map(|from| format!(r#""from":{},"#, quoted(from))).unwrap_or_default();
    format!(r#"{{"type":"{}","channel":"{channel}",{from}"time":"{time}","data":"#, ServerType::Message)
}

/// `message` on a channel.
#[must_use]
pub fn channel_message(channel: &str, from: Option<&str>, time: Wall, data: &str) -> String {
    let mut out = message_prefix(channel, from, time);
    out.push_str(data);
    out.push('}');
    out
}

#[derive(Serialize)]
struct Typed<'a, T: Serialize> {
    r#type: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// A message of that type with the members of `body`.
pub(super) fn typed<T: Serialize>(kind: ServerType, body: &T) -> String {
    serde_json::to_string(&Typed { r#type: kind.as_str(), body }).unwrap_or_default()
}

/// A `system` message that announces a close.
#[derive(Clone, Copy, Debug)]
pub struct EventText<'a> {
    /// The close that follows.
    pub close: Close,
    /// Why, for a person.
    pub reason: &'a str,
    /// Delay after which the client should come back.
    pub reconnect_in_ms: Option<u64>,
}

/// `close`: the last message where there is no close frame.
#[must_use]
pub fn close(close: Close, reconnect_in_ms: Option<u64>) -> String {
    let (kind, wait) = (ServerType::Close, wait(reconnect_in_ms));
    format!(r#"{{"type":"{kind}","code":{},"reason":"{}"{wait}}}"#, close.code(), close.slug())
}

fn wait(reconnect_in_ms: Option<u64>) -> String {
    reconnect_in_ms.map(|ms| format!(r#","reconnect_in_ms":{ms}"#)).unwrap_or_default()
}

/// `system`, before a close.
#[must_use]
pub fn system(text: &EventText<'_>) -> String {
    let EventText { close, reason, reconnect_in_ms } = *text;
    let event = SystemEvent::Closing(close);
    debug_assert!(SystemEvent::ALL.contains(&event), "{event:?} is not one of the announced closes");
    let (kind, event, reason) = (ServerType::System, event.as_str(), quoted(reason));
    format!(r#"{{"type":"{kind}","event":"{event}","reason":{reason}{}}}"#, wait(reconnect_in_ms))
}

/// `system`, `took-over`: this stream has taken the place of the user's oldest one. `devices`: those that streams of the
/// user were connected with, that of the oldest first; `None`: one without a name.
#[must_use]
pub fn took_over(devices: &[Option<&str>]) -> String {
    let (kind, event) = (ServerType::System, SystemEvent::TookOver.as_str());
    let devices = serde_json::to_string(devices).unwrap_or_default();
    format!(r#"{{"type":"{kind}","event":"{event}","devices":{devices}}}"#)
}

fn with_id(kind: ServerType, id: Option<&RawValue>, rest: &str) -> String {
    let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
    format!(r#"{{"type":"{kind}"{id}{rest}}}"#)
}

/// `ack`
#[must_use]
pub fn ack(id: &RawValue) -> String {
    with_id(ServerType::Ack, Some(id), "")
}

/// `ack` of a fresh token, which has so much time left.
#[must_use]
pub fn ack_token(id: Option<&RawValue>, left: Duration) -> String {
    with_id(ServerType::Ack, id, &format!(r#","expires_in_ms":{}"#, left.as_millis()))
}

/// `system`, `token-expiring`: the session ends after that time.
#[must_use]
pub fn token_expiring(left: Duration) -> String {
    let (kind, event) = (ServerType::System, SystemEvent::TokenExpiring.as_str());
    format!(r#"{{"type":"{kind}","event":"{event}","expires_in_ms":{}}}"#, left.as_millis())
}

/// `system`, `unsubscribed`: the session is on these channels no more, because its token does not allow them.
#[must_use]
pub fn unsubscribed(channels: &[&str]) -> String {
    let (kind, event) = (ServerType::System, SystemEvent::Unsubscribed.as_str());
    let channels = serde_json::to_string(channels).unwrap_or_default();
    format!(r#"{{"type":"{kind}","event":"{event}","channels":{channels},"reason":"forbidden"}}"#)
}

/// `pong`
#[must_use]
pub fn pong(id: Option<&RawValue>) -> String {
    with_id(ServerType::Pong, id, "")
}

/// `echo`
#[must_use]
pub fn echo(id: Option<&RawValue>, data: &RawValue) -> String {
    with_id(ServerType::Echo, id, &format!(r#","data":{data}"#))
}

/// `error`; the session stays.
#[must_use]
pub fn error(id: Option<&RawValue>, code: ErrorCode, message: &str) -> String {
    with_id(ServerType::Error, id, &format!(r#","code":"{code}","message":{}"#, quoted(message)))
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
    fn a_made_up_price_says_so_wherever_it_stands() {
        let made_up = Quote { mock: true, interval: Duration::from_secs(60), ..example() };
        let (text, now) = (QuoteText::new(&made_up), Boot(0));
        for told in [
            text.object(&made_up, &RULES, now),
            text.whole(&made_up, &RULES, now),
            quote(None, None, (&text, &made_up), (&RULES, now)),
            price("price:BTC-USD", (&text, &made_up), (&RULES, now)),
        ] {
            let value: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!((&value["mock"], &value["interval_ms"]), (&true.into(), &60_000.into()), "{told}");
        }
        let real = QuoteText::new(&example()).object(&example(), &RULES, now);
        assert!(!real.contains("mock") && !real.contains("interval_ms"), "{real}");
    }

    #[test]
    fn small_messages_are_json() {
        let id = RawValue::from_string("\"a\"".into()).unwrap();
        for text in [
            ack(&id),
            pong(None),
            echo(Some(&id), &id),
            error(None, ErrorCode::Forbidden, "say \"no\""),
            channel_message("news", Some("a"), Wall(0), "[1]"),
            none_price("price:BTC-USD", "BTC-USD"),
            pair_changed(&example().symbol, &example().pair, &example().symbol, "a\"b"),
            system(&EventText { close: Close::Shutdown, reason: "\"stop\"", reconnect_in_ms: Some(1) }),
            super::close(Close::Shutdown, Some(1)),
        ] {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(value["type"].is_string(), "{text}");
        }
    }
}
