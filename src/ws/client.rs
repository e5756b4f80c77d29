//! The client's end, for tests: frames as a client sends them, and what a decoder makes of them.

use super::{Decoder, Event, Violation};

pub(super) const FIN: u8 = 0x80;
pub(super) const KEY: [u8; 4] = [0xA1, 0x02, 0xF3, 0x44];

/// An owned copy of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Broken(Violation),
}

impl From<Result<Event<'_>, Violation>> for Heard {
    fn from(event: Result<Event<'_>, Violation>) -> Self {
        match event {
            Ok(Event::Text(text)) => Self::Text(text.into()),
            Ok(Event::Binary(bytes)) => Self::Binary(bytes.into()),
            Ok(Event::Ping(bytes)) => Self::Ping(bytes.into()),
            Ok(Event::Pong(bytes)) => Self::Pong(bytes.into()),
            Ok(Event::Close(said)) => Self::Close(said.map(|(code, reason)| (code, reason.into()))),
            Err(violation) => Self::Broken(violation),
        }
    }
}

/// A frame with this first byte, masked, its length in as few bytes as possible.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = claim(first, payload.len() as u64);
    frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ KEY[i % 4]));
    frame
}

/// The header of a masked frame of this length.
pub(super) fn claim(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(0x80 | length as u8),
        126..=0xFFFF => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend(KEY);
    header
}

/// The events of one read. Fails if a decoder never stops, before it fills the memory.
pub(super) fn hear(decoder: &mut Decoder, input: &[u8], max_message: usize) -> Vec<Heard> {
    let (mut input, size) = (input.to_vec(), input.len());
    let mut events = decoder.feed(&mut input, max_message);
    let mut heard = Vec::new();
    while let Some(event) = events.next() {
        heard.push(event.into());
        assert!(heard.len() <= size, "no event without a byte that brings it");
    }

    heard
}
