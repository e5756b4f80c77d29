//! A source's part of the configuration.

use super::reading::for_reading;
use crate::config::{PriceSection, Provider, ProviderKind};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest interval at which REST stands in for a stream, whatever `price.refresh` says: a minute is too long there.
const STAND_IN: Duration = Duration::from_secs(5);

/// All settings of a source: while they are equal, its session goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub(super) provider: Provider,
    pub(super) symbols: Vec<Symbol>,
    pub(super) symbol: Symbol,
    pub(super) refresh: Option<Duration>,
    /// The configurations by which a replay reads recordings.
    pub(super) readers: BTreeMap<String, ProviderKind>,
}

impl Content {
    /// The settings of `provider` under `price`.
    #[must_use]
    pub fn new(provider: &Provider, price: &PriceSection) -> Self {
        use ProviderKind::{Binance, Bitstamp, Coinbase, Coindesk, Command, HttpJson, Kraken, Mock, Replay};
        // Takes only the part of `[price]` that matters to this kind: a change of the rest must not end a session.
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

    /// Adds the configured sources whose recordings a replay may play; does nothing for other kinds.
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

    /// Settings of a source that is never asked.
    pub(super) fn plain(provider: Provider, symbols: Vec<Symbol>, symbol: Symbol) -> Self {
        Self { provider, symbols, symbol, refresh: None, readers: BTreeMap::new() }
    }

    /// Whether the source is worth recording: neither made up nor a recording itself.
    #[must_use]
    pub fn recorded(&self) -> bool {
        !matches!(self.provider.kind, ProviderKind::Mock { .. } | ProviderKind::Replay { .. })
    }

    /// Whether both ask the same at the same place, so that stamps and numbers can be compared.
    #[must_use]
    pub fn asks_like(&self, other: &Self) -> bool {
        use ProviderKind::{Binance, Bitstamp, Coinbase, Coindesk, Command, HttpJson, Kraken};
        match (&self.provider.kind, &other.provider.kind) {
            (Binance(one), Binance(two))
            | (Bitstamp(one), Bitstamp(two))
            | (Coinbase(one), Coinbase(two))
            | (Kraken(one), Kraken(two)) => {
                (&one.rest_url, &one.stream_url) == (&two.rest_url, &two.stream_url)
            }
            (Coindesk { rest_url, market, .. }, Coindesk { rest_url: url, market: family, .. }) => {
                (rest_url, market) == (url, family)
            }
            (
                HttpJson { url, pointer, time_pointer, .. },
                HttpJson { url: other, pointer: place, time_pointer: time, .. },
            ) => (url, pointer, time_pointer) == (other, place, time),
            (Command { program, .. }, Command { program: other, .. }) => program == other,
            _ => false,
        }
    }

    /// The requested symbols, each with the pair that stands for it.
    #[must_use]
    pub fn pairs(&self) -> BTreeMap<Symbol, Symbol> {
        self.symbols.iter().map(|symbol| (symbol.clone(), self.provider.kind.pair(symbol))).collect()
    }

    /// The base addresses that the source talks to.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        self.provider.kind.places().into_iter().map(|(_, url)| url).collect()
    }

    /// Whether the prices are made up.
    #[must_use]
    pub fn made_up(&self) -> bool {
        matches!(self.provider.kind, ProviderKind::Mock { .. })
    }
}
