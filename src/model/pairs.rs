//! Which pairs gave the prices of a candle: a set of places in a table, small enough to be kept with each candle.

use super::Symbol;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Pairs that a table names at most; a symbol has two or three.
const MOST: usize = 15;
/// The place of every pair that is not named.
const UNNAMED: u8 = 15;

/// The pairs of a symbol, each at the place where it was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairTable(Arc<[Symbol]>);

/// The pairs of some prices, as places in a [`PairTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairSet {
    /// One bit for each place.
    all: u16,
    /// The pair of the last price.
    last: u8,
}

impl PairTable {
    /// The set of this pair alone. A pair beyond the table's end is unnamed.
    pub fn set(&mut self, pair: &Symbol) -> PairSet {
        let known = self.0.iter().position(|one| one == pair);
        let place = known.unwrap_or_else(|| {
            if self.0.len() < MOST {
                self.0 = self.0.iter().chain([pair]).cloned().collect();
            }
            self.0.len() - 1
        });
        let named = self.0.get(place) == Some(pair);
        PairSet::at(if named { u8::try_from(place).unwrap_or(UNNAMED) } else { UNNAMED })
    }

    /// Translates a set of another table.
    pub fn adopt(&mut self, set: PairSet, of: &Self) -> PairSet {
        let mut place = |at: u8| of.0.get(usize::from(at)).map_or(PairSet::UNKNOWN, |pair| self.set(pair));
        let places = (0..=UNNAMED).filter(|at| set.all & (1 << at) != 0);
        let all = places.map(&mut place).fold(0, |all, one| all | one.all);
        PairSet { all, last: place(set.last).last }
    }

    /// The pairs of a set, the one of the last price first; `None` if not all of them are known.
    #[must_use]
    pub fn names(&self, set: PairSet) -> Option<Vec<&Symbol>> {
        let places = (0..=UNNAMED).filter(|at| *at != set.last && set.all & (1 << at) != 0);
        [set.last].into_iter().chain(places).map(|at| self.0.get(usize::from(at))).collect()
    }
}

impl PairSet {
    /// Prices of which the pair is not known.
    pub const UNKNOWN: Self = Self::at(UNNAMED);

    const fn at(place: u8) -> Self {
        Self { all: 1 << place, last: place }
    }

    /// Adds the pairs of later prices.
    pub fn merge(&mut self, later: Self) {
        self.all |= later.all;
        self.last = later.last;
    }

    /// The set in three bytes.
    #[must_use]
    pub fn pack(self) -> (u16, u8) {
        (self.all, self.last)
    }

    /// The set of [`PairSet::pack`].
    #[must_use]
    pub fn unpack((all, last): (u16, u8)) -> Self {
        Self { all, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(text: &str) -> Symbol {
        Symbol::new(text).unwrap()
    }

    fn names(table: &PairTable, set: PairSet) -> Option<String> {
        let all = table.names(set)?;
        Some(all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_last_pair_is_named_first() {
        let mut table = PairTable::default();
        let (usd, usdt) = (table.set(&symbol("BTC-USD")), table.set(&symbol("BTC-USDT")));
        let mut both = usd;
        both.merge(usdt);
        assert_eq!(names(&table, usd).as_deref(), Some("BTC-USD"));
        assert_eq!(names(&table, both).as_deref(), Some("BTC-USDT BTC-USD"));
        both.merge(usd);
        assert_eq!(names(&table, both).as_deref(), Some("BTC-USD BTC-USDT"));
        both.merge(PairSet::UNKNOWN);
        assert_eq!(names(&table, both), None, "a part of it is not known");
        assert_eq!(PairSet::unpack(both.pack()), both);
    }

    #[test]
    fn a_full_table_names_no_more() {
        let mut table = PairTable::default();
        let sets: Vec<_> = (0..20).map(|n| table.set(&symbol(&format!("BTC-A{n}")))).collect();
        assert_eq!(names(&table, sets[14]).as_deref(), Some("BTC-A14"));
        assert_eq!(sets[15..], [PairSet::UNKNOWN; 5]);
        assert_eq!(table.set(&symbol("BTC-A3")), sets[3]);
    }

    #[test]
    fn a_set_moves_to_another_table() {
        let (mut from, mut to) = (PairTable::default(), PairTable::default());
        to.set(&symbol("BTC-EUR"));
        let mut both = from.set(&symbol("BTC-USDT"));
        both.merge(from.set(&symbol("BTC-USD")));
        let moved = to.adopt(both, &from);
        assert_eq!(names(&to, moved).as_deref(), Some("BTC-USD BTC-USDT"));
        assert_eq!(to.adopt(PairSet::UNKNOWN, &from), PairSet::UNKNOWN);
    }
}
