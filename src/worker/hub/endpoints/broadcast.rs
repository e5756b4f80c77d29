//! `/broadcast`: what one says goes to all others of every worker, and back to it as an `echo`. Who comes and goes, and
//! the heartbeat, the master tells.

use super::service::Service;
use crate::model::SessionId;
use crate::os::clock;
use crate::protocol::client::{self, ServerType};
use crate::protocol::cluster::{BROADCAST, Skip, client_name};
use crate::worker::hub::parts::greeting::Greeting;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::state::State;
use crate::ws::frame;

pub(super) struct Broadcast;

impl Service for Broadcast {
    fn channel(&self) -> Option<&'static str> {
        Some(BROADCAST)
    }

    fn greet(&self, state: &mut State, at: SessionRef, _: &Greeting) {
        let Some((id, name)) = names(state, at) else { return };
        let id = id.to_string();
        let beat = u64::try_from(state.config.heartbeat.interval.as_millis()).unwrap_or(u64::MAX);
        let me = (state.me.slot, state.me.pid);
        let welcome = client::broadcast_welcome(&id, &name, me, clock::wall(), beat);
        state.send_first(at, frame::text(welcome));
    }

    fn text(&self, state: &mut State, at: SessionRef, text: &str) {
        let (Some((session, name)), time) = (names(state, at), clock::wall()) else { return };
        let frame = frame::text(client::relayed(ServerType::Broadcast, text, &name, time));
        let skip = Skip { key: at.key(), session };
        state.spread(BROADCAST, &frame, Some(skip));
        state.say(at, &client::relayed(ServerType::Echo, text, &name, time));
    }
}

/// The id of a session, and the name under which the others know its client.
fn names(state: &State, at: SessionRef) -> Option<(SessionId, String)> {
    let session = state.sessions.get(at)?;
    Some((session.id(), client_name(session.user().as_str(), session.identity.address, session.id())))
}
