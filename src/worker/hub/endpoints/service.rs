//! The behaviour of an endpoint.

use crate::protocol::client::Close;
use crate::worker::hub::parts::greeting::Greeting;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::state::State;

/// The behaviour of an endpoint. State belongs to the session, or to the master.
pub(in crate::worker::hub) trait Service: Sync {
    /// The channel of its own that all its sessions are on, from the master's word on: whoever sees a 101 misses
    /// nothing that is said afterwards.
    fn channel(&self) -> Option<&'static str> {
        None
    }

    /// The session has got its connection.
    fn greet(&self, _: &mut State, _: SessionRef, _: &Greeting) {}

    /// A text from its client, within the limits.
    fn text(&self, state: &mut State, at: SessionRef, text: &str);

    /// A binary message.
    fn binary(&self, state: &mut State, at: SessionRef, _: &[u8]) {
        state.end(at, Close::Binary);
    }
}
