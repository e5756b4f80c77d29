//! Stand-ins for exchanges: a server on a free port of the loopback that does what a test tells it, good or bad,
//! and remembers what was asked of it. Needs no file of the project, so that unit tests and integration tests
//! can both include it.

#![allow(dead_code, unused_imports, reason = "included in several places, none of which uses all of it")]

pub mod exchange;
pub mod flood;
pub mod says;

pub use says::{binance_ticker, binance_trade, coindesk_index};

use futures_util::{SinkExt, StreamExt};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// An HTTP answer.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// These bytes, and then nothing more on an open connection.
    Bytes(Vec<u8>),
    /// These bytes, one after each pause.
    Drip(Vec<u8>, Duration),
    /// Nothing, on an open connection.
    Hang,
    /// The connection is cut.
    Cut,
    /// A WebSocket that sends these frames and stays open.
    Stream(Vec<Frame>),
    /// A WebSocket whose server sends these bytes after the handshake, one after each pause (all at once without
    /// one), be they frames or not.
    Raw(Vec<u8>, Duration),
    /// A WebSocket that sends these frames and then what comes from the channel.
    Follow(Vec<Frame>, broadcast::Sender<Frame>),
}

/// What a WebSocket sends.
#[derive(Clone, Debug)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close(u16, &'static str),
    Wait(Duration),
    Cut,
}

impl Act {
    /// An answer without further headers.
    pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::answer(200, body)
    }

    /// An answer with `Retry-After`.
    pub fn later(status: u16, seconds: u64, body: impl Into<Vec<u8>>) -> Self {
        Self::Answer { status, headers: vec![("retry-after", seconds.to_string())], body: body.into() }
    }

    /// A redirect.
    pub fn redirect(to: impl Into<String>) -> Self {
        Self::Answer { status: 302, headers: vec![("location", to.into())], body: Vec::new() }
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    /// `/api/v3/...?...`
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn wants_stream(&self) -> bool {
        self.header("upgrade").is_some()
    }
}

/// A server. It ends when it is dropped.
pub struct Standin {
    pub address: SocketAddr,
    log: Arc<Log>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Seen>>,
    /// What clients said on WebSockets: `text:...`, `pong:...`, `close`.
    said: Mutex<Vec<String>>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Choose = Arc<Mutex<dyn FnMut(&Seen) -> Act + Send>>;

impl Standin {
    /// Does the same with every request.
    pub async fn always(act: Act) -> io::Result<Self> {
        Self::start(move |_| act.clone()).await
    }

    /// Does one thing after the other, the last one again and again.
    pub async fn script(acts: Vec<Act>) -> io::Result<Self> {
        let mut acts = acts.into_iter().peekable();
        let mut last = Act::Cut;
        Self::start(move |_| {
            if let Some(act) = acts.next() {
                last = act;
            }
            last.clone()
        })
        .await
    }

    /// Does what the closure says.
    pub async fn start(choose: impl FnMut(&Seen) -> Act + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let log = Arc::new(Log::default());
        let (choose, kept): (Choose, _) = (Arc::new(Mutex::new(choose)), log.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (choose, log) = (choose.clone(), kept.clone());
                connections.spawn(async move { serve(stream, choose, log).await });
            }
        });
        Ok(Self { address, log, task })
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.log.requests).clone()
    }

    pub fn said(&self) -> Vec<String> {
        lock(&self.log.said).clone()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address where nobody listens.
pub async fn nobody() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").await?.local_addr()
}

/// Waits for something that will happen; says whether it did before patience ended.
pub async fn eventually(mut happened: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        if happened() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

async fn serve(mut stream: TcpStream, choose: Choose, log: Arc<Log>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await?;
        head.push(byte);
    }
    let seen = seen(&String::from_utf8_lossy(&head));
    lock(&log.requests).push(seen.clone());
    let act = (lock(&choose))(&seen);
    match act {
        Act::Answer { status, headers, body } => {
            let mut answer = format!("HTTP/1.1 {status} As Told\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                answer.push_str(&format!("{name}: {value}\r\n"));
            }
            answer.push_str("connection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.shutdown().await
        }
        Act::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending().await
        }
        Act::Drip(bytes, pause) => drip(&mut stream, &bytes, pause).await,
        Act::Raw(bytes, pause) => {
            switch(&mut stream, &seen).await?;
            drip(&mut stream, &bytes, pause).await
        }
        Act::Hang => std::future::pending().await,
        Act::Cut => Ok(()),
        Act::Stream(frames) => websocket(stream, &seen, frames, None, &log).await,
        Act::Follow(frames, more) => {
            let more = more.subscribe();
            websocket(stream, &seen, frames, Some(more), &log).await
        }
    }
}

async fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    for some in bytes.chunks(if pause.is_zero() { bytes.len().max(1) } else { 1 }) {
        stream.write_all(some).await?;
        tokio::time::sleep(pause).await;
    }
    std::future::pending().await
}

/// The server's half of the handshake.
async fn switch(stream: &mut TcpStream, seen: &Seen) -> io::Result<()> {
    let accept = derive_accept_key(seen.header("sec-websocket-key").unwrap_or_default().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await
}

fn seen(head: &str) -> Seen {
    let mut lines = head.lines();
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let header =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Seen { at: Instant::now(), target, headers: lines.filter_map(header).collect() }
}

async fn websocket(
    mut stream: TcpStream,
    seen: &Seen,
    frames: Vec<Frame>,
    mut more: Option<broadcast::Receiver<Frame>>,
    log: &Log,
) -> io::Result<()> {
    switch(&mut stream, seen).await?;
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (mut sender, mut receiver) = socket.split();
    let send = async {
        for frame in frames {
            send(&mut sender, frame).await?;
        }
        while let Some(more) = &mut more {
            match more.recv().await {
                Ok(frame) => send(&mut sender, frame).await?,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break,
            }
        }
        std::future::pending::<io::Result<()>>().await
    };
    let listen = async {
        while let Some(Ok(message)) = receiver.next().await {
            let line = match message {
                Message::Text(text) => format!("text:{text}"),
                Message::Pong(bytes) => format!("pong:{}", String::from_utf8_lossy(&bytes)),
                Message::Close(_) => "close".to_owned(),
                _ => continue,
            };
            lock(&log.said).push(line);
        }
    };
    tokio::select! {
        sent = send => sent,
        () = listen => Ok(()),
    }
}

type Sender = futures_util::stream::SplitSink<WebSocketStream<TcpStream>, Message>;

async fn send(sender: &mut Sender, frame: Frame) -> io::Result<()> {
    let message = match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Binary(bytes) => Message::binary(bytes),
        Frame::Ping(bytes) => Message::Ping(bytes.into()),
        Frame::Close(code, reason) => {
            Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
        }
        Frame::Wait(time) => {
            tokio::time::sleep(time).await;
            return Ok(());
        }
        Frame::Cut => return Err(io::ErrorKind::ConnectionReset.into()),
    };
    sender.send(message).await.map_err(io::Error::other)
}
