//! `CoinDesk` Data API, the newest value of an index: `GET /index/cc/v1/latest/tick`.
//!
//! Source: <https://developers.coindesk.com>, replies recorded in 2025. Needs a key (free access ended on 2026-05-21),
//! whose plan limits the number of requests. All numbers are JSON numbers. An error may come with any status, so the
//! body is read first.

use crate::config::Secret;
use crate::model::{Symbol, one_line};
use crate::providers::wire::batch::Batch;
use crate::providers::wire::poll::Poll;
use crate::providers::wire::reply::Reply;
use crate::providers::wire::{digits, http};
use crate::providers::{Fault, Sink, Tick};
use ::http::header::HeaderMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// Wait after "over your rate limit" without a longer `Retry-After`.
const LIMIT_WAIT: Duration = Duration::from_secs(60);

pub(in crate::providers) struct Coindesk {
    /// The address without the symbols.
    url: Url,
    key: Secret,
    symbols: Vec<Symbol>,
    batch: Batch,
    every: Duration,
}

impl Coindesk {
    /// `base` is `https://data-api.coindesk.com`, `market` the family of indices, for instance `cadli`.
    ///
    /// # Errors
    /// [`Fault::Refused`] if `base` is no address.
    pub(in crate::providers) fn new(
        base: &str,
        market: &str,
        key: Secret,
        symbols: &[Symbol],
        every: Duration,
    ) -> Result<Self, Fault> {
        let address = format!("{}/index/cc/v1/latest/tick", base.trim_end_matches('/'));
        let mut url = Url::parse(&address).map_err(|error| Fault::Refused(format!("{address}: {error}")))?;
        url.query_pairs_mut().append_pair("market", market);
        let batch = Batch::within(symbols.iter().map(Symbol::as_str), every);
        Ok(Self { url, key, symbols: symbols.to_vec(), batch, every })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    err: Option<&'a RawValue>,
    /// The error form of the older API: `{"Response":"Error","Message":...}`.
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Complaint<'a> {
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Value<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    ccseq: Option<u64>,
    value_last_update_ts: Option<i64>,
    /// The fraction of the second in nanoseconds, not a whole time stamp.
    value_last_update_ts_ns: Option<i64>,
}

impl Poll for Coindesk {
    fn url(&self) -> String {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("instruments", &self.batch.codes().join(","))
            .append_pair("groups", "VALUE")
            .append_pair("apply_mapping", "true");
        url.into()
    }

    fn headers(&self) -> Result<HeaderMap, Fault> {
        Ok(HeaderMap::from_iter([http::secret("x-api-key", self.key.expose())?]))
    }

    fn every(&self) -> Duration {
        self.batch.every(self.every)
    }

    fn read(&mut self, reply: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        let body: Result<Body<'_>, _> = serde_json::from_slice(digits::plain(reply.body));
        let data = body.as_ref().ok().and_then(|body| body.data);
        let values: BTreeMap<Cow<'_, str>, &RawValue> =
            data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
        let complained = body.as_ref().ok().and_then(|body| complaint(body, reply));
        // Values beside a complaint: it is about other symbols.
        let asked = self.symbols.iter().filter_map(|symbol| Some((symbol, values.get(symbol.as_str())?)));
        let ticks: Vec<_> = asked.map(|(symbol, value)| tick(symbol, value)).collect();
        if let Some(fault) = complained.or_else(|| reply.fault()) {
            if !matches!(fault, Fault::Refused(_)) || ticks.iter().all(Result::is_err) {
                return Err(self.batch.fault(fault, reply));
            }
            out.bad(fault.to_string());
        }
        self.batch.accepted();
        body.map_err(|error| digits::skip(&error))?;
        if ticks.is_empty() {
            let why = if data.is_some() { "none of what was asked for" } else { "no data" };
            return Err(Fault::Skip(why.to_owned()));
        }
        // A bad value does not affect the others.
        ticks.into_iter().map(|tick| tick.map(|tick| _ = out.tick(tick))).fold(Ok(()), Result::and)
    }
}

fn tick(symbol: &Symbol, value: &RawValue) -> Result<Tick, Fault> {
    let value: Value<'_> = digits::parse(value.get().as_bytes())?;
    let digits_of = value.value.ok_or_else(|| Fault::Skip(format!("no value for {symbol}")))?;
    let nanos = value.value_last_update_ts_ns.filter(|nanos| (0..1_000_000_000).contains(nanos));
    let millis = value.value_last_update_ts.and_then(|seconds| seconds.checked_mul(1000));
    Ok(Tick {
        symbol: symbol.clone(),
        pair: symbol.clone(),
        price: digits::price(digits_of).map_err(|fault| fault.about(symbol.as_str()))?,
        bid: None,
        ask: None,
        time: millis.and_then(|millis| digits::stamp(millis + nanos.unwrap_or(0) / 1_000_000)),
        seq: value.ccseq,
    })
}

/// The error in the body, if any.
fn complaint(body: &Body<'_>, reply: &Reply<'_>) -> Option<Fault> {
    let of_err = body.err.and_then(|err| serde_json::from_str::<Complaint<'_>>(err.get()).ok()?.message);
    let said = of_err.as_deref().or(body.message.as_deref()).filter(|said| !said.is_empty())?;
    let why = format!("HTTP {}: {}", reply.status, one_line(said));
    Some(if said.to_lowercase().contains("rate limit") {
        Fault::wait(reply.retry_after.unwrap_or(LIMIT_WAIT), why)
    } else {
        match reply.fault() {
            Some(fault @ (Fault::Wait(..) | Fault::Retry(_))) => fault,
            _ => Fault::refusal(why),
        }
    })
}
