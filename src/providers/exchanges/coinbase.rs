//! Coinbase Exchange: the stream of tickers, one at each trade; REST while the stream gives no price.
//!
//! Source: docs.cdp.coinbase.com/exchange (2026). No key. Prices are strings, with decimals or without, time stamps RFC
//! 3339. A pair's code is the symbol (`BTC-USD`). Unknown types are to be ignored.

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
use std::time::Duration;

/// Wait after a complaint about too many requests or connections.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

/// The stream's dialect.
#[derive(Clone)]
pub(in crate::providers) struct Stream {
    url: String,
    pairs: Pairs,
}

impl Stream {
    /// `base` is `wss://ws-feed.exchange.coinbase.com`.
    pub(in crate::providers) fn new(base: &str, wanted: &Wanted) -> Self {
        Self { url: base.to_owned(), pairs: Pairs::new(wanted, |pair| pair.as_str().to_owned()) }
    }
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    product_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    best_bid: Option<&'a RawValue>,
    #[serde(borrow)]
    best_ask: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    sequence: Option<u64>,
}

#[derive(Deserialize)]
struct Complaint<'a> {
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

/// The state of products, sent each five seconds on a channel of its own.
#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    products: Vec<ProductState<'a>>,
}

#[derive(Deserialize)]
struct ProductState<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(default)]
    post_only: bool,
    #[serde(default)]
    limit_only: bool,
    #[serde(default)]
    cancel_only: bool,
    #[serde(default)]
    trading_disabled: bool,
}

impl ProductState<'_> {
    /// Why the product is not traded.
    fn halt(&self) -> Option<Cow<'_, str>> {
        let marks = [
            (self.trading_disabled, "trading_disabled"),
            (self.cancel_only, "cancel_only"),
            (self.post_only, "post_only"),
            (self.limit_only, "limit_only"),
        ];
        let mark = marks.into_iter().find(|(set, _)| *set).map(|(_, word)| Cow::Borrowed(word));
        mark.or_else(|| halt(&self.status, &["online"]))
    }
}

impl Push for Stream {
    fn url(&self) -> String {
        self.url.clone()
    }

    /// Due within five seconds. The heartbeat comes each second, so a silent connection is dead.
    fn hello(&self) -> Vec<String> {
        vec![subscribe(&self.pairs.codes().collect::<Vec<_>>())]
    }

    /// An unknown product refuses the whole list.
    fn follow_up(&mut self) -> Vec<String> {
        self.pairs.again().iter().map(|ids| subscribe(ids)).collect()
    }

    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        match &*digits::parse::<Kind<'_>>(message)?.kind {
            "ticker" => {
                let ticker: Ticker<'_> = digits::parse(message)?;
                self.pairs.get(ticker.product_id.as_deref())?.tell(
                    &PairPrice {
                        price: digits::price(ticker.price)?,
                        bid: digits::maybe(ticker.best_bid),
                        ask: digits::maybe(ticker.best_ask),
                        time: ticker.time.as_deref().and_then(digits::rfc3339),
                        seq: ticker.sequence,
                    },
                    out,
                );
                Ok(())
            }
            "status" => {
                let status: Status<'_> = digits::parse(message)?;
                for product in &status.products {
                    if let Ok(asked) = self.pairs.get(Some(&product.id)) {
                        asked.trading(product.halt().as_deref(), out);
                    }
                }
                Ok(())
            }
            "error" => Err(match complaint(&digits::parse(message)?) {
                Fault::Refused(why) | Fault::Unknown(why) => self.pairs.refuse_list(why),
                fault => fault,
            }),
            _ => Ok(()),
        }
    }
}

fn subscribe<S: AsRef<str>>(ids: &[S]) -> String {
    let ids: Vec<_> = ids.iter().map(AsRef::as_ref).collect();
    json!({"type": "subscribe", "product_ids": ids, "channels": ["ticker", "heartbeat"]}).to_string()
}

fn complaint(said: &Complaint<'_>) -> Fault {
    let why = one_line(&format!("{}: {}", said.message, said.reason));
    let words = why.to_lowercase();
    if words.contains("rate limit") || words.contains("too many") {
        Fault::wait(LIMIT_WAIT, why)
    } else {
        // ErrSlowConsume, too: this client did not keep up.
        Fault::refusal(why)
    }
}

/// The REST dialect, `GET /products/BTC-USD/ticker`.
pub(in crate::providers) struct Rest(String);

/// `base` is `https://api.exchange.coinbase.com`.
pub(in crate::providers) fn rest(base: &str, wanted: &Wanted, every: Duration) -> Each<Rest> {
    Each::new(Rest(base.to_owned()), wanted, every)
}

#[derive(Deserialize)]
struct Product<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    trade_id: Option<u64>,
}

impl Ask for Rest {
    fn url(&self, pair: &Symbol) -> String {
        format!("{}/products/{pair}/ticker", self.0)
    }

    fn read(&self, _: &Symbol, reply: &Reply<'_>) -> Result<PairPrice, Fault> {
        let product: Product<'_> = reply.good()?;
        Ok(PairPrice {
            price: digits::price(product.price)?,
            bid: digits::maybe(product.bid),
            ask: digits::maybe(product.ask),
            time: product.time.as_deref().and_then(digits::rfc3339),
            seq: product.trade_id,
        })
    }
}
