//! The messages of all rooms as they count against the limits.

use super::room::Room;
use std::sync::Arc;

/// Counts of all messages. Each message is pushed and taken here; its bytes are in the history of its room.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    messages: usize,
    bytes: usize,
    /// Rooms that have lost messages, and how many they have left.
    trimmed: Vec<(Arc<str>, u32)>,
}

impl Ledger {
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the rooms that have lost messages since the last call.
    pub(super) fn take_trimmed(&mut self) -> Vec<(Arc<str>, u32)> {
        std::mem::take(&mut self.trimmed)
    }

    pub(super) fn push(&mut self, room: &mut Room, message: &[u8]) {
        room.history.push_back(message.into());
        room.bytes += message.len();
        self.messages += 1;
        self.bytes += message.len();
    }

    /// Takes the oldest messages of a room until at most `keep` are left.
    pub(super) fn trim(&mut self, room: &mut Room, keep: usize) {
        let many = room.history.len().saturating_sub(keep);
        if many == 0 {
            return;
        }
        let gone: usize = room.history.drain(..many).map(|bytes| bytes.len()).sum();
        self.trimmed.push((room.name.clone(), u32::try_from(room.history.len()).unwrap_or(u32::MAX)));
        self.messages -= many;
        self.bytes -= gone;
        room.bytes -= gone;
        room.shrink_history();
    }
}
