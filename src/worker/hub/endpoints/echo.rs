//! `/echo`: every message back as it came.

use super::Service;
use crate::session::Key;
use crate::worker::hub::State;
use crate::ws::frame;

pub(super) struct Echo;

impl Service for Echo {
    fn text(&self, state: &mut State, key: Key, text: &str) {
        state.send_or_end(key, &frame::text(text));
    }

    fn binary(&self, state: &mut State, key: Key, bytes: &[u8]) {
        state.send_or_end(key, &frame::binary(bytes));
    }
}
