//! What a source is made of: its part of the configuration.

use super::reading::for_reading;
use crate::config::{PriceConfig, Provider, ProviderKind};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::time::Duration;

/// REST stands in for a stream at least so often, whatever `price.refresh` says: a minute is too long there.
const STAND_IN: Duration = Duration::from_secs(5);

/// Everything that a source is made of: while it is equal, a session need not be cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub(super) provider: Provider,
    pub(super) symbols: Vec<Symbol>,
    pub(super) symbol: Symbol,
    pub(super) refresh: Option<Duration>,
    /// How the sources that a replay may play read.
    pub(super) readers: BTreeMap<String, ProviderKind>,
}

impl Content {
    /// What `provider` is made of under `price`.
    #[must_use]
    pub fn new(provider: &Provider, price: &PriceConfig) -> Self {
        use ProviderKind::{Binance, Bitstamp, Coinbase, Coindesk, Command, HttpJson, Kraken, Mock, Replay};
        // As much of `[price]` as counts for this kind: a change of the rest must not cut a session.
        let (refresh, default) = match provider.kind {
            Binance(_) | Bitstamp(_) | Coinbase(_) | Kraken(_) => (Some(price.refresh.min(STAND_IN)), None),
            Coindesk { .. } => (Some(price.refresh), None),
            HttpJson { .. } | Mock { .. } => (None, None),
            Command { .. } | Replay { .. } => (None, Some(&price.symbol)),
        };
        Self {
            provider: provider.clone(),
            symbols: price.symbols.clone(),
            symbol: default.or(price.symbols.first()).unwrap_or(&price.symbol).clone(),
            refresh,
            readers: BTreeMap::new(),
        }
    }

    /// With the sources of the configuration, whose lines a replay may play; nothing to all other kinds.
    #[must_use]
    pub fn among(mut self, providers: &BTreeMap<String, Provider>) -> Self {
        if let ProviderKind::Replay { source, .. } = &self.provider.kind {
            let named =
                providers.iter().filter(|(name, _)| source.as_ref().is_none_or(|source| source == *name));
            self.readers =
                named.filter_map(|(name, own)| Some((name.clone(), for_reading(&own.kind)?))).collect();
        }
        self
    }

    /// A source that is never asked.
    pub(super) fn plain(provider: Provider, symbols: Vec<Symbol>, symbol: Symbol) -> Self {
        Self { provider, symbols, symbol, refresh: None, readers: BTreeMap::new() }
    }

    /// Whether what comes from it is worth recording: not what is made up, and not what was recorded before.
    #[must_use]
    pub fn recorded(&self) -> bool {
        !matches!(self.provider.kind, ProviderKind::Mock { .. } | ProviderKind::Replay { .. })
    }

    /// The symbols that are asked for, and what stands for each.
    #[must_use]
    pub fn pairs(&self) -> BTreeMap<Symbol, Symbol> {
        self.symbols.iter().map(|symbol| (symbol.clone(), self.provider.kind.pair(symbol))).collect()
    }

    /// Whether the prices are made up.
    #[must_use]
    pub fn made_up(&self) -> bool {
        matches!(self.provider.kind, ProviderKind::Mock { .. })
    }
}
