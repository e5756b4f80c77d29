//! Binance spot: the stream of trades and best prices; REST while the stream gives no price.
//!
//! Source: binance-spot-api-docs, `web-socket-streams.md` and `rest-api.md` (2026-07-21). No key; the hosts that serve
//! market data only. Prices are strings of 8 decimals, time stamps are milliseconds.

use crate::model::{Symbol, one_line};
use crate::providers::wire::batch::Batch;
use crate::providers::wire::digits;
use crate::providers::wire::digits::parse;
use crate::providers::wire::pairs::{PairPrice, Pairs, Wanted};
use crate::providers::wire::poll::Poll;
use crate::providers::wire::push::Push;
use crate::providers::wire::reply::Reply;
use crate::providers::{Fault, Sink};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;

fn code(pair: &Symbol) -> String {
    format!("{}{}", pair.base(), pair.quote())
}

/// The stream's dialect.
#[derive(Clone)]
pub(in crate::providers) struct Stream {
    url: String,
    pairs: Pairs,
}

impl Stream {
    /// `base` is `wss://data-stream.binance.vision`.
    pub(in crate::providers) fn new(base: &str, wanted: &Wanted) -> Self {
        let pairs = Pairs::new(wanted, code);
        let name = |code: &str| format!("{0}@trade/{0}@bookTicker", code.to_lowercase());
        let names: Vec<_> = pairs.codes().map(name).collect();
        let url = format!("{}/stream?streams={}", base.trim_end_matches('/'), names.join("/"));
        Self { url, pairs }
    }
}

/// The envelope of a combined stream, an answer or an error.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    code: Option<i64>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

/// The part of an event that tells its type. `bookTicker` has no `e`, but an update id.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    u: Option<u64>,
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow)]
    p: &'a RawValue,
    t: Option<u64>,
    #[serde(rename = "T")]
    at: Option<i64>,
}

#[derive(Deserialize)]
struct Book<'a> {
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow)]
    b: Option<&'a RawValue>,
    #[serde(borrow)]
    a: Option<&'a RawValue>,
}

impl Push for Stream {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        let whole: &RawValue = parse(message)?;
        let envelope: Envelope<'_> = parse(whole.get().as_bytes())?;
        if let Some(code) = envelope.code {
            let said = envelope.msg.unwrap_or_default();
            return Err(Fault::Skip(format!("error {code}: {}", one_line(&said))));
        }
        let event = envelope.data.unwrap_or(whole).get().as_bytes();
        let kind: Kind<'_> = parse(event)?;
        match kind.e.as_deref() {
            Some("trade") => self.trade(&parse(event)?, out),
            None if kind.u.is_some() => self.book(&parse(event)?),
            Some("serverShutdown") => Err(Fault::Reconnect("the server is about to go".to_owned())),
            // Answers to commands, and events of streams that were not requested.
            _ => Ok(()),
        }
    }
}

impl Stream {
    fn trade(&mut self, trade: &Trade<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        let asked = self.pairs.get(trade.s.as_deref())?;
        let said = PairPrice {
            price: digits::price(trade.p)?,
            bid: asked.bid,
            ask: asked.ask,
            time: trade.at.and_then(digits::stamp),
            seq: trade.t,
        };
        asked.tell(&said, out);
        Ok(())
    }

    /// Stores the best prices for the next trade: between trades they change some hundred times a second.
    fn book(&mut self, book: &Book<'_>) -> Result<(), Fault> {
        let asked = self.pairs.get(book.s.as_deref())?;
        (asked.bid, asked.ask) = (digits::maybe(book.b), digits::maybe(book.a));
        Ok(())
    }
}

/// The REST dialect, `GET /api/v3/ticker/24hr`: the cheapest request (weight 2 of 6000 a minute) with a time stamp and
/// a number.
pub(in crate::providers) struct Rest {
    base: String,
    pairs: Pairs,
    batch: Batch,
    every: Duration,
}

impl Rest {
    /// `base` is `https://data-api.binance.vision`.
    pub(in crate::providers) fn new(base: &str, wanted: &Wanted, every: Duration) -> Self {
        let pairs = Pairs::new(wanted, code);
        let batch = Batch::within(pairs.codes(), every);
        Self { base: base.trim_end_matches('/').to_owned(), pairs, batch, every }
    }

    /// A bad entry does not affect the others.
    fn ticker(&mut self, ticker: &RawValue, out: &mut dyn Sink) -> Result<(), Fault> {
        let ticker: Ticker<'_> = parse(ticker.get().as_bytes())?;
        let asked = self.pairs.get(ticker.symbol.as_deref())?;
        let said = PairPrice {
            price: digits::price(ticker.last_price).map_err(|fault| fault.about(&asked.code))?,
            bid: digits::maybe(ticker.bid_price),
            ask: digits::maybe(ticker.ask_price),
            time: digits::number(ticker.close_time).and_then(|at| digits::stamp(i64::try_from(at).ok()?)),
            seq: digits::number(ticker.last_id),
        };
        asked.tell(&said, out);
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticker<'a> {
    #[serde(borrow)]
    symbol: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last_price: &'a RawValue,
    #[serde(borrow)]
    bid_price: Option<&'a RawValue>,
    #[serde(borrow)]
    ask_price: Option<&'a RawValue>,
    #[serde(borrow)]
    close_time: Option<&'a RawValue>,
    #[serde(borrow)]
    last_id: Option<&'a RawValue>,
}

impl Poll for Rest {
    fn url(&self) -> String {
        let which = match &self.batch.codes()[..] {
            [one] => format!("symbol={one}"),
            // ["A","B"], percent-encoded.
            many => format!("symbols=%5B%22{}%22%5D", many.join("%22,%22")),
        };
        format!("{}/api/v3/ticker/24hr?{which}&type=MINI", self.base)
    }

    fn every(&self) -> Duration {
        self.batch.every(self.every)
    }

    fn read(&mut self, reply: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        // The status is read first: a refusal by location has a body with `"code":0`.
        if let Some(fault) = reply.fault() {
            return Err(self.batch.fault(fault, reply));
        }
        self.batch.accepted();
        let tickers: Vec<&RawValue> = if digits::plain(reply.body).trim_ascii_start().starts_with(b"[") {
            parse(reply.body)?
        } else {
            vec![parse(reply.body)?]
        };
        tickers.into_iter().map(|ticker| self.ticker(ticker, out)).fold(Ok(()), Result::and)
    }
}
