//! The master of the histories: who owns which session, batches under way, tickets.

use super::{Down, Ticket, Up, World, user_of};
use crate::model::SessionId;
use crate::protocol::cluster::{BatchId, Generation};
use std::collections::{BTreeMap, VecDeque};

impl World {
    pub(super) fn relay(&mut self, from: Generation) {
        let Some(said) = self.up.get_mut(&from).and_then(VecDeque::pop_front) else { return };
        match said {
            Up::Hand { batch, to, sessions } => self.hand(BatchId { from, number: batch }, to, sessions),
            Up::Arrive { to, batch, values } => _ = self.tell(to, Down::Arrive { from, batch, values }),
            Up::Arrived { batch, gone } => {
                // Of a batch that the master before announced this one knows nothing.
                let Some((target, _)) = self.batches.remove(&batch) else { return };
                assert_eq!(target, from);
                for session in gone {
                    assert_eq!(self.owners.remove(&session), Some(from));
                }
                self.tell(batch.from, Down::Arrived { batch: batch.number });
            }
            Up::TakenBack { gone } => gone.iter().for_each(|session| _ = self.owners.remove(session)),
            Up::Closed(session) => {
                if self.owners.get(&session) == Some(&from) {
                    self.owners.remove(&session);
                }
            }
            Up::Delivered { ticket, has } => self.delivered(from, ticket, has),
        }
    }

    fn hand(&mut self, batch: BatchId, to: Generation, sessions: Vec<SessionId>) {
        let takes = self.workers.contains_key(&to);
        let owned = |session: &SessionId| self.owners.get(session) == Some(&batch.from);
        let taken: Option<Vec<_>> = takes.then(|| sessions.into_iter().filter(owned).collect());
        if let Some(taken) = taken.as_ref().filter(|taken| !taken.is_empty()) {
            taken.iter().for_each(|session| _ = self.owners.insert(*session, to));
            self.batches.insert(batch, (to, taken.clone()));
            self.tell(to, Down::Expect { batch, sessions: taken.clone() });
        }
        self.tell(batch.from, Down::Handed { batch: batch.number, taken });
    }

    pub(super) fn quote(&mut self, user: u8) {
        let mut waits = BTreeMap::new();
        for (_, worker) in self.owners.iter().filter(|(session, _)| user_of(**session) == user) {
            *waits.entry(*worker).or_insert(0) += 1;
        }
        let ticket = self.number();
        for worker in waits.keys().copied().collect::<Vec<_>>() {
            self.tell(worker, Down::Push { ticket, user });
        }
        self.tickets.insert(ticket, Ticket { user, waits, delivered: 0, unknown: 0 });
        self.settle_ticket(ticket);
    }

    fn delivered(&mut self, from: Generation, number: u64, has: u32) {
        let Some(ticket) = self.tickets.get_mut(&number) else { return };
        assert!(ticket.waits.remove(&from).is_some(), "reported once");
        ticket.delivered += has;
        self.settle_ticket(number);
    }

    fn settle_ticket(&mut self, number: u64) {
        if self.tickets[&number].waits.is_empty() {
            let Ticket { user, delivered, unknown, .. } = self.tickets.remove(&number).unwrap();
            self.outcomes.insert(number, (user, delivered, unknown));
        }
    }

    /// The master reads a dead worker's link to its end, and then goes on without it.
    pub(super) fn die(&mut self, gone: Generation) {
        let worker = self.workers.remove(&gone).unwrap();
        worker.here.keys().for_each(|session| self.clients.get_mut(session).unwrap().ended = true);
        while self.up[&gone].front().is_some() {
            self.relay(gone);
        }
        self.up.remove(&gone);
        self.down.remove(&gone);
        for (batch, (to, sessions)) in std::mem::take(&mut self.batches) {
            if to != gone {
                self.batches.insert(batch, (to, sessions));
            } else if self.workers.contains_key(&batch.from) {
                // They are their source's again, if they did not end before.
                let owned: Vec<_> =
                    sessions.into_iter().filter(|id| self.owners.get(id) == Some(&to)).collect();
                owned.iter().for_each(|session| _ = self.owners.insert(*session, batch.from));
            }
        }
        self.owners.retain(|_, owner| *owner != gone);
        for ticket in self.tickets.keys().copied().collect::<Vec<_>>() {
            let own = self.tickets.get_mut(&ticket).unwrap();
            own.unknown += own.waits.remove(&gone).unwrap_or(0);
            self.settle_ticket(ticket);
        }
        self.down.values_mut().for_each(|mail| mail.push_back(Down::Gone(gone)));
        self.birth();
    }
}
