//! A connection to a source that pushes, from opening it to the fault that ends it.

use super::http::Socket;
use super::push::{Limits, Push};
use crate::model::{Symbol, one_line};
use crate::providers::{Budget, Fault, Http, Sink, Tick};
use futures_util::{SinkExt, StreamExt};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Time-out of sending a message.
const SEND: Duration = Duration::from_secs(5);
/// Pause between two sent messages. Binance takes five messages a second, our pongs included.
const APART: Duration = Duration::from_millis(250);
/// Wait after "policy violation": Binance sends it to clients that connect or send too often.
const POLICY_WAIT: Duration = Duration::from_secs(60);

type WsError = tokio_tungstenite::tungstenite::Error;

/// The visible state of a connection while it is read.
#[derive(Clone, Debug, Default)]
pub(in crate::providers) struct Signs {
    /// The handshake is done.
    pub open: bool,
    /// A price of now has arrived.
    pub ticked: bool,
    /// The source asked for another connection, with the reason.
    pub leave: Option<String>,
}

/// The sink of a session, shared by its connections. They are read in one task, so the lock is never contended.
pub(in crate::providers) struct SharedSink<'a>(Mutex<&'a mut dyn Sink>);

impl<'a> SharedSink<'a> {
    pub(in crate::providers) fn new(out: &'a mut dyn Sink) -> Self {
        Self(Mutex::new(out))
    }

    fn lock(&self) -> MutexGuard<'_, &'a mut dyn Sink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to be opened, with a dialect in its first state.
pub(in crate::providers) struct Connection<D> {
    pub dialect: D,
    pub limits: Limits,
    pub signs: watch::Sender<Signs>,
    /// The number of each symbol's last price.
    pub numbers: BTreeMap<Symbol, u64>,
}

impl<D: Push> Connection<D> {
    /// Opens the connection, sends the dialect's hello and reads until it ends. Never waits for `out`.
    pub(in crate::providers) async fn run(mut self, http: &Http, out: &SharedSink<'_>) -> Fault {
        let mut socket = match http.open(&self.dialect.url()).await {
            Ok(socket) => socket,
            Err(fault) => return fault,
        };
        self.signs.send_modify(|signs| signs.open = true);
        let Limits { silence, no_tick, .. } = self.limits;
        let mut heard = Instant::now();
        let mut ticked = heard;
        let mut queue = SendQueue::new(self.dialect.hello(), self.dialect.keepalive(), heard);
        loop {
            let turn = queue.due();
            let frame = tokio::select! {
                frame = socket.next() => frame,
                () = sleep_until(heard + silence) => return retry(format!("silent for {silence:?}")),
                () = sleep_until(ticked + no_tick) => return retry(format!("no price for {no_tick:?}")),
                () = sleep_until(turn.unwrap_or(heard)), if turn.is_some() => {
                    if let Some(line) = queue.next(Instant::now())
                        && let Err(fault) = send(&mut socket, line).await
                    {
                        return fault;
                    }
                    continue;
                }
            };
            heard = Instant::now();
            match self.take(frame, out) {
                Ok(true) => ticked = heard,
                Ok(false) => {}
                Err(fault) => return fault,
            }
            queue.add(self.dialect.follow_up(), heard);
        }
    }

    /// Reads one frame; returns whether it contained a price.
    fn take(&mut self, frame: Option<Result<Message, WsError>>, out: &SharedSink<'_>) -> Result<bool, Fault> {
        let message = match frame {
            None => return Err(retry("the stream ended".to_owned())),
            Some(Err(error)) => return Err(retry(one_line(&error.to_string()))),
            Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message.into_data(),
            // The library queues the answer to a ping and sends it with the next read, which follows.
            Some(Ok(_)) => return Ok(false),
        };
        let mut out = out.lock();
        out.raw(&message);
        let mut sink = TickWatch { out: &mut **out, numbers: &mut self.numbers, ticked: false };
        match self.dialect.read(&message, &mut sink) {
            Ok(()) => {}
            Err(Fault::Skip(why)) => sink.bad(why),
            // The source will close the connection but has not yet: it is read on while another one is opened.
            Err(Fault::Reconnect(why)) => self.signs.send_modify(|signs| signs.leave = Some(why)),
            Err(fault) => return Err(fault),
        }
        if sink.ticked && !self.signs.borrow().ticked {
            self.signs.send_modify(|signs| signs.ticked = true);
        }
        Ok(sink.ticked)
    }
}

/// Messages to send on a connection and when: hello, then keep-alive messages, with a pause between any two.
struct SendQueue {
    hello: VecDeque<String>,
    keepalive: Option<(Duration, String)>,
    /// When the next message may be sent.
    next: Instant,
}

impl SendQueue {
    fn new(hello: Vec<String>, keepalive: Option<(Duration, String)>, now: Instant) -> Self {
        let mut queue = Self { hello: hello.into(), keepalive, next: now };
        if queue.hello.is_empty() {
            queue.next += queue.rest();
        }
        queue
    }

