//! Questions for sessions that other workers hold. Pure: the hub carries what is decided here.
//!
//! The home of a session gives out a copy under a lease and keeps the session until the asker says what became of the
//! copy. So a question needs no state here after its client has gone: a copy that comes for nobody is given back.

use crate::model::give_back;
use crate::protocol::cluster::Generation;
use crate::ws::frame;
use bytes::Bytes;
use hashbrown::HashMap;

/// Bytes of publications that are kept for one session on its way; past that there is a gap.
const LOGGED: usize = 1 << 20;

/// Publications in their order: channel and frame.
pub type Log = Vec<(Box<str>, Bytes)>;

/// Questions whose clients wait; `W` is how a client is told.
#[derive(Debug)]
pub struct Takes<W> {
    asked: HashMap<u64, Asked<W>, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Asked<W> {
    /// The worker that has the question, once the master has passed it on.
    home: Option<Generation>,
    waiter: W,
    seen: Seen,
}

/// Publications that are not in the copy.
#[derive(Debug)]
enum Seen {
    /// The master has not passed the question on: whatever is published will be in the copy.
    Nothing,
    /// Since the master passed it on.
    Logged { log: Log, bytes: usize },
    /// More than is kept.
    TooMuch,
}

/// What an answer leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered<W> {
    /// The client waits. Without a log the copy has a gap.
    Hand(W, Option<Log>),
    /// Nobody waits for this copy: its home gets it back.
    GiveBack,
    /// Nobody waits, and there is nothing to give back.
    Nothing,
}

impl<W> Default for Takes<W> {
    fn default() -> Self {
        Self { asked: HashMap::default() }
    }
}

impl<W> Takes<W> {
    /// Gives memory back after a peak.
    pub fn tidy(&mut self) {
        give_back(&mut self.asked);
    }

    /// A client waits for a session.
    pub fn ask(&mut self, request: u64, waiter: W) {
        self.asked.insert(request, Asked { home: None, waiter, seen: Seen::Nothing });
    }

    /// The master has passed the question on to that home: from now on publications are not in the copy.
    pub fn passed_on(&mut self, request: u64, home: Generation) {
        if let Some(asked) = self.asked.get_mut(&request) {
            asked.home = Some(home);
            asked.seen = Seen::Logged { log: Log::new(), bytes: 0 };
        }
    }

    /// The session was on its way when it was asked for: the question is to be asked again. `None`: the client has gone.
    pub fn again(&mut self, request: u64) -> Option<&W> {
        let asked = self.asked.get_mut(&request)?;
        (asked.home, asked.seen) = (None, Seen::Nothing);
        Some(&asked.waiter)
    }

    /// Frames were published.
    pub fn published(&mut self, channel: &str, frames: &[u8]) {
        // One copy for all that wait.
        let mut each: Option<Vec<Bytes>> = None;
        for asked in self.asked.values_mut() {
            let Seen::Logged { log, bytes } = &mut asked.seen else { continue };
            *bytes += frames.len();
            if *bytes > LOGGED {
                asked.seen = Seen::TooMuch;
            } else {
                let copy = |(frame, _): (&[u8], _)| Bytes::copy_from_slice(frame);
                let each = each.get_or_insert_with(|| frame::split(frames).map(copy).collect());
                log.extend(each.iter().map(|frame| (channel.into(), frame.clone())));
            }
        }
    }

    /// The client has gone.
    pub fn abandon(&mut self, request: u64) -> Option<W> {
        self.asked.remove(&request).map(|asked| asked.waiter)
    }

    /// The home has answered, with or without a copy.
    pub fn answered(&mut self, request: u64, is_copy: bool) -> Answered<W> {
        match self.asked.remove(&request) {
            Some(Asked { waiter, seen, .. }) => {
                let Seen::Logged { log, .. } = seen else { return Answered::Hand(waiter, None) };
                Answered::Hand(waiter, Some(log))
            }
            None if is_copy => Answered::GiveBack,
            None => Answered::Nothing,
        }
    }

    /// The master is gone, and nobody knows what it has passed on. All who wait, to be asked for anew: an answer to the
    /// question before is given back.
    pub fn take_all(&mut self) -> Vec<W> {
        let mut all: Vec<_> = self.asked.drain().collect();
        all.sort_unstable_by_key(|(request, _)| *request);
        all.into_iter().map(|(_, asked)| asked.waiter).collect()
    }

    /// A process is gone: these clients wait for nothing.
    pub fn home_gone(&mut self, home: Generation) -> Vec<W> {
        self.asked.extract_if(|_, asked| asked.home == Some(home)).map(|(_, asked)| asked.waiter).collect()
    }
}

#[cfg(test)]
mod histories;

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(takes: &mut Takes<&'static str>, bytes: usize) {
        takes.published("news", &frame::text("x".repeat(bytes)));
    }

    #[test]
    fn a_copy_has_what_was_published_after_the_question_was_passed_on() {
        let mut takes = Takes::default();
        takes.ask(1, "tab");
        publish(&mut takes, 1);
        takes.passed_on(1, 7);
        publish(&mut takes, 2);
        let log = vec![("news".into(), frame::text("xx"))];
        assert_eq!(takes.answered(1, true), Answered::Hand("tab", Some(log)));
        assert_eq!(takes.answered(1, true), Answered::GiveBack);
    }

    #[test]
    fn a_copy_that_comes_for_nobody_is_given_back() {
        let mut takes = Takes::default();
        takes.ask(1, "tab");
        assert_eq!(takes.abandon(1), Some("tab"));
        assert_eq!(takes.answered(1, true), Answered::GiveBack);
        assert_eq!((takes.answered(1, false), takes.abandon(1)), (Answered::Nothing, None));
    }

    #[test]
    fn a_log_is_bounded_and_an_abandoned_question_keeps_none() {
        let mut takes = Takes::default();
        for request in 1..=2 {
            takes.ask(request, "tab");
            takes.passed_on(request, 7);
        }
        publish(&mut takes, LOGGED);
        takes.abandon(2);
        publish(&mut takes, 1);
        assert_eq!(takes.answered(1, true), Answered::Hand("tab", None), "a gap");
        assert!(takes.asked.is_empty());
    }

    #[test]
    fn the_end_of_a_home_ends_its_questions() {
        let mut takes = Takes::default();
        takes.ask(1, "one");
        takes.ask(2, "two");
        takes.ask(3, "nobody's yet");
        takes.passed_on(1, 7);
        takes.passed_on(2, 8);
        assert_eq!(takes.home_gone(7), ["one"]);
        assert_eq!(takes.answered(2, false), Answered::Hand("two", Some(vec![])));
        assert_eq!(takes.answered(3, false), Answered::Hand("nobody's yet", None));
    }
}
