//! The head of each message on a link: the length of its body and the count of its descriptors.

use super::error::LinkError;

/// Longest body in bytes. Nothing that grows with the number of sessions is one message.
pub(super) const LONGEST: usize = 32 << 20;

/// Four bytes of length, little-endian, and one of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    len: u32,
    pub(super) descriptors: u8,
}

impl Head {
    /// Bytes of a head.
    pub(super) const SIZE: usize = 5;

    /// The head of a body of `len` bytes.
    pub(super) fn new(len: usize, descriptors: usize) -> Result<Self, LinkError> {
        let many = |_| LinkError::TooManyDescriptors(descriptors);
        let descriptors = u8::try_from(descriptors).map_err(many)?;
        let long = |_| LinkError::Oversized(len);
        Self { len: u32::try_from(len).map_err(long)?, descriptors }.check()
    }

    /// The head at the start of some bytes; `None`: it is not whole yet.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, LinkError> {
        let Some(&[a, b, c, d, descriptors]) = bytes.first_chunk() else { return Ok(None) };
        Self { len: u32::from_le_bytes([a, b, c, d]), descriptors }.check().map(Some)
    }

    fn check(self) -> Result<Self, LinkError> {
        let len = self.len as usize;
        if len > LONGEST { Err(LinkError::Oversized(len)) } else { Ok(self) }
    }

    /// Bytes of the whole message.
    pub(super) fn size(self) -> usize {
        Self::SIZE + self.len as usize
    }

    pub(super) fn bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = self.len.to_le_bytes();
        [a, b, c, d, self.descriptors]
    }
}
