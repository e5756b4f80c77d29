//! The header of a client's frame (RFC 6455, section 5.2).

use super::Violation;
use serde::{Deserialize, Serialize};

/// The longest header: two bytes, eight of length, four of the mask.
pub(super) const LONGEST: usize = 14;

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn read(nibble: u8) -> Result<Self, Violation> {
        Ok(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return Err(Violation::ReservedOpcode),
        })
    }

    /// The four bits on the wire.
    pub(super) const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Whether it is close, ping or pong: never fragmented, at most 125 bytes, allowed inside another message.
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A header without its mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The payload's length as claimed.
    pub(super) length: u64,
    /// The position of the mask.
    mask_at: usize,
}

impl Header {
    /// Checks as many bytes as have arrived, in the same order however they arrive; `None` until the length is
    /// complete. The mask may still be missing: a claim is checked before its last bytes arrive.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBits);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::read(first & 0x0F)?);
        let short = second & 0x7F;
        if opcode.is_control() {
            if !fin {
                return Err(Violation::FragmentedControl);
            }
            if short > 125 {
                return Err(Violation::LongControl);
            }
        }
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let (length, mask_at) = match short {
            126 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*bytes)), 4)
            }
            127 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*bytes), 10)
            }
            short => (u64::from(short), 2),
        };
        let fewest = match length {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        if mask_at != fewest || length >> 63 != 0 {
            return Err(Violation::Length);
        }
        Ok(Some(Self { fin, opcode, length, mask_at }))
    }

    /// The mask, if it has arrived, and the position of the payload.
    pub(super) fn mask(&self, bytes: &[u8]) -> Option<([u8; 4], usize)> {
        let key = bytes.get(self.mask_at..)?.first_chunk()?;
        Some((*key, self.mask_at + key.len()))
    }
}

/// The first bytes of a frame, as many as a header may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub(super) struct Start {
    bytes: [u8; LONGEST],
    filled: u8,
}

impl TryFrom<Vec<u8>> for Start {
    type Error = &'static str;
    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        let mut start = Self::default();
        start.fill(&bytes);
        if start.bytes() == bytes { Ok(start) } else { Err("longer than a header") }
    }
}

impl From<Start> for Vec<u8> {
    fn from(start: Start) -> Self {
        start.bytes().to_vec()
    }
}

impl Start {
    /// The bytes so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.filled)]
    }

    /// Takes as many bytes as fit; returns how many.
    pub(super) fn fill(&mut self, input: &[u8]) {
        for (room, byte) in self.bytes[usize::from(self.filled)..].iter_mut().zip(input) {
            *room = *byte;
            self.filled += 1;
        }
    }
}
