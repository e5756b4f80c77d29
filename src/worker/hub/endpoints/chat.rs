//! `/chat`: what one says goes to every client of every worker, the sender included.

use super::service::Service;
use crate::protocol::client;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::state::State;
use crate::ws::frame;

/// The channel that all its sessions are on.
const CHANNEL: &str = "/chat";

pub(super) struct Chat;

impl Service for Chat {
    fn channel(&self) -> Option<&'static str> {
        Some(CHANNEL)
    }

    fn text(&self, state: &mut State, at: SessionRef, text: &str) {
        match client::chat(text, state.config.chat.max_length as usize) {
            Some(text) => state.spread(CHANNEL, &frame::text(&*text), None),
            None => state.say(at, "Wrong query"),
        }
    }
}
