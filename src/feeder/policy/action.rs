//! What the policy wants done.

use crate::model::{Price, Quote, Symbol};
use std::sync::Arc;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feeder) enum Action {
    /// The price has become this one; every one is told, before [`Action::Publish`] makes them fewer.
    Accept(Quote),
    /// This is the price now, for everybody.
    Publish(Quote),
    /// From now on that source is served.
    Serve { symbol: Symbol, from: Option<Arc<str>>, to: Arc<str> },
    /// Median: whether there is a price of what the sources say now, or why not.
    Refused { symbol: Symbol, why: Option<String> },
    /// A jump waits for a confirmation.
    Held { symbol: Symbol, source: Arc<str>, price: Price, believed: Option<Price> },
}
