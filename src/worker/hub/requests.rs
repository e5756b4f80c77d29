//! Questions to the master that wait for its answer.

use super::sessions::SessionRef;
use crate::model::SessionId;
use crate::protocol::cluster::{Answer, Outcome, Verdict};
use crate::session::Key;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use tokio::sync::oneshot;

/// The master's answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::worker) struct Reply {
    pub(in crate::worker) text: String,
    /// Where the next page of a list begins.
    pub(in crate::worker) next: Option<u32>,
}

/// The one who waits for an answer.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A POST of a quote.
    Quote(oneshot::Sender<Outcome>),
    /// An administrator's message.
    Publish(oneshot::Sender<u32>),
    /// A question; `None`: there is no such thing.
    Question(oneshot::Sender<Option<Reply>>),
    /// A session that published.
    Session {
        key: Key,
        id: SessionId,
        /// The client's id, where it wants an `ack`.
        ack: Option<Box<str>>,
    },
    /// A session that enters a room.
    Room { session: SessionId, room: Box<str> },
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(in crate::worker) struct Requests {
    last: u64,
    waiting: HashMap<u64, Waiter, foldhash::fast::RandomState>,
    opens: HashMap<SessionId, (SessionRef, oneshot::Sender<Verdict>), RandomState>,
}

impl Requests {
    /// Makes a number that no other request has.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Makes a number for a request that is answered to `waiter`.
    pub(super) fn expect(&mut self, waiter: Waiter) -> u64 {
        let number = self.number();
        self.waiting.insert(number, waiter);
        number
    }

    /// Takes the one who waited for a request.
    pub(super) fn done(&mut self, request: u64) -> Option<Waiter> {
        self.waiting.remove(&request)
    }

    /// A number for a quote, and where its outcome comes.
    pub(in crate::worker) fn quote(&mut self) -> (u64, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        (self.expect(Waiter::Quote(sender)), receiver)
    }

    /// A number for a message to a channel, and where the count of its subscribers comes.
    pub(in crate::worker) fn publish(&mut self) -> (u64, oneshot::Receiver<u32>) {
        let (sender, receiver) = oneshot::channel();
        (self.expect(Waiter::Publish(sender)), receiver)
    }

    /// A number for a question, and where its answer comes.
    pub(in crate::worker) fn question(&mut self) -> (u64, oneshot::Receiver<Option<Reply>>) {
        let (sender, receiver) = oneshot::channel();
        (self.expect(Waiter::Question(sender)), receiver)
    }

    /// Nobody waits for a request any more.
    pub(in crate::worker) fn forget(&mut self, request: u64) {
        self.waiting.remove(&request);
    }

    /// The outcome of a quote.
    pub(in crate::worker) fn receipt(&mut self, request: u64, outcome: Outcome) {
        if let Some(Waiter::Quote(waiter)) = self.done(request) {
            let _ = waiter.send(outcome);
        }
    }

    /// The answer to a question.
    pub(in crate::worker) fn answer(&mut self, request: u64, answer: &Answer<'_>) {
        if let Some(Waiter::Question(waiter)) = self.done(request) {
            let _ = waiter.send(match answer {
                Answer::Text(text) => Some(Reply { text: (*text).to_owned(), next: None }),
                Answer::Page { text, next } => Some(Reply { text: (*text).to_owned(), next: *next }),
                Answer::Done => Some(Reply::default()),
                Answer::NotFound => None,
            });
        }
    }

    /// The master's word on a session is to come.
    pub(super) fn expect_verdict(&mut self, id: SessionId, at: SessionRef) -> oneshot::Receiver<Verdict> {
        let (sender, verdict) = oneshot::channel();
        self.opens.insert(id, (at, sender));
        verdict
    }

    /// Takes the one who waited for the master's word on a session.
    pub(super) fn decided(&mut self, id: SessionId) -> Option<(SessionRef, oneshot::Sender<Verdict>)> {
        self.opens.remove(&id)
    }

    /// Nobody waits for the master's word on a session any more.
    pub(super) fn forget_open(&mut self, id: SessionId, at: SessionRef) {
        if self.opens.get(&id).is_some_and(|(of, _)| *of == at) {
            self.opens.remove(&id);
        }
    }

    /// Opens that the master has not answered.
    pub(in crate::worker) fn unanswered(&self) -> usize {
        self.opens.len()
    }
}
