//! From the configuration to sources that can be run.

use super::binance::{Rest, Stream};
use super::coindesk::Coindesk;
use super::command::Command;
use super::mock::Mock;
use super::poll::{Poll, Polled};
use super::push::{Limits, Push, Pushed};
use super::replay::Replay;
use super::{Fault, Http, PriceProvider};
use crate::config::{Exchange, PriceConfig, Provider, ProviderKind};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// REST stands in for a stream at least so often, whatever `price.refresh` says: a minute is too long there.
const STAND_IN: Duration = Duration::from_secs(5);
/// A source that says nothing of its own pace has no price when none came for so long.
const NO_TICK: Duration = Duration::from_secs(10);

/// Everything that a source is made of: while it is equal, a session need not be cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    provider: Provider,
    symbols: Vec<Symbol>,
    symbol: Symbol,
    refresh: Option<Duration>,
}

impl Content {
    /// What `provider` is made of under `price`.
    #[must_use]
    pub fn new(provider: &Provider, price: &PriceConfig) -> Self {
        use ProviderKind::{Binance, Bitstamp, Coinbase, Coindesk, Kraken};
        let asked =
            matches!(provider.kind, Binance(_) | Bitstamp(_) | Coinbase(_) | Coindesk { .. } | Kraken(_));
        Self {
            provider: provider.clone(),
            symbols: price.symbols.clone(),
            symbol: price.symbol.clone(),
            refresh: asked.then_some(price.refresh),
        }
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

/// One way to a source's prices.
pub struct Leg {
    /// What it is called in logs: `stream`, `rest`, `mock`, `file`, `program`.
    pub word: &'static str,
    /// From one price to the next, where the source is asked; else zero.
    pub interval: Duration,
    /// Whether its stamps are of now, so that they tell how far it is behind.
    pub live: bool,
    make: Box<dyn Fn() -> Result<Box<dyn PriceProvider>, Fault> + Send + Sync>,
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
        Self { word, interval: Duration::ZERO, live: false, make: Box::new(make) }
    }

    fn live(mut self, interval: Duration) -> Self {
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

/// Builds a source. Nothing is opened.
///
/// # Errors
/// Why it is off: a source without what it needs is never built.
pub fn build(content: &Content, http: &Arc<Http>) -> Result<Source, String> {
    let (symbols, http) = (content.symbols.clone(), http.clone());
    let refresh = content.refresh.unwrap_or_default();
    let pair = |symbol: &Symbol| (symbol.clone(), content.provider.kind.pair(symbol));
    let pairs: Vec<_> = symbols.iter().map(pair).collect();
    Ok(match content.provider.kind.clone() {
        ProviderKind::Mock { price, volatility, tick, seed, script } => Source {
            no_tick: NO_TICK.max(tick.saturating_mul(3)),
            legs: vec![Leg::new("mock", move || {
                Ok(Box::new(Mock::new(&symbols, price, volatility, tick).seed(seed).script(script.clone())))
            })],
        },
        ProviderKind::Replay { file, speed, repeat, .. } => {
            let symbol = content.symbol.clone();
            Source {
                no_tick: NO_TICK,
                legs: vec![Leg::new("file", move || {
                    Ok(Box::new(Replay::new(file.clone(), speed, repeat, &symbols, symbol.clone())))
                })],
            }
        }
        ProviderKind::Binance(own) => exchange(&own, &pairs, refresh, http, Stream::new, Rest::new),
        ProviderKind::Bitstamp(_)
        | ProviderKind::Coinbase(_)
        | ProviderKind::Kraken(_)
        | ProviderKind::HttpJson { .. } => return Err("not supported in this version".to_owned()),
        ProviderKind::Command { program, no_tick, .. } => {
            let (symbol, pairs) = (content.symbol.clone(), content.pairs());
            let run = move || -> Result<Box<dyn PriceProvider>, Fault> {
                Ok(Box::new(Command::new(program.clone(), symbol.clone(), pairs.clone(), no_tick)))
            };
            Source { no_tick, legs: vec![Leg::new("program", run).live(Duration::ZERO)] }
        }
        ProviderKind::Coindesk { rest_url, api_key, market } => {
            let key = api_key.ok_or("no API key")?;
            let rest = move || -> Result<Box<dyn PriceProvider>, Fault> {
                let dialect = Coindesk::new(&rest_url, &market, key.clone(), &symbols, refresh)?;
                Ok(Box::new(Polled::new(dialect, http.clone())))
            };
            Source { no_tick: NO_TICK.max(refresh * 5 / 2), legs: vec![Leg::new("rest", rest).live(refresh)] }
        }
    })
}

/// What an exchange is asked for: symbols and their pairs.
type Pairs = [(Symbol, Symbol)];

/// A stream, and REST that stands in for it.
fn exchange<S: Push, R: Poll>(
    own: &Exchange,
    pairs: &Pairs,
    refresh: Duration,
    http: Arc<Http>,
    stream: fn(&str, &Pairs) -> S,
    rest: fn(&str, &Pairs, Duration) -> R,
) -> Source {
    let every = refresh.min(STAND_IN);
    let limits = Limits { silence: own.silence, no_tick: own.no_tick, renew_after: own.renew_after };
    let (stream_url, rest_url) = (own.stream_url.clone(), own.rest_url.clone());
    let (stream_pairs, rest_pairs, rest_http) = (pairs.to_vec(), pairs.to_vec(), http.clone());
    let stream = move || -> Result<Box<dyn PriceProvider>, Fault> {
        Ok(Box::new(Pushed::new(stream(&stream_url, &stream_pairs), limits, http.clone())))
    };
    let rest = move || -> Result<Box<dyn PriceProvider>, Fault> {
        Ok(Box::new(Polled::new(rest(&rest_url, &rest_pairs, every), rest_http.clone())))
    };
    Source {
        no_tick: own.no_tick,
        legs: vec![Leg::new("stream", stream).live(Duration::ZERO), Leg::new("rest", rest).live(every)],
    }
}
