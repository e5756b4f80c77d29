//! Clients without a WebSocket: one that listens to Server-Sent Events, and one that polls.

use super::http::{Connection, Request, Response, get};
use super::in_time;
use btc_cluster_client::events::{Chunks, block};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An event.
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
    /// Bytes of the body that are no whole event yet.
    body: Vec<u8>,
    /// `None`: the body does not come in chunks.
    chunks: Option<Chunks>,
    over: bool,
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
        let head = in_time("a head", Response::read(&mut stream, &mut bytes, true)).await.expect("a head");
        let chunks = head.is_chunked().then(Chunks::default);
        let (status, head, last) = (head.status, head.head.clone(), None);
        let mut it = Self { stream, body: vec![], chunks, over: false, status, head, last, comments: 0 };
        it.take(&bytes);
        it
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

    /// Takes bytes of the connection.
    fn take(&mut self, bytes: &[u8]) {
        match &mut self.chunks {
            Some(chunks) => self.over = chunks.take(bytes, &mut self.body).expect("chunks"),
            None => self.body.extend_from_slice(bytes),
        }
    }

    /// Waits for bytes; `false`: the response has ended.
    async fn more(&mut self) -> bool {
        let mut bytes = vec![];
        if self.over || self.stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return false;
        }
        self.take(&bytes);
        true
    }

    /// Takes the next event that is there.
    fn parse(&mut self) -> Option<Event> {
        while let Some((block, size)) = block(&self.body) {
            assert_eq!(block.unknown, None, "a field");
            assert!(block.retry.is_none_or(|retry| retry == "3000"), "{block:?}");
            self.comments += usize::from(block.comment);
            let event = block.data.map(|data| Event {
                kind: block.event.unwrap_or_default().to_owned(),
                id: block.id.map(str::to_owned),
                data: serde_json::from_str(&data).unwrap(),
            });
            self.body.drain(..size);
            if let Some(event) = event {
                assert_eq!(event.data["type"], event.kind.as_str());
                self.last = event.id.clone().or(self.last.take());
                return Some(event);
            }
        }
        None
    }

    /// The next event; `None`: the server has ended the response.
    pub(crate) async fn hear(&mut self) -> Option<Event> {
        let listen = async {
            loop {
                if let Some(event) = self.parse() {
                    return Some(event);
                }
                if !self.more().await {
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
                assert!(self.more().await, "the end instead of a comment");
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
