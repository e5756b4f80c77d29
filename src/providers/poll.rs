//! The driver of sources that are asked.

use super::fault::Reply;
use super::{Fault, Http, PriceProvider, Sink};
use async_trait::async_trait;
use reqwest::header::HeaderMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How an exchange is asked and how its answer reads. Pure: no socket, no clock.
pub(super) trait Poll: Send + 'static {
    /// What to get.
    fn url(&self) -> String;

    /// What to send with it.
    ///
    /// # Errors
    /// [`Fault::Refused`] when it cannot be said, a key with a line break for instance.
    fn headers(&self) -> Result<HeaderMap, Fault> {
        Ok(HeaderMap::new())
    }

    /// From one question to the next.
    fn every(&self) -> Duration;

    /// Reads an answer of any status.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(&mut self, reply: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault>;
}

/// A dialect with its questions.
pub(super) struct Polled<D> {
    dialect: D,
    http: Arc<Http>,
}

impl<D: Poll> Polled<D> {
    pub(super) fn new(dialect: D, http: Arc<Http>) -> Self {
        Self { dialect, http }
    }

    async fn ask(&mut self, out: &mut dyn Sink) -> Result<(), Fault> {
        let answer = self.http.get(&self.dialect.url(), self.dialect.headers()?).await?;
        let reply = answer.reply();
        out.answer(reply.status, reply.body);
        self.dialect.read(&reply, out)
    }
}

#[async_trait]
impl<D: Poll> PriceProvider for Polled<D> {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        let mut turn = interval(self.dialect.every().max(Duration::from_millis(10)));
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            match self.ask(out).await {
                Ok(()) => {}
                Err(Fault::Skip(why)) => out.bad(why),
                Err(fault) => return fault,
            }
        }
    }
}
