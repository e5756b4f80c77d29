//! The last publications and lines that a worker has taken in, by what the next master may say again: the order as which
//! each was taken in tells which of the sessions have it.

use super::{COUNT, Cells, RECENT, RECENTS};
use crate::protocol::cluster::{Generation, fingerprint};

/// The low half of a mark is the low half of a number.
const LOW: u64 = 0xffff_ffff;

/// Stands for a publication of a worker.
#[must_use]
pub fn publication((from, number): (Generation, u64)) -> u64 {
    u64::from(from) << 32 | number & LOW
}

/// The publication that a mark stands for; `None`: it stands for a line.
#[must_use]
pub fn published(mark: u64) -> Option<(Generation, u64)> {
    (mark >> 63 == 0).then_some(((mark >> 32) as Generation, mark & LOW))
}

/// Stands for a line of a channel. No process has a generation with the highest bit.
#[must_use]
pub fn line(of: &str, number: u64) -> u64 {
    fingerprint(of) << 32 | 1 << 63 | number & LOW
}

impl Cells {
    /// What this stands for is taken in as that order.
    pub fn takes(&self, mark: u64, order: u64) {
        let count = self.load(COUNT);
        let at = RECENT + (count as usize % RECENTS) * 2;
        self.store(at, 0);
        self.store(at + 1, order);
        self.store(at, mark);
        self.store(COUNT, count.wrapping_add(1));
    }

    /// What was taken in, and as which order.
    pub fn taken(&self) -> impl Iterator<Item = (u64, u64)> {
        let both = |n: usize| (self.load(RECENT + n * 2), self.load(RECENT + n * 2 + 1));
        (0..RECENTS).map(both).filter(|(mark, _)| *mark != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_last_ones_are_known() {
        let cells = Cells::new(0, 1).unwrap();
        assert_eq!(cells.taken().count(), 0);
        let most = RECENTS as u64;
        (1..=most + 3).for_each(|n| cells.takes(publication((7, n)), n * 10));
        let all: BTreeMap<_, _> = cells.taken().collect();
        assert_eq!(all, (4..=most + 3).map(|n| (publication((7, n)), n * 10)).collect());
        assert_eq!(published(publication((7, 1))), Some((7, 1)));
        assert_eq!(published(line("a", 1)), None);
        let marks = [publication((7, 1)), publication((8, 1)), line("a", 1), line("a", 2), line("b", 1)];
        assert_eq!(marks.iter().collect::<BTreeSet<_>>().len(), marks.len());
    }
}
