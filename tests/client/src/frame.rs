//! WebSocket frames (RFC 6455, section 5), a client's side: a server's frames have no mask, a client's have one.

/// Opcode of a text message.
pub const TEXT: u8 = 1;
/// Opcode of a close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a ping.
pub const PING: u8 = 9;
const PONG: u8 = 10;

/// Encodes a frame with this first byte, its length in as few bytes as possible.
#[must_use]
pub fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len), _) if len < 126 => out.push(0x80 | len),
        (_, Ok(len)) => {
            out.push(0x80 | 126);
            out.extend(len.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// Encodes a whole message with the mask 0.
#[must_use]
pub fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(0x80 | opcode, [0; 4], payload)
}

/// Encodes the answer to a ping.
#[must_use]
pub fn pong(payload: &[u8]) -> Vec<u8> {
    message(PONG, &payload[..payload.len().min(125)])
}

/// Reads the code of a close frame's payload; 1005 if it has none.
#[must_use]
pub fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk().map_or(1005, |two| u16::from_be_bytes(*two))
}

/// A server's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// FIN, the reserved bits, and the opcode.
    pub first: u8,
    /// Whether the frame says that it has a mask, which a server's must not.
    pub masked: bool,
    /// The payload as it came.
    pub payload: &'a [u8],
    /// Bytes of the whole frame.
    pub size: usize,
}

impl Frame<'_> {
    /// The opcode alone.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

/// Parses the first frame; `None`: it is not whole yet.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let number = |digits: &[u8]| digits.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let (head, len) = match second & 0x7f {
        126 => (4, number(bytes.get(2..4)?)),
        127 => (10, number(bytes.get(2..10)?)),
        len => (2, usize::from(len)),
    };
    let payload = bytes.get(head..)?.get(..len)?;
    Some(Frame { first, masked: second & 0x80 != 0, payload, size: head + len })
}

/// Calls `on_frame` with opcode and payload of each whole frame; returns how many bytes these are.
pub fn frames(bytes: &[u8], mut on_frame: impl FnMut(u8, &[u8])) -> usize {
    let mut at = 0;
    while let Some(frame) = frame(&bytes[at..]) {
        on_frame(frame.opcode(), frame.payload);
        at += frame.size;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whatever_the_pieces() {
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x89, 0];
        bytes.extend([0x81, 126, 1, 0].iter().chain(&[7; 256]));
        bytes.extend([0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0].iter().chain(&[8; 65_536]));
        let whole: Vec<(u8, usize)> = vec![(1, 2), (9, 0), (1, 256), (1, 65_536)];
        for cut in (0..300).chain([66_000, bytes.len()]) {
            let mut found = Vec::new();
            let cut = cut.min(bytes.len());
            let used = frames(&bytes[..cut], |opcode, payload| found.push((opcode, payload.len())));
            assert!(used <= cut);
            frames(&bytes[used..], |opcode, payload| found.push((opcode, payload.len())));
            assert_eq!(found, whole, "{cut}");
        }
        assert!(frame(&[0x81, 0x80]).unwrap().masked && !frame(&[0x81, 0]).unwrap().masked);
    }

    #[test]
    fn a_frame_to_a_server_is_masked_and_as_long_as_it_says() {
        assert_eq!(message(TEXT, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(masked(0x01, [1, 2, 3, 4], &[0; 5])[2..], [1, 2, 3, 4, 1, 2, 3, 4, 1]);
        assert_eq!(pong(&[7; 200]).len(), 6 + 125);
        assert_eq!(message(TEXT, &[0; 126])[..8], [0x81, 0xfe, 0, 126, 0, 0, 0, 0]);
        assert_eq!(message(TEXT, &[0; 65_536])[..10], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((close_code(&[3, 232, b'x']), close_code(&[])), (1000, 1005));
    }
}
