//! Makes the server's frames: whole messages, not masked (RFC 6455, section 5.1), ready for the socket.
//!
//! A frame for many sessions is made once, as [`Bytes`], and shared. Frames of one session are appended to one buffer,
//! so that they leave in one write.

use super::header::Opcode;
use bytes::{BufMut, Bytes};

/// Longest payload of a control frame (section 5.5).
const CONTROL: usize = 125;

/// A text message. Its payload must be UTF-8, which JSON is.
#[must_use]
pub fn text(payload: impl AsRef<[u8]>) -> Bytes {
    whole(Opcode::Text, payload.as_ref())
}

/// A binary message.
#[must_use]
pub fn binary(payload: impl AsRef<[u8]>) -> Bytes {
    whole(Opcode::Binary, payload.as_ref())
}

/// A ping; only the first 125 bytes of the payload are sent.
#[must_use]
pub fn ping(payload: impl AsRef<[u8]>) -> Bytes {
    whole(Opcode::Ping, cut(payload.as_ref()))
}

/// A pong; only the first 125 bytes of the payload are sent, and no ping has more.
#[must_use]
pub fn pong(payload: impl AsRef<[u8]>) -> Bytes {
    whole(Opcode::Pong, cut(payload.as_ref()))
}

/// A close frame with a [code](super::code) that may be sent, and a reason, cut to 123 bytes between two characters.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut frame = Vec::with_capacity(2 + CONTROL);
    push_close(&mut frame, code, reason);
    frame.into()
}

/// The answer to a client's close frame: its own code, or no code if it had none (section 5.5.1).
#[must_use]
pub fn close_echo(said: Option<(u16, &str)>) -> Bytes {
    match said {
        Some((code, _)) => close(code, ""),
        None => Bytes::from_static(&[0x88, 0]),
    }
}

/// Appends a text message, see [`text`].
pub fn push_text(out: &mut impl BufMut, payload: impl AsRef<[u8]>) {
    push(out, Opcode::Text, payload.as_ref());
}

/// Appends a close frame, see [`close`].
pub fn push_close(out: &mut impl BufMut, code: u16, reason: &str) {
    debug_assert!(super::code::may_be_sent(code), "{code} may not be sent");
    let fits = (0..=reason.len().min(CONTROL - 2)).rev().find(|&end| reason.is_char_boundary(end));
    let reason = &reason[..fits.unwrap_or(0)];
    head(out, Opcode::Close, 2 + reason.len());
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

/// The size on the wire of a message of this length.
#[must_use]
pub const fn size(payload: usize) -> usize {
    payload
        + match payload {
            0..=125 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        }
}

/// Splits bytes made by this module into frames, each with its payload.
pub fn split(frames: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let number = |digits: &[u8]| digits.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        let (start, length) = match *rest.get(1)? {
            126 => (4, number(rest.get(2..4)?)),
            127 => (10, number(rest.get(2..10)?)),
            length => (2, usize::from(length)),
        };
        let (frame, after) = rest.split_at_checked(start + length)?;
        rest = after;
        Some((frame, &frame[start..]))
    })
}

fn whole(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(size(payload.len()));
    push(&mut frame, opcode, payload);
    frame.into()
}

fn push(out: &mut impl BufMut, opcode: Opcode, payload: &[u8]) {
    debug_assert!(opcode != Opcode::Text || str::from_utf8(payload).is_ok(), "a text must be UTF-8");
    head(out, opcode, payload.len());
    out.put_slice(payload);
}

/// Writes FIN, opcode and the length in as few bytes as possible (section 5.2).
fn head(out: &mut impl BufMut, opcode: Opcode, length: usize) {
    out.put_u8(0x80 | opcode.bits());
    match length {
        0..=125 => out.put_u8(length as u8),
        126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

fn cut(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(CONTROL)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_few_bytes_as_they_need() {
        for (length, head) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xFF, 0xFF]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = binary(vec![7; length]);
            assert_eq!(&frame[..head.len()], head);
            assert_eq!(frame.len(), head.len() + length);
            assert_eq!(frame.len(), size(length));
        }
    }

    #[test]
    fn every_kind_has_its_opcode() {
        let frames = [text("é"), binary([1, 2]), ping("a"), pong("b"), close(1000, "bye")];
        let expected = b"\x81\x02\xC3\xA9\x82\x02\x01\x02\x89\x01a\x8A\x01b\x88\x05\x03\xE8bye";
        assert_eq!(frames.concat(), expected);
        let mut out = Vec::new();
        push_text(&mut out, "é");
        push_close(&mut out, 1000, "bye");
        assert_eq!(out, [&frames[0][..], &frames[4]].concat());
        assert_eq!(&close_echo(None)[..], b"\x88\x00");
        assert_eq!(&close_echo(Some((4001, "bye")))[..], b"\x88\x02\x0F\xA1");
    }

    #[test]
    fn what_was_joined_is_split_again() {
        let frames = [text(""), text("é"), ping("a"), binary(vec![7; 126]), binary(vec![8; 70_000])];
        let joined = frames.concat();
        let found: Vec<_> = split(&joined).collect();
        assert_eq!(found.iter().map(|(frame, _)| *frame).collect::<Vec<_>>(), frames);
        let lengths: Vec<_> = found.iter().map(|(_, payload)| payload.len()).collect();
        assert_eq!(lengths, [0, 2, 1, 126, 70_000]);
        assert_eq!(split(&joined[..joined.len() - 1]).count(), 4);
    }

    #[test]
    fn control_frames_never_have_more_than_125_bytes() {
        assert_eq!(ping([1; 200]).len(), 127);
        assert_eq!(pong([1; 200]).len(), 127);
        let frame = close(4000, &format!("{}é{}", "x".repeat(122), "y".repeat(50)));
        assert_eq!(frame.len(), 2 + 2 + 122, "cut before the character that does not fit");
        assert_eq!(close(4000, &"é".repeat(80)).len(), 2 + 2 + 122);
    }
}
