//! Lines of the log about prices.

use crate::model::{Health, Price, Symbol};
use std::sync::Arc;
use std::time::Duration;

/// The origin of a price: source, pair, and whether the price is made up.
pub(super) type Origin = (Arc<str>, Symbol, bool);

/// A line for the log. `hushed` changes before it were not logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::master) struct News {
    pub(super) symbol: Symbol,
    pub(super) what: What,
    pub(super) hushed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Prices come from elsewhere.
    Origin(Origin),
    /// The price became stale, is gone or is fresh again. Workers notice by themselves.
    Health { health: Health, price: Price, source: Arc<str>, age: Duration },
}

impl News {
    /// Writes the line.
    pub(in crate::master) fn log(&self) {
        let Self { symbol, what, hushed } = self;
        match what {
            What::Origin((source, pair, true)) => {
                let (source, pair) = (&**source, pair.as_str());
                tracing::warn!(event = "price-source", %symbol, source, pair, hushed, "THIS PRICE IS MADE UP");
            }
            What::Origin((source, pair, false)) => {
                let (source, pair) = (&**source, pair.as_str());
                tracing::info!(event = "price-source", %symbol, source, pair, hushed);
            }
            What::Health { health, price, source, age } => {
                let (source, age_s) = (&**source, age.as_secs());
                match health {
                    Health::Fresh => {
                        tracing::info!(event = "price-fresh", %symbol, %price, source, age_s, hushed)
                    }
                    Health::Stale => {
                        tracing::warn!(event = "price-stale", %symbol, %price, source, age_s, hushed)
                    }
                    Health::Gone => {
                        tracing::error!(event = "price-gone", %symbol, %price, source, age_s, hushed)
                    }
                }
            }
        }
    }
}
