//! `[price]`: symbols and their sources.

use super::provider::ProviderKind;
use crate::config::fault;
use crate::config::kind::{ANY, At, Choice, Distinct, Map, Own, PATH, SOME, SYMBOL, Size, Whole, one};
use crate::config::read::{Wrong, must_be, text, wrong};
use crate::config::table::{row, section};
use crate::config::units;
use crate::config::value::Item;
use crate::model::{Rules, Symbol};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// Symbols and their sources.
    pub struct PriceSection {
        /// Symbol of requests that name none.
        symbol: Symbol = row(SYMBOL, "BTC-USD"),
        /// All symbols; when nothing is said, price.symbol alone.
        symbols: Vec<Symbol> = row(Distinct(SYMBOL), r#"["BTC-USD"]"#),
        /// Sources by name, the preferred one first; each is a [provider.NAME] below. A mock beside real ones serves only
        /// until their first price.
        providers: Vec<String> = row(Distinct(Own("a provider", known)), r#"["binance", "coinbase", "kraken", "bitstamp"]"#)
            .development(r#"["binance", "coinbase", "kraken", "bitstamp", "mock"]"#)
            .test(r#"["mock"]"#),
        /// "failover": the first source that is well. "median": the median of the largest group of sources that agree, all
        /// of the symbol's own pair (BTC-USDT is never in a median of BTC-USD).
        policy: Policy = row(POLICY, "failover"),
        /// Median: so many sources at least, and more than half of those that have a fresh price, must agree. Else there is
        /// no new price.
        min_sources: u32 = row(Whole(1..=64), "2"),
        /// Median: largest distance between the prices of sources that agree.
        max_deviation: Decimal = row(Own("more than \"0%\", at most \"50%\"", deviation), "1%"),
        /// At most one published price of a symbol in this time; "0s" publishes every one.
        publish_interval: Duration = row(ANY, "100ms"),
        /// Time between two questions to a source that is polled.
        refresh: Duration = row(SOME, "60s"),
        /// Time that real sources have for their first price before a mock that is named beside them serves.
        start_wait: Duration = row(ANY, "2s"),
        /// Up to this age a price is fresh; after it, it is marked stale.
        fresh_for: Duration = row(SOME, "10s"),
        /// Past this age a price is stale even if its source is slow by nature. At least fresh_for.
        max_age: Duration = row(SOME, "2m"),
        /// Past this age there is no price. At least max_age.
        forget_after: Duration = row(SOME, "10m"),
        /// Past max_age: "serve" the stale price, or "refuse" it.
        on_stale: OnStale = row(ON_STALE, "serve"),
        /// Time for the name of a source's host. A lookup that takes longer goes on, and the next try has its answer; an
        /// address that was found once is kept for when the resolver fails.
        resolve_timeout: Duration = row(SOME, "10s"),
        /// Time for the TCP connection to a source, over all addresses of its name together, which are tried in turn, a
        /// quarter of a second apart; with a proxy: to the proxy.
        connect_timeout: Duration = row(SOME, "4s"),
        /// Time for TLS with a source; with a proxy also for the proxy's answer to CONNECT.
        tls_timeout: Duration = row(SOME, "5s"),
        /// Time for a source's whole answer on a connection; for a stream until it is open.
        answer_timeout: Duration = row(SOME, "5s"),
        /// A source that refuses (401, 403, ...) is asked again after this time, then after twice as long, and so on.
        refused_min: Duration = row(SOME, "30s"),
        /// Longest pause after a refusal; the first one where a source is not for this country, or has no such symbol.
        refused_max: Duration = row(SOME, "1h"),
        /// Longest wait that a source may demand (Retry-After).
        wait_max: Duration = row(SOME, "1h"),
        /// File to record what comes from the sources, before anything is read from it. Two files take turns (this one, and
        /// the same with .1). A replay plays them.
        record: Option<PathBuf> = row(PATH, ""),
        /// Most bytes of both files of a recording.
        record_max: u64 = row(Map(Size((64 << 10)..=(1 << 40)), |bytes| bytes as u64), "64MiB"),
    }
}

impl PriceSection {
    /// The part that [`crate::model::Quote::health`] needs.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            fresh_for: self.fresh_for,
            max_age: self.max_age,
            forget_after: self.forget_after,
            refuse_stale: self.on_stale == OnStale::Refuse,
        }
    }
}

/// `price.on_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// Serve a price older than `max_age`, marked stale.
    Serve,
    /// There is no price then.
    Refuse,
}

const ON_STALE: Choice<OnStale> = one(&[("serve", OnStale::Serve), ("refuse", OnStale::Refuse)]);

/// `price.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The first source in the order of `price.providers` that is well.
    Failover,
    /// The median of the largest group of sources that agree.
    Median,
}

const POLICY: Choice<Policy> = one(&[("failover", Policy::Failover), ("median", Policy::Median)]);

fn known(item: &Item, at: &mut At<'_>) -> Result<String, Wrong> {
    let name = text(item)?;
    let kinds = ProviderKind::tables();
    let kinds = || kinds.iter().map(|kind| kind.name);
    // Faults of its section are told there.
    if kinds().any(|kind| kind == name) || at.providers.contains_key(name) {
        return Ok(name.to_owned());
    }
    let why = fault::unknown("provider", name, at.providers.keys().map(String::as_str).chain(kinds()));
    Err(wrong(item, format!("{}: {why}", item.value)))
}

fn deviation(item: &Item, _: &mut At<'_>) -> Result<Decimal, Wrong> {
    let part = units::percent(text(item)?);
    part.ok_or_else(|| must_be(item, "a part of a price, more than \"0%\" and at most \"50%\""))
}
