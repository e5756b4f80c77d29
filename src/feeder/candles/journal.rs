//! The history as text: one line per fact, so that a torn or unknown line affects no other. Pure.
//!
//! ```text
//! btc-cluster history 2
//! b BTC-USD r 1763640000250                                            watched from then on
//! s BTC-USD r 1763640000000 64250.10 64251 64250 64250.5 12 p          a second, here a partial one
//! s BTC-USD r 1763640001000 64250.10 64251 64250 64250.5 12 BTC-USDT,BTC-USD    one of two pairs
//! ```
//!
//! `x` is a `b` after the clock was set back: later facts are void. Times are milliseconds since 1970; `r` is real, `m`
//! made up. `H`, `M`, `S` are closed candles, `h` and `m` the current hour and minute so far, `w` the beginning of the
//! time watched without a gap, `u` its end. A candle names the pairs of its prices, the one of the last price first, if
//! that is not the symbol itself alone; `?` stands for pairs that are not known, as those of all candles of version 1.

use super::history::{History, JournalEntry};
use super::series::Fact;
use crate::model::{Candle, Interval, PairSet, PairTable, Price, Symbol, Wall};
use std::fmt::Write as _;

/// The first line, with the version of the format.
pub(super) const HEAD: &str = "btc-cluster history 2\n";
/// The first line of the version before, whose candles name no pairs.
const HEAD_1: &str = "btc-cluster history 1\n";

/// Appends an entry as a line.
pub(super) fn write(entry: &JournalEntry, out: &mut String) {
    let (symbol, side) = (&entry.symbol, if entry.made_up { 'm' } else { 'r' });
    let mut moment = |word: char, at: Wall| _ = writeln!(out, "{word} {symbol} {side} {}", at.0);
    let (word, candle) = match &entry.fact {
        Fact::Begin(at) => return moment('b', *at),
        Fact::Back(at) => return moment('x', *at),
        Fact::Seen(at) => return moment('u', *at),
        Fact::Watched(at) => return moment('w', *at),
        Fact::Closed(candle) => ('s', candle),
        Fact::Kept(Interval::Second, candle) => ('S', candle),
        Fact::Kept(Interval::Minute, candle) => ('M', candle),
        Fact::Kept(Interval::Hour, candle) => ('H', candle),
        Fact::Open(Interval::Hour, candle) => ('h', candle),
        Fact::Open(_, candle) => ('m', candle),
    };
    let Candle { time, open, high, low, close, ticks, partial, pairs } = candle;
    let partial = if *partial { " p" } else { "" };
    let _ = write!(out, "{word} {symbol} {side} {} {open} {high} {low} {close} {ticks}{partial}", time.0);
    match entry.pairs.names(*pairs) {
        Some(names) if names == [symbol] => {}
        Some(names) => {
            for (at, name) in names.iter().enumerate() {
                let _ = write!(out, "{}{name}", if at == 0 { ' ' } else { ',' });
            }
        }
        None => out.push_str(" ?"),
    }
    out.push('\n');
}

/// Reads the names of a candle's pairs.
fn read_pairs(names: Option<&str>, symbol: &Symbol, pairs: &mut PairTable) -> Option<PairSet> {
    let names = match names {
        None => return Some(pairs.set(symbol)),
        Some("?") => return Some(PairSet::UNKNOWN),
        Some(names) => names,
    };
    // The last price's pair comes first.
    let mut sets = names.rsplit(',').map(|name| Symbol::new(name).ok().map(|name| pairs.set(&name)));
    sets.try_fold(None, |all: Option<PairSet>, one| {
        let mut all = all.or(one)?;
        all.merge(one?);
        Some(Some(all))
    })?
}

