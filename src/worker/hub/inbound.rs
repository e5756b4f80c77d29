//! What clients send, on its way to their endpoint.

use super::State;
use crate::model::Mono;
use crate::protocol::client::Close;
use crate::session::Key;

impl State {
    /// A text message from a client.
    pub(super) fn text(&mut self, key: Key, text: &str, now: Mono) {
        if !self.admit(key, now) {
            return;
        }
        self.service(key).text(self, key, text);
    }

    /// A binary message from a client.
    pub(super) fn binary(&mut self, key: Key, bytes: &[u8], now: Mono) {
        if !self.admit(key, now) {
            return;
        }
        self.service(key).binary(self, key, bytes);
    }

    /// Counts a message; a session that sends too many ends.
    fn admit(&mut self, key: Key, now: Mono) -> bool {
        self.counters.messages_in += 1;
        let limits = &self.config.limits;
        let bucket = &mut self.sessions[key as usize].bucket;
        let admitted = bucket.take(limits.messages_per_session, limits.messages_burst, now).is_ok();
        if !admitted {
            self.end(key, Close::MessageRate);
        }
        admitted
    }
}
