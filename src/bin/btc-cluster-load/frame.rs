//! WebSocket frames (RFC 6455, section 5), a client's side: what a server sends has no mask, what goes to it has one.

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame with the mask 0, which changes nothing.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
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
    out.extend([0; 4]);
    out.extend_from_slice(payload);
    out
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    masked(PONG, &payload[..payload.len().min(125)])
}

/// Of the payload of a close frame.
pub(crate) fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk().map_or(1005, |two| u16::from_be_bytes(*two))
}

/// Calls `on_frame` with opcode and payload of each whole frame; returns how many bytes that were.
pub(crate) fn frames(bytes: &[u8], mut on_frame: impl FnMut(u8, &[u8])) -> usize {
    let mut at = 0;
    while let Some((opcode, payload, len)) = frame(&bytes[at..]) {
        on_frame(opcode, payload);
        at += len;
    }
    at
}

/// The first frame (a server's have no mask): opcode, payload, and its whole length. `None`: there is more to come.
pub(crate) fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let number = |digits: &[u8]| digits.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let (head, len) = match second & 0x7f {
        126 => (4, number(bytes.get(2..4)?)),
        127 => (10, number(bytes.get(2..10)?)),
        len => (2, usize::from(len)),
    };
    let payload = bytes.get(head..)?.get(..len)?;
    Some((first & 0x0f, payload, head + len))
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
    }

    #[test]
    fn what_goes_to_a_server_is_masked_and_as_long_as_it_says() {
        assert_eq!(masked(TEXT, b"hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(pong(&[7; 200]).len(), 6 + 125);
        assert_eq!(masked(TEXT, &[0; 126])[..8], [0x81, 0xfe, 0, 126, 0, 0, 0, 0]);
        assert_eq!(masked(TEXT, &[0; 65_536])[..10], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!((close_code(&[3, 232, b'x']), close_code(&[])), (1000, 1005));
    }
}
