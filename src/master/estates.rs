//! What workers left that died together with their master: no process can tell who their sessions are, but their cells
//! can. Pure; see `untold.rs`.

use crate::model::Mono;
use crate::protocol::cluster::{Generation, Slot};
use crate::session::cells::names::Named;
use std::collections::{BTreeMap, BTreeSet};

/// What one of them left.
#[derive(Debug)]
pub(super) struct Estate {
    pub(super) slot: Slot,
    /// When it got its last master.
    pub(super) renewed: Mono,
    pub(super) sessions: Vec<Named>,
}

/// Whose the sessions of one are.
#[derive(Debug)]
pub(super) enum Settled<E> {
    /// A living worker adopts them, or has done so.
    By(Generation),
    /// Nobody's.
    Left(E),
    /// They were not covered.
    Nothing,
}

/// What all of them left. Pure; `E` is what one left.
#[derive(Debug)]
pub(super) struct Estates<E = Estate> {
    /// Those that the keeper was asked for, and what it gave.
    asked: BTreeMap<Generation, Option<E>>,
    /// Of them, those of which it has given all.
    answered: BTreeSet<Generation>,
    /// Who adopts or has adopted whose sessions.
    claims: BTreeMap<Generation, Generation>,
}

impl<E> Default for Estates<E> {
    fn default() -> Self {
        Self { asked: BTreeMap::new(), answered: BTreeSet::new(), claims: BTreeMap::new() }
    }
}

impl<E> Estates<E> {
    /// The keeper is asked.
    pub(super) fn ask(&mut self, of: Generation) {
        self.asked.entry(of).or_insert(None);
    }

    /// The keeper gives what one left.
    pub(super) fn found(&mut self, of: Generation, estate: E) {
        if let Some(asked) = self.asked.get_mut(&of) {
            *asked = Some(estate);
        }
    }

    /// The keeper has given all.
    pub(super) fn answered(&mut self, of: Generation) {
        if self.asked.contains_key(&of) {
            self.answered.insert(of);
        }
    }

    /// A living worker adopts those sessions, or has done so.
    pub(super) fn claim(&mut self, of: Generation, by: Generation) {
        self.claims.insert(of, by);
    }

    /// What can be settled, once all living workers have told what they have. The newest first: it may have adopted
    /// sessions of the others, which are its own since.
    pub(super) fn take(&mut self) -> Vec<(Generation, Settled<E>)> {
        let all = std::mem::take(&mut self.answered).into_iter().rev();
        let settled = all.filter_map(|of| {
            let estate = self.asked.remove(&of)?;
            let left = estate.map_or(Settled::Nothing, Settled::Left);
            Some((of, self.claims.get(&of).map_or(left, |by| Settled::By(*by))))
        });
        settled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_is_settled_once_the_newest_first() {
        let mut estates = Estates::<&str>::default();
        for of in [7, 8, 9, 11] {
            estates.ask(of);
        }
        assert!(estates.take().is_empty(), "nothing is known");
        estates.found(7, "seven");
        estates.found(5, "not asked for");
        assert!(estates.take().is_empty(), "not all of it");
        estates.claim(9, 3);
        estates.found(9, "nine");
        [5, 7, 8, 9].into_iter().for_each(|of| estates.answered(of));
        let all = estates.take();
        assert!(
            matches!(all[..], [(9, Settled::By(3)), (8, Settled::Nothing), (7, Settled::Left("seven"))]),
            "{all:?}"
        );
        assert!(estates.take().is_empty());
        estates.found(11, "eleven");
        estates.answered(11);
        assert!(matches!(estates.take()[..], [(11, Settled::Left("eleven"))]));
    }
}
