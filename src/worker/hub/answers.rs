//! The master's answers, to those who wait for them.

use super::parts::requests::Waiter;
use super::state::State;
use crate::model::SessionId;
use crate::protocol::cluster::Verdict;

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

    /// How many subscribers a message had.
    pub(in crate::worker) fn publish_receipt(&mut self, request: u64, sessions: u32) {
        match self.requests.done(request) {
            Some(Waiter::Publish(waiter)) => _ = waiter.send(sessions),
            Some(Waiter::Session { key, id, ack }) => self.published(key, id, ack.as_deref()),
            _ => {}
        }
    }
}
