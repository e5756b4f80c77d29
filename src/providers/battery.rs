//! The contract that every provider must keep, and an ear for tests.

use super::{Fault, PriceProvider, Sink, Tick};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What a session said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub ticks: Vec<Tick>,
    pub bad: Vec<String>,
    pub raw: Vec<Vec<u8>>,
    /// `None`: it was still going on.
    pub fault: Option<Fault>,
    pub lasted: Duration,
}

impl Sink for Heard {
    fn tick(&mut self, tick: Tick) {
        self.ticks.push(tick);
    }
    fn bad(&mut self, why: String) {
        self.bad.push(why);
    }
    fn raw(&mut self, bytes: &[u8]) {
        self.raw.push(bytes.to_vec());
    }
}

/// One session, cut off after `patience`.
pub(super) async fn listen(provider: &mut dyn PriceProvider, patience: Duration) -> Heard {
    let mut heard = Heard::default();
    let begin = Instant::now();
    heard.fault = timeout(patience, provider.session(&mut heard)).await.ok();
    heard.lasted = begin.elapsed();
    heard
}
