//! HTTP/1.1 by hand: what goes out is exactly what a test says, and one connection stays with one worker.

use super::in_time;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request that is not sent yet.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// `GET`
pub(crate) fn get(path: &str) -> Request {
    Request { method: "GET".into(), path: path.into(), headers: vec![], body: None }
}

/// `POST` of JSON.
pub(crate) fn post(path: &str, body: impl AsRef<[u8]>) -> Request {
    let body = body.as_ref().to_vec();
    Request { method: "POST".into(), body: Some(body), ..get(path) }
        .header("Content-Type", "application/json")
}

/// `DELETE`
pub(crate) fn delete(path: &str) -> Request {
    get(path).method("DELETE")
}

/// `GET` that asks for a WebSocket.
pub(crate) fn upgrade(path: &str) -> Request {
    get(path)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

impl Request {
    /// The same with another method.
    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    /// The same with this header, in place of one of that name.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        let mut without = self.without(name);
        without.headers.push((name.into(), value.into()));
        without
    }

    /// The same with one more header, beside one of that name.
    pub(crate) fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same without this header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// What goes over the wire.
    pub(crate) fn bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The header's value; the first where there are several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

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

    /// Reads one from the front of `buffer`, and more of it from `stream`; what follows stays in `buffer`.
    pub(crate) async fn read(
        stream: &mut TcpStream,
        buffer: &mut Vec<u8>,
        head_only: bool,
    ) -> io::Result<Self> {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            more(stream, buffer).await?;
        };
        let head = String::from_utf8(buffer.drain(..end + 4).collect()).map_err(io::Error::other)?;
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let mut response = Self { status, headers, body: vec![] };
        if head_only || matches!(status, 101 | 204 | 304) {
            return Ok(response);
        }
        let length = response.header("Content-Length").and_then(|text| text.parse().ok());
        let length: usize = length.ok_or_else(|| io::Error::other(format!("no length: {head}")))?;
        while buffer.len() < length {
            more(stream, buffer).await?;
        }
        response.body = buffer.drain(..length).collect();
        Ok(response)
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, String::from_utf8_lossy(buffer).into_owned())),
        _ => Ok(()),
    }
}

/// One connection, kept alive: all its requests are served by one worker.
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
            Response::read(&mut self.stream, &mut self.buffer, request.method == "HEAD").await
        };
        in_time(&format!("{} {:.100}", request.method, request.path), answer).await
    }

    /// [`Connection::send`] that must be answered.
    pub(crate) async fn ask(&mut self, request: &Request) -> Response {
        let answer = self.send(request).await;
        answer.unwrap_or_else(|error| panic!("{} {:.100}: {error}", request.method, request.path))
    }

    /// The connection, and what was read beyond the last answer.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }
}
