//! A source that can be run: one or two ways to its prices.

use super::dialect::Dialect;
use super::{Fault, PriceProvider};
use std::time::Duration;

/// A way to a source's prices.
pub struct Leg {
    /// The leg's name in logs: `stream`, `rest`, `mock`, `file`, `program`.
    pub word: &'static str,
    /// Time between two prices of a polled leg; else zero.
    pub interval: Duration,
    /// Whether time stamps are current, so that they show how far the source is behind.
    pub live: bool,
    /// What its numbers count: those of two legs can be compared if the words are the same.
    pub counts: &'static str,
    make: Box<dyn Fn() -> Result<Box<dyn PriceProvider>, Fault> + Send + Sync>,
    read: Option<Box<dyn Fn() -> Result<Dialect, Fault> + Send + Sync>>,
}

impl Leg {
    /// A provider in its first state.
    ///
    /// # Errors
    /// Why there is none.
    pub fn make(&self) -> Result<Box<dyn PriceProvider>, Fault> {
        (self.make)()
    }

    /// A leg whose providers `make` creates.
    pub(crate) fn new(
        word: &'static str,
        make: impl Fn() -> Result<Box<dyn PriceProvider>, Fault> + Send + Sync + 'static,
    ) -> Self {
        Self { word, interval: Duration::ZERO, live: false, counts: word, make: Box::new(make), read: None }
    }

    /// Sets the dialect that reads a recording of this leg.
    pub(super) fn reads(
        mut self,
        dialect: impl Fn() -> Result<Dialect, Fault> + Send + Sync + 'static,
    ) -> Self {
        self.read = Some(Box::new(dialect));
        self
    }

    /// The leg's dialect in its first state; `None` if it has none.
    pub(super) fn reader(&self) -> Option<Result<Dialect, Fault>> {
        self.read.as_ref().map(|read| read())
    }

    /// Says what the leg's numbers count, if another leg's count the same.
    pub(crate) fn counts(mut self, what: &'static str) -> Self {
        self.counts = what;
        self
    }

    pub(crate) fn live(mut self, interval: Duration) -> Self {
        (self.live, self.interval) = (true, interval);
        self
    }
}

/// A source: its first leg is the usual one, a second one stands in while the first gives no price.
pub struct Source {
    /// The legs, the usual one first.
    pub legs: Vec<Leg>,
    /// The time without a price after which the source counts as down.
    pub no_tick: Duration,
}
