//! The candles of every symbol, made of every accepted price. Pure: prices and moments in, candles and journal entries
//! out.
//!
//! - *Time* is the time of reception on our clock; in a recording it is the recorded time, so that the same recording
//!   makes the same candles at any speed.
//! - *Partial* is a candle whose interval was not watched as a whole: the first one after a start, or one with a pause
//!   of this process inside ([`ABSENT`]). An interval that is not over, or a silent exchange, does not make a candle
//!   partial.
//! - *Made-up* and real prices are never in the same candle, nor in the same answer. The first real price of a symbol
//!   drops its made-up candles.
//! - *Pairs*: a candle knows which pairs gave its prices, since one may stand in for another within its interval.
//! - *Back in time* (a clock set back, a recording that begins again): candles after that moment are dropped.

use super::series::{Fact, Series};
use crate::model::{Candle, Candles, Interval, Mono, PairSet, PairTable, Quote, Symbol, Wall};
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds after which a process that has not read the clock counts as stopped, starved or suspended; or the clock
/// jumped.
const ABSENT: i64 = 5_000;

/// A fact for the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalEntry {
    pub symbol: Symbol,
    pub made_up: bool,
    pub fact: Fact,
    /// The names of the pairs in `fact`.
    pub pairs: PairTable,
}

impl JournalEntry {
    /// The entry without a word of its pairs.
    pub(super) fn without_pairs(self) -> Self {
        Self { fact: self.fact.with_pairs(|_| PairSet::UNKNOWN), ..self }
    }
}

/// The candles of all symbols.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    symbols: BTreeMap<Symbol, SymbolHistory>,
    /// Whether all sources are made up.
    made_up_only: bool,
    /// When the clock was last read.
    woken: Option<Wall>,
    due: Wall,
    entries: Vec<JournalEntry>,
}

/// The candles of a symbol.
#[derive(Clone, Debug, Default)]
struct SymbolHistory {
    real: Option<Series>,
    made_up: Option<Series>,
    /// Whether the made-up candles are shown, because their price is the newest.
    shows_made_up: bool,
    /// Whether the newest price came from a recording.
    recorded: bool,
    pairs: PairTable,
}

/// The newest candles of a symbol, oldest first, for one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub candles: Vec<Candle>,
    pub mock: bool,
    pub pairs: PairTable,
}

impl SymbolHistory {
    fn shown(&self) -> Option<&Series> {
        if self.shows_made_up { self.made_up.as_ref() } else { self.real.as_ref() }
    }

    fn side(&mut self, made_up: bool) -> &mut Series {
        if !made_up {
            self.made_up = None;
        }
        (if made_up { &mut self.made_up } else { &mut self.real }).get_or_insert_default()
    }

    fn series_mut(&mut self) -> impl Iterator<Item = (bool, &mut Series)> {
        let real = self.real.as_mut().map(|series| (false, series));
        real.into_iter().chain(self.made_up.as_mut().map(|series| (true, series)))
    }

    fn cut(&mut self, symbol: &Symbol, entries: &mut Vec<JournalEntry>) {
        let pairs = self.pairs.clone();
        for (made_up, series) in self.series_mut() {
            let mut facts = Vec::new();
            series.cut(&mut facts);
            note(entries, symbol, (made_up, &pairs), facts);
        }
    }
}

fn note(
    entries: &mut Vec<JournalEntry>,
    symbol: &Symbol,
    (made_up, pairs): (bool, &PairTable),
    facts: Vec<Fact>,
) {
    let entry = |fact| JournalEntry { symbol: symbol.clone(), made_up, fact, pairs: pairs.clone() };
    entries.extend(facts.into_iter().map(entry));
}

impl History {
    /// Sets the symbols, and whether all their prices are made up.
    pub(super) fn reconfigure(&mut self, symbols: &[Symbol], made_up_only: bool) {
        self.symbols.retain(|symbol, _| symbols.contains(symbol));
        for symbol in symbols {
            let new = || SymbolHistory { shows_made_up: made_up_only, ..SymbolHistory::default() };
            self.symbols.entry(symbol.clone()).or_insert_with(new);
        }
        self.made_up_only = made_up_only;
    }

    /// Takes a price; `recorded` if its own time stamp is its time.
    pub(super) fn take(&mut self, quote: &Quote, recorded: bool, now: Wall) {
        self.notice(now);
        let Some(symbol_history) = self.symbols.get_mut(&quote.symbol) else { return };
        // A line without a time stamp belongs to the moment of the lines before it, if they have one.
        let recorded = recorded && (quote.time.is_some() || symbol_history.recorded);
        if symbol_history.shows_made_up != quote.mock || symbol_history.recorded != recorded {
            // From now on another kind of price is watched.
            symbol_history.cut(&quote.symbol, &mut self.entries);
        }
        (symbol_history.shows_made_up, symbol_history.recorded) = (quote.mock, recorded);
        let pair = symbol_history.pairs.set(&quote.pair);
        let pairs = symbol_history.pairs.clone();
        let series = symbol_history.side(quote.mock);
        let at = match quote.time {
            Some(time) if recorded => time,
            None if recorded => series.seen(),
            // A late price of a slow source does not mean that the clock was set back.
            _ => quote.received_at.max(series.floor().min(now)),
        };
        let mut facts = Vec::new();
        series.tick(at, (quote.price, pair), &mut facts);
        note(&mut self.entries, &quote.symbol, (quote.mock, &pairs), facts);
    }

