//! HTTP/1.1 requests and answers (RFC 9112).

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head and body together.
const LARGEST: usize = 64 << 20;

/// A request that is not sent yet.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// `GET`
#[must_use]
pub fn get(path: &str) -> Request {
    Request { method: "GET", path: path.into(), headers: vec![], body: None }
}

/// `POST` of JSON.
#[must_use]
pub fn post(path: &str, body: impl AsRef<[u8]>) -> Request {
    let request = Request { method: "POST", body: Some(body.as_ref().to_vec()), ..get(path) };
    request.header("Content-Type", "application/json")
}

/// `GET` that asks for a WebSocket (RFC 6455, section 4.1).
#[must_use]
pub fn upgrade(path: &str) -> Request {
    get(path)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY)
}

/// The nonce of every handshake: the example of RFC 6455.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

impl Request {
    /// Replaces the method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Sets a header, in place of any of that name.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.without(name).also(name, value)
    }

    /// Adds a header, beside any of that name.
    #[must_use]
    pub fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Removes a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Encodes the request. `host` is its `Host` header, unless it has one.
    #[must_use]
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let mut line = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            line("Host", host);
        }
        self.headers.iter().for_each(|(name, value)| line(name, value));
        if let Some(body) = &self.body {
            line("Content-Length", &body.len().to_string());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Tells the request in a failed test, not too long.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{} {:.100}", self.method, self.path)
    }

    /// Whether the answer has no body, whatever its head says.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The status line and the headers as they came, without the empty line.
    pub head: String,
    /// The body, by `Content-Length`.
    pub body: Vec<u8>,
}

impl Response {
    /// Parses a head and leaves the body empty. Returns the head's size, too; `None`: it is not whole yet.
    ///
    /// # Errors
    /// The bytes are not HTTP.
    pub fn head(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status = status.ok_or_else(|| strange("no status", &head))?;
        if let Some(line) = head.lines().skip(1).find(|line| !line.contains(':')) {
            return Err(strange("no header", line));
        }
        Ok(Some((Self { status, head, body: vec![] }, end + 4)))
    }

    /// Parses a whole answer. Returns its size, too; `None`: it is not whole yet.
    ///
    /// # Errors
    /// The bytes are not HTTP, or the body has no `Content-Length`.
    pub fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let Some((mut response, size)) = Self::head(bytes)? else { return Ok(None) };
        if matches!(response.status, 100..=199 | 204 | 304) {
            return Ok(Some((response, size)));
        }
        let length: Option<usize> = response.header("Content-Length").and_then(|text| text.parse().ok());
        let length = length.ok_or_else(|| strange("no length", &response.head))?;
        if length > LARGEST {
            return Err(strange("too long", &response.head));
        }
        Ok(bytes[size..].get(..length).map(|body| {
            response.body = body.to_vec();
            (response, size + length)
        }))
    }

    /// Takes an answer from the front of `buffer`, reading more from `stream` as needed; the rest stays in `buffer`.
    ///
    /// # Errors
    /// The connection ends before the answer, or fails, or speaks something else.
    pub async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
        head_only: bool,
    ) -> io::Result<Self> {
        loop {
            let whole = if head_only { Self::head(buffer)? } else { Self::parse(buffer)? };
            if let Some((response, size)) = whole {
                buffer.drain(..size);
                return Ok(response);
            }
            if buffer.len() > LARGEST || stream.read_buf(buffer).await? == 0 {
                let text = String::from_utf8_lossy(buffer).into_owned();
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
        }
    }

    /// Iterates over names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name, value.trim()))
    }

    /// Finds the first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether the server closes the connection after this answer.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.says("Connection", "close")
    }

    /// Whether the body comes in chunks.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.says("Transfer-Encoding", "chunked")
    }

    fn says(&self, name: &str, value: &str) -> bool {
        self.header(name).is_some_and(|said| said.eq_ignore_ascii_case(value))
    }
}

fn strange(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_pieces() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nconnection: Close\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(Response::parse(&whole[..end]).unwrap(), None, "{end}");
        }
        let (answer, size) = Response::parse(whole).unwrap().unwrap();
        assert_eq!((answer.status, answer.is_last(), answer.is_chunked()), (202, true, false));
        assert_eq!((answer.body.as_slice(), size), (&b"{}"[..], whole.len()));
        assert_eq!(answer.header("CONTENT-length"), Some("2"));
    }

    #[test]
    fn some_answers_have_no_body_and_nonsense_is_refused() {
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        for status in [101, 204, 304] {
            let text = format!("HTTP/1.1 {status} X\r\n\r\nrest");
            let (answer, size) = Response::parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!((answer.status, size), (status, text.len() - 4));
        }
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(Response::head(chunked).unwrap().unwrap().0.is_chunked());
        for bad in [&b"nonsense\r\n\r\n"[..], b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nno\r\n\r\n"] {
            assert!(Response::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_request_is_what_its_caller_says() {
        let request = post("/a", "{}").header("content-type", "text/plain").also("X", "1").also("X", "2");
        let bytes = request.bytes("h:1");
        let text = "POST /a HTTP/1.1\r\nHost: h:1\r\ncontent-type: text/plain\r\nX: 1\r\nX: 2\r\n\
                    Content-Length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        assert_eq!(get("/").header("host", "b").bytes("a"), b"GET / HTTP/1.1\r\nhost: b\r\n\r\n");
        assert!(get("/").method("HEAD").is_head());
    }
}
