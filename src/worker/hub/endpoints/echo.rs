//! `/echo`: every message back as it came.

use super::service::Service;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::state::State;
use crate::ws::frame;

pub(super) struct Echo;

impl Service for Echo {
    fn text(&self, state: &mut State, at: SessionRef, text: &str) {
        state.send_or_end(at, &frame::text(text));
    }

    fn binary(&self, state: &mut State, at: SessionRef, bytes: &[u8]) {
        state.send_or_end(at, &frame::binary(bytes));
    }
}
