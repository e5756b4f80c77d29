//! Price sources.
//!
//! ```text
//! exchange ──bytes──▶ driver (push, poll: all the I/O) ──▶ dialect (binance, ...: pure) ──▶ Sink
//! file ─────lines───▶ replay, mock ─────────────────────────────────────────────────────▶ Sink
//! ```
//!
//! A source is one file and one arm in [`build`]. An exchange is a *dialect*: its addresses and how its bytes
//! read, without a socket, so that it is tested on texts. The drivers do the I/O with all limits and are shared.
//! Nobody here pauses after a fault, counts retries or decides which price is served: that is the feeder's.
//! Out of scope: order books, private channels, anything that trades.

mod binance;
mod bitstamp;
mod budget;
mod build;
mod coinbase;
mod coindesk;
mod command;
mod connection;
mod dialect;
mod digits;
mod each;
mod fault;
mod http;
mod http_json;
mod kraken;
mod line;
mod mock;
mod pairs;
mod poll;
mod probe;
mod push;
pub mod recording;
mod replay;
mod script;
mod sieve;

#[cfg(test)]
pub(crate) mod battery;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod remotes;
#[cfg(test)]
#[path = "../../tests/standin/mod.rs"]
pub(crate) mod standin;

#[cfg(test)]
mod verdicts;

pub use budget::Budget;
pub use build::{Content, Leg, Source, build};
pub use fault::Fault;
pub use http::{Http, Proxies};
pub use probe::{Finding, Step, probe};
pub use script::Script;
pub use sieve::Sieve;

use crate::model::{Price, Symbol, Wall};
use async_trait::async_trait;

/// One price as its source said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// What was asked for.
    pub symbol: Symbol,
    /// What the source really quotes.
    pub pair: Symbol,
    /// The price, in the source's digits.
    pub price: Price,
    /// The best bid, where it is told.
    pub bid: Option<Price>,
    /// The best ask, where it is told.
    pub ask: Option<Price>,
    /// The source's own stamp.
    pub time: Option<Wall>,
    /// The source's own number of this price, growing from one connection to the next, too (two of them are read
    /// while one takes the other's place). A number of the connection's own does not belong here.
    pub seq: Option<u64>,
}

/// Where a session puts what it reads. Its calls never wait: a slow consumer must not keep a driver from
/// answering a ping.
pub trait Sink: Send {
    /// A price.
    fn tick(&mut self, tick: Tick);
    /// Something that could not be read; counted, the session goes on.
    fn bad(&mut self, why: String);
    /// How much of the source's limit is used, where it tells.
    fn budget(&mut self, _budget: Budget) {}
    /// What came, before anybody read it (for a recorder).
    fn raw(&mut self, _bytes: &[u8]) {}
    /// An answer over HTTP, before anybody read it (for a recorder).
    fn answer(&mut self, _status: u16, body: &[u8]) {
        self.raw(body);
    }
}

/// A price source, as the feeder's supervisor sees it.
#[async_trait]
pub trait PriceProvider: Send + 'static {
    /// One session, from connecting to the fault that ends it. Dropping the future cancels it; the next call
    /// begins a new one. Never waits for `out`.
    async fn session(&mut self, out: &mut dyn Sink) -> Fault;
}
