//! What the feeder is to do: its part of the configuration, and what operators ordered.

use crate::config::{PriceSection, Provider, ProviderKind};
use std::collections::BTreeMap;

/// The feeder's part of the configuration, and what happened before.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `[price]`.
    pub price: PriceSection,
    /// `[provider.NAME]`.
    pub providers: BTreeMap<String, Provider>,
    /// Whether this daemon has ever served a real price. Read once, at the start: a feeder that replaces a dead one
    /// then serves no mock beside real sources.
    pub real_before: bool,
    /// What operators ordered.
    pub retries: Retries,
}

/// Orders to try sources now, counted, so that none is lost or obeyed twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    all: u64,
    of: BTreeMap<String, u64>,
    reloads: u64,
}

impl Retries {
    /// Orders a try of one source, or of all.
    pub fn order(&mut self, source: Option<&str>) {
        match source {
            Some(name) => *self.of.entry(name.to_owned()).or_default() += 1,
            None => self.all += 1,
        }
    }

    /// Counts a reload: whoever reloads may have mended what a source refused.
    pub fn reloaded(mut self) -> Self {
        self.reloads += 1;
        self
    }

    pub(super) fn of(&self, source: &str) -> u64 {
        self.all + self.of.get(source).copied().unwrap_or(0)
    }

    pub(super) fn reloads(&self) -> u64 {
        self.reloads
    }
}

impl Plan {
    /// Whether no source has real prices.
    #[must_use]
    pub fn made_up_only(&self) -> bool {
        let mut kinds = self.price.providers.iter().filter_map(|name| self.providers.get(name));
        kinds.all(|provider| matches!(provider.kind, ProviderKind::Mock { .. }))
    }
}
