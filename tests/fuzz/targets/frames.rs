//! The frame layer: any bytes and any frames, in any reads. The decoder never panics, says the same however it is fed,
//! holds no more than its limit, says nothing after the end, and hears what tungstenite hears.

use super::Parts;
use crate::ws::{Decoder, Event, Violation};
use std::io::{Read, Write};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

const MAX: usize = 600;
/// What a decoder may hold beyond its message.
const CONSTANT: usize = 320;

#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

/// How a stream ends.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Open,
    Close(Option<(u16, String)>),
    Broken(Violation),
}

/// After a count, the sizes of the reads; then parts of a stream.
pub fn frames(data: &[u8]) {
    let mut parts = Parts(data);
    let count = parts.byte();
    let reads = parts.bytes(usize::from(count % 16));
    let stream = stream(parts);
    let (heard, end) = in_reads(&stream, &[]);
    assert_eq!(in_reads(&stream, reads), (heard.clone(), end.clone()));
    let (theirs, broken) = tungstenite(stream);
    // Tungstenite takes lengths in too many bytes, also of control frames, and goes on. It does not know 1014.
    if matches!(end, End::Broken(Violation::Length | Violation::LongControl)) {
        assert!(theirs.starts_with(&heard), "{heard:?} {theirs:?}");
        return;
    }
    assert_eq!(heard, theirs, "{end:?}");
    if end == End::Open {
        assert!(!broken, "tungstenite would have failed it");
    }
}

fn frame(out: &mut Vec<u8>, first: u8, key: [u8; 4], payload: &[u8]) {
    out.push(first);
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend((long as u16).to_be_bytes());
        }
    }
    out.extend(key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Each part is a frame, right or nearly right; a text in two fragments; any bytes; a frame of the same byte again and
/// again.
fn stream(mut parts: Parts<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    while !parts.0.is_empty() {
        let kind = parts.byte() % 4;
        let first = parts.byte();
        let key = [7, first, 251, parts.byte()];
        let length = usize::from(parts.byte());
        match kind {
            0 => frame(&mut out, first, key, parts.bytes(length)),
            1 => {
                let text = String::from_utf8_lossy(parts.bytes(length));
                let (head, tail) = text.as_bytes().split_at(usize::from(first).min(text.len()));
                frame(&mut out, 1, key, head);
                frame(&mut out, 0x80, key, tail);
            }
            2 => out.extend(parts.bytes(length)),
            _ => frame(&mut out, first, key, &vec![key[3]; length * 3]),
        }
    }
    out
}

/// Feeds the stream in reads of these sizes, over and over; at once if there are none.
fn in_reads(mut stream: &[u8], sizes: &[u8]) -> (Vec<Heard>, End) {
    let (mut decoder, mut heard, mut end) = (Decoder::new(), Vec::new(), End::Open);
    let mut sizes = sizes.iter().cycle();
    while !stream.is_empty() {
        let size = sizes.next().map_or(stream.len(), |size| usize::from(*size).clamp(1, stream.len()));
        let (read, rest) = stream.split_at(size);
        let mut read = read.to_vec();
        let mut events = decoder.feed(&mut read, MAX);
        while let Some(event) = events.next() {
            assert_eq!(end, End::Open, "something came after the end");
            match event {
                Ok(Event::Text(text)) => heard.push(Heard::Text(text.into())),
                Ok(Event::Binary(bytes)) => heard.push(Heard::Binary(bytes.into())),
                Ok(Event::Ping(bytes)) => heard.push(Heard::Ping(bytes.into())),
                Ok(Event::Pong(bytes)) => heard.push(Heard::Pong(bytes.into())),
                Ok(Event::Close(said)) => end = End::Close(said.map(|(code, reason)| (code, reason.into()))),
                Err(violation) => end = End::Broken(violation),
            }
        }
        assert!(decoder.held() <= MAX + CONSTANT, "{} held", decoder.held());
        assert!(decoder.held() == 0 || (!decoder.is_idle() && end == End::Open));
        stream = rest;
    }
    (heard, end)
}

/// What tungstenite hears, and whether it found fault.
fn tungstenite(stream: Vec<u8>) -> (Vec<Heard>, bool) {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .max_message_size(Some(MAX))
        .max_frame_size(Some(MAX));
    let mut server = WebSocket::from_raw_socket(Socket(stream, 0), Role::Server, Some(config));
    let mut heard = Vec::new();
    loop {
        heard.push(match server.read() {
            Ok(Message::Text(text)) => Heard::Text(text.to_string()),
            Ok(Message::Binary(bytes)) => Heard::Binary(bytes.into()),
            Ok(Message::Ping(bytes)) => Heard::Ping(bytes.into()),
            Ok(Message::Pong(bytes)) => Heard::Pong(bytes.into()),
            Ok(Message::Close(_) | Message::Frame(_)) => return (heard, false),
            // The socket has no more: not a fault of the client's.
            Err(Error::Io(_) | Error::ConnectionClosed) => return (heard, false),
            Err(_) => return (heard, true),
        });
    }
}

/// A socket that has been sent some bytes and swallows others.
struct Socket(Vec<u8>, usize);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = (&self.0[self.1..]).read(buffer)?;
        self.1 += size;
        if size == 0 { Err(std::io::ErrorKind::WouldBlock.into()) } else { Ok(size) }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
