//! What prices were: candles of every symbol, made of every accepted price. Pure: prices and moments in, candles and
//! what is to be written down out.
//!
//! - *Time* is that of reception on our clock; of a recording it is the recorded one, so that the same recording makes
//!   the same candles at any speed.
//! - *Partial* is a candle some of whose time was not watched: from the first price after a start, or with a pause of
//!   this process inside ([`ABSENT`]). That its time is not over, or that an exchange was silent, does not count.
//! - *Made-up* prices and real ones are never in one candle, nor in one answer. The first real price of a symbol drops
//!   its made-up candles.
//! - *Back in time* (a clock set back, a recording that begins again): what was after that moment is dropped.

use super::series::{Fact, Series};
use crate::model::{Candle, Candles, Interval, Mono, Quote, Symbol, Wall};
use std::collections::BTreeMap;
use std::time::Duration;

/// A process that has not looked at the clock for so long was stopped, starved or suspended; or the clock jumped.
const ABSENT: i64 = 5_000;

/// Something to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalEntry {
    pub symbol: Symbol,
    pub made_up: bool,
    pub fact: Fact,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    symbols: BTreeMap<Symbol, SymbolHistory>,
    /// Whether all sources make their prices up.
    made_up_only: bool,
    /// When the clock was last looked at.
    woken: Option<Wall>,
    due: Wall,
    entries: Vec<JournalEntry>,
}

/// The candles of a symbol.
#[derive(Clone, Debug, Default)]
struct SymbolHistory {
    real: Option<Series>,
    made_up: Option<Series>,
    /// Which of them is shown: that of the newest price.
    shows_made_up: bool,
    /// Whether the newest price was of a recording.
    recorded: bool,
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

    /// Nobody watches it any more.
    fn cut(&mut self, symbol: &Symbol, entries: &mut Vec<JournalEntry>) {
        for (made_up, series) in self.series_mut() {
            let mut facts = Vec::new();
            series.cut(&mut facts);
            note(entries, symbol, made_up, facts);
        }
    }
}

fn note(entries: &mut Vec<JournalEntry>, symbol: &Symbol, made_up: bool, facts: Vec<Fact>) {
    entries.extend(facts.into_iter().map(|fact| JournalEntry { symbol: symbol.clone(), made_up, fact }));
}

impl History {
    /// Which symbols there are, and whether all their prices are made up.
    pub(super) fn reconfigure(&mut self, symbols: &[Symbol], made_up_only: bool) {
        self.symbols.retain(|symbol, _| symbols.contains(symbol));
        for symbol in symbols {
            let new = || SymbolHistory { shows_made_up: made_up_only, ..SymbolHistory::default() };
            self.symbols.entry(symbol.clone()).or_insert_with(new);
        }
        self.made_up_only = made_up_only;
    }

    /// A price, `recorded` when its own stamp is its time.
    pub(super) fn take(&mut self, quote: &Quote, recorded: bool, now: Wall) {
        self.notice(now);
        let Some(symbol_history) = self.symbols.get_mut(&quote.symbol) else { return };
        // Lines of a recording that have no stamp are of the moment of those before them, where these have one.
        let recorded = recorded && (quote.time.is_some() || symbol_history.recorded);
        if symbol_history.shows_made_up != quote.mock || symbol_history.recorded != recorded {
            // What is watched from now on is something else.
            symbol_history.cut(&quote.symbol, &mut self.entries);
        }
        (symbol_history.shows_made_up, symbol_history.recorded) = (quote.mock, recorded);
        let series = symbol_history.side(quote.mock);
        let at = match quote.time {
            Some(time) if recorded => time,
            None if recorded => series.seen(),
            // Late words of a slow source are no sign that the clock was set back.
            _ => quote.received_at.max(series.floor().min(now)),
        };
        let mut facts = Vec::new();
        series.tick(at, quote.price, &mut facts);
        note(&mut self.entries, &quote.symbol, quote.mock, facts);
    }

