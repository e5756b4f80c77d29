//! The driver of sources that push: a WebSocket, read without a pause.

use super::fault::one_line;
use super::http::Socket;
use super::{Fault, Http, PriceProvider, Sink, Tick};
use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// What we have to say must be taken within this time.
const SEND: Duration = Duration::from_secs(5);
/// After "policy violation": Binance says it to who connects or talks too often.
const POLICY_WAIT: Duration = Duration::from_secs(60);

/// How an exchange is listened to and how its messages read. Pure: no socket, no clock.
pub(super) trait Push: Send + 'static {
    /// Where, `wss://...`.
    fn url(&self) -> String;

    /// What is said first.
    fn hello(&self) -> Vec<String> {
        Vec::new()
    }

    /// What is said every so often.
    fn keepalive(&self) -> Option<(Duration, String)> {
        None
    }

    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with it. [`Fault::Skip`] is counted, everything else ends the session.
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault>;
}

/// When a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Without any frame for so long it is dead.
    pub silence: Duration,
    /// Without a price for so long it is useless, heartbeats or not.
    pub no_tick: Duration,
    /// After so long a new one takes its place; zero: never.
    pub renew_after: Duration,
}

/// A dialect with its connection.
pub(super) struct Pushed<D> {
    dialect: D,
    limits: Limits,
    http: Arc<Http>,
}

impl<D: Push> Pushed<D> {
    pub(super) fn new(dialect: D, limits: Limits, http: Arc<Http>) -> Self {
        Self { dialect, limits, http }
    }

    async fn talk(&mut self, out: &mut dyn Sink) -> Result<Infallible, Fault> {
        let mut socket = self.http.open(&self.dialect.url()).await?;
        for line in self.dialect.hello() {
            say(&mut socket, line).await?;
        }
        let Limits { silence, no_tick, .. } = self.limits;
        let keepalive = self.dialect.keepalive();
        let mut heard = Instant::now();
        let mut ticked = heard;
        let mut due = keepalive.as_ref().map(|(every, _)| heard + *every);
        loop {
            let frame = tokio::select! {
                frame = socket.next() => frame,
                () = sleep_until(heard + silence) => return Err(retry(format!("silent for {silence:?}"))),
                () = sleep_until(ticked + no_tick) => return Err(retry(format!("no price for {no_tick:?}"))),
                () = sleep_until(due.unwrap_or(heard)), if due.is_some() => {
                    if let Some((every, line)) = &keepalive {
                        say(&mut socket, line.clone()).await?;
                        due = Some(Instant::now() + *every);
                    }
                    continue;
                }
            };
            heard = Instant::now();
            if self.take(frame, out)? {
                ticked = heard;
            }
        }
    }

    /// Reads one frame; says whether there was a price in it.
    fn take(&mut self, frame: Option<Result<Message, WsError>>, out: &mut dyn Sink) -> Result<bool, Fault> {
        let message = match frame {
            None => return Err(retry("the stream ended".to_owned())),
            Some(Err(error)) => return Err(retry(one_line(&error.to_string()))),
            Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message.into_data(),
            // A ping's answer is queued by the library and goes out with the next read, which is now.
            Some(Ok(_)) => return Ok(false),
        };
        out.raw(&message);
        let mut ear = Ear { out, ticked: false };
        match self.dialect.read(&message, &mut ear) {
            Ok(()) => {}
            Err(Fault::Skip(why)) => ear.bad(why),
            Err(fault) => return Err(fault),
        }
        Ok(ear.ticked)
    }
}

type WsError = tokio_tungstenite::tungstenite::Error;

#[async_trait]
impl<D: Push> PriceProvider for Pushed<D> {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        match self.talk(out).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }
}

/// Notices prices on their way.
struct Ear<'a> {
    out: &'a mut dyn Sink,
    ticked: bool,
}

impl Sink for Ear<'_> {
    fn tick(&mut self, tick: Tick) {
        self.ticked = true;
        self.out.tick(tick);
    }
    fn bad(&mut self, why: String) {
        self.out.bad(why);
    }
}

async fn say(socket: &mut Socket, line: String) -> Result<(), Fault> {
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
#[path = "push_tests.rs"]
mod tests;
