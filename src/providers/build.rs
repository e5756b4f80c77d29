//! From the configuration to sources that can be run.

use super::coindesk::Coindesk;
use super::command::{Command, Grammar};
use super::dialect::{Dialect, Readers, for_reading};
use super::http_json::HttpJson;
use super::mock::Mock;
use super::pairs::Wanted;
use super::poll::{Poll, Polled};
use super::push::{Limits, Push, Pushed};
use super::replay::Replay;
use super::{Fault, Http, PriceProvider, binance, bitstamp, coinbase, kraken};
use crate::config::{Exchange, PriceConfig, Provider, ProviderKind, Secret};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// REST stands in for a stream at least so often, whatever `price.refresh` says: a minute is too long there.
const STAND_IN: Duration = Duration::from_secs(5);
/// From one question to the next where each pair is a question of its own: Kraken is content with about one a second.
const SPACING: Duration = Duration::from_secs(1);
/// A source that says nothing of its own pace has no price when none came for so long.
const NO_TICK: Duration = Duration::from_secs(10);

/// Everything that a source is made of: while it is equal, a session need not be cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    provider: Provider,
    symbols: Vec<Symbol>,
    symbol: Symbol,
    refresh: Option<Duration>,
    /// How the sources that a replay may play read.
    readers: BTreeMap<String, ProviderKind>,
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
    fn reads(mut self, dialect: impl Fn() -> Result<Dialect, Fault> + Send + Sync + 'static) -> Self {
        self.read = Some(Box::new(dialect));
        self
    }

    /// Its dialect in the first state; `None` where it has none.
    pub(super) fn reader(&self) -> Option<Result<Dialect, Fault>> {
        self.read.as_ref().map(|read| read())
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
    // For what streams (see `Content::new`).
    let at_once = refresh;
    let in_turn = at_once.max(SPACING * u32::try_from(pairs.len()).unwrap_or(u32::MAX));
    Ok(match content.provider.kind.clone() {
        ProviderKind::Mock { price, volatility, tick, seed, script } => Source {
            no_tick: NO_TICK.max(tick.saturating_mul(3)),
            legs: vec![Leg::new("mock", move || {
                Ok(Box::new(Mock::new(&symbols, price, volatility, tick).seed(seed).script(script.clone())))
            })],
        },
        ProviderKind::Replay { file, source, symbol_map, speed, repeat } => {
            let (known, symbol) = (content.readers.clone(), content.symbol.clone());
            let readers = Arc::new(Readers {
                known,
                symbol_map,
                symbols: symbols.clone(),
                symbol: symbol.clone(),
                http,
            });
            let slow = source.as_ref().and_then(|source| readers.no_tick(source));
            Source {
                no_tick: NO_TICK.max(slow.unwrap_or_default()),
                legs: vec![Leg::new("file", move || {
                    let replay = Replay::new(file.clone(), speed, repeat, &symbols, symbol.clone());
                    Ok(Box::new(replay.raw(source.clone(), readers.clone())))
                })],
            }
        }
        ProviderKind::Binance(own) => {
            exchange(&own, &pairs, at_once, http, binance::Stream::new, binance::Rest::new)
        }
        ProviderKind::Bitstamp(own) => {
            exchange(&own, &pairs, in_turn, http, bitstamp::Stream::new, bitstamp::rest)
        }
        ProviderKind::Coinbase(own) => {
            exchange(&own, &pairs, in_turn, http, coinbase::Stream::new, coinbase::rest)
        }
        ProviderKind::Kraken(own) => exchange(&own, &pairs, in_turn, http, kraken::Stream::new, kraken::rest),
        ProviderKind::HttpJson { url, pointer, every, .. } => http_json(url, pointer, pairs, every, http),
        ProviderKind::Command { program, no_tick, .. } => {
            command(program, content.symbol.clone(), content.pairs(), no_tick)
        }
        ProviderKind::Coindesk { rest_url, api_key, market } => {
            let key = api_key.ok_or("no API key")?;
            coindesk(rest_url, key, market, symbols, refresh, http)
        }
    })
}

