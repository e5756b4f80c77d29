//! A whole Binance: REST and stream with one price that a test may set, and faults that it may order.

use super::{Act, Frame, Seen, Standin, binance_ticker, binance_trade, lock};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;

/// The exchange. It trades one pair every 20 ms.
pub struct Exchange {
    pub server: Standin,
    state: Arc<Mutex<State>>,
    frames: broadcast::Sender<Frame>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    code: String,
    price: String,
    id: u64,
    quiet: bool,
    /// What REST and the stream do instead of what they should.
    rest: Option<Act>,
    stream: Option<Act>,
}

impl Exchange {
    /// `code` is `BTCUSDT`.
    pub async fn start(code: &str, price: &str) -> io::Result<Self> {
        let state = State {
            code: code.to_owned(),
            price: price.to_owned(),
            id: 1,
            quiet: false,
            rest: None,
            stream: None,
        };
        let state = Arc::new(Mutex::new(state));
        let (frames, _) = broadcast::channel(64);
        let (asked, sender) = (state.clone(), frames.clone());
        let server = Standin::start(move |seen| answer(&mut lock(&asked), seen, &sender)).await?;
        let (trading, sender) = (state.clone(), frames.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let mut state = lock(&trading);
                if !state.quiet {
                    state.id += 1;
                    // Nobody may be listening.
                    let _ = sender.send(Frame::Text(binance_trade(&state.code, &state.price, state.id)));
                }
            }
        });
        Ok(Self { server, state, frames, task })
    }

    /// From now on it trades at that price.
    pub fn set_price(&self, price: &str) {
        price.clone_into(&mut lock(&self.state).price);
    }

    /// Whether the stream says nothing, with its connections open.
    pub fn quiet(&self, quiet: bool) {
        lock(&self.state).quiet = quiet;
    }

    /// What REST does; `None`: what it should.
    pub fn rest_does(&self, act: Option<Act>) {
        lock(&self.state).rest = act;
    }

    /// What a request for the stream gets; `None`: the stream. Open streams stay.
    pub fn stream_does(&self, act: Option<Act>) {
        lock(&self.state).stream = act;
    }

    /// To all open streams.
    pub fn send(&self, frame: Frame) {
        let _ = self.frames.send(frame);
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.frames.receiver_count()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(state: &mut State, seen: &Seen, frames: &broadcast::Sender<Frame>) -> Act {
    if seen.wants_stream() {
        return state.stream.clone().unwrap_or_else(|| Act::Follow(Vec::new(), frames.clone()));
    }
    state.id += 1;
    let ticker = binance_ticker(&state.code, &state.price, state.id);
    state.rest.clone().unwrap_or_else(|| Act::ok(ticker))
}
