//! A connection of a session, over any transport.

use crate::connect::{PER_ADDRESS, connect};
use crate::decoder::{Decoder, End, Heard, Transport};
use crate::options::Ports;
use btc_cluster_client::frame::{self, CLOSE, TEXT, pong};
use btc_cluster_client::http::{Request, get, upgrade};
use socket2::SockRef;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any connection should take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients beyond this number share their source addresses with the first ones.
const SOURCES: u32 = 8 * PER_ADDRESS;

/// The user of a session.
#[derive(Debug)]
pub(crate) struct Who {
    /// No other user of this run has it.
    pub(crate) index: u32,
    pub(crate) user: String,
    /// Separated by commas.
    pub(crate) channels: String,
}

/// The endpoint of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// A main session.
    Main(Transport),
    /// A WebSocket beside it: `/chat` for instance.
    Other(&'static str),
}

impl Door {
    fn transport(self) -> Transport {
        if let Self::Main(transport) = self { transport } else { Transport::Ws }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    decoder: Decoder,
    /// A poll needs them again.
    ports: Rc<Ports>,
    who: Rc<Who>,
    /// The rest of a message that has begun; what is sent meanwhile goes behind it.
    rest: Option<Vec<u8>>,
}

impl Line {
    /// Connects and sends the request; the answer is read by [`Line::take`].
    pub(crate) async fn open(
        ports: &Rc<Ports>,
        who: &Rc<Who>,
        door: Door,
        resume: Option<&str>,
    ) -> Result<Self, End> {
        let transport = door.transport();
        let (target, request) = match (door, transport) {
            (Door::Other(path), _) => (&ports.url, open_ws(path, who, None)),
            (_, Transport::Ws) => (&ports.url, open_ws(&ports.url.path, who, resume)),
            (_, Transport::Sse) => (&ports.http, listen(ports, who, resume)),
            (_, Transport::Poll) => (&ports.http, poll(ports, who, resume)),
        };
        let request = request.bytes(&target.address.to_string());
        let opening = async {
            let mut stream = connect(target.address, who.index % SOURCES).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&request).await?;
            io::Result::Ok(stream)
        };
        let stream = timeout(PATIENCE, opening).await;
        let stream = stream.map_err(|_| End::Lost)?.map_err(|_| End::Lost)?;
        Ok(Self {
            stream,
            decoder: Decoder::new(transport),
            ports: ports.clone(),
            who: who.clone(),
            rest: None,
        })
    }

    /// Waits until the connection is readable.
    pub(crate) async fn readable(&self) {
        // An error is found by `take`, too.
        let _ = self.stream.readable().await;
    }

    /// Decodes all bytes that are there, answers pings, and sends the next poll.
    pub(crate) fn take(&mut self, mut hear: impl FnMut(Heard<'_>)) -> Result<(), End> {
        let mut buffer = [0; 16 << 10];
        loop {
            let new = match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(End::Lost),
                Ok(len) => &buffer[..len],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(End::Lost),
            };
            let Self { stream, decoder, ports, who, rest } = self;
            let (mut cursor, mut written) = (String::new(), true);
            decoder.take(new, &mut |heard: Heard<'_>| match heard {
                Heard::Ping(payload) => match rest {
                    Some(rest) => rest.extend(pong(payload)),
                    None => written &= send(stream, &pong(payload)),
                },
                Heard::Answered => {
                    let host = ports.http.address.to_string();
                    written &= send(stream, &poll(ports, who, Some(&cursor)).bytes(&host));
                }
                Heard::Place(place) => {
                    cursor.replace_range(.., place);
                    hear(Heard::Place(place));
                }
                Heard::Message(json) => hear(Heard::Message(json)),
            })?;
            if !written {
                return Err(End::Lost);
            }
        }
    }

    /// Says something over a WebSocket; `false`: it could not be sent.
    pub(crate) fn say(&self, text: &str) -> bool {
        send(&self.stream, &frame::message(TEXT, text.as_bytes()))
    }

    /// Sends these bytes up to a place in them, and the rest when it is told to; `false`: it could not.
    pub(crate) fn begin(&mut self, mut bytes: Vec<u8>, at: usize) -> bool {
        self.rest = Some(bytes.split_off(at));
        send(&self.stream, &bytes)
    }

    /// Sends the rest of what has begun; `false`: it could not.
    pub(crate) fn complete(&mut self) -> bool {
        self.rest.take().is_none_or(|rest| send(&self.stream, &rest))
    }

    /// A close with 1000.
    pub(crate) fn leave(&self) {
        send(&self.stream, &frame::message(CLOSE, &1000_u16.to_be_bytes()));
    }

    /// Dropped without reading what is there; with a reset even where nothing is.
    pub(crate) fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// Sends a small message at once; `false`: it did not fit, so the other side does not read.
fn send(stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.try_write(bytes).is_ok_and(|len| len == bytes.len())
}

/// The query that names a session, and what its client returns with.
fn query(who: &Who, name: &str, value: Option<&str>) -> String {
    let mut query = format!("user_id={}", who.user);
    if !who.channels.is_empty() {
        let _ = write!(query, "&channels={}", who.channels);
    }
    if let Some(value) = value {
        let _ = write!(query, "&{name}={value}");
    }
    query
}

fn open_ws(path: &str, who: &Who, resume: Option<&str>) -> Request {
    upgrade(&format!("{path}?{}", query(who, "resume", resume)))
}

fn listen(ports: &Ports, who: &Who, resume: Option<&str>) -> Request {
    let request = get(&format!("{}/api/v1/events?{}", ports.http.path, query(who, "", None)));
    let request = request.header("Accept", "text/event-stream");
    if let Some(id) = resume { request.header("Last-Event-ID", id) } else { request }
}

fn poll(ports: &Ports, who: &Who, cursor: Option<&str>) -> Request {
    get(&format!("{}/api/v1/poll?{}", ports.http.path, query(who, "cursor", cursor)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    fn ports(listener: &TcpListener) -> Rc<Ports> {
        let address = listener.local_addr().unwrap();
        Rc::new(Ports {
            url: format!("ws://{address}/ws").parse().unwrap(),
            http: format!("http://{address}").parse().unwrap(),
            admin: format!("http://{address}").parse().unwrap(),
            channel: "news".to_owned(),
            pid: None,
        })
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut bytes = vec![0; 4096];
        let len = stream.read(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_poll_is_followed_by_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let who = Rc::new(Who { index: 0, user: "a".to_owned(), channels: "news".to_owned() });
        let mut line = Line::open(&ports(&listener), &who, Door::Main(Transport::Poll), None).await.unwrap();
        let mut server = listener.accept().await.unwrap().0;
        assert!(read(&mut server).await.starts_with("GET /api/v1/poll?user_id=a&channels=news HTTP/1.1\r\n"));
        let body = r#"{"cursor":"t.1","messages":[{}]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        server.write_all(answer.as_bytes()).await.unwrap();
        let mut heard = 0;
        line.readable().await;
        line.take(|_| heard += 1).unwrap();
        assert_eq!(heard, 2);
        assert!(read(&mut server).await.contains("&cursor=t.1 HTTP"));
    }

    #[tokio::test]
    async fn a_reset_is_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let who = Rc::new(Who { index: 0, user: "a".to_owned(), channels: "news".to_owned() });
        let line =
            Line::open(&ports(&listener), &who, Door::Main(Transport::Sse), Some("t.1")).await.unwrap();
        let mut server = listener.accept().await.unwrap().0;
        assert!(read(&mut server).await.contains("\r\nLast-Event-ID: t.1\r\n"));
        line.reset();
        assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
