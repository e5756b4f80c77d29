//! Clients without a WebSocket: one that listens to Server-Sent Events, and one that polls.

use super::http::{Connection, Request, get};
use super::in_time;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// A session over Server-Sent Events.
#[derive(Debug)]
pub(crate) struct Listener {
    stream: TcpStream,
    /// Bytes of the body that are no whole event yet, without their chunks.
    text: String,
    /// Bytes that are no whole chunk yet.
    chunks: Vec<u8>,
    chunked: bool,
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The id to come back with.
    pub(crate) last: Option<String>,
    /// Comments so far.
    pub(crate) comments: usize,
}

impl Listener {
    /// Asks for the events at a path; `version` is that of HTTP.
    pub(crate) async fn ask(to: SocketAddr, path: &str, headers: &str, version: &str) -> Self {
        let mut stream = in_time("connect", TcpStream::connect(to)).await.unwrap();
        let request = format!("GET {path} HTTP/{version}\r\nHost: {to}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = vec![];
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert_ne!(in_time("a head", stream.read_buf(&mut bytes)).await.unwrap(), 0, "no head");
        };
        let rest = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).unwrap();
        let status = head[9..12].parse().unwrap();
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let (text, chunks, last) = (String::new(), rest, None);
        Self { stream, text, chunks, chunked, status, head, last, comments: 0 }
    }

    /// Listens as that user.
    pub(crate) async fn open(to: SocketAddr, query: &str) -> Self {
        let listener = Self::ask(to, &format!("/api/v1/events?{query}"), "", "1.1").await;
        assert_eq!(listener.status, 200, "{}", listener.head);
        listener
    }

    /// Comes back after the last event that had an id.
    pub(crate) async fn again(to: SocketAddr, query: &str, last: &str) -> Self {
        let header = format!("Last-Event-ID: {last}\r\n");
        Self::ask(to, &format!("/api/v1/events?{query}"), &header, "1.1").await
    }

    /// Takes whole chunks; false at the last one.
    fn unchunk(&mut self) -> bool {
        if !self.chunked {
            self.text += std::str::from_utf8(&self.chunks).expect("UTF-8");
            self.chunks.clear();
            return true;
        }
        while let Some(at) = self.chunks.windows(2).position(|two| two == b"\r\n") {
            let length = std::str::from_utf8(&self.chunks[..at]).unwrap();
            let length = usize::from_str_radix(length, 16).expect("a chunk's length");
            if self.chunks.len() < at + 2 + length + 2 {
                return true;
            }
            self.text += std::str::from_utf8(&self.chunks[at + 2..at + 2 + length]).expect("UTF-8");
            assert_eq!(&self.chunks[at + 2 + length..at + 4 + length], b"\r\n", "the end of a chunk");
            self.chunks.drain(..at + 4 + length);
            if length == 0 {
                return false;
            }
        }
        true
    }

    fn parse(&mut self) -> Option<Event> {
        while let Some(at) = self.text.find("\n\n") {
            let block: String = self.text.drain(..at + 2).collect();
            let (mut kind, mut id, mut data) = (String::new(), None, vec![]);
            for line in block.lines().filter(|line| !line.is_empty()) {
                match line.split_once(':').expect("a field") {
                    ("event", value) => kind = value.trim_start().to_owned(),
                    ("id", value) => id = Some(value.trim_start().to_owned()),
                    ("data", value) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                    ("retry", value) => assert_eq!(value.trim_start(), "3000"),
                    ("", _) => self.comments += 1,
                    (other, _) => panic!("field {other}"),
                }
            }
            if !data.is_empty() {
                let data: Value = serde_json::from_str(&data.join("\n")).unwrap();
                assert_eq!(data["type"], kind.as_str());
                self.last = id.clone().or(self.last.take());
                return Some(Event { kind, id, data });
            }
        }
        None
    }

    /// The next event; `None`: the server has ended the response.
    pub(crate) async fn hear(&mut self) -> Option<Event> {
        let listen = async {
            loop {
                let more = self.unchunk();
                if let Some(event) = self.parse() {
                    return Some(event);
                }
                if !more || self.stream.read_buf(&mut self.chunks).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        in_time("an event", listen).await
    }

    /// The next event of that type.
    pub(crate) async fn next(&mut self, kind: &str) -> Event {
        loop {
            let event = self.hear().await.unwrap_or_else(|| panic!("the end instead of {kind}"));
            if event.kind == kind {
                return event;
            }
        }
    }

    /// Waits until so many comments have come.
    pub(crate) async fn until_comments(&mut self, count: usize) {
        let listen = async {
            while self.comments < count {
                assert_ne!(self.stream.read_buf(&mut self.chunks).await.unwrap(), 0);
                self.unchunk();
                while self.parse().is_some() {}
            }
        };
        in_time("a comment", listen).await;
    }

    /// Cut without a word; what is unread makes it a reset.
    pub(crate) fn cut(self) -> String {
        self.last.expect("an id")
    }
}

/// A session over long polling: each poll on a connection of its own, which any worker may get.
#[derive(Debug)]
pub(crate) struct Poller {
    to: SocketAddr,
    query: String,
    pub(crate) cursor: Option<String>,
}

impl Poller {
    pub(crate) fn new(to: SocketAddr, query: &str) -> Self {
        Self { to, query: query.to_owned(), cursor: None }
    }

    /// The request of the next poll.
    pub(crate) fn request(&self) -> Request {
        let cursor = self.cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        get(&format!("/api/v1/poll?{}{cursor}", self.query))
    }

    /// The messages of one poll.
    pub(crate) async fn poll(&mut self) -> Vec<Value> {
        let mut connection = Connection::open(self.to).await.unwrap();
        let response = connection.ask(&self.request()).await;
        assert_eq!(response.status, 200, "{response:?}");
        let answer = response.json();
        self.cursor = Some(answer["cursor"].as_str().expect("a cursor").to_owned());
        answer["messages"].as_array().expect("messages").clone()
    }

    /// Polls until a message of that type comes; all that came until then, it included.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let search = async {
            let mut all = vec![];
            while !all.iter().any(|message: &Value| message["type"] == kind) {
                all.extend(self.poll().await);
            }
            all
        };
        in_time(kind, search).await
    }
}
