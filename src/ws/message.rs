//! A message that arrives in parts.

use super::Violation;
use super::header::Opcode;
use serde::{Deserialize, Serialize};

/// The message so far, checked as it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// Text or binary.
    opcode: Opcode,
    payload: Vec<u8>,
    /// The length of the part that is proven UTF-8; at most three more bytes follow, an incomplete character.
    proven: usize,
    /// Continuation frames so far.
    continuations: usize,
}

impl Message {
    /// An empty message; nothing is allocated for what its frame claims.
    pub(super) fn new(opcode: Opcode) -> Self {
        Self { opcode, payload: Vec::new(), proven: 0, continuations: 0 }
    }

    /// Whether appending bytes can have led here.
    pub(super) fn is_sound(&self) -> bool {
        match (self.opcode, self.payload.split_at_checked(self.proven)) {
            (Opcode::Binary, _) => self.proven == 0,
            (Opcode::Text, Some((proven, rest))) => {
                let cut =
                    |error: std::str::Utf8Error| error.valid_up_to() == 0 && error.error_len().is_none();
                str::from_utf8(proven).is_ok() && str::from_utf8(rest).err().map_or(rest.is_empty(), cut)
            }
            _ => false,
        }
    }

    /// Bytes of payload so far.
    pub(super) fn len(&self) -> usize {
        self.payload.len()
    }

    /// Bytes of memory that the message occupies.
    #[cfg(any(test, fuzzing))]
    pub(super) fn capacity(&self) -> usize {
        self.payload.capacity()
    }

    /// Continuation frames so far.
    pub(super) fn continuations(&self) -> usize {
        self.continuations
    }

    /// Counts a continuation frame.
    pub(super) fn continues(&mut self) {
        self.continuations += 1;
    }

    /// Appends the next bytes. Memory doubles with what has arrived, and never exceeds `ceiling`, the longest possible
    /// message. A text fails at the first byte that cannot be UTF-8 (RFC 6455, section 8.1).
    pub(super) fn append(&mut self, bytes: &[u8], ceiling: usize) -> Result<(), Violation> {
        let needed = self.payload.len() + bytes.len();
        if needed > self.payload.capacity() {
            let room = needed.max(ceiling.min(needed.saturating_mul(2)));
            self.payload.reserve_exact(room - self.payload.len());
        }
        self.payload.extend_from_slice(bytes);
        if self.opcode == Opcode::Text {
            self.prove()?;
        }
        Ok(())
    }

    fn prove(&mut self) -> Result<(), Violation> {
        let unproven = self.payload.get(self.proven..).unwrap_or_default();
        match str::from_utf8(unproven) {
            Ok(_) => self.proven = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.proven += error.valid_up_to(),
            Err(_) => return Err(Violation::NotUtf8),
        }
        Ok(())
    }

    /// The whole message.
    pub(super) fn finish(self) -> (Opcode, Vec<u8>) {
        (self.opcode, self.payload)
    }
}
