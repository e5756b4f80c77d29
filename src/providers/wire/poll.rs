//! Polls a source: the driver of dialects that are asked.

use super::age::Ages;
use super::reply::Reply;
use crate::providers::{Fault, Http, PriceProvider, Sink};
use async_trait::async_trait;
use http::header::HeaderMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Shortest interval between two requests.
const SHORTEST: Duration = Duration::from_millis(10);
/// So many answers in a row that are none (a login page) end the session.
const STRANGERS: u32 = 3;

/// Asks an exchange and reads its answer. Pure: no socket, no clock.
pub(in crate::providers) trait Poll: Send + 'static {
    fn url(&self) -> String;

    /// The headers of the request.
    ///
    /// # Errors
    /// [`Fault::Refused`] if they cannot be sent, for instance a key with a line break.
    fn headers(&self) -> Result<HeaderMap, Fault> {
        Ok(HeaderMap::new())
    }

    /// The interval between two requests.
    fn every(&self) -> Duration;

    /// Reads an answer of any status.
    ///
    /// # Errors
    /// What is wrong with the answer.
    fn read(&mut self, reply: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault>;
}

/// A dialect with the client that asks for it.
pub(in crate::providers) struct Polled<D> {
    dialect: D,
    http: Arc<Http>,
    ages: Ages,
    /// Answers in a row that no dialect can read.
    strangers: u32,
}

impl<D: Poll> Polled<D> {
    pub(in crate::providers) fn new(dialect: D, http: Arc<Http>) -> Self {
        Self { dialect, http, ages: Ages::default(), strangers: 0 }
    }

    /// Sends one request; returns when the next one may follow at the earliest.
    async fn ask(&mut self, out: &mut dyn Sink) -> Result<Duration, Fault> {
        let (url, every) = (self.dialect.url(), self.dialect.every().max(SHORTEST));
        let answer = self.http.get(&url, self.dialect.headers()?).await?;
        let reply = answer.reply();
        out.answer(reply.status, reply.body);
        let every = answer.budget.map_or(every, |budget| {
            out.budget(budget);
            budget.stretch(every)
        });
        out.age(self.ages.take(&answer.age(), Instant::now()));
        let stranger = reply.stranger();
        self.strangers = stranger.as_ref().map_or(0, |_| self.strangers + 1);
        let read = match stranger {
            Some(why) if self.strangers >= STRANGERS => Err(Fault::Retry(why)),
            Some(why) => Err(Fault::Skip(why)),
            None => self.dialect.read(&reply, out),
        };
        match read {
            Ok(()) => {}
            Err(Fault::Skip(why)) => out.bad(why),
            Err(fault) => {
                self.http.obey(&url, reply.status, &fault);
                return Err(fault);
            }
        }
        Ok(every)
    }
}

#[async_trait]
impl<D: Poll> PriceProvider for Polled<D> {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        let mut turn = Instant::now();
        loop {
            sleep_until(turn).await;
            turn = Instant::now();
            match self.ask(out).await {
                Ok(every) => turn += every,
                Err(fault) => return fault,
            }
        }
    }
}

#[cfg(test)]
#[path = "poll_tests.rs"]
mod tests;
