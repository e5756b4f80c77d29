//! HTTP/1.1 as far as a POST or a GET needs it: one connection, one request after another.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer should take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer.
const MOST: usize = 1 << 20;

/// A connection that is opened again when the server closes it.
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends JSON and returns the answer's status and body.
    pub(crate) async fn post(&mut self, path: &str, json: &str) -> io::Result<(u16, String)> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            json.len()
        );
        self.ask(&format!("{head}{json}")).await
    }

    /// Returns the answer's status and body.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address)).await
    }

    async fn ask(&mut self, request: &str) -> io::Result<(u16, String)> {
        let answer = timeout(PATIENCE, self.exchange(request.as_bytes())).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, String)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                self.stream.insert(stream)
            }
        };
        stream.write_all(request).await?;
        let mut answer = Vec::with_capacity(1024);
        loop {
            if let Some(whole) = parse(&answer)? {
                if whole.close {
                    self.stream = None;
                }
                return Ok((whole.status, whole.body));
            }
            if answer.len() > MOST || stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// What stands before a body.
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) close: bool,
    pub(crate) chunked: bool,
    pub(crate) length: Option<usize>,
    /// Its own bytes, the empty line included.
    pub(crate) size: usize,
}

/// `None`: there is more to come.
pub(crate) fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| strange())?;
    let status = text.get(9..12).and_then(|text| text.parse().ok()).ok_or_else(strange)?;
    let mut head = Head { status, close: false, chunked: false, length: None, size: end + 4 };
    for line in text.lines().skip(1) {
        let (name, value) = line.split_once(':').ok_or_else(strange)?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.trim().parse().ok(),
            "connection" => head.close = value.trim().eq_ignore_ascii_case("close"),
            "transfer-encoding" => head.chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => (),
        }
    }
    Ok(Some(head))
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a strange answer")
}

/// A whole answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) close: bool,
    pub(crate) body: String,
    /// Head and body.
    pub(crate) size: usize,
}

/// `None`: there is more to come.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(Head { status, close, length, size, .. }) = head(bytes)? else { return Ok(None) };
    let length = match (length, status) {
        (Some(length), _) => length,
        (None, 204) => 0,
        (None, _) => return Err(strange()),
    };
    Ok(bytes[size..].get(..length).map(|body| {
        let body = String::from_utf8_lossy(body).into_owned();
        Answer { status, close, body, size: size + length }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_pieces() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nconnection: Close\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]).unwrap(), None, "{end}");
        }
        let answer = Answer { status: 202, close: true, body: "{}".to_owned(), size: whole.len() };
        assert_eq!(parse(whole).unwrap(), Some(answer));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().status, 204);
        assert!(head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap().chunked);
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