/// Reads a line without its end.
pub(super) fn read(line: &str) -> Option<JournalEntry> {
    let mut words = line.split(' ');
    let word = words.next()?;
    let symbol = Symbol::new(words.next()?).ok()?;
    let made_up = match words.next()? {
        "r" => false,
        "m" => true,
        _ => return None,
    };
    let at = Wall(words.next()?.parse().ok()?);
    let mut names = PairTable::default();
    let mut candle = || {
        let mut price = || Price::parse(words.next()?).ok();
        let (open, high, low, close) = (price()?, price()?, price()?, price()?);
        let ticks = words.next()?.parse().ok()?;
        let mut word = words.next();
        let partial = word == Some("p");
        if partial {
            word = words.next();
        }
        let pairs = read_pairs(word, &symbol, &mut names)?;
        Some(Candle { time: at, open, high, low, close, ticks, partial, pairs })
    };
    let fact = match word {
        "b" => Fact::Begin(at),
        "x" => Fact::Back(at),
        "u" => Fact::Seen(at),
        "w" => Fact::Watched(at),
        "s" => Fact::Closed(candle()?),
        "S" => Fact::Kept(Interval::Second, candle()?),
        "M" => Fact::Kept(Interval::Minute, candle()?),
        "H" => Fact::Kept(Interval::Hour, candle()?),
        "h" => Fact::Open(Interval::Hour, candle()?),
        "m" => Fact::Open(Interval::Minute, candle()?),
        _ => return None,
    };
    words.next().is_none().then_some(JournalEntry { symbol, made_up, fact, pairs: names })
}

/// The result of loading a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// The file is a history; of an `old` version, it cannot be appended to.
    Read { bad: usize, old: bool },
    /// The file is something else, or of another version.
    Foreign,
}

