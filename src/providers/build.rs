//! Builds sources from the configuration.

use super::content::Content;
use super::dialect::Dialect;
use super::exchanges::coindesk::Coindesk;
use super::exchanges::{binance, bitstamp, coinbase, kraken};
use super::plugins::command::{Grammar, ProgramSource};
use super::plugins::http_json::HttpJson;
use super::plugins::mock::Mock;
use super::plugins::replay::Replay;
use super::readers::Readers;
use super::source::{Leg, Source};
use super::wire::pairs::Wanted;
use super::wire::poll::{Poll, Polled};
use super::wire::push::{Limits, Push};
use super::wire::pushed::Pushed;
use super::{Fault, Http, PriceProvider};
use crate::config::{Exchange, ProviderKind, Secret};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two requests if each pair needs one of its own: Kraken allows about one a second.
const SPACING: Duration = Duration::from_secs(1);
/// A source without a pace of its own is down after this time without a price.
const NO_TICK: Duration = Duration::from_secs(10);

/// Builds a source. Nothing is opened.
///
/// # Errors
/// Why the source is off: a source that lacks something is never built.
pub fn build(content: &Content, http: &Arc<Http>) -> Result<Source, String> {
    let (symbols, http) = (content.symbols.clone(), http.clone());
    let refresh = content.refresh.unwrap_or_default();
    let pair = |symbol: &Symbol| (symbol.clone(), content.provider.kind.pair(symbol));
    let pairs: Vec<_> = symbols.iter().map(pair).collect();
    // For streams (see `Content::new`).
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
                build,
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
            let source = exchange(&own, &pairs, at_once, http, binance::Stream::new, binance::Rest::new);
            Source { legs: source.legs.into_iter().map(|leg| leg.counts("trades")).collect(), ..source }
        }
        ProviderKind::Bitstamp(own) => {
            exchange(&own, &pairs, in_turn, http, bitstamp::Stream::new, bitstamp::rest)
        }
        ProviderKind::Coinbase(own) => {
            exchange(&own, &pairs, in_turn, http, coinbase::Stream::new, coinbase::rest)
        }
        ProviderKind::Kraken(own) => exchange(&own, &pairs, in_turn, http, kraken::Stream::new, kraken::rest),
        ProviderKind::HttpJson { url, pointer, time_pointer, every, .. } => {
            http_json(url, (pointer, time_pointer), pairs, every, http)
        }
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
        Ok(Box::new(ProgramSource::new(program.clone(), grammar(), no_tick)))
    };
    let leg = Leg::new("program", run).live(Duration::ZERO);
    Source { no_tick, legs: vec![leg.reads(move || Ok(Dialect::Push(Box::new(again()))))] }
}

fn http_json(
    url: String,
    (pointer, time_pointer): (String, String),
    pairs: Vec<(Symbol, Symbol)>,
    every: Duration,
    http: Arc<Http>,
) -> Source {
    let dialect = move || HttpJson::each(&url, &pointer, &time_pointer, &pairs, every);
    let again = dialect.clone();
    let rest = move || -> Result<Box<dyn PriceProvider>, Fault> {
        Ok(Box::new(Polled::new(dialect(), http.clone())))
    };
    polled(rest, move || Ok(Dialect::Poll(Box::new(again()))), every)
}

/// A source that is only polled, once in `every`.
fn polled(
    rest: impl Fn() -> Result<Box<dyn PriceProvider>, Fault> + Send + Sync + 'static,
    read: impl Fn() -> Result<Dialect, Fault> + Send + Sync + 'static,
    every: Duration,
) -> Source {
    let leg = Leg::new("rest", rest).live(every).reads(read);
    Source { no_tick: NO_TICK.max(every * 5 / 2), legs: vec![leg] }
}

/// A stream, and REST that stands in for it: each pair is requested once in `every`.
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
