//! A source that can be run: one or two ways to its prices.

use super::dialect::Dialect;
use super::{Fault, PriceProvider};
use std::time::Duration;

/// One way to a source's prices.
pub struct Leg {
    /// What it is called in logs: `stream`, `rest`, `mock`, `file`, `program`.
    pub word: &'static str,
    /// From one price to the next, where the source is asked; else zero.
    pub interval: Duration,
    /// Whether its stamps are of now, so that they tell how far it is behind.
    pub live: bool,
    make: Box<dyn Fn() -> Result<Box<dyn PriceProvider>, Fault> + Send + Sync>,
    read: Option<Box<dyn Fn() -> Result<Dialect, Fault> + Send + Sync>>,
}

impl Leg {
    /// A provider in its first state.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn make(&self) -> Result<Box<dyn PriceProvider>, Fault> {
        (self.make)()
    }

    /// A way that `make` opens.
    pub(crate) fn new(
        word: &'static str,
        make: impl Fn() -> Result<Box<dyn PriceProvider>, Fault> + Send + Sync + 'static,
    ) -> Self {
        Self { word, interval: Duration::ZERO, live: false, make: Box::new(make), read: None }
    }

    /// How a recording of it is read.
    pub(super) fn reads(
        mut self,
        dialect: impl Fn() -> Result<Dialect, Fault> + Send + Sync + 'static,
    ) -> Self {
        self.read = Some(Box::new(dialect));
        self
    }

    /// Its dialect in the first state; `None` where it has none.
    pub(super) fn reader(&self) -> Option<Result<Dialect, Fault>> {
        self.read.as_ref().map(|read| read())
    }

    pub(super) fn live(mut self, interval: Duration) -> Self {
        (self.live, self.interval) = (true, interval);
        self
    }
}

/// A source: its first leg is the usual one, a second stands in while the first gives nothing.
pub struct Source {
    /// The ways, the usual one first.
    pub legs: Vec<Leg>,
    /// Without a price for so long it is down.
    pub no_tick: Duration,
}