fn coindesk(
    rest_url: String,
    key: Secret,
    market: String,
    symbols: Vec<Symbol>,
    refresh: Duration,
    http: Arc<Http>,
) -> Source {
    let (url, family, asked) = (rest_url.clone(), market.clone(), symbols.clone());
    let read = move || {
        let key = Secret::new(String::new());
        let dialect = Coindesk::new(&url, &family, key, &asked, refresh)?;
        Ok(Dialect::Poll(Box::new(dialect)))
    };
    let rest = move || -> Result<Box<dyn PriceProvider>, Fault> {
        let dialect = Coindesk::new(&rest_url, &market, key.clone(), &symbols, refresh)?;
        Ok(Box::new(Polled::new(dialect, http.clone())))
    };
    polled(rest, read, refresh)
}

fn command(
    program: Vec<String>,
    symbol: Symbol,
    pairs: BTreeMap<Symbol, Symbol>,
    no_tick: Duration,
) -> Source {
    let grammar = move || Grammar { symbol: symbol.clone(), pairs: pairs.clone() };
    let again = grammar.clone();
    let run = move || -> Result<Box<dyn PriceProvider>, Fault> {
        Ok(Box::new(Command::new(program.clone(), grammar(), no_tick)))
    };
    let leg = Leg::new("program", run).live(Duration::ZERO);
    Source { no_tick, legs: vec![leg.reads(move || Ok(Dialect::Push(Box::new(again()))))] }
}

fn http_json(
    url: String,
    pointer: String,
    pairs: Vec<(Symbol, Symbol)>,
    every: Duration,
    http: Arc<Http>,
) -> Source {
    let dialect = move || HttpJson::each(&url, &pointer, &pairs, every);
    let again = dialect.clone();
    let rest = move || -> Result<Box<dyn PriceProvider>, Fault> {
        Ok(Box::new(Polled::new(dialect(), http.clone())))
    };
    polled(rest, move || Ok(Dialect::Poll(Box::new(again()))), every)
}

/// A source that is only asked, once in `every`.
fn polled(
    rest: impl Fn() -> Result<Box<dyn PriceProvider>, Fault> + Send + Sync + 'static,
    read: impl Fn() -> Result<Dialect, Fault> + Send + Sync + 'static,
    every: Duration,
) -> Source {
    let leg = Leg::new("rest", rest).live(every).reads(read);
    Source { no_tick: NO_TICK.max(every * 5 / 2), legs: vec![leg] }
}

/// A stream, and REST that stands in for it: a pair is asked for once in `every`.
fn exchange<S: Push, R: Poll>(
    own: &Exchange,
    pairs: &Wanted,
    every: Duration,
    http: Arc<Http>,
    stream: fn(&str, &Wanted) -> S,
    rest: fn(&str, &Wanted, Duration) -> R,
) -> Source {
    let limits = Limits { silence: own.silence, no_tick: own.no_tick, renew_after: own.renew_after };
    let (stream_url, rest_url) = (own.stream_url.clone(), own.rest_url.clone());
    let (stream_pairs, rest_pairs, rest_http) = (pairs.to_vec(), pairs.to_vec(), http.clone());
    let (url, asked) = (own.stream_url.clone(), pairs.to_vec());
    let read_stream = move || Ok(Dialect::Push(Box::new(stream(&url, &asked))));
    let (url, asked) = (own.rest_url.clone(), pairs.to_vec());
    let read_rest = move || Ok(Dialect::Poll(Box::new(rest(&url, &asked, every))));
    let stream = move || -> Result<Box<dyn PriceProvider>, Fault> {
        Ok(Box::new(Pushed::new(stream(&stream_url, &stream_pairs), limits, http.clone())))
    };
    let rest = move || -> Result<Box<dyn PriceProvider>, Fault> {
        Ok(Box::new(Polled::new(rest(&rest_url, &rest_pairs, every), rest_http.clone())))
    };
    Source {
        no_tick: own.no_tick,
        legs: vec![
            Leg::new("stream", stream).live(Duration::ZERO).reads(read_stream),
            Leg::new("rest", rest).live(every).reads(read_rest),
        ],
    }
}