    /// Whether to call [`History::wake`]: once in each second of the wall clock.
    pub(super) fn is_due(&self, now: Wall) -> bool {
        now >= self.due || self.due.0 - now.0 > Interval::Second.millis()
    }

    /// Closes what is over and returns the changed candles, at most one message a symbol.
    pub(super) fn wake(&mut self, now: Wall) -> Vec<Candles> {
        let before = self.woken;
        self.notice(now);
        self.due = Interval::Second.end(now);
        let minute =
            before.is_some_and(|before| Interval::Minute.start(before) < Interval::Minute.start(now));
        let mut news = Vec::new();
        for (symbol, symbol_history) in &mut self.symbols {
            let (shown, live) = (symbol_history.shows_made_up, !symbol_history.recorded);
            let pairs = symbol_history.pairs.clone();
            for (made_up, series) in symbol_history.series_mut() {
                let mut facts = Vec::new();
                if live {
                    series.pass(now, &mut facts);
                }
                if live && minute && series.here() {
                    facts.push(Fact::Seen(series.seen()));
                }
                note(&mut self.entries, symbol, (made_up, &pairs), facts);
                let fresh = series.take_fresh().filter(|_| made_up == shown);
                let candles =
                    |newest| Candles { symbol: symbol.clone(), newest, mock: made_up, pairs: pairs.clone() };
                news.extend(fresh.map(candles));
            }
        }
        news
    }

    /// When to call [`History::wake`].
    pub(super) fn next(&self, (mono, wall): (Mono, Wall)) -> Mono {
        let left = self.due.0.saturating_sub(wall.0).clamp(0, Interval::Second.millis());
        mono.after(Duration::from_millis(left.unsigned_abs()))
    }

    /// Ends watching if this process was away.
    fn notice(&mut self, now: Wall) {
        if self.woken.is_some_and(|woken| now.0.saturating_sub(woken.0) > ABSENT) {
            self.cut(|symbol_history| !symbol_history.recorded);
        }
        self.woken = Some(now);
    }

    fn cut(&mut self, which: impl Fn(&SymbolHistory) -> bool) {
        for (symbol, symbol_history) in
            self.symbols.iter_mut().filter(|(_, symbol_history)| which(symbol_history))
        {
            symbol_history.cut(symbol, &mut self.entries);
        }
    }

    /// Ends watching, for the end of the process.
    pub(super) fn finish(&mut self, now: Wall) {
        self.wake(now);
        self.cut(|_| true);
    }

    /// The newest candles of a symbol, at most `limit`, oldest first; `None`: unknown symbol.
    pub(super) fn newest(&self, symbol: &str, of: Interval, limit: usize) -> Option<Newest> {
        let symbol_history = self.symbols.get(symbol)?;
        let candles = symbol_history.shown().map(|series| series.newest(of, limit)).unwrap_or_default();
        let (mock, pairs) = (symbol_history.shows_made_up, symbol_history.pairs.clone());
        Some(Newest { candles, mock, pairs })
    }

    /// The journal entries since the last call.
    pub(super) fn entries(&mut self) -> Vec<JournalEntry> {
        std::mem::take(&mut self.entries)
    }

    /// Takes an entry of the journal, in the written order. False if it cannot be: something is missing or wrong.
    pub(super) fn apply(&mut self, entry: &JournalEntry) -> bool {
        // Drops unknown symbols, and made-up candles if there are real sources.
        let Some(symbol_history) = self.symbols.get_mut(&entry.symbol) else { return true };
        if entry.made_up && !self.made_up_only {
            return true;
        }
        let pairs = &mut symbol_history.pairs;
        let fact = entry.fact.with_pairs(|set| pairs.adopt(set, &entry.pairs));
        symbol_history.side(entry.made_up).apply(&fact).is_ok()
    }

    /// Marks a gap: an entry could not be read.
    pub(super) fn doubt(&mut self) {
        self.symbols.values_mut().flat_map(SymbolHistory::series_mut).for_each(|(_, series)| series.doubt());
    }

    /// Ends loading: the process that wrote the journal watches no more.
    pub(super) fn loaded(&mut self) {
        self.cut(|_| true);
        self.entries.clear();
        self.symbols
            .values_mut()
            .flat_map(SymbolHistory::series_mut)
            .for_each(|(_, series)| series.announce());
    }

    pub(super) fn all(&self) -> impl Iterator<Item = JournalEntry> + '_ {
        self.symbols.iter().flat_map(|(symbol, symbol_history)| {
            let real = symbol_history.real.as_ref().map(|series| (false, series));
            let made_up = symbol_history.made_up.as_ref().map(|series| (true, series));
            real.into_iter().chain(made_up).flat_map(move |(made_up, series)| {
                let entry = move |fact| {
                    let pairs = symbol_history.pairs.clone();
                    JournalEntry { symbol: symbol.clone(), made_up, fact, pairs }
                };
                series.facts().map(entry)
            })
        })
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
