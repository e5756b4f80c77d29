//! Kraken: the stream of tickers (WebSocket v2); REST while the stream gives no price.
//!
//! Source: docs.kraken.com/api (2026). No key. The stream's prices are JSON numbers whose digits are exact only in the
//! text; REST's are strings. The stream's code of a pair is `BTC/USD`, REST's is `XBTUSD` (and REST answers under
//! another name).

use crate::model::{Symbol, one_line};
use crate::providers::wire::digits;
use crate::providers::wire::each::{Ask, Each};
use crate::providers::wire::pairs::{PairPrice, Pairs, Wanted, halt};
use crate::providers::wire::push::Push;
use crate::providers::wire::reply::Reply;
use crate::providers::{Fault, Sink};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// Wait after a complaint about too many requests.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

/// The stream's dialect.
#[derive(Clone)]
pub(in crate::providers) struct Stream {
    url: String,
    pairs: Pairs,
}

impl Stream {
    /// `base` is `wss://ws.kraken.com/v2`.
    pub(in crate::providers) fn new(base: &str, wanted: &Wanted) -> Self {
        let code = |pair: &Symbol| format!("{}/{}", pair.base(), pair.quote());
        Self { url: base.to_owned(), pairs: Pairs::new(wanted, code) }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    success: Option<bool>,
    #[serde(borrow, alias = "Error")]
    error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    symbol: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    symbol: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
}

/// The exchange's state: `online`, `post_only`, `limit_only`, `cancel_only`, `maintenance`.
#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    system: Option<Cow<'a, str>>,
}

impl Push for Stream {
    fn url(&self) -> String {
        self.url.clone()
    }

    /// Triggered by the best prices (`bbo`), not by trades: so the last price is repeated in quiet times (trades of one
    /// pair have been 453 s apart).
    fn hello(&self) -> Vec<String> {
        vec![subscribe(&self.pairs.codes().collect::<Vec<_>>())]
    }

    fn follow_up(&mut self) -> Vec<String> {
        self.pairs.again().iter().map(|symbols| subscribe(symbols)).collect()
    }

    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        let message: Message<'_> = digits::parse(message)?;
        if let Some(error) = &message.error {
            let why = one_line(error);
            return Err(if limit(&why) { Fault::wait(LIMIT_WAIT, why) } else { self.refuse(&message, why) });
        }
        if message.success == Some(false) {
            return Err(self.refuse(&message, "refused without a reason".to_owned()));
        }
        match (message.channel.as_deref(), message.data) {
            (Some("ticker"), Some(data)) => self.tickers(data, out),
            (Some("status"), Some(data)) => {
                let states: Vec<Status<'_>> = digits::parse(data.get().as_bytes())?;
                if let Some(state) = states.iter().rev().find_map(|state| state.system.as_deref()) {
                    out.trading(None, halt(state, &["online"]).as_deref());
                }
                Ok(())
            }
            // Heartbeats, answers.
            _ => Ok(()),
        }
    }
}

impl Stream {
    /// Each symbol has an answer of its own, unless the request as a whole was refused.
    fn refuse(&mut self, message: &Message<'_>, why: String) -> Fault {
        match &message.symbol {
            Some(symbol) => self.pairs.refuse(Some(symbol), why),
            None => self.pairs.refuse_list(why),
        }
    }

    /// A bad entry does not affect the others.
    fn tickers(&mut self, data: &RawValue, out: &mut dyn Sink) -> Result<(), Fault> {
        let tickers: Vec<&RawValue> = digits::parse(data.get().as_bytes())?;
        let mut one = |ticker: &RawValue| self.ticker(&digits::parse(ticker.get().as_bytes())?, out);
        tickers.into_iter().map(&mut one).fold(Ok(()), Result::and)
    }

    fn ticker(&mut self, ticker: &Ticker<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        let asked = self.pairs.get(ticker.symbol.as_deref())?;
        let last = ticker.last.ok_or_else(|| Fault::Skip("no price".to_owned()))?;
        let said = PairPrice {
            price: digits::price(last)?,
            bid: digits::maybe(ticker.bid),
            ask: digits::maybe(ticker.ask),
            time: ticker.timestamp.as_deref().and_then(digits::rfc3339),
            seq: None,
        };
        asked.tell(&said, out);
        Ok(())
    }
}

fn subscribe<S: AsRef<str>>(symbols: &[S]) -> String {
    let symbols: Vec<_> = symbols.iter().map(AsRef::as_ref).collect();
    let params = json!({"channel": "ticker", "symbol": symbols, "event_trigger": "bbo", "snapshot": true});
    json!({"method": "subscribe", "params": params, "req_id": 1}).to_string()
}

/// The REST dialect, `GET /0/public/Ticker`.
pub(in crate::providers) struct Rest(String);

/// `base` is `https://api.kraken.com`.
pub(in crate::providers) fn rest(base: &str, wanted: &Wanted, every: Duration) -> Each<Rest> {
    Each::new(Rest(base.to_owned()), wanted, every)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    error: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// A price followed by other fields: only the first entry counts.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    a: Vec<&'a RawValue>,
    #[serde(borrow)]
    b: Vec<&'a RawValue>,
    #[serde(borrow)]
    c: Vec<&'a RawValue>,
}

impl Ask for Rest {
    fn url(&self, pair: &Symbol) -> String {
        format!("{}/0/public/Ticker?pair={}{}", self.0, old(pair.base()), old(pair.quote()))
    }

    fn read(&self, _: &Symbol, reply: &Reply<'_>) -> Result<PairPrice, Fault> {
        // The body is read first: errors come with status 200.
        let answer: Result<Answer<'_>, _> = digits::parse(reply.body);
        if let Some(error) = answer.iter().flat_map(|answer| &answer.error).find(|e| !e.starts_with('W')) {
            return Err(complaint(error, reply));
        }
        if let Some(fault) = reply.fault() {
            return Err(fault);
        }
        let result = answer?.result.ok_or_else(|| Fault::Skip("no result".to_owned()))?;
        let entries: BTreeMap<Cow<'_, str>, Entry<'_>> = digits::parse(result.get().as_bytes())?;
        // The answer's name differs from the requested one.
        let [entry] = &entries.values().collect::<Vec<_>>()[..] else {
            return Err(Fault::Skip(format!("{} entries instead of one", entries.len())));
        };
        let last = entry.c.first().ok_or_else(|| Fault::Skip("no price".to_owned()))?;
        let first = |list: &[&RawValue]| digits::maybe(list.first().copied());
        Ok(PairPrice {
            price: digits::price(last)?,
            bid: first(&entry.b),
            ask: first(&entry.a),
            time: None,
            seq: None,
        })
    }
}

/// Kraken's REST uses older names for two currencies.
fn old(name: &str) -> &str {
    match name {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        name => name,
    }
}

fn limit(why: &str) -> bool {
    let why = why.to_lowercase();
    ["rate limit", "msg rate", "too many", "lockout"].iter().any(|word| why.contains(word))
}

/// `EAPI:Rate limit exceeded`, `EQuery:Unknown asset pair`, `EService:Unavailable`.
fn complaint(error: &str, reply: &Reply<'_>) -> Fault {
    let why = format!("HTTP {}: {}", reply.status, one_line(error));
    if error.starts_with("EAPI") || limit(error) {
        Fault::wait(reply.retry_after.unwrap_or(LIMIT_WAIT), why)
    } else {
        Fault::refusal(why)
    }
}
