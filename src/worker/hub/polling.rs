//! The state of polls that a session has instead of a connection.

use crate::model::Mono;
use bytes::Bytes;
use tokio::sync::oneshot;

/// A deadline that moves with every poll, while the wheel has one entry for it. The entry is never further away than
/// the shortest time to a deadline, so none has to be added when the deadline comes nearer.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    due: Mono,
    /// The entry in the wheel.
    looks: Option<Mono>,
}

/// The meaning of an entry of the wheel when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The deadline has another entry.
    Stale,
    /// Not yet: look again then.
    Again(Mono),
    /// The deadline is over.
    Over,
}

impl Deadline {
    /// Moves the deadline to `due`, no nearer than `shortest`; returns when to look if the wheel has no entry.
    pub(super) fn set(&mut self, due: Mono, shortest: Mono) -> Option<Mono> {
        self.due = due;
        let look = due.min(shortest);
        let stands = self.looks.is_some_and(|looks| looks <= look);
        if !stands {
            self.looks = Some(look);
        }
        (!stands).then_some(look)
    }

    /// Says what an entry means at its time.
    pub(super) fn look(&mut self, now: Mono, shortest: Mono) -> Look {
        if self.looks.is_none_or(|looks| looks > now) {
            return Look::Stale;
        }
        self.looks = (self.due > now).then(|| self.due.min(shortest));
        self.looks.map_or(Look::Over, Look::Again)
    }
}

/// The state of polls that a session has instead of a connection.
#[derive(Debug, Default)]
pub(super) struct Polling {
    pub(super) waiter: Option<oneshot::Sender<String>>,
    /// Polls so far: tells the end of one from that of the next.
    pub(super) asked: u32,
    /// When the waiting poll is answered with whatever there is; if none waits, when the session ends.
    pub(super) deadline: Deadline,
    pub(super) answered: Mono,
    /// Frames that are not numbered.
    pub(super) notices: Vec<Bytes>,
    /// Messages after which the session closes.
    pub(super) last: Vec<Bytes>,
    /// The session is in `Later::news`.
    pub(super) noted: bool,
    /// Whether a timer will allow states to be an answer again.
    pub(super) paced: bool,
}

impl Polling {
    /// Whether a poll has ever waited.
    pub(super) fn has_begun(&self) -> bool {
        self.asked > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const WAIT: u64 = 2000;
    const GAP: u64 = 500;

    proptest! {
        /// Steps: milliseconds that pass, and whether a poll comes (its wait) or was answered (the gap) then.
        #[test]
        fn a_deadline_is_met_and_has_one_entry(steps in vec((0..900u64, any::<bool>()), 1..80)) {
            let (mut deadline, mut now, mut wheel) = (Deadline::default(), 0, vec![]);
            let mut due = None;
            for (passed, is_poll) in steps {
                // Entries come out in time; what is over meanwhile is met at its moment.
                let until = now + passed;
                while let Some(at) = wheel.iter().copied().filter(|at| *at <= until).min() {
                    let first = wheel.iter().position(|entry| *entry == at).unwrap();
                    wheel.swap_remove(first);
                    match deadline.look(Mono(at), Mono(at + GAP)) {
                        Look::Stale => {}
                        Look::Again(Mono(then)) => wheel.push(then),
                        Look::Over => prop_assert_eq!(due.take(), Some(at)),
                    }
                }
                prop_assert!(due.is_none_or(|due| due > until), "missed");
                now = until;
                let next = now + if is_poll { WAIT } else { GAP };
                due = Some(next);
                wheel.extend(deadline.set(Mono(next), Mono(now + GAP)).map(|Mono(at)| at));
                prop_assert_eq!(wheel.len(), 1);
            }
        }
    }
}
