//! Lines about single messages, at debug. They name types and sizes, never what a message says: it may hold a token.

use super::parts::session::Session;
use super::parts::sessions::SessionRef;
use super::state::State;
use crate::log::id;
use crate::protocol::client::type_of;
use crate::protocol::cluster::Endpoint;

impl State {
    /// A message has come from a client.
    pub(super) fn log_heard(&self, at: SessionRef, bytes: &[u8]) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let Some(session) = self.sessions.get(at) else { return };
        let endpoint = session.identity.endpoint;
        let text = std::str::from_utf8(bytes).ok().filter(|_| endpoint == Endpoint::Ws);
        tracing::debug!(
            event = "message-in",
            worker = self.me.slot,
            session = %id(session.id()),
            user = %id(session.user()),
            endpoint = endpoint.as_str(),
            kind = text.and_then(type_of),
            bytes = bytes.len()
        );
    }

    /// A message, or several joined ones, goes to a client.
    pub(super) fn log_said(&self, session: &Session, bytes: usize) {
        tracing::debug!(
            event = "message-out",
            worker = self.me.slot,
            session = %id(session.id()),
            user = %id(session.user()),
            endpoint = session.identity.endpoint.as_str(),
            bytes
        );
    }
}
