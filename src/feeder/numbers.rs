//! Which prices of a session are newer than those before, by the source's own numbers. Pure.

use crate::model::{Mono, Symbol};
use std::collections::HashMap;
use std::time::Duration;

/// Numbers that were below the last one for so long, without a newer one between, have begun anew: an exchange that
/// counts from one again after an upgrade must not look dead until we connect again. What arrives out of order
/// arrives within less.
const ANEW: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Last {
    number: u64,
    /// Since when there were only smaller ones.
    below: Option<Mono>,
}

/// The last number of each symbol.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<Symbol, Last>);

impl Numbers {
    /// Whether a price with this number is newer than those before. The same number is never newer: a source that
    /// is asked says it again until there is a trade.
    pub(super) fn newer(&mut self, symbol: &Symbol, number: u64, now: Mono) -> bool {
        let Some(last) = self.0.get_mut(symbol) else {
            self.0.insert(symbol.clone(), Last { number, below: None });
            return true;
        };
        let newer = if number == last.number {
            false
        } else if number > last.number {
            true
        } else {
            now.since(*last.below.get_or_insert(now)) >= ANEW
        };
        if newer {
            *last = Last { number, below: None };
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_and_may_begin_anew() {
        let (symbol, other) = (Symbol::new("BTC-USD").unwrap(), Symbol::new("ETH-USD").unwrap());
        let mut numbers = Numbers::default();
        let mut newer = |number, ms: u64| numbers.newer(&symbol, number, Mono(ms * 1_000_000));
        let story =
            [(0, 0, true), (7, 0, true), (7, 1, false), (6, 2, false), (8, 3, true), (8, 99_000, false)];
        for (number, ms, expected) in story {
            assert_eq!(newer(number, ms), expected, "{number} at {ms}");
        }
        // Late ones, and a newer one between.
        let story = [(5, 100_000, false), (6, 104_000, false), (9, 104_500, true), (8, 105_500, false)];
        for (number, ms, expected) in story {
            assert_eq!(newer(number, ms), expected, "{number} at {ms}");
        }
        // They count from one again.
        let story = [
            (1, 110_000, false),
            (2, 110_499, false),
            (3, 110_501, true),
            (4, 110_502, true),
            (3, 110_503, false),
        ];
        for (number, ms, expected) in story {
            assert_eq!(newer(number, ms), expected, "{number} at {ms}");
        }
        assert!(numbers.newer(&other, 1, Mono(0)), "each symbol has its own");
    }
}
