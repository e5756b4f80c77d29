//! What a dead worker leaves: its sessions stay in the directory and in their rooms, orders to them are retained, until
//! another worker adopts them or nobody does.

use super::core::Master;
use super::handovers::{Ended, Why};
use super::orphans::{Deed, Ready};
use crate::model::Mono;
use crate::os::clock;
use crate::protocol::cluster::{Generation, Handover, Handovers, Left, Role, RosterPage, Slot, ToWorker};
use std::time::Duration;

impl Master {
    /// A worker has ended. Its sessions are orphans now, unless nobody could adopt them.
    pub(super) fn worker_exited(
        &mut self,
        slot: Slot,
        generation: Generation,
        before: super::children::Before,
    ) {
        let now = clock::mono();
        for (lost, event) in self.orphans.ended(generation) {
            // Their sessions are its own since: only what the keeper holds of them is left.
            self.line.forget(lost, None);
            let ended = event.and_then(|event| self.handovers.ended(event, now, clock::wall()));
            ended.into_iter().for_each(Ended::log);
        }
        self.travellers_of(generation);
        self.children.tell_workers(&ToWorker::PeerGone(generation));
        if self.renewal.untold.remove(&generation) && before.is_covered && !self.service.is_stopping() {
            // It has died with what only it could tell, but for its cells.
            self.router.asker_gone(generation);
            self.children.bequeath(generation, before.retained);
            return self.ask_for_estate(generation);
        }
        let (sessions, _) = self.directory.counts(generation);
        if sessions == 0 || self.service.is_stopping() || !before.is_covered {
            return self.sessions_end(generation);
        }
        self.router.asker_gone(generation);
        self.children.bequeath(generation, before.retained);
        self.orphans.died(generation, slot, now);
        self.look_after_orphans(now);
    }

    /// The sessions of a dead worker end with it.
    pub(super) fn sessions_end(&mut self, of: Generation) {
        let slot = self.directory.slot(of);
        self.children.forget_orphan(of);
        let lost = self.directory.worker_gone(of);
        self.router.worker_gone(of, &mut self.children);
        self.rooms.worker_gone(of, clock::mono());
        self.note_trimmed();
        self.line.forget(of, None);
        if lost > 0 {
            tracing::warn!(event = "sessions-lost", worker = slot, sessions = lost);
        }
    }

    /// Finds somebody for sessions that nobody has.
    pub(super) fn look_after_orphans(&mut self, now: Mono) {
        if self.orphans.is_empty() || !self.renewal.gate.is_open() {
            return;
        }
        if self.service.is_stopping() {
            for of in self.orphans.give_up_all() {
                self.sessions_end(of);
            }
        }
        let ready: Vec<_> = self.children.ready_with_slots().collect();
        let ready = ready.into_iter().filter(|(generation, _)| !self.fleet.is_leaving(*generation));
        let ready = ready.map(|(generation, slot)| Ready {
            generation,
            slot,
            sessions: self.directory.counts(generation).0,
        });
        let ready: Vec<_> = ready.collect();
        let patience = self.in_force.config().cluster.start_timeout;
        for deed in self.orphans.tick(now, &ready, patience) {
            match deed {
                Deed::Adopt { of, by } => self.give_to(of, by, now),
                Deed::GiveUp { of } => self.sessions_end(of),
            }
        }
    }

    /// In one turn everything that is said for the sessions of a dead worker goes to the one that adopts them, after
    /// all that they have to get.
    fn give_to(&mut self, of: Generation, by: Generation, now: Mono) {
        let slot = self.directory.slot(of);
        let say = |master: &mut Self, left: Left<'_>| {
            let _ = master.children.tell(by, &ToWorker::Adopt { of, left });
        };
        let (from, to) = (Some(Role::Worker(slot)), self.children.get(by).map(|child| child.role));
        let event = self.handovers.begun(Why::Death, from, to, now);
        let died = self.orphans.adopts(of, event).unwrap_or(now);
        say(self, Left::Begin { died });
        let Self { directory, children, .. } = self;
        directory.hand_over(of, by, RosterPage::LENGTH, |page| {
            let _ = children.tell(by, &ToWorker::Adopt { of, left: Left::Sessions(page) });
        });
        let retained = self.children.forget_orphan(of).unwrap_or_default();
        let mut tickets = Vec::new();
        for (number, message) in retained.iter() {
            tickets.extend(ticket(message));
            say(self, Left::Order { number, message });
        }
        let stable = self.in_force.config().cluster.stable_after;
        say(self, Left::End { before: retained.before(), stable });
        self.router.hand_over(of, by, &tickets, &mut self.children);
        self.rooms.hand_over(of, by, now);
        self.announcer.tell_again();
    }

    /// A worker has adopted sessions.
    pub(super) fn adopted(&mut self, of: Generation, results: &Handovers, silence: Duration, now: Mono) {
        let Some(event) = self.orphans.adopted(of) else { return };
        for result in Handover::ALL {
            self.handovers.came_to(event, result, results.of(result));
        }
        self.handovers.silence(event, silence);
        self.handovers.ended(event, now, clock::wall()).into_iter().for_each(Ended::log);
    }
}

/// The ticket of a retained order.
fn ticket(message: &[u8]) -> Option<u64> {
    match postcard::from_bytes(message).ok()? {
        ToWorker::Push { ticket, .. } | ToWorker::Publish { ticket, .. } => Some(ticket),
        _ => None,
    }
}
