//! The newest messages of the feeder, for newborn processes and for questions. Pure.
//!
//! Only symbols and streams of the configuration in force are kept. [`Feed::adopt`] forgets those that a reload has
//! removed, and later messages about them are dropped.

mod lines;
mod news;
mod pair;
mod sources;
#[cfg(test)]
mod tests;

pub(super) use news::News;

use crate::config::{Config, PriceSection};
use crate::model::{Boot, Candles, Health, Mono, Quote, Symbol, Wall};
use crate::protocol::client::QuoteText;
use crate::stats::PriceGauge;
pub(super) use lines::Kept;
use lines::Lines;
use pair::Pair;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Numbers of prices (`seq`) begin at the wall clock's milliseconds times this: a restarted daemon goes on above all
/// numbers of the one before, which cannot have published so many prices in a millisecond. Stays below 2^53, up to
/// which JavaScript counts exactly, until the year 2255.
const NUMBERS_PER_MS: u64 = 1000;

/// The newest of everything.
#[derive(Debug)]
pub(super) struct Feed {
    config: PriceSection,
    /// An entry for each configured symbol.
    pairs: BTreeMap<Symbol, Pair>,
    /// The greatest number given so far. A symbol that is configured anew begins there: it may have been served
    /// before, and the wall clock may have been set back since.
    newest: u64,
    /// Whether a real price has ever been served. The feeder is told: no made-up price follows.
    real_before: bool,
    /// The feeder's table of sources as JSON.
    sources: Box<str>,
    /// Symbols for which the sources do not agree on a new price, and why.
    refused: BTreeMap<Symbol, String>,
    lines: Lines,
}

impl Feed {
    /// Nothing has been said yet. `wall` is the moment of the daemon's start.
    pub(super) fn new(config: &Config, wall: Wall) -> Self {
        let mut feed = Self {
            config: config.price.clone(),
            pairs: BTreeMap::new(),
            newest: wall.0.unsigned_abs().saturating_mul(NUMBERS_PER_MS),
            real_before: false,
            sources: "[]".into(),
            refused: BTreeMap::new(),
            lines: Lines::default(),
        };
        feed.adopt(config);
        feed
    }

    /// Goes on with what the master before knew.
    pub(super) fn resume(
        &mut self,
        prices: &BTreeMap<Symbol, Quote>,
        real_before: bool,
        lines: &BTreeMap<Box<str>, Kept>,
    ) {
        self.real_before |= real_before;
        for quote in prices.values() {
            self.newest = self.newest.max(quote.seq);
            self.at_least(quote);
        }
        for (of, line) in lines {
            self.lines.take(of, line.clone());
        }
    }

    /// A worker knows this price: numbers go on after its number. True: nothing was known of it.
    pub(super) fn at_least(&mut self, quote: &Quote) -> bool {
        self.newest = self.newest.max(quote.seq);
        let known = self.pairs.get_mut(&quote.symbol).is_some_and(|pair| pair.at_least(quote));
        self.real_before |= known && !quote.mock;
        known
    }

    /// Follows another configuration. True: what [`Feed::refused`] answers has changed.
    pub(super) fn adopt(&mut self, config: &Config) -> bool {
        self.config = config.price.clone();
        let mut known = std::mem::take(&mut self.pairs);
        for symbol in &self.config.symbols {
            let pair = || known.remove(symbol).unwrap_or_else(|| Pair::new(self.newest));
            self.pairs.entry(symbol.clone()).or_insert_with(pair);
        }
        self.lines.adopt(config);
        let before = self.refused.len();
        self.refused.retain(|symbol, _| self.pairs.contains_key(symbol));
        self.refused.len() != before
    }

    /// Another feeder gives prices from now on. What is known stays until one of them is not older.
    pub(super) fn renew(&mut self) {
        self.pairs.values_mut().for_each(Pair::renew);
    }

    /// Numbers a price from the feeder and keeps it. `None`: no such symbol is configured, or the first price of another
    /// feeder is older than the known one.
    pub(super) fn price(&mut self, mut quote: Quote, now: Mono) -> Option<(Quote, Option<News>)> {
        let rules = self.config.rules();
        let pair = self.pairs.get_mut(&quote.symbol)?;
        if pair.has(&mut quote) || pair.goes_back(&quote, &rules) {
            return None;
        }
        quote.seq = pair.next_number();
        self.newest = self.newest.max(quote.seq);
        self.real_before |= !quote.mock;
        let news = pair.price(quote.clone(), now);
        Some((quote, news))
    }

    /// Keeps candles from the feeder. False: no such symbol is configured.
    pub(super) fn candles(&mut self, candles: &Candles) -> bool {
        let pair = self.pairs.get_mut(&candles.symbol);
        pair.map(|pair| pair.candles = Some(candles.clone())).is_some()
    }

