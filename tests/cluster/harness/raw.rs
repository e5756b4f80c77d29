//! A connection without manners: bytes as a test wants them, frames as they come.

use super::http::{Connection, Request, Response, upgrade};
use super::in_time;
use btc_cluster_client::frame;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Any mask.
const MASK: [u8; 4] = [0xA1, 0x02, 0xF3, 0x44];

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code and the reason, where it is a close frame.
    pub(crate) fn close(&self) -> Option<(u16, String)> {
        if self.opcode != 8 {
            return None;
        }
        let code = frame::close_code(&self.payload);
        Some((code, String::from_utf8_lossy(self.payload.get(2..).unwrap_or_default()).into_owned()))
    }

    /// The message, where it is a text of JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

/// A connection to which a test writes any bytes.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects and says nothing.
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = in_time("connect", TcpStream::connect(to)).await.expect("a connection");
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![] }
    }

    /// A session, its handshake done by the book.
    pub(crate) async fn session(to: SocketAddr, path: &str) -> Self {
        Self::connect(to).await.upgraded(to, &upgrade(path)).await
    }

    /// A session whose kernel takes little that it does not read.
    pub(crate) async fn narrow(to: SocketAddr, path: &str) -> Self {
        Self::narrow_to(to).await.upgraded(to, &upgrade(path)).await
    }

    /// A connection whose kernel takes little that it does not read.
    pub(crate) async fn narrow_to(to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = in_time("connect", socket.connect(to)).await.expect("a connection");
        Self { stream, buffer: vec![] }
    }

    /// A connection that was made elsewhere.
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self { stream, buffer: vec![] }
    }

    /// A session, or the refusal of its handshake.
    pub(crate) async fn tried(mut self, to: SocketAddr, request: &Request) -> Result<Self, Response> {
        self.write(&request.bytes(&to.to_string())).await;
        let response = self.response().await.expect("an answer to the handshake");
        if response.status == 101 { Ok(self) } else { Err(response) }
    }

    /// A session of a client at another address of this machine, 127.0.0.2 for instance.
    pub(crate) async fn session_from(from: IpAddr, to: SocketAddr, path: &str) -> Self {
        Self::connect_from(from, to).await.upgraded(to, &upgrade(path)).await
    }

    /// A connection of such a client, which says nothing.
    pub(crate) async fn connect_from(from: IpAddr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let stream = in_time("connect", socket.connect(to)).await.expect("a connection");
        Self { stream, buffer: vec![] }
    }

    async fn upgraded(mut self, to: SocketAddr, request: &Request) -> Self {
        self.write(&request.bytes(&to.to_string())).await;
        let response = self.response().await.expect("an answer to the handshake");
        assert_eq!(response.status, 101, "{response:?}");
        self
    }

    /// A connection that has been used for HTTP.
    pub(crate) fn after(connection: Connection) -> Self {
        let (stream, buffer) = connection.into_parts();
        Self { stream, buffer }
    }

    /// The client's end.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.expect("the server reads");
    }

    /// Sends bytes as they are, to a server that may have hung up.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        in_time("write", self.stream.write_all(bytes)).await
    }

    /// Sends bytes and the end of this side in one: the server has both before it reads.
    pub(crate) async fn write_last(&mut self, bytes: &[u8]) {
        // What is written while the socket is corked leaves with the end.
        rustix::net::sockopt::set_tcp_cork(&self.stream, true).unwrap();
        self.write(bytes).await;
        self.say_no_more().await;
    }

    /// Shuts down this side: the server hears the end of what is said, and may go on.
    pub(crate) async fn say_no_more(&mut self) {
        self.stream.shutdown().await.expect("a connection");
    }

    /// More of what the server says; false at its end. What came so far is in the second place.
    pub(crate) async fn more(&mut self) -> (bool, String) {
        let read = in_time("bytes", self.stream.read_buf(&mut self.buffer)).await;
        (matches!(read, Ok(1..)), String::from_utf8_lossy(&self.buffer).into_owned())
    }

    /// Sends a frame with this first byte, masked.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.write(&masked(first, payload)).await;
    }

    /// The next HTTP answer.
    pub(crate) async fn response(&mut self) -> io::Result<Response> {
        in_time("an answer", Response::read(&mut self.stream, &mut self.buffer, false)).await
    }

    /// The next frame; `None` when the server has hung up.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take(&mut self.buffer) {
                return Some(frame);
            }
            let read = in_time("a frame", self.stream.read_buf(&mut self.buffer)).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// The close frame, whatever comes before it. Nothing may come after it but the end.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            let Some(frame) = self.next().await else { panic!("the connection ended without a close frame") };
            if let Some(close) = frame.close() {
                assert_eq!(self.next().await, None, "something after the close frame");
                return close;
            }
        }
    }

    /// All bytes until the server hangs up.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        loop {
            match in_time("the end of the connection", self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) | Err(_) => return std::mem::take(&mut self.buffer),
                Ok(_) => {}
            }
        }
    }
}

/// Encodes a frame as a client must send it.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame::masked(first, MASK, payload)
}

/// Takes the first frame out of a buffer, if it is whole. A server does not mask and does not fragment.
fn take(buffer: &mut Vec<u8>) -> Option<Frame> {
    let frame = frame::frame(buffer)?;
    let plain = frame.first & 0xF0 == 0x80 && !frame.masked;
    assert!(plain, "a whole, plain, unmasked frame: {:#x} {}", frame.first, frame.masked);
    let (opcode, payload, size) = (frame.opcode(), frame.payload.to_vec(), frame.size);
    buffer.drain(..size);
    Some(Frame { opcode, payload })
}
