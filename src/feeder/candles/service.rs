//! Connects the history with its file and its readers.

use super::history::{History, Newest};
use super::store::Store;
use crate::config::Config;
use crate::feeder::Now;
use crate::model::{Candles, Interval, Mono, Quote, Symbol};
use crate::protocol::client;
use crate::protocol::cluster::Generation;
use std::time::Duration;

/// Longest wait of an ending feeder for its file.
const LAST: Duration = Duration::from_secs(1);

/// A worker's request for candles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandleRequest {
    /// The worker that asked.
    pub to: Generation,
    /// The worker's number for it.
    pub request: u64,
    pub symbol: Box<str>,
    /// The length of the candles.
    pub interval: Interval,
    /// The largest number of candles.
    pub limit: u32,
}

/// The history and its file.
#[derive(Default)]
pub(in crate::feeder) struct CandleService {
    history: History,
    store: Option<Store>,
}

impl CandleService {
    /// Loads the history that earlier feeders kept.
    pub(in crate::feeder) async fn open(config: &Config, made_up_only: bool) -> Self {
        let mut history = History::default();
        history.reconfigure(&config.price.symbols, made_up_only);
        let (history, store) = Store::open(config.state.clone(), history).await;
        Self { history, store }
    }

    /// Applies another configuration.
    pub(in crate::feeder) fn reconfigure(&mut self, symbols: &[Symbol], made_up_only: bool) {
        self.history.reconfigure(symbols, made_up_only);
    }

    /// Takes a price; `recorded` if its own time stamp is its time.
    pub(in crate::feeder) fn take(&mut self, quote: &Quote, recorded: bool, now: Now) {
        self.history.take(quote, recorded, now.wall);
    }

    /// Closes what is over and returns the changed candles.
    pub(in crate::feeder) fn wake(&mut self, now: Now) -> Vec<Candles> {
        if !self.history.is_due(now.wall) {
            return Vec::new();
        }
        let news = self.history.wake(now.wall);
        self.keep();
        news
    }

    fn keep(&mut self) {
        let entries = self.history.entries();
        if let Some(store) = &mut self.store {
            store.keep(&entries, &self.history);
        }
    }

    /// When to call [`CandleService::wake`].
    pub(in crate::feeder) fn next(&self, now: Now) -> Mono {
        self.history.next((now.mono, now.wall))
    }

    /// The answer as JSON; `None`: unknown symbol.
    pub(in crate::feeder) fn answer(&self, ask: &CandleRequest) -> Option<Box<str>> {
        let limit = usize::try_from(ask.limit).unwrap_or(usize::MAX);
        let Newest { candles, mock, pairs } = self.history.newest(&ask.symbol, ask.interval, limit)?;
        Some(client::history(&ask.symbol, ask.interval, &candles, (mock, &pairs)).into())
    }

    /// Writes everything out, for the end of the process.
    pub(in crate::feeder) async fn finish(mut self, now: Now) {
        self.history.finish(now.wall);
        self.keep();
        if let Some(store) = self.store.take() {
            store.finish(LAST).await;
        }
    }
}
