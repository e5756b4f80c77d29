//! The messages of all rooms as they count against the limits, and the oldest of them.

use super::room::Room;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Counts of all messages. Each message is pushed and taken here; its bytes are in the history of its room.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Rooms with history by the number of their oldest message, so that the oldest of all is found without a scan.
    oldest: BTreeMap<u64, Arc<str>>,
    /// Count of all messages there ever were.
    number: u64,
    messages: usize,
    bytes: usize,
}

impl Ledger {
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The room of the oldest message.
    pub(super) fn oldest(&self) -> Option<Arc<str>> {
        self.oldest.first_key_value().map(|(_, name)| name.clone())
    }

    pub(super) fn push(&mut self, room: &mut Room, message: &[u8]) {
        self.number += 1;
        if room.history.is_empty() {
            self.oldest.insert(self.number, room.name.clone());
        }
        room.history.push_back((self.number, message.into()));
        self.messages += 1;
        self.bytes += message.len();
    }

    /// Takes the oldest messages of a room until at most `keep` are left.
    pub(super) fn trim(&mut self, room: &mut Room, keep: usize) {
        let Some(first) = room.history.front().map(|(number, _)| *number) else { return };
        let many = room.history.len().saturating_sub(keep);
        if many == 0 {
            return;
        }
        self.messages -= many;
        self.bytes -= room.history.drain(..many).map(|(_, bytes)| bytes.len()).sum::<usize>();
        self.oldest.remove(&first);
        if let Some((number, _)) = room.history.front() {
            self.oldest.insert(*number, room.name.clone());
        }
        room.shrink_history();
    }

    #[cfg(test)]
    pub(super) fn rooms(&self) -> usize {
        self.oldest.len()
    }
}
