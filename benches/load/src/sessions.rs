//! Many WebSocket sessions of one process: opened, kept alive, and listened to. What is read is parsed from one
//! buffer on the stack; a session holds bytes only while half a frame is there.

use crate::connect::PER_ADDRESS;
use crate::options::Options;
use crate::report::{Latency, Open, micros};
use crate::wire::{Dialed, Dialer, Wire};
use btc_cluster_client::frame::{CLOSE, PING, TEXT, close_code, frame, frames, pong};
use btc_cluster_client::http::{Response, upgrade};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, timeout};

/// Longer than any handshake should take.
const PATIENCE: Duration = Duration::from_secs(30);

/// All sessions, and what they have seen.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) size: u32,
    /// By session: when a quote was asked for that has not come yet.
    pub(crate) asked: RefCell<Vec<Option<Instant>>>,
    /// Microseconds from asking to coming.
    pub(crate) quotes: RefCell<Vec<u32>>,
    /// The message to all that is under way: its number, and when it was sent.
    pub(crate) message: Cell<Option<(u32, Instant)>>,
    /// Microseconds from sending to each session.
    pub(crate) messages: RefCell<Vec<u32>>,
    /// Told whenever something has been read.
    pub(crate) news: Notify,
    alive: Cell<u32>,
    cut: RefCell<BTreeMap<u16, u64>>,
}

impl Crowd {
    pub(crate) fn new(size: u32) -> Self {
        Self {
            size,
            asked: RefCell::new(vec![None; size as usize]),
            quotes: RefCell::default(),
            message: Cell::default(),
            messages: RefCell::default(),
            news: Notify::new(),
            alive: Cell::new(0),
            cut: RefCell::default(),
        }
    }

    /// Sessions that are open now.
    pub(crate) fn alive(&self) -> u32 {
        self.alive.get()
    }

    pub(crate) fn cut(&self) -> BTreeMap<u16, u64> {
        self.cut.borrow().clone()
    }

