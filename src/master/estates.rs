//! What workers left that died together with their master: no process can tell who their sessions are, but their cells
//! can. Read at the renewal; the sessions are orphans then, as those of any dead worker.

use super::core::Master;
use crate::model::Mono;
use crate::protocol::cluster::{Generation, RosterPage, Slot, roster_pages};
use crate::session::cells::{Cells, Named};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

/// What one of them left.
#[derive(Debug)]
pub(super) struct Estate {
    slot: Slot,
    /// When it got its last master.
    renewed: Mono,
    sessions: Vec<Named>,
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

impl Master {
    /// Asks the keeper for what a worker has left that cannot tell any more who its sessions are. Nothing is delivered
    /// before that is known, for a user may have a session there.
    pub(super) fn ask_for_estate(&mut self, of: Generation) {
        self.renewal.estates.ask(of);
        self.renewal.gate.awaits(of);
        // No socket: whoever adopts gets those.
        self.line.fetch(u64::from(of), of, Some(Vec::new()));
    }

    /// The keeper gives the cells of a dead worker.
    pub(super) fn found_cells(&mut self, of: Generation, with: Vec<OwnedFd>) {
        match with.into_iter().next().map(Cells::from_descriptor) {
            Some(Ok(cells)) => {
                let (slot, renewed, sessions) = (cells.slot(), cells.renewed(), cells.all().collect());
                self.renewal.estates.found(of, Estate { slot, renewed, sessions });
            }
            Some(Err(error)) => tracing::error!(generation = of, %error, "cells of a dead worker"),
            None => {}
        }
    }

    /// The keeper has given all that a dead worker left.
    pub(super) fn found_all(&mut self, of: Generation) {
        self.renewal.estates.answered(of);
        self.renewal.gate.told(of);
    }

    /// Makes orphans of sessions of which only cells tell, once all others are known.
    pub(super) fn settle_estates(&mut self, now: Mono) {
        for (of, settled) in self.renewal.estates.take() {
            match settled {
                Settled::By(by) => self.orphans.goes_on(of, by, now),
                Settled::Left(estate) if !self.service.is_stopping() => self.inherit_from(of, &estate),
                Settled::Left(_) | Settled::Nothing => self.sessions_end(of),
            }
        }
    }

    fn inherit_from(&mut self, of: Generation, estate: &Estate) {
        self.directory.worker_born(of, estate.slot);
        let is_own = |named: &&Named| {
            let known = self.directory.session(named.id);
            known.is_none_or(|known| known.generation == of)
        };
        let (own, others): (Vec<_>, Vec<_>) = estate.sessions.iter().partition(is_own);
        if !others.is_empty() {
            // They go on elsewhere, and whoever adopts the rest would close them.
            self.line.forget(of, Some(others.iter().map(|named| named.key).collect()));
        }
        let opens = own.iter().map(|named| named.open());
        for page in roster_pages(opens, std::iter::empty(), RosterPage::LENGTH) {
            self.directory.roster(of, &page);
        }
        tracing::info!(event = "sessions-found", worker = estate.slot, generation = of, sessions = own.len());
        if own.is_empty() {
            return self.sessions_end(of);
        }
        self.children.inherit(of, estate.renewed > self.renewal.born);
        // It died about when its master did.
        self.orphans.died(of, estate.slot, self.renewal.before);
        self.announcer.tell_again();
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