    /// Keeps a line from the feeder and gives it back. `None`: no stream carries it.
    pub(super) fn line(&mut self, of: &str, line: Kept) -> Option<&str> {
        self.lines.take(of, line)
    }

    /// Whether a line is older than the newest of its channel: a feeder says it again, for workers that do not know it.
    pub(super) fn is_older_line(&self, of: &str, number: u64) -> bool {
        self.lines.is_older(of, number)
    }

    /// Keeps for which symbols the sources do not agree. True: that has changed.
    pub(super) fn refuse(&mut self, mut refused: BTreeMap<Symbol, String>) -> bool {
        refused.retain(|symbol, _| self.pairs.contains_key(symbol));
        let changed = refused != self.refused;
        self.refused = refused;
        changed
    }

    /// Keeps the feeder's table of sources.
    pub(super) fn table(&mut self, sources: Box<str>) {
        self.sources = sources;
    }

    /// Lines for the log that are due. Ask about once a second.
    pub(super) fn look(&mut self, now: Mono, boot: Boot) -> Vec<News> {
        let rules = self.config.rules();
        self.pairs.iter_mut().flat_map(|(symbol, pair)| pair.look(symbol, &rules, now, boot)).collect()
    }
}

/// Messages for newborn processes.
impl Feed {
    pub(super) fn quotes(&self) -> impl Iterator<Item = &Quote> {
        self.pairs.values().filter_map(|pair| pair.quote.as_ref())
    }

    pub(super) fn all_candles(&self) -> impl Iterator<Item = &Candles> {
        self.pairs.values().filter_map(|pair| pair.candles.as_ref())
    }

    /// Symbols without an agreement of their sources, and why.
    pub(super) fn refused(&self) -> &BTreeMap<Symbol, String> {
        &self.refused
    }

    /// The newest line of each stream, by channel.
    pub(super) fn newest_lines(&self) -> impl Iterator<Item = (&str, &Kept)> {
        self.lines.all()
    }

    /// Whether a real price has ever been served.
    pub(super) fn real_before(&self) -> bool {
        self.real_before
    }
}

/// Answers to questions. All numbers are of the moment `now`.
impl Feed {
    fn quote(&self, symbol: &Symbol) -> Option<&Quote> {
        self.pairs.get(symbol)?.quote.as_ref()
    }

    /// The quote as JSON; `None` when there is none or it is too old.
    pub(super) fn object(&self, symbol: &Symbol, now: Boot) -> Option<Box<RawValue>> {
        let (quote, rules) = (self.quote(symbol)?, self.config.rules());
        if quote.health(&rules, now) == Health::Gone {
            return None;
        }
        RawValue::from_string(QuoteText::new(quote).object(quote, &rules, now)).ok()
    }

    /// The default symbol's quote as JSON.
    pub(super) fn default_object(&self, now: Boot) -> Option<Box<RawValue>> {
        self.object(&self.config.symbol, now)
    }

    /// A configured symbol of that name; without a name the default symbol.
    pub(super) fn find(&self, name: Option<&str>) -> Option<&Symbol> {
        let wanted = name.unwrap_or(self.config.symbol.as_str());
        self.pairs.keys().find(|symbol| symbol.as_str() == wanted)
    }

    /// A gauge for each configured symbol.
    pub(super) fn gauges(&self, now: Boot) -> Vec<PriceGauge<'_>> {
        let rules = self.config.rules();
        let gauge = |symbol| {
            let quote = self.quote(symbol);
            PriceGauge {
                symbol: symbol.as_str(),
                age: quote.map(|quote| quote.age(now)),
                stale: quote.is_none_or(|quote| quote.health(&rules, now) != Health::Fresh),
            }
        };
        self.config.symbols.iter().map(gauge).collect()
    }

    /// `GET /api/v1/sources` and `ctl sources`: for each source its name, state, pair, last price, age, error,
    /// numbers, and its part in the default symbol's price.
    pub(super) fn sources_json(&self, now: Boot) -> Value {
        sources::json(&self.config, self.refused.get(&self.config.symbol), &self.sources, now)
    }

    /// `BTC-USD 64250.12 from binance, 0.2 s old`
    pub(super) fn words(&self, now: Boot) -> String {
        let (symbol, rules) = (&self.config.symbol, self.config.rules());
        let known = self.quote(symbol).map(|quote| (quote, quote.health(&rules, now)));
        let Some((quote, health)) = known.filter(|(_, health)| *health != Health::Gone) else {
            return format!("no price of {symbol}");
        };
        let (age, made_up) = (quote.age(now).as_secs_f64(), if quote.mock { " (MADE UP)" } else { "" });
        let stale = if health == Health::Fresh { "" } else { ", STALE" };
        format!("{symbol} {} from {}{made_up}, {age:.1} s old{stale}", quote.price, quote.source)
    }
}
