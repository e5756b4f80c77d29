//! The driver of sources that push: a WebSocket that is read without a pause, and replaced before the exchange closes
//! it. Make before break: the old connection is read until the new one gives prices.
//!
//! ```text
//! old   ──ticks──ticks──ticks──ticks──ticks─┐ dropped at the first tick of the new one
//! new          due ─▶ open, hello ─── tick ─┴─ticks──ticks──▶
//! ```
//!
//! At most one new connection exists beside the current one.

use super::connection::{Connection, SharedSink, Signs};
use super::push::{Limits, Push};
use crate::model::Backoff;
use crate::providers::{Ended, Fault, Http, Pauses, PriceProvider, Sink};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Limits how often a connection is replaced within a session: at once if the last time is long ago, else with growing
/// pauses.
#[derive(Clone, Debug)]
struct RenewalPace {
    backoff: Backoff,
    /// The time after which the pauses begin anew. Longer than the longest pause, or they would never grow.
    calm: Duration,
    last: Instant,
}

impl RenewalPace {
    fn new(min: Duration, max: Duration) -> Self {
        Self { backoff: Backoff::new(min, max), calm: max * 2, last: Instant::now() }
    }

    /// When the next connection may be opened.
    fn next(&mut self, now: Instant) -> Instant {
        if now.duration_since(self.last) >= self.calm {
            self.backoff.reset();
            return now;
        }
        self.last + self.backoff.next(fastrand::f64())
    }
}

/// A dialect with its connection.
pub(in crate::providers) struct Pushed<D> {
    dialect: D,
    limits: Limits,
    http: Arc<Http>,
    /// Shortest and longest pause between two replacements that come too soon.
    pauses: (Duration, Duration),
}

/// A connection that is being read.
struct RunningConnection<'a> {
    reading: Pin<Box<dyn Future<Output = Fault> + Send + 'a>>,
    signs: watch::Receiver<Signs>,
    /// When it is to be replaced because of its age.
    old_at: Option<Instant>,
}

impl RunningConnection<'_> {
    /// Returns when another connection should replace it.
    async fn due(signs: &mut watch::Receiver<Signs>, old_at: Option<Instant>) {
        tokio::select! {
            true = holds(signs, |signs| signs.leave.is_some()) => {}
            () = sleep_until(old_at.unwrap_or_else(Instant::now)), if old_at.is_some() => {}
            else => std::future::pending().await,
        }
    }

    /// The session's fault: a connection that announced its end has ended as announced.
    fn end(&self, fault: Fault) -> Fault {
        match &self.signs.borrow().leave {
            Some(why) => Fault::Reconnect(why.clone()),
            None => fault,
        }
    }
}

/// Waits for a state; false if the connection ended without reaching it.
async fn holds(signs: &mut watch::Receiver<Signs>, sign: impl FnMut(&Signs) -> bool) -> bool {
    signs.wait_for(sign).await.is_ok()
}

impl<D: Push> Pushed<D> {
    pub(in crate::providers) fn new(dialect: D, limits: Limits, http: Arc<Http>) -> Self {
        let pauses = (Duration::from_millis(250), Duration::from_secs(30));
        Self { dialect, limits, http, pauses }
    }

    fn begin<'a>(&self, out: &'a SharedSink<'a>) -> RunningConnection<'a> {
        let (sender, signs) = watch::channel(Signs::default());
        let (dialect, numbers) = (self.dialect.clone(), BTreeMap::new());
        let connection = Connection { dialect, limits: self.limits, signs: sender, numbers };
        let http = self.http.clone();
        // Up to a tenth earlier, so that hosts that started together do not renew together; never later, for the
        // exchange closes the connection soon after.
        let age = self.limits.renew_after.mul_f64(1.0 - fastrand::f64() / 10.0);
        RunningConnection {
            reading: Box::pin(async move { connection.run(&http, out).await }),
            signs,
            old_at: (!age.is_zero()).then(|| Instant::now() + age),
        }
    }

    /// Replaces `current` by a new connection as soon as the new one gives prices, or when `current` ends and the new
    /// one is open. A new connection that fails is tried again.
    ///
    /// # Errors
    /// `current` has ended, and there is no other connection.
    async fn replace<'a>(
        &self,
        current: &mut RunningConnection<'a>,
        pace: &mut RenewalPace,
        out: &'a SharedSink<'a>,
    ) -> Result<(), Fault> {
        let mut not_before = pace.next(Instant::now());
        let (mut told, mut refusals) = (false, Pauses::new(self.http.limits().pauses));
        loop {
            tokio::select! {
                biased;
                fault = &mut current.reading => return Err(current.end(fault)),
                () = sleep_until(not_before) => {}
            }
            pace.last = Instant::now();
            let mut fresh = self.begin(out);
            // In this order: after the new connection's first price the old one gives none.
            let fault = tokio::select! {
                biased;
                true = holds(&mut fresh.signs, |signs| signs.ticked) => {
                    *current = fresh;
                    return Ok(());
                }
                fault = &mut current.reading => {
                    if !fresh.signs.borrow().open {
                        return Err(current.end(fault));
                    }
                    *current = fresh;
                    return Ok(());
                }
                fault = &mut fresh.reading => fault,
            };
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(url = self.dialect.url(), %fault, "a new connection failed; the old one goes on");
            }
            let now = Instant::now();
            not_before = match fault {
                Fault::Wait(time, _) => pace.next(now).max(now + time),
                // The old connection gives prices: the refusal contradicts it.
                fault if fault.is_refusal() => {
                    let ended = Ended { fault: &fault, good: false, priced: Some(Duration::ZERO) };
                    pace.next(now).max(now + refusals.next(ended, fastrand::f64()))
                }
                _ => pace.next(now),
            };
        }
    }
}

#[async_trait]
impl<D: Push> PriceProvider for Pushed<D> {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        let out = SharedSink::new(out);
        let mut pace = RenewalPace::new(self.pauses.0, self.pauses.1);
        let mut current = self.begin(&out);
        loop {
            tokio::select! {
                biased;
                fault = &mut current.reading => return current.end(fault),
                () = RunningConnection::due(&mut current.signs, current.old_at) => {}
            }
            if let Err(fault) = self.replace(&mut current, &mut pace, &out).await {
                return fault;
            }
            tracing::debug!(url = self.dialect.url(), "connection renewed");
        }
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod renewal_tests;