/// Loads a file's content into a history.
pub(super) fn load(bytes: &[u8], history: &mut History) -> Load {
    if bytes.is_empty() {
        return Load::Read { bad: 0, old: false };
    }
    let (rest, old) = match (bytes.strip_prefix(HEAD.as_bytes()), bytes.strip_prefix(HEAD_1.as_bytes())) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return Load::Foreign,
    };
    let mut bad = 0;
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        // A line without an end may be a half one, and half a number is a number.
        let whole = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        let entry = whole.and_then(read).map(|entry| if old { entry.without_pairs() } else { entry });
        if !entry.is_some_and(|entry| history.apply(&entry)) {
            bad += 1;
            history.doubt();
        }
    }
    Load::Read { bad, old }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn symbol() -> Symbol {
        Symbol::new("BTC-USD").unwrap()
    }

    fn empty() -> History {
        let mut history = History::default();
        history.reconfigure(&[symbol()], false);
        history
    }

    fn text(history: &History) -> String {
        let mut text = HEAD.to_owned();
        history.all().for_each(|entry| write(&entry, &mut text));
        text
    }

    fn pairs(history: &History, of: Interval) -> Vec<String> {
        let newest = history.newest("BTC-USD", of, usize::MAX).unwrap();
        let told = |candle: &Candle| match newest.pairs.names(candle.pairs) {
            Some(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            None => "?".to_owned(),
        };
        newest.candles.iter().map(told).collect()
    }

    const LINES: &str = "btc-cluster history 2\n\
        b BTC-USD r 1763640000250\n\
        s BTC-USD r 1763640000000 64250.10 64251 64250 64250.5 12 p\n\
        s BTC-USD r 1763640001000 64250.10 64251 64250 64250.5 3\n\
        s BTC-USD r 1763640002000 64250.10 64251 64250 64250.5 3 p BTC-USDT,BTC-USD\n\
        s BTC-USD r 1763640003000 64250.10 64251 64250 64250.5 3 ?\n\
        u BTC-USD r 1763640060000\n\
        s BTC-USD r 1763640061000 1 1 1 1 1\n";

    #[test]
    fn lines_are_facts_and_back() {
        for line in LINES.lines().skip(1) {
            let mut again = String::new();
            write(&read(line).unwrap(), &mut again);
            assert_eq!(again.trim_end(), line);
        }
        let mut history = empty();
        assert_eq!(load(LINES.as_bytes(), &mut history), Load::Read { bad: 0, old: false });
        history.loaded();
        assert_eq!(
            pairs(&history, Interval::Second),
            ["BTC-USD", "BTC-USD", "BTC-USDT BTC-USD", "?", "BTC-USD"]
        );
        let minutes = history.newest("BTC-USD", Interval::Minute, 9).unwrap().candles;
        assert_eq!(
            minutes.iter().map(|one| (one.ticks, one.partial)).collect::<Vec<_>>(),
            [(21, true), (1, true)]
        );
        let mut copy = empty();
        assert_eq!(load(text(&history).as_bytes(), &mut copy), Load::Read { bad: 0, old: false });
        copy.loaded();
        assert_eq!(text(&copy), text(&history));
    }

    #[test]
    fn a_journal_of_the_version_before_is_read_and_its_pairs_are_not_guessed() {
        let old = "btc-cluster history 1\n\
            b BTC-USD r 1763640000250\n\
            s BTC-USD r 1763640000000 64250.10 64251 64250 64250.5 12 p\n\
            s BTC-USD r 1763640001000 64250.10 64251 64250 64250.5 3\n";
        let mut history = empty();
        assert_eq!(load(old.as_bytes(), &mut history), Load::Read { bad: 0, old: true });
        history.loaded();
        assert_eq!(pairs(&history, Interval::Second), ["?", "?"]);
        let mut copy = empty();
        assert_eq!(load(text(&history).as_bytes(), &mut copy), Load::Read { bad: 0, old: false });
        copy.loaded();
        assert_eq!(pairs(&copy, Interval::Minute), ["?"]);
    }

    #[test]
    fn what_is_no_line_is_passed_by() {
        for line in [
            "",
            "s",
            "y BTC-USD r 1",
            "b btc r 1",
            "b BTC-USD x 1",
            "b BTC-USD r",
            "b BTC-USD r 1 2",
            "s BTC-USD r 0 1 1 1 1",
            "s BTC-USD r 0 1 1 1 1 1 q",
            "s BTC-USD r 0 1 1 1 1 1 BTC-USD,",
            "s BTC-USD r 0 1 1 1 1 1 ?,BTC-USD",
            "s BTC-USD r 0 1 1 1 1 1 BTC-USD p",
            "s BTC-USD r 0 1 1 1 1 1 p p",
            "s BTC-USD r 0 NaN 1 1 1 1",
            "s BTC-USD r 0 1 1 1 1 -1",
            "b  BTC-USD r 1",
        ] {
            assert_eq!(read(line), None, "{line:?}");
        }
        let torn = &LINES[..LINES.len() - 4];
        assert_eq!(load(torn.as_bytes(), &mut empty()), Load::Read { bad: 1, old: false });
        for foreign in ["btc-cluster history 3\n", "\0\0\0", "btc-cluster history 1"] {
            assert_eq!(load(foreign.as_bytes(), &mut empty()), Load::Foreign);
        }
    }

    #[test]
    fn made_up_candles_are_nobodys_where_sources_are_real() {
        let lines = LINES.replace(" r ", " m ");
        let mut real = empty();
        assert_eq!(load(lines.as_bytes(), &mut real), Load::Read { bad: 0, old: false });
        real.loaded();
        assert_eq!(text(&real), HEAD);
        let mut made_up = History::default();
        made_up.reconfigure(&[symbol()], true);
        load(lines.as_bytes(), &mut made_up);
        made_up.loaded();
        assert_eq!(made_up.newest("BTC-USD", Interval::Second, 9).unwrap().candles.len(), 5);
    }

    proptest! {
        #[test]
        fn garbage_is_survived(
            parts in proptest::collection::vec(prop_oneof![
                "[bushmwSMHx] BTC-USD [rm] [0-9]{1,14}( [0-9]{1,5}){0,5}( p)?( BTC-[A-Z]{1,3})?",
                any::<Vec<u8>>().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                Just(LINES[22..].trim_end().to_owned()),
            ], 0..30),
            cut in any::<prop::sample::Index>(),
        ) {
            let all = format!("{HEAD}{}\n", parts.join("\n"));
            let mut history = empty();
            load(&all.as_bytes()[..cut.index(all.len())], &mut history);
            history.loaded();
            for of in Interval::ALL {
                let candles = history.newest("BTC-USD", of, usize::MAX).unwrap().candles;
                prop_assert!(candles.iter().all(|candle| candle.is_sound(of)), "{candles:?}");
                prop_assert!(candles.windows(2).all(|two| two[0].time < two[1].time), "{candles:?}");
            }
        }
    }
}
