//! `/broadcast`: what one says goes to all others of every worker, and back to it as an `echo`. Who comes and goes, and
//! the heartbeat, the master tells.

use super::Service;
use crate::os::clock;
use crate::protocol::client::{self, ServerType};
use crate::protocol::cluster::{BROADCAST, Skip, client_name};
use crate::session::Key;
use crate::worker::hub::{Greeting, State};
use crate::ws::frame;

pub(super) struct Broadcast;

impl Service for Broadcast {
    fn channel(&self) -> Option<&'static str> {
        Some(BROADCAST)
    }

    fn greet(&self, state: &mut State, key: Key, _: &Greeting) {
        let (id, name) = (state.sessions[key as usize].id.to_string(), name(state, key));
        let beat = u64::try_from(state.config.heartbeat.interval.as_millis()).unwrap_or(u64::MAX);
        let me = (state.me.slot, state.me.pid);
        let welcome = client::broadcast_welcome(&id, &name, me, clock::wall(), beat);
        state.send_first(key, frame::text(welcome));
    }

    fn text(&self, state: &mut State, key: Key, text: &str) {
        let (name, time) = (name(state, key), clock::wall());
        let frame = frame::text(client::relayed(ServerType::Broadcast, text, &name, time));
        let skip = Skip { key, session: state.sessions[key as usize].id };
        state.spread(BROADCAST, &frame, Some(skip));
        state.say(key, &client::relayed(ServerType::Echo, text, &name, time));
    }
}

fn name(state: &State, key: Key) -> String {
    let session = &state.sessions[key as usize];
    client_name(session.user.as_str(), session.address, session.id)
}
