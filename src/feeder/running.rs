//! A source as the core holds it, and what the log hears of its state.

use super::SourceState;
use super::belief::Belief;
use super::source::Orders;
use super::table::{Row, SourceStatus};
use crate::model::{LogLimiter, Mono};
use crate::providers::{Content, Http};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A source that runs, or that is off.
pub(super) struct RunningSource {
    pub id: u32,
    pub content: Content,
    pub row: Row,
    pub no_tick: Duration,
    /// Limits log lines about its state.
    pub limiter: LogLimiter<SourceState>,
    /// Limits log lines about held prices.
    pub held: LogLimiter<()>,
    /// Limits log lines about unreadable messages.
    pub bad: LogLimiter<()>,
    pub belief: Belief,
    pub orders: watch::Sender<Orders>,
    /// Interval and liveness of each leg.
    pub legs: Vec<(Duration, bool)>,
    pub _task: AbortOnDropHandle<()>,
}

impl RunningSource {
    /// Whether stamps and numbers of a source with that content may be compared with those of this one.
    pub(super) fn is_like(&self, name: &str, content: &Content) -> bool {
        *self.row.status.name == *name && self.content.asks_like(content)
    }

    /// Passes orders on. Whoever wants a source tried now wants its hosts asked, too.
    pub(super) fn order(&self, orders: Orders, http: &Http) {
        if self.orders.borrow().retries != orders.retries {
            http.lift(&self.content.places());
        }
        self.orders.send_if_modified(|before| std::mem::replace(before, orders) != orders);
    }

    /// Logs a change of the state.
    pub(super) fn tell(&mut self, now: Mono) {
        if let Some(hushed) = self.limiter.change(self.row.status.state, now) {
            tell(&self.row.status, hushed);
        }
    }
}

/// Logs a change of a source's state, with the number of suppressed changes before it.
pub(super) fn tell(status: &SourceStatus, hushed: u64) {
    let (source, state) = (&*status.name, status.state.as_str());
    match status.state {
        SourceState::Live => tracing::info!(event = "source", source, state, hushed),
        SourceState::Connecting => tracing::debug!(event = "source", source, state, hushed),
        _ => {
            tracing::warn!(
                event = "source",
                source,
                state,
                hushed,
                why = status.error.as_deref().unwrap_or_default()
            )
        }
    }
}