    /// A text frame came for a session.
    fn heard(&self, index: usize, payload: &[u8], now: Instant) {
        let start = &payload[..payload.len().min(64)];
        if has(start, br#""type":"quote""#) {
            if let Some(asked) = self.asked.borrow_mut()[index].take() {
                self.quotes.borrow_mut().push(micros(now - asked));
            }
        } else if has(start, br#""type":"message""#)
            && let Some((number, sent)) = self.message.get()
            && has(payload, format!(r#""load":{number}}}"#).as_bytes())
        {
            self.messages.borrow_mut().push(micros(now - sent));
        }
    }
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The user of a session.
pub(crate) fn user(index: u32) -> String {
    format!("load-{index}")
}

/// Opens all sessions, some at a time.
pub(crate) async fn open_all(crowd: &Rc<Crowd>, options: &Options) -> Result<Open, String> {
    if crowd.size > PER_ADDRESS && options.ports.url.address.is_ipv6() {
        return Err(format!("more than {PER_ADDRESS} sessions need an IPv4 address in --url"));
    }
    let dialer = Dialer::new(options.tls, options.resume)?;
    let turns = Arc::new(Semaphore::new(options.open_inflight as usize));
    let (start, mut opening) = (Instant::now(), JoinSet::new());
    for index in 0..crowd.size {
        let Ok(turn) = turns.clone().acquire_owned().await else { break };
        let (crowd, address, path) = (crowd.clone(), options.ports.url.address, request(options, index));
        let dialer = dialer.clone();
        opening.spawn_local(async move {
            let begun = Instant::now();
            let opened = timeout(PATIENCE, open(&dialer, address, index, &path)).await;
            drop(turn);
            let (wire, rest) = opened.map_err(|_| "timeout".to_owned())??;
            crowd.alive.set(crowd.alive.get() + 1);
            spawn_local(live(wire, rest, crowd, index as usize));
            Ok::<_, String>(micros(begun.elapsed()))
        });
    }
    let mut failed = BTreeMap::new();
    let mut times = Vec::new();
    while let Some(result) = opening.join_next().await {
        match result.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(time) => times.push(time),
            Err(error) => *failed.entry(error).or_insert(0) += 1,
        }
    }
    let (opened, seconds) = (u32::try_from(times.len()).unwrap_or(u32::MAX), start.elapsed().as_secs_f64());
    if opened == 0 {
        return Err(format!("no session could be opened: {failed:?}"));
    }
    let per_second = f64::from(opened) / seconds;
    Ok(Open { opened, failed, seconds, per_second, latency: Latency::of(times) })
}

fn request(options: &Options, index: u32) -> Vec<u8> {
    let Options { ports, .. } = options;
    let path = format!("{}?user_id={}&channels={}", ports.url.path, user(index), ports.channel);
    upgrade(&path).bytes(&ports.url.address.to_string())
}

/// Connects and waits for the first frame; returns the connection and the bytes after that frame.
async fn open(
    dialer: &Dialer,
    address: SocketAddr,
    index: u32,
    request: &[u8],
) -> Result<(Wire, Vec<u8>), String> {
    let mut dialed = dialer.dial(address, index).await.map_err(|error| error.to_string())?;
    let rest = match &mut dialed {
        Dialed::Plain(stream) => greet(stream, request).await,
        Dialed::Tls(stream) => greet(&mut **stream, request).await,
    };
    Ok((dialed.into_wire(), rest?))
}

async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Result<Vec<u8>, String> {
    let words = |error: io::Error| error.to_string();
    stream.write_all(request).await.map_err(words)?;
    stream.flush().await.map_err(words)?;
    let mut bytes = Vec::with_capacity(1024);
    let response = Response::read(stream, &mut bytes, true).await.map_err(words)?;
    if response.status != 101 {
        return Err(format!("status {}", response.status));
    }
    loop {
        if let Some(welcome) = frame(&bytes) {
            let size = welcome.size;
            return Ok(bytes.split_off(size));
        }
        if stream.read_buf(&mut bytes).await.map_err(words)? == 0 {
            return Err("closed in the handshake".to_owned());
        }
    }
}

/// Reads until the end.
async fn live(mut wire: Wire, mut rest: Vec<u8>, crowd: Rc<Crowd>, index: usize) {
    let mut code = take(&mut wire, &mut rest, &[], &crowd, index);
    // The handshake may have read more than its own bytes.
    code = code.or_else(|| read(&mut wire, &mut rest, &crowd, index));
    while code.is_none() && wire.readable().await.is_ok() {
        code = read(&mut wire, &mut rest, &crowd, index);
        crowd.news.notify_one();
    }
    crowd.alive.set(crowd.alive.get() - 1);
    *crowd.cut.borrow_mut().entry(code.unwrap_or(1006)).or_default() += 1;
}

/// Takes all there is; the close code when it is the end.
fn read(wire: &mut Wire, rest: &mut Vec<u8>, crowd: &Crowd, index: usize) -> Option<u16> {
    let mut buffer = [0; 16 << 10];
    loop {
        let code = match wire.try_read(&mut buffer) {
            Ok(0) => Some(1006),
            Ok(len) => take(wire, rest, &buffer[..len], crowd, index),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => Some(1006),
        };
        if code.is_some() {
            return code;
        }
    }
}

/// Takes the whole frames of what is left and what is new.
fn take(wire: &mut Wire, rest: &mut Vec<u8>, new: &[u8], crowd: &Crowd, index: usize) -> Option<u16> {
    let (now, mut code) = (Instant::now(), None);
    let on_frame = |opcode, payload: &[u8]| match opcode {
        TEXT => crowd.heard(index, payload, now),
        PING => _ = wire.send(&pong(payload)),
        CLOSE => code = Some(close_code(payload)),
        _ => (),
    };
    if rest.is_empty() {
        let used = frames(new, on_frame);
        rest.extend_from_slice(&new[used..]);
    } else {
        rest.extend_from_slice(new);
        let used = frames(rest, on_frame);
        *rest = rest.split_off(used);
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_counted_once() {
        let crowd = Crowd::new(2);
        let now = Instant::now();
        let quote = br#"{"type":"quote","request_id":"x"}"#;
        crowd.heard(1, quote, now);
        crowd.asked.borrow_mut()[1] = Some(now);
        crowd.heard(1, quote, now);
        crowd.heard(1, quote, now);
        assert_eq!(crowd.quotes.borrow().len(), 1);
        crowd.message.set(Some((7, now)));
        crowd.heard(0, br#"{"type":"message","channel":"news","data":{"load":7},"time":"x"}"#, now);
        crowd.heard(0, br#"{"type":"message","channel":"news","data":{"load":70},"time":"x"}"#, now);
        assert_eq!(crowd.messages.borrow().len(), 1);
    }
}
