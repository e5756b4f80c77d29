//! Binance spot. The stream of trades and best prices; REST while the stream cannot be had.
//!
//! Source: binance-spot-api-docs, `web-socket-streams.md` and `rest-api.md` (2026-07-21). No key; the hosts that
//! serve market data only. Prices are strings of 8 decimals, stamps milliseconds.

use super::fault::{Reply, one_line};
use super::poll::Poll;
use super::push::Push;
use super::{Fault, Sink, Tick, digits};
use crate::model::{Price, Symbol};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

/// What is asked for, under the exchange's own name (`BTCUSDT`).
#[derive(Clone)]
struct Pairs(HashMap<String, Asked>);

#[derive(Clone)]
struct Asked {
    symbol: Symbol,
    pair: Symbol,
    bid: Option<Price>,
    ask: Option<Price>,
}

impl Pairs {
    fn new(pairs: &[(Symbol, Symbol)]) -> Self {
        let asked = |(symbol, pair): &(Symbol, Symbol)| {
            let asked = Asked { symbol: symbol.clone(), pair: pair.clone(), bid: None, ask: None };
            (code(pair), asked)
        };
        Self(pairs.iter().map(asked).collect())
    }

    fn get(&mut self, code: Option<&str>) -> Result<&mut Asked, Fault> {
        let code = code.ok_or_else(|| Fault::Skip("no symbol".to_owned()))?;
        self.0.get_mut(code).ok_or_else(|| Fault::Skip(format!("nobody asked for {}", one_line(code))))
    }
}

fn code(pair: &Symbol) -> String {
    format!("{}{}", pair.base(), pair.quote())
}

/// The stream.
#[derive(Clone)]
pub(super) struct Stream {
    url: String,
    pairs: Pairs,
}

impl Stream {
    /// `base` is `wss://data-stream.binance.vision`; `pairs` the symbols with the pairs that stand for them.
    pub(super) fn new(base: &str, pairs: &[(Symbol, Symbol)]) -> Self {
        let name = |(_, pair): &(Symbol, Symbol)| {
            let code = code(pair).to_lowercase();
            format!("{code}@trade/{code}@bookTicker")
        };
        let names: Vec<_> = pairs.iter().map(name).collect();
        let url = format!("{}/stream?streams={}", base.trim_end_matches('/'), names.join("/"));
        Self { url, pairs: Pairs::new(pairs) }
    }
}

/// A combined stream's envelope, an answer or an error.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    code: Option<i64>,
    #[serde(borrow)]
    msg: Option<Cow<'a, str>>,
}

/// An event, as much of it as tells what it is. `bookTicker` has no `e`, but an update id.
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
            // Answers to commands and events of streams that nobody asked for.
            _ => Ok(()),
        }
    }
}

impl Stream {
    fn trade(&mut self, trade: &Trade<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        let asked = self.pairs.get(trade.s.as_deref())?;
        out.tick(Tick {
            symbol: asked.symbol.clone(),
            pair: asked.pair.clone(),
            price: digits::price(trade.p)?,
            bid: asked.bid,
            ask: asked.ask,
            time: trade.at.and_then(digits::stamp),
            seq: trade.t,
        });
        Ok(())
    }

    /// Best prices go out with the next trade: between trades they change some hundred times a second.
    fn book(&mut self, book: &Book<'_>) -> Result<(), Fault> {
        let asked = self.pairs.get(book.s.as_deref())?;
        (asked.bid, asked.ask) = (digits::maybe(book.b), digits::maybe(book.a));
        Ok(())
    }
}

/// The REST form, `GET /api/v3/ticker/24hr`: the cheapest one (weight 2 of 6000 a minute) with a stamp and a number.
pub(super) struct Rest {
    url: String,
    pairs: Pairs,
    every: Duration,
}

impl Rest {
    /// `base` is `https://data-api.binance.vision`.
    pub(super) fn new(base: &str, pairs: &[(Symbol, Symbol)], every: Duration) -> Self {
        let codes: Vec<_> = pairs.iter().map(|(_, pair)| code(pair)).collect();
        let which = match &codes[..] {
            [one] => format!("symbol={one}"),
            // ["A","B"], percent-encoded.
            many => format!("symbols=%5B%22{}%22%5D", many.join("%22,%22")),
        };
        let url = format!("{}/api/v3/ticker/24hr?{which}&type=MINI", base.trim_end_matches('/'));
        Self { url, pairs: Pairs::new(pairs), every }
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
    close_time: Option<i64>,
    last_id: Option<u64>,
}

impl Poll for Rest {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn read(&mut self, reply: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        // The status first: a refusal by place has a body that says `"code":0`.
        if let Some(fault) = Fault::of_status(reply) {
            return Err(fault);
        }
        let tickers: Vec<Ticker<'_>> = if reply.body.trim_ascii_start().starts_with(b"[") {
            parse(reply.body)?
        } else {
            vec![parse(reply.body)?]
        };
        for ticker in &tickers {
            let asked = self.pairs.get(ticker.symbol.as_deref())?;
            out.tick(Tick {
                symbol: asked.symbol.clone(),
                pair: asked.pair.clone(),
                price: digits::price(ticker.last_price)?,
                bid: digits::maybe(ticker.bid_price),
                ask: digits::maybe(ticker.ask_price),
                time: ticker.close_time.and_then(digits::stamp),
                seq: ticker.last_id,
            });
        }
        Ok(())
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| digits::skip(&error))
}
