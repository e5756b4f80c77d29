//! The state of polls that a session has instead of a connection.

use crate::config::PollSection;
use crate::model::Mono;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::oneshot;

/// State alone is an answer so often at most: a poll for each price would cost more than the prices.
const PACE: Duration = Duration::from_secs(1);
/// Messages that are not numbered and wait for the next poll, at most.
const NOTICES: usize = 64;

/// A deadline that moves with every poll, while the wheel has one entry for it. The entry is never further away than
/// the shortest time to a deadline, so none has to be added when the deadline comes nearer.
#[derive(Debug, Default)]
pub struct Deadline {
    due: Mono,
    /// The entry in the wheel.
    looks: Option<Mono>,
}

/// The meaning of an entry of the wheel when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The deadline has another entry.
    Stale,
    /// Not yet: look again then.
    Again(Mono),
    /// The deadline is over.
    Over,
}

impl Deadline {
    /// Moves the deadline to `due`, no nearer than `shortest`; returns when to look if the wheel has no entry.
    pub fn set(&mut self, due: Mono, shortest: Mono) -> Option<Mono> {
        self.due = due;
        let look = due.min(shortest);
        let stands = self.looks.is_some_and(|looks| looks <= look);
        if !stands {
            self.looks = Some(look);
        }
        (!stands).then_some(look)
    }

    /// Says what an entry means at its time.
    pub fn look(&mut self, now: Mono, shortest: Mono) -> Look {
        if self.looks.is_none_or(|looks| looks > now) {
            return Look::Stale;
        }
        self.looks = (self.due > now).then(|| self.due.min(shortest));
        self.looks.map_or(Look::Over, Look::Again)
    }
}

/// What a session does once something has come for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Wait for the next poll, or for more.
    Wait,
    /// Answer the poll that waits.
    Answer,
    /// States alone may be an answer again then: look again.
    Pace(Mono),
}

/// A poll that waits.
#[derive(Debug)]
pub struct Asked {
    /// Tells the end of one poll from that of the next.
    pub number: u32,
    pub answer: oneshot::Receiver<String>,
    /// The poll that waited until now.
    pub before: Option<oneshot::Sender<String>>,
}

/// The state of polls that a session has instead of a connection.
#[derive(Debug, Default)]
pub struct Polling {
    waiter: Option<oneshot::Sender<String>>,
    /// Polls so far.
    asked: u32,
    /// When the waiting poll is answered with whatever there is; if none waits, when the session ends.
    pub deadline: Deadline,
    answered: Mono,
    /// Frames that are not numbered.
    notices: Vec<Bytes>,
    /// Messages after which the session closes.
    last: Vec<Bytes>,
    /// The session is in `Later`.
    noted: bool,
    /// Whether a timer will allow states to be an answer again.
    paced: bool,
    /// The client has come back with a cursor: it has heard an answer.
    taken_up: bool,
    /// When the last poll ended.
    since: Mono,
}

impl Polling {
    /// The polls of a session that comes from another worker.
    pub fn arrived(notices: Vec<Bytes>, taken_up: bool, now: Mono) -> Self {
        Self { notices, taken_up, asked: 1, since: now, ..Self::default() }
    }

    /// The frames that are not numbered and wait.
    pub fn notices(&self) -> &[Bytes] {
        &self.notices
    }

    /// The client has come back with a cursor. True: for the first time.
    pub fn take_up(&mut self) -> bool {
        !std::mem::replace(&mut self.taken_up, true)
    }

    /// Whether the client has come back with a cursor.
    pub fn is_taken_up(&self) -> bool {
        self.taken_up
    }

    /// How long the session lives without a poll.
    pub fn gap(&self, config: &PollSection) -> Duration {
        if self.taken_up { config.gap } else { Self::least_gap(config) }
    }

    /// How long any session lives without a poll.
    pub fn least_gap(config: &PollSection) -> Duration {
        config.gap.min(config.take_up)
    }

    /// Whether a poll has ever waited.
    pub fn has_begun(&self) -> bool {
        self.asked > 0
    }

    /// Whether a poll waits whose client may have gone.
    pub fn waits(&self) -> bool {
        self.waiter.is_some()
    }

    /// Whether a poll waits whose client is there.
    pub fn is_heard(&self) -> bool {
        self.waiter.as_ref().is_some_and(|waiter| !waiter.is_closed())
    }

    /// Makes a poll wait.
    pub fn ask(&mut self) -> Asked {
        let (sender, answer) = oneshot::channel();
        self.asked = self.asked.wrapping_add(1);
        Asked { number: self.asked, answer, before: self.waiter.replace(sender) }
    }

