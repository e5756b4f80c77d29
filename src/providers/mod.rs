//! Price sources.
//!
//! ```text
//! exchange ──bytes──▶ driver (push, poll: all the I/O) ──▶ dialect (binance, ...: pure) ──▶ Sink
//! file ─────lines───▶ replay, mock ─────────────────────────────────────────────────────▶ Sink
//! ```
//!
//! A source is one file and one arm in [`build()`]. An exchange is a *dialect* (`exchanges`): its addresses and message
//! formats, without a socket, so that texts suffice to test it. The drivers in `wire` do the I/O with all limits and
//! are shared. `plugins` are the other kinds of sources. Pauses after a fault, counting retries and choosing the
//! served price belong to the feeder. Out of scope: order books, private channels, anything that trades.

mod best_prices;
mod build;
mod content;
mod dialect;
mod exchanges;
mod fault;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/dialects.rs"]
pub mod fuzzed;
mod pauses;
mod plugins;
mod probe;
mod readers;
mod reading;
pub mod recording;
mod source;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use best_prices::believable;
pub use build::build;
pub use content::Content;
pub use fault::Fault;
pub use pauses::{Ended, PauseLimits, Pauses};
pub use plugins::script::Script;
pub use probe::{Finding, ProbeStep, probe};
pub use source::{Leg, Source};
pub use wire::budget::Budget;
pub use wire::http::{Http, HttpLimits, Proxies};

use crate::model::{Price, Symbol, Wall};
use async_trait::async_trait;
use std::time::Duration;

/// A price as its source gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The requested symbol.
    pub symbol: Symbol,
    /// The pair that the source really quotes.
    pub pair: Symbol,
    /// The price, in the source's digits.
    pub price: Price,
    /// The best bid, if the source gives one.
    pub bid: Option<Price>,
    /// The best ask, if the source gives one.
    pub ask: Option<Price>,
    /// The source's own time stamp.
    pub time: Option<Wall>,
    /// The source's own number of this price, which grows from one connection to the next, too (two of them are read
    /// while one replaces the other). A number that belongs to the connection must not be used.
    pub seq: Option<u64>,
}

/// Receives what a session reads. Its methods never wait: a slow consumer must not keep a driver from answering a ping.
pub trait Sink: Send {
    /// Takes a price; returns whether it is of now: neither older nor under a lower number than what is known.
    fn tick(&mut self, tick: Tick) -> bool;
    /// Counts something unreadable; the session goes on.
    fn bad(&mut self, why: String);
    /// Takes what the source says about its trading in a symbol, or in all: a word while it does not trade
    /// (`post_only`), `None` while it does.
    fn trading(&mut self, _symbol: Option<&Symbol>, _halt: Option<&str>) {}
    /// Takes how old the answer is that is read next, if its head says so.
    fn age(&mut self, _age: Option<Duration>) {}
    /// Takes the used part of the source's limit, if the source tells it.
    fn budget(&mut self, _budget: Budget) {}
    /// Takes a received message before it is read (for a recorder).
    fn raw(&mut self, _bytes: &[u8]) {}
    /// Takes an answer over HTTP before it is read (for a recorder).
    fn answer(&mut self, _status: u16, body: &[u8]) {
        self.raw(body);
    }
}

/// A price source, as the feeder's supervisor sees it.
#[async_trait]
pub trait PriceProvider: Send + 'static {
    /// Runs one session, from connecting to the fault that ends it. Dropping the future cancels it; the next call
    /// begins a new session. Never waits for `out`.
    async fn session(&mut self, out: &mut dyn Sink) -> Fault;
}
