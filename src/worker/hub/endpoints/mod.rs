//! The endpoints: what each does with its sessions, one small file for each. Limits, heartbeats, slow consumers,
//! statistics and the end are the same for all, and none of their business.

mod echo;
mod main;

use super::State;
use crate::protocol::client::Close;
use crate::protocol::cluster::Endpoint;
use crate::session::Key;

/// What makes an endpoint. None has a state of its own: that is the session's, or the master's.
pub(super) trait Service: Sync {
    /// The session has got its connection; `asked` are the channels of its query.
    fn greet(&self, _: &mut State, _: Key, _asked: &[String]) {}

    /// A text from its client, within the limits.
    fn text(&self, state: &mut State, key: Key, text: &str);

    /// A binary message.
    fn binary(&self, state: &mut State, key: Key, _: &[u8]) {
        state.end(key, Close::Binary);
    }
}

impl State {
    /// The one that a session is on.
    pub(super) fn service(&self, key: Key) -> &'static dyn Service {
        match self.sessions[key as usize].endpoint {
            Endpoint::Ws => &main::Main,
            Endpoint::Echo => &echo::Echo,
        }
    }
}