    /// The client of a poll has gone, or has its answer. True if that poll still waited.
    pub fn gone(&mut self, number: u32, now: Mono) -> bool {
        let waited = self.asked == number && self.waiter.take().is_some();
        if waited {
            self.since = now;
        }
        waited
    }

    /// Whether no poll has waited since that moment.
    pub fn is_absent(&self, since: Mono) -> bool {
        self.waiter.is_none() && self.since == since
    }

    /// Adds a frame that is not numbered to the next answer. False: too many wait.
    pub fn notice(&mut self, frame: Bytes) -> bool {
        let fits = self.notices.len() < NOTICES;
        if fits {
            self.notices.push(frame);
        }
        fits
    }

    /// Says how the session ends, behind all other messages.
    pub fn close(&mut self, last: Vec<Bytes>) {
        self.last = last;
    }

    /// Something has come. True if that is to be noted.
    pub fn note(&mut self) -> bool {
        !std::mem::replace(&mut self.noted, true)
    }

    /// Decides about what was noted, with `numbered` messages or `states` beside the notices.
    pub fn news(&mut self, numbered: bool, states: bool, now: Mono) -> News {
        self.noted = false;
        if self.waiter.is_none() {
            return News::Wait;
        }
        let urgent = numbered || !self.notices.is_empty() || !self.last.is_empty();
        let due = self.answered.after(PACE);
        if urgent || (due <= now && states) {
            return News::Answer;
        }
        let paces = due > now && !self.paced;
        self.paced |= paces;
        if paces { News::Pace(due) } else { News::Wait }
    }

    /// States alone may be an answer again.
    pub fn pace_over(&mut self) {
        self.paced = false;
    }

    /// Takes the poll that waits, to be answered now. `None`: there is none whose client is there.
    pub fn answer(&mut self, now: Mono) -> Option<oneshot::Sender<String>> {
        let waiter = self.waiter.take_if(|waiter| !waiter.is_closed())?;
        (self.answered, self.since) = (now, now);
        Some(waiter)
    }

    /// Takes the notices, and the messages after which the session closes.
    pub fn take(&mut self) -> (Vec<Bytes>, Vec<Bytes>) {
        (std::mem::take(&mut self.notices), std::mem::take(&mut self.last))
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

    #[test]
    fn states_alone_are_an_answer_once_in_a_while_and_messages_at_once() {
        let (mut polling, second) = (Polling::default(), |n| Mono(0).after(PACE * n));
        assert!(polling.note() && !polling.note(), "noted once");
        assert_eq!(polling.news(true, true, second(9)), News::Wait, "nobody waits");
        let first = polling.ask();
        assert!(polling.note() && polling.is_heard() && first.before.is_none());
        assert_eq!(polling.news(false, true, second(9)), News::Answer);
        assert!(polling.answer(second(9)).is_some() && !polling.gone(first.number, second(9)));
        let next = polling.ask();
        assert_eq!(polling.news(false, true, Mono(second(9).0 + 1)), News::Pace(second(10)));
        assert_eq!(polling.news(false, true, Mono(second(9).0 + 2)), News::Wait, "one timer is enough");
        assert!(polling.notice(Bytes::new()));
        assert_eq!(polling.news(false, true, Mono(second(9).0 + 3)), News::Answer, "a message is urgent");
        polling.pace_over();
        assert_eq!(polling.take(), (vec![Bytes::new()], vec![]));
        assert_eq!(polling.news(false, false, second(10)), News::Wait);
        assert!(
            !polling.gone(first.number, second(10))
                && polling.gone(next.number, second(10))
                && polling.is_absent(second(10))
        );
    }

    #[test]
    fn a_session_that_nobody_has_taken_up_lives_shorter() {
        let secs = Duration::from_secs;
        let config = |gap, take_up| PollSection {
            wait: secs(25),
            gap: secs(gap),
            take_up: secs(take_up),
            sessions: 1,
        };
        let mut polling = Polling::default();
        assert_eq!((polling.gap(&config(10, 5)), polling.gap(&config(3, 5))), (secs(5), secs(3)));
        assert_eq!((polling.take_up(), polling.take_up(), polling.is_taken_up()), (true, false, true));
        assert_eq!((polling.gap(&config(10, 5)), polling.gap(&config(3, 5))), (secs(10), secs(3)));
    }

    #[test]
    fn notices_are_bounded() {
        let mut polling = Polling::default();
        assert!((0..NOTICES).all(|_| polling.notice(Bytes::new())) && !polling.notice(Bytes::new()));
    }
}