    fn rest(&self) -> Duration {
        self.keepalive.as_ref().map_or(Duration::ZERO, |(every, _)| *every)
    }

    /// Adds messages, which go before the next keep-alive message.
    fn add(&mut self, lines: Vec<String>, now: Instant) {
        if !lines.is_empty() {
            self.next = self.next.min(now + APART);
            self.hello.extend(lines);
        }
    }

    fn due(&self) -> Option<Instant> {
        (!self.hello.is_empty() || self.keepalive.is_some()).then_some(self.next)
    }

    fn next(&mut self, now: Instant) -> Option<String> {
        let line = self.hello.pop_front().or_else(|| Some(self.keepalive.as_ref()?.1.clone()));
        self.next = now + if self.hello.is_empty() { self.rest().max(APART) } else { APART };
        line
    }
}

/// Notices prices on their way. A price repeated again and again, or older than what is known, does not keep a
/// connection alive, and is no reason to leave the old one: its source is stuck or behind.
struct TickWatch<'a> {
    out: &'a mut dyn Sink,
    numbers: &'a mut BTreeMap<Symbol, u64>,
    ticked: bool,
}

impl Sink for TickWatch<'_> {
    fn tick(&mut self, tick: Tick) -> bool {
        let repeated = tick.seq.is_some_and(|seq| self.numbers.insert(tick.symbol.clone(), seq) == Some(seq));
        let current = self.out.tick(tick);
        self.ticked |= current && !repeated;
        current
    }
    fn bad(&mut self, why: String) {
        self.out.bad(why);
    }
    fn trading(&mut self, symbol: Option<&Symbol>, halt: Option<&str>) {
        self.out.trading(symbol, halt);
    }
    fn budget(&mut self, budget: Budget) {
        self.out.budget(budget);
    }
}

async fn send(socket: &mut Socket, line: String) -> Result<(), Fault> {
    match timeout(SEND, socket.send(Message::text(line))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(retry(one_line(&error.to_string()))),
        Err(_) => Err(retry(format!("nothing could be sent for {SEND:?}"))),
    }
}

fn closed(frame: Option<CloseFrame>) -> Fault {
    let Some(frame) = frame else { return retry("closed by the source".to_owned()) };
    let why = format!("closed by the source: {} {}", u16::from(frame.code), one_line(&frame.reason));
    if frame.code == CloseCode::Policy { Fault::wait(POLICY_WAIT, why) } else { retry(why) }
}

fn retry(why: String) -> Fault {
    Fault::Retry(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_never_say_two_things_at_once() {
        let (begin, s) = (Instant::now(), Duration::from_secs);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let said = |hello: &[&str], keepalive: Option<u64>| {
            let keepalive = keepalive.map(|every| (s(every), "k".to_owned()));
            let mut queue = SendQueue::new(words(hello), keepalive, begin);
            let mut said = Vec::new();
            while let (Some(due), true) = (queue.due(), said.len() < 5) {
                said.push(((due - begin).as_millis(), queue.next(due).unwrap()));
            }
            said.into_iter().map(|(at, word)| format!("{at} {word}")).collect::<Vec<_>>()
        };
        assert_eq!(said(&["a", "b", "c"], None), ["0 a", "250 b", "500 c"]);
        assert_eq!(said(&["a", "b"], Some(10)), ["0 a", "250 b", "10250 k", "20250 k", "30250 k"]);
        assert_eq!(said(&[], Some(0))[..3], ["0 k", "250 k", "500 k"]);
        assert_eq!(said(&[], Some(10))[..2], ["10000 k", "20000 k"]);
        assert_eq!(said(&[], None), [""; 0]);
        let mut queue = SendQueue::new(words(&[]), Some((s(10), "k".to_owned())), begin);
        queue.add(words(&["x", "y"]), begin + s(2));
        let ms = |queue: &SendQueue| (queue.due().unwrap() - begin).as_millis();
        assert_eq!((ms(&queue), queue.next(begin + s(3)).unwrap().as_str()), (2250, "x"));
        assert_eq!((ms(&queue), queue.next(begin + s(4)).unwrap().as_str()), (3250, "y"));
        assert_eq!((ms(&queue), queue.next(begin + s(14)).unwrap().as_str()), (14000, "k"));
    }
}
