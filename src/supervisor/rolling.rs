//! The order in which slots are replaced: one after another, so that the others serve meanwhile.

use crate::protocol::cluster::{Generation, Slot};
use std::collections::VecDeque;

/// Slots that wait for their replacement, and the one that is being replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rolling {
    /// A slot, and the last generation that is too old for it.
    queue: VecDeque<(Slot, Generation)>,
    /// The process whose readiness is awaited.
    awaited: Option<(Slot, Generation)>,
}

impl Rolling {
    /// Asks for a process of `slot` that is younger than `old`. Asking again moves the mark, not the turn.
    pub(super) fn ask(&mut self, slot: Slot, old: Generation) {
        match self.queue.iter_mut().find(|(waiting, _)| *waiting == slot) {
            Some((_, mark)) => *mark = old,
            None => self.queue.push_back((slot, old)),
        }
    }

    /// Whose turn it is, unless somebody is awaited.
    pub(super) fn next(&self) -> Option<(Slot, Generation)> {
        if self.awaited.is_some() { None } else { self.queue.front().copied() }
    }

    /// The first in the queue has had its turn; `by` is the process that is now awaited.
    pub(super) fn turn(&mut self, by: Option<Generation>) {
        if let Some((slot, _)) = self.queue.pop_front() {
            self.awaited = by.map(|generation| (slot, generation));
        }
    }

    /// Whether this process is the awaited one.
    pub(super) fn awaits(&self, generation: Generation) -> bool {
        self.awaited.is_some_and(|(_, awaited)| awaited == generation)
    }

    /// The awaited one is there.
    pub(super) fn arrived(&mut self) {
        self.awaited = None;
    }

    /// The slot is no more.
    pub(super) fn drop_slot(&mut self, slot: Slot) {
        self.queue.retain(|(waiting, _)| *waiting != slot);
        self.awaited = self.awaited.filter(|(awaited, _)| *awaited != slot);
    }

    /// Whether all have been replaced.
    pub(super) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.awaited.is_none()
    }
}
