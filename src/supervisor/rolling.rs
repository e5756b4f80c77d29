//! The order in which processes are replaced: one after another, so that the others serve meanwhile.

use crate::protocol::cluster::{Generation, Role};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Roles whose process waits for its replacement, and the process that is to replace one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rolling {
    /// A role, and the last generation that is too old for it.
    queue: VecDeque<(Role, Generation)>,
    /// The process whose readiness is awaited.
    awaited: Option<(Role, Generation)>,
}

impl Rolling {
    /// Asks for a process of `role` that is younger than `old`. Asking again moves the mark, not the turn.
    pub(super) fn ask(&mut self, role: Role, old: Generation) {
        match self.queue.iter_mut().find(|(waiting, _)| *waiting == role) {
            Some((_, mark)) => *mark = old,
            None => self.queue.push_back((role, old)),
        }
    }

    /// The role whose turn it is; `None` while a process is awaited.
    pub(super) fn next(&self) -> Option<(Role, Generation)> {
        if self.awaited.is_some() { None } else { self.queue.front().copied() }
    }

    /// Ends the turn of the first in the queue; `by` is the process that is awaited now.
    pub(super) fn turn(&mut self, by: Option<Generation>) {
        if let Some((role, _)) = self.queue.pop_front() {
            self.awaited = by.map(|generation| (role, generation));
        }
    }

    /// Whether this process is the awaited one.
    pub(super) fn awaits(&self, generation: Generation) -> bool {
        self.awaited.is_some_and(|(_, awaited)| awaited == generation)
    }

    /// The awaited process was never started: its role is next again.
    pub(super) fn again(&mut self, generation: Generation) {
        if let Some((role, _)) = self.awaited.take_if(|(_, awaited)| *awaited == generation) {
            self.queue.push_front((role, generation - 1));
        }
    }

    /// Notes that the awaited process is ready.
    pub(super) fn arrived(&mut self) {
        self.awaited = None;
    }

    /// Drops a role that is no more.
    pub(super) fn forget(&mut self, role: Role) {
        self.queue.retain(|(waiting, _)| *waiting != role);
        self.awaited = self.awaited.filter(|(awaited, _)| *awaited != role);
    }

    /// Whether all have been replaced.
    pub(super) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.awaited.is_none()
    }
}
