//! The configuration's part in the policy.

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
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whether its prices are made up.
    pub made_up: bool,
    /// Without a price for so long it is down.
    pub no_tick: Duration,
}

/// The configuration's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feeder) struct Settings {
    /// The preferred one first.
    pub members: Vec<Member>,
    /// What is priced.
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
    /// How old a price may get.
    pub rules: Rules,
}
