//! The master's answers, to those who wait for them.

use super::requests::{Reply, Waiter};
use super::state::State;
use crate::model::SessionId;
use crate::protocol::cluster::{Answer, Outcome, Verdict};

impl State {
    /// The master has decided on a session.
    pub(in crate::worker) fn opened(&mut self, session: SessionId, verdict: Verdict) {
        if let Some((at, waiter)) = self.requests.decided(session) {
            if verdict == Verdict::Accepted {
                self.accepted(at);
            }
            // A client that has gone in the meantime has taken its session back already.
            let _ = waiter.send(verdict);
        }
    }

    /// The outcome of a quote.
    pub(in crate::worker) fn receipt(&mut self, request: u64, outcome: Outcome) {
        if let Some(Waiter::Quote(waiter)) = self.requests.done(request) {
            let _ = waiter.send(outcome);
        }
    }

    /// How many subscribers a message had.
    pub(in crate::worker) fn publish_receipt(&mut self, request: u64, sessions: u32) {
        match self.requests.done(request) {
            Some(Waiter::Publish(waiter)) => _ = waiter.send(sessions),
            Some(Waiter::Session { key, id, ack }) => self.published(key, id, ack.as_deref()),
            _ => {}
        }
    }

    /// The answer to a question.
    pub(in crate::worker) fn answer(&mut self, request: u64, answer: &Answer<'_>) {
        if let Some(Waiter::Question(waiter)) = self.requests.done(request) {
            let _ = waiter.send(match answer {
                Answer::Text(text) => Some(Reply { text: (*text).to_owned(), next: None }),
                Answer::Page { text, next } => Some(Reply { text: (*text).to_owned(), next: *next }),
                Answer::Done => Some(Reply::default()),
                Answer::NotFound => None,
            });
        }
    }
}
