//! The policy's part of the configuration.

use crate::config::Policy as Mode;
use crate::model::{Rules, Symbol};
use rust_decimal::Decimal;
use std::sync::Arc;
use std::time::Duration;

/// A source, as the policy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feeder) struct Member {
    /// Never used again for another source.
    pub id: u32,
    /// The name in the configuration.
    pub name: Arc<str>,
    /// Whether its prices are made up.
    pub made_up: bool,
    /// The time without a price after which it counts as down.
    pub no_tick: Duration,
}

/// The policy's part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feeder) struct Settings {
    /// In order of preference.
    pub members: Vec<Member>,
    /// The priced symbols.
    pub symbols: Vec<Symbol>,
    /// `price.start_wait`.
    pub start_wait: Duration,
    /// `price.publish_interval`.
    pub publish_interval: Duration,
    /// `price.policy`.
    pub mode: Mode,
    /// `price.min_sources`.
    pub min_sources: usize,
    /// `price.max_deviation`.
    pub max_deviation: Decimal,
    /// The age limits of prices.
    pub rules: Rules,
}
