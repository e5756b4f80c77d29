//! Actions that the policy asks for.

use crate::model::{Price, Quote, Symbol};
use std::sync::Arc;

/// An action for the feeder's core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feeder) enum Action {
    /// The price has become this one, and is traded. Every such price is told; [`Action::Publish`] comes more rarely.
    Accept(Quote),
    /// Send this price to everybody.
    Publish(Quote),
    /// This source is served from now on.
    Serve { symbol: Symbol, from: Option<Arc<str>>, to: Arc<str> },
    /// Median: why the current prices make no new price; `None`: they do.
    Refused { symbol: Symbol, why: Option<String> },
    /// A jump waits for a confirmation.
    Held { symbol: Symbol, source: Arc<str>, price: Price, believed: Option<Price> },
}
