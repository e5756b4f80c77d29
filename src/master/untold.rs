//! Sessions of workers that died together with their master: their cells are read at the renewal, and they are orphans
//! then, as those of any dead worker.

use super::core::Master;
use super::estates::{Estate, Settled};
use crate::model::Mono;
use crate::protocol::cluster::{Generation, RosterPage, roster_pages};
use crate::session::cells::Cells;
use crate::session::cells::names::Named;
use std::os::fd::OwnedFd;

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
