//! When the tokens of sessions need a look: shortly before their end, and at it. Pure.

use crate::model::{Boot, SessionId};
use crate::session::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The moments to look, the earliest first. An entry of a session that has ended, or has a fresh token, leads to a look
/// that finds nothing to do.
#[derive(Debug, Default)]
pub struct Lives {
    next: BinaryHeap<Reverse<(Boot, Key, SessionId)>>,
}

impl Lives {
    /// Look at a session then.
    pub fn watch(&mut self, at: Boot, key: Key, id: SessionId) {
        self.next.push(Reverse((at, key, id)));
    }

    /// The next session that is to be looked at now.
    pub fn due(&mut self, now: Boot) -> Option<(Key, SessionId)> {
        self.next.peek().filter(|Reverse((at, ..))| *at <= now)?;
        self.next.pop().map(|Reverse((_, key, id))| (key, id))
    }

    /// Whether more moments are kept than a multiple of so many sessions.
    pub fn is_crowded(&self, sessions: usize) -> bool {
        self.next.len() > 1024 + 4 * sessions
    }

    /// Keeps these moments only.
    pub fn renew(&mut self, moments: impl Iterator<Item = (Boot, Key, SessionId)>) {
        self.next = moments.map(Reverse).collect();
    }

    /// Gives back memory that is not needed.
    pub fn tidy(&mut self) {
        if self.next.capacity() > 64.max(self.next.len() * 8) {
            self.next.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_due_in_their_order_and_once() {
        let mut lives = Lives::default();
        for (at, key) in [(30, 3), (10, 1), (20, 2)] {
            lives.watch(Boot(at), key, SessionId(key.into()));
        }
        assert_eq!(lives.due(Boot(9)), None);
        assert_eq!(lives.due(Boot(20)), Some((1, SessionId(1))));
        assert_eq!(lives.due(Boot(20)), Some((2, SessionId(2))));
        assert_eq!(lives.due(Boot(20)), None);
        assert_eq!(lives.due(Boot(99)), Some((3, SessionId(3))));
    }

    #[test]
    fn what_sessions_that_are_gone_have_left_is_dropped() {
        let mut lives = Lives::default();
        (0..1025).for_each(|at| lives.watch(Boot(at), 1, SessionId(1)));
        assert!(!lives.is_crowded(1) && lives.is_crowded(0));
        lives.renew([(Boot(7), 7, SessionId(7))].into_iter());
        assert_eq!((lives.due(Boot(9999)), lives.due(Boot(9999))), (Some((7, SessionId(7))), None));
    }
}
