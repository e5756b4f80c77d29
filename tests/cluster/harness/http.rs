//! HTTP/1.1 without a pool: a request goes out exactly as a test says, and one connection stays with one worker.

use super::in_time;
use btc_cluster_client::http;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub(crate) use btc_cluster_client::http::{Request, get, post, upgrade};

/// `DELETE`
pub(crate) fn delete(path: &str) -> Request {
    get(path).method("DELETE")
}

/// An answer, with the words of the tests.
#[derive(Clone, Debug)]
pub(crate) struct Response(http::Response);

impl Deref for Response {
    type Target = http::Response;

    fn deref(&self) -> &http::Response {
        &self.0
    }
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON, which its type must say.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("Content-Type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The status and the slug of an RFC 9457 problem, which it must be in every respect.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"), "{self:?}");
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(super::keys(&body), ["detail", "status", "title", "type"], "{body}");
        assert_eq!(body["status"], self.status, "{body}");
        for text in ["title", "detail"] {
            assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
        if matches!(self.status, 429 | 503) {
            let seconds: u64 = self.header("Retry-After").expect("Retry-After").parse().unwrap();
            assert!(seconds >= 1, "{self:?}");
        }
        let slug = body["type"].as_str().and_then(|kind| kind.rsplit('/').next()).expect("a slug");
        (self.status, slug.to_owned())
    }

    /// Takes an answer from the front of `buffer`, reading more from `stream`; the rest stays in `buffer`.
    pub(crate) async fn read(
        stream: &mut TcpStream,
        buffer: &mut Vec<u8>,
        head_only: bool,
    ) -> io::Result<Self> {
        http::Response::read(stream, buffer, head_only).await.map(Self)
    }
}

/// A connection that is kept alive, so that one worker serves all its requests.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    host: String,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![], host: to.to_string() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn send(&mut self, request: &Request) -> io::Result<Response> {
        let answer = async {
            self.stream.write_all(&request.bytes(&self.host)).await?;
            Response::read(&mut self.stream, &mut self.buffer, request.is_head()).await
        };
        in_time(&request.summary(), answer).await
    }

    /// [`Connection::send`] that must be answered.
    pub(crate) async fn ask(&mut self, request: &Request) -> Response {
        let answer = self.send(request).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", request.summary()))
    }

    /// The connection, and what was read beyond the last answer.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }
}
