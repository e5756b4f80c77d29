//! Bitstamp: the stream of trades; REST while the stream gives no price.
//!
//! Source: www.bitstamp.net/websocket/v2 and /api (2026). No key. A trade has its price twice, as a number that has
//! been through a float (`3651.3000000000002`) and as a string: the string is used. There is no stream of tickers, so
//! minutes may pass without a message. A pair's code is `btcusd`.

use crate::model::{Symbol, one_line};
use crate::providers::wire::digits;
use crate::providers::wire::each::{Ask, Each};
use crate::providers::wire::pairs::{PairPrice, Pairs, Wanted};
use crate::providers::wire::push::Push;
use crate::providers::wire::reply::Reply;
use crate::providers::{Fault, Sink};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::borrow::Cow;
use std::time::Duration;

/// Wait after a complaint about too many requests (10000 in ten minutes are allowed).
const LIMIT_WAIT: Duration = Duration::from_secs(60);
/// Bitstamp expects a message from the client this often.
const HEARTBEAT: Duration = Duration::from_secs(10);

fn code(pair: &Symbol) -> String {
    format!("{}{}", pair.base(), pair.quote()).to_lowercase()
}

/// The stream's dialect.
#[derive(Clone)]
pub(in crate::providers) struct Stream {
    url: String,
    pairs: Pairs,
}

impl Stream {
    /// `base` is `wss://ws.bitstamp.net`.
    pub(in crate::providers) fn new(base: &str, wanted: &Wanted) -> Self {
        let channel = |pair: &Symbol| format!("live_trades_{}", code(pair));
        Self { url: base.to_owned(), pairs: Pairs::new(wanted, channel) }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Trade<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    price_str: &'a RawValue,
    #[serde(borrow)]
    microtimestamp: Option<Cow<'a, str>>,
}

impl Push for Stream {
    fn url(&self) -> String {
        self.url.clone()
    }

    /// Each message subscribes to a single channel.
    fn hello(&self) -> Vec<String> {
        let say = |channel| json!({"event": "bts:subscribe", "data": {"channel": channel}}).to_string();
        self.pairs.codes().map(say).collect()
    }

    fn keepalive(&self) -> Option<(Duration, String)> {
        Some((HEARTBEAT, r#"{"event":"bts:heartbeat"}"#.to_owned()))
    }

    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        let Message { event, channel, data } = digits::parse(message)?;
        let text = data.map_or("", RawValue::get);
        match &*event {
            "trade" => {
                let trade: Trade<'_> = digits::parse(text.as_bytes())?;
                let micros = trade.microtimestamp.and_then(|text| text.parse().ok());
                let said = PairPrice {
                    price: digits::price(trade.price_str)?,
                    bid: None,
                    ask: None,
                    time: micros.and_then(digits::stamp),
                    seq: trade.id,
                };
                self.pairs.get(channel.as_deref())?.tell(&said, out);
                Ok(())
            }
            "bts:request_reconnect" => Err(Fault::Reconnect("the server is about to go".to_owned())),
            "bts:error" => Err(self.pairs.refuse(channel.as_deref(), format!("error: {}", one_line(text)))),
            _ => Ok(()),
        }
    }
}

/// The REST dialect, `GET /api/v2/ticker/btcusd/`.
pub(in crate::providers) struct Rest(String);

/// `base` is `https://www.bitstamp.net`.
pub(in crate::providers) fn rest(base: &str, wanted: &Wanted, every: Duration) -> Each<Rest> {
    Each::new(Rest(base.to_owned()), wanted, every)
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    last: &'a RawValue,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Complaint<'a> {
    #[serde(borrow)]
    response_code: Cow<'a, str>,
}

impl Ask for Rest {
    fn url(&self, pair: &Symbol) -> String {
        format!("{}/api/v2/ticker/{}/", self.0, code(pair))
    }

    fn read(&self, _: &Symbol, reply: &Reply<'_>) -> Result<PairPrice, Fault> {
        // The body is read first: a limit comes with status 400.
        let complaint = digits::parse::<Complaint<'_>>(reply.body);
        if complaint.is_ok_and(|said| ["400.002", "400.067", "400.068"].contains(&&*said.response_code)) {
            return Err(Fault::wait(reply.retry_after.unwrap_or(LIMIT_WAIT), reply.excerpt()));
        }
        if reply.status == 404 {
            // Bitstamp's proxies answer so at times, for pairs that exist.
            return Err(Fault::Retry(reply.excerpt()));
        }
        let ticker: Ticker<'_> = reply.good()?;
        let seconds = ticker.timestamp.and_then(|text| text.parse::<i64>().ok());
        Ok(PairPrice {
            price: digits::price(ticker.last)?,
            bid: digits::maybe(ticker.bid),
            ask: digits::maybe(ticker.ask),
            time: seconds.and_then(|seconds| digits::stamp(seconds.checked_mul(1000)?)),
            seq: None,
        })
    }
}