    /// Whether it is time for [`History::wake`]: once in each second of the wall clock.
    pub(super) fn is_due(&self, now: Wall) -> bool {
        now >= self.due || self.due.0 - now.0 > Interval::Second.millis()
    }

    /// A second has passed. What everybody is to be told, at most one of a symbol.
    pub(super) fn wake(&mut self, now: Wall) -> Vec<Candles> {
        let before = self.woken;
        self.notice(now);
        self.due = Interval::Second.end(now);
        let minute =
            before.is_some_and(|before| Interval::Minute.start(before) < Interval::Minute.start(now));
        let mut news = Vec::new();
        for (symbol, symbol_history) in &mut self.symbols {
            let (shown, live) = (symbol_history.shows_made_up, !symbol_history.recorded);
            for (made_up, series) in symbol_history.series_mut() {
                let mut facts = Vec::new();
                if live {
                    series.pass(now, &mut facts);
                }
                if live && minute && series.here() {
                    facts.push(Fact::Seen(series.seen()));
                }
                note(&mut self.entries, symbol, made_up, facts);
                let fresh = series.take_fresh().filter(|_| made_up == shown);
                news.extend(fresh.map(|newest| Candles { symbol: symbol.clone(), newest }));
            }
        }
        news
    }

    /// When it is due.
    pub(super) fn next(&self, (mono, wall): (Mono, Wall)) -> Mono {
        let left = self.due.0.saturating_sub(wall.0).clamp(0, Interval::Second.millis());
        mono.after(Duration::from_millis(left.unsigned_abs()))
    }

    /// Whether we were away.
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

    /// Nobody watches after this.
    pub(super) fn finish(&mut self, now: Wall) {
        self.wake(now);
        self.cut(|_| true);
    }

    /// The newest candles of a symbol, at most `limit`, oldest first; `None`: there is no such symbol.
    pub(super) fn newest(&self, symbol: &str, of: Interval, limit: usize) -> Option<Vec<Candle>> {
        let symbol_history = self.symbols.get(symbol)?;
        Some(symbol_history.shown().map(|series| series.newest(of, limit)).unwrap_or_default())
    }

    /// What is to be written down since the last call.
    pub(super) fn entries(&mut self) -> Vec<JournalEntry> {
        std::mem::take(&mut self.entries)
    }

    /// Takes what was written down, in its order. False when it cannot be: something is missing or wrong.
    pub(super) fn apply(&mut self, entry: &JournalEntry) -> bool {
        // Of symbols that are no more nothing is kept, and made-up candles not where there are real sources.
        let Some(symbol_history) = self.symbols.get_mut(&entry.symbol) else { return true };
        if entry.made_up && !self.made_up_only {
            return true;
        }
        symbol_history.side(entry.made_up).apply(&entry.fact).is_ok()
    }

    /// Something in between could not be read.
    pub(super) fn doubt(&mut self) {
        self.symbols.values_mut().flat_map(SymbolHistory::series_mut).for_each(|(_, series)| series.doubt());
    }

    /// All has been read: it was written by somebody who watches no more.
    pub(super) fn loaded(&mut self) {
        self.cut(|_| true);
        self.entries.clear();
        self.symbols
            .values_mut()
            .flat_map(SymbolHistory::series_mut)
            .for_each(|(_, series)| series.announce());
    }

    /// All that is known.
    pub(super) fn all(&self) -> impl Iterator<Item = JournalEntry> + '_ {
        self.symbols.iter().flat_map(|(symbol, symbol_history)| {
            let real = symbol_history.real.as_ref().map(|series| (false, series));
            let made_up = symbol_history.made_up.as_ref().map(|series| (true, series));
            real.into_iter().chain(made_up).flat_map(move |(made_up, series)| {
                series.facts().map(move |fact| JournalEntry { symbol: symbol.clone(), made_up, fact })
            })
        })
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
