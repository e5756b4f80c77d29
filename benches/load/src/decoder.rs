//! Decodes the bytes of a session's connection to messages, for each transport.

use crate::said::Polled;
use btc_cluster_client::events::{Chunks, block};
use btc_cluster_client::frame::{CLOSE, PING, TEXT, close_code, frames};
use btc_cluster_client::http::Response;
use clap::ValueEnum;
use serde::Serialize;

/// How messages of a session are transported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Ws,
    Sse,
    Poll,
}

impl Transport {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

/// A decoded item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// A message of the session.
    Message(&'a [u8]),
    /// Place of the client: the id of the event before, or the cursor of the messages before.
    Place(&'a str),
    /// To be answered with the same.
    Ping(&'a [u8]),
    /// A poll has its whole answer; the next one is due.
    Answered,
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Without a word.
    Lost,
    /// By a close frame, or the end of the events; with its code.
    Closed(u16),
    /// By a status.
    Refused(u16),
    /// A poll's connection is not kept; its session is.
    NotKept,
    /// Not what was expected.
    Strange,
}

/// Takes bytes as they come. It holds some only while half of something is there.
#[derive(Debug)]
pub(crate) struct Decoder {
    transport: Transport,
    /// The response's head is still to come; a poll's is part of each answer.
    head: bool,
    /// Chunks of an event stream; `None`: the body is not chunked.
    chunks: Option<Chunks>,
    rest: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, head: transport != Transport::Poll, chunks: None, rest: Vec::new() }
    }

    pub(crate) fn take(&mut self, new: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<(), End> {
        if self.head {
            self.rest.extend_from_slice(new);
            let Some((head, size)) = Response::head(&self.rest).map_err(|_| End::Strange)? else {
                return Ok(());
            };
            let wanted = if self.transport == Transport::Ws { 101 } else { 200 };
            if head.status != wanted {
                return Err(End::Refused(head.status));
            }
            self.head = false;
            self.chunks = head.is_chunked().then(Chunks::default);
            let body = std::mem::take(&mut self.rest).split_off(size);
            return self.body(&body, hear);
        }
        self.body(new, hear)
    }

    fn body(&mut self, new: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<(), End> {
        let mut over = false;
        match &mut self.chunks {
            Some(chunks) => over = chunks.take(new, &mut self.rest).map_err(|_| End::Strange)?,
            None if self.rest.is_empty() => {
                let used = self.whole(new, hear)?;
                self.rest.extend_from_slice(&new[used..]);
                return Ok(());
            }
            None => self.rest.extend_from_slice(new),
        }
        let rest = std::mem::take(&mut self.rest);
        let used = self.whole(&rest, hear)?;
        if used < rest.len() {
            self.rest.extend_from_slice(&rest[used..]);
        }
        if over { Err(End::Lost) } else { Ok(()) }
    }

    /// Takes what is whole; returns how many bytes that was.
    fn whole(&self, bytes: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<usize, End> {
        match self.transport {
            Transport::Ws => {
                let mut end = None;
                let used = frames(bytes, |opcode, payload| match opcode {
                    TEXT => hear(Heard::Message(payload)),
                    PING => hear(Heard::Ping(payload)),
                    CLOSE => end = Some(End::Closed(close_code(payload))),
                    _ => (),
                });
                end.map_or(Ok(used), Err)
            }
            Transport::Sse => Ok(events(bytes, hear)),
            Transport::Poll => poll(bytes, hear),
        }
    }
}

fn events(bytes: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> usize {
    let mut at = 0;
    while let Some((block, size)) = block(&bytes[at..]) {
        at += size;
        let Some(data) = block.data else { continue };
        hear(Heard::Message(data.as_bytes()));
        if let Some(id) = block.id {
            hear(Heard::Place(id));
        }
    }
    at
}

fn poll(bytes: &[u8], hear: &mut impl FnMut(Heard<'_>)) -> Result<usize, End> {
    let Some((answer, size)) = Response::parse(bytes).map_err(|_| End::Strange)? else { return Ok(0) };
    if answer.status != 200 {
        return Err(End::Refused(answer.status));
    }
    let polled: Polled<'_> = serde_json::from_slice(&answer.body).map_err(|_| End::Strange)?;
    for message in polled.messages {
        hear(Heard::Message(message.get().as_bytes()));
    }
    hear(Heard::Place(polled.cursor));
    if answer.is_last() {
        return Err(End::NotKept);
    }
    hear(Heard::Answered);
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes bytes that come in two pieces.
    fn hear(transport: Transport, bytes: &[u8], cut: usize) -> (Vec<String>, Result<(), End>) {
        let (mut decoder, mut heard) = (Decoder::new(transport), Vec::new());
        let mut on = |what: Heard<'_>| {
            heard.push(match what {
                Heard::Message(json) => String::from_utf8(json.to_vec()).unwrap(),
                Heard::Place(place) => format!("at {place}"),
                Heard::Ping(payload) => format!("ping {}", payload.len()),
                Heard::Answered => "answered".to_owned(),
            });
        };
        let end = decoder.take(&bytes[..cut], &mut on);
        let end = if end.is_ok() { decoder.take(&bytes[cut..], &mut on) } else { end };
        (heard, end)
    }

    fn in_any_pieces(transport: Transport, bytes: &[u8], heard: &[&str], end: Result<(), End>) {
        for cut in 0..=bytes.len() {
            let got = hear(transport, bytes, cut);
            assert_eq!((got.0.as_slice(), got.1), (heard.map_to_owned().as_slice(), end), "{cut}");
        }
    }

    trait Owned {
        fn map_to_owned(&self) -> Vec<String>;
    }

    impl Owned for [&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn each_transport_says_the_same() {
        let ws =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02{}\x89\x01x\x81\x02[]";
        in_any_pieces(Transport::Ws, ws, &["{}", "ping 1", "[]"], Ok(()));
        let sse = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                    19\r\nid: t.0\ndata: {}\n\ndata: [\r\n3\r\n]\n\n\r\n";
        in_any_pieces(Transport::Sse, sse, &["{}", "at t.0", "[]"], Ok(()));
        let body = r#"{"cursor":"t.2","messages":[{},[]]}"#;
        let poll = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        in_any_pieces(Transport::Poll, poll.as_bytes(), &["{}", "[]", "at t.2", "answered"], Ok(()));
    }

    #[test]
    fn ends_are_told_apart() {
        let ws = b"HTTP/1.1 101 X\r\n\r\n\x81\x02{}\x88\x02\x0f\xa6";
        in_any_pieces(Transport::Ws, ws, &["{}"], Err(End::Closed(4006)));
        in_any_pieces(Transport::Ws, b"HTTP/1.1 429 X\r\n\r\n", &[], Err(End::Refused(429)));
        in_any_pieces(Transport::Sse, b"HTTP/1.1 204 No Content\r\n\r\n", &[], Err(End::Refused(204)));
        let gone = b"HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\n{}";
        in_any_pieces(Transport::Poll, gone, &[], Err(End::Refused(410)));
        let sse = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\ndata: {}\n\n\r\n0\r\n\r\n";
        let whole = hear(Transport::Sse, sse, sse.len());
        assert_eq!(whole, (vec!["{}".to_owned()], Err(End::Lost)));
    }
}
