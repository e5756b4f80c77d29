//! An exchange that floods: a thread that writes frames to a stream as fast as it may, whatever the reader does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The server. Its flood ends when it is dropped.
pub struct Flood {
    pub address: SocketAddr,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// What is sent as number so and so, as bytes of the stream (frames, see [`text`], [`frame`]).
type Say = dyn Fn(u64) -> Vec<u8> + Send + Sync;

impl Flood {
    /// Sends `say(1)`, `say(2)`, ... on each connection, at most `rate` a second (0: without a limit).
    pub fn start(rate: u64, say: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (sent, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let (count, ended, say): (_, _, Arc<Say>) = (sent.clone(), stop.clone(), Arc::new(say));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let (count, ended, say) = (count.clone(), ended.clone(), say.clone());
                std::thread::spawn(move || pour(stream, rate, &*say, &count, &ended));
            }
        });
        Ok(Self { address, sent, stop })
    }

    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The number of what was sent last.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// A frame of the server: its first byte (0x81: a text, 0x89: a ping, 0x00: a part that goes on) and what it holds.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(short.to_be_bytes()[1]),
        Ok(long) => {
            frame.push(126);
            frame.extend_from_slice(&long.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A text.
pub fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

fn pour(mut stream: TcpStream, rate: u64, say: &Say, count: &AtomicU64, ended: &AtomicBool) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    };
    let key = head.lines().find_map(named).unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    let begun = Instant::now();
    let mut mine = 0;
    let mut bytes = answer.into_bytes();
    while !ended.load(Ordering::Relaxed) && stream.write_all(&bytes).is_ok() {
        bytes.clear();
        let due = match rate {
            0 => 100,
            rate => (begun.elapsed().as_micros() as u64 * rate / 1_000_000).saturating_sub(mine),
        };
        for _ in 0..due.min(1000) {
            mine += 1;
            bytes.extend_from_slice(&say(count.fetch_add(1, Ordering::Relaxed) + 1));
        }
        if due == 0 {
            std::thread::park_timeout(Duration::from_micros(500));
        }
    }
}
