//! Server-Sent Events (the WHATWG HTML standard, section 9.2): messages as events of an HTTP response that never ends.
//! The connection is a [`super::ws::Wire`] like a WebSocket's; only the framing of the bytes differs.

pub use crate::session::Body;

use crate::ws::frame;
use std::fmt::{self, Write as _};

impl Body {
    /// Frames a part of the body.
    fn frame(self, text: &str) -> Vec<u8> {
        match self {
            Self::Plain => text.as_bytes().to_vec(),
            Self::Chunked => {
                let mut out = Vec::with_capacity(text.len() + 12);
                let _ = fmt::Write::write_fmt(&mut Ascii(&mut out), format_args!("{:x}\r\n", text.len()));
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\r\n");
                out
            }
        }
    }

    /// Turns WebSocket frames into events; `id` gives the event id of each, if it has one. Pings become comments.
    #[must_use]
    pub fn events<I: fmt::Display>(self, frames: &[u8], mut id: impl FnMut() -> Option<I>) -> Vec<u8> {
        let mut text = String::with_capacity(frames.len() + 128);
        for (frame, payload) in frame::split(frames) {
            let is_text = frame[0] & 0x0f == 1;
            match std::str::from_utf8(payload) {
                Ok(json) if is_text => push(&mut text, json, id()),
                _ => text.push_str(":\n\n"),
            }
        }
        self.frame(&text)
    }

    /// The beginning of the body.
    #[must_use]
    pub fn start(self) -> Vec<u8> {
        self.frame("retry: 3000\n\n")
    }

    /// The end of the body, with a last event.
    #[must_use]
    pub fn end(self, json: &str) -> Vec<u8> {
        let mut text = String::new();
        push(&mut text, json, None::<u32>);
        let mut out = self.frame(&text);
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        out
    }
}

/// Writes digits into bytes.
struct Ascii<'a>(&'a mut Vec<u8>);

impl fmt::Write for Ascii<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn push<I: fmt::Display>(out: &mut String, json: &str, id: Option<I>) {
    let _ = writeln!(out, "event: {}", kind(json));
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    // Only JSON that a client wrote may have line ends in it, as white space between two tokens.
    for line in json.split(['\r', '\n']) {
        let _ = writeln!(out, "data: {line}");
    }
    out.push('\n');
}

/// The `type` of a message, which is always its first member.
fn kind(json: &str) -> &str {
    let rest = json.strip_prefix(r#"{"type":""#).unwrap_or_default();
    rest.split_once('"').map_or("message", |(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_events() {
        let frames = [
            frame::text(r#"{"type":"quote","price":"1"}"#),
            frame::ping("x"),
            frame::text("{\"type\":\"message\",\"data\":[\r\n1]}"),
        ];
        let mut ids = [Some("t.1"), None].into_iter();
        let bytes = Body::Plain.events(&frames.concat(), || ids.next().flatten());
        let expected = "event: quote\nid: t.1\ndata: {\"type\":\"quote\",\"price\":\"1\"}\n\n:\n\n\
                        event: message\ndata: {\"type\":\"message\",\"data\":[\ndata: \ndata: 1]}\n\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_chunk_has_its_length() {
        let text = String::from_utf8(Body::Chunked.end(r#"{"type":"close"}"#)).unwrap();
        assert_eq!(text, "25\r\nevent: close\ndata: {\"type\":\"close\"}\n\n\r\n0\r\n\r\n");
        assert_eq!(Body::Chunked.start(), b"d\r\nretry: 3000\n\n\r\n");
        assert_eq!(Body::Plain.start(), b"retry: 3000\n\n");
    }
}
