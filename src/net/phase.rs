//! What a connection is at, shared by its guard, its service, and whoever decides that it ends for a newcomer.

use super::give_way::Rank;
use crate::os::clock;
use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Waker};
use tokio::sync::Notify;

const CHANGE: u64 = 1 << 32;
const COUNT: u64 = CHANGE - 1;
/// Set while data was written and not flushed.
const UNFLUSHED: u64 = 1 << 63;

const NOTHING: u8 = 0;
const RECEIVES: u8 = 1;
const HOLDS: u8 = 2;

/// Whether a request is being served, told by the service to the guard of its connection.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The high half counts changes, the low half requests.
    state: AtomicU64,
    /// When the last request came or was answered, else when the connection came; in nanoseconds.
    since: AtomicU64,
    /// What the request waits for.
    wants: AtomicU8,
    /// The connection ends for a newcomer as soon as nothing is lost by it.
    yields: AtomicBool,
    guard: AtomicWaker,
    holder: Notify,
}

impl Phase {
    /// The phase of a connection that has just come.
    #[must_use]
    pub fn new() -> Self {
        let phase = Self::default();
        phase.touch();
        phase
    }

    /// The phase of a session's connection that takes its last bytes.
    #[must_use]
    pub fn last_words() -> Self {
        let phase = Self::new();
        phase.unflushed();
        phase
    }

    /// Ready when the connection is to end for a newcomer.
    pub async fn is_told(&self) {
        self.0.holder.notified().await;
    }

    /// Marks the beginning of a request whose head is complete. The request is served until the token is dropped, best
    /// together with the response's body.
    #[must_use]
    pub fn begin(&self) -> Serving {
        self.0.state.fetch_add(CHANGE + 1, Ordering::AcqRel);
        self.touch();
        Serving(self.clone())
    }

    /// Whether the kernel has all written data: the last write was followed by a flush.
    #[must_use]
    pub fn all_written(&self) -> bool {
        self.0.state.load(Ordering::Acquire) & UNFLUSHED == 0
    }

    /// Marks whether the body of the request has not come to its end.
    pub fn receives(&self, receives: bool) {
        self.0.wants.store(if receives { RECEIVES } else { NOTHING }, Ordering::Release);
    }

    /// Marks that the request waits for news that may never come. Ready when it is to wait no longer.
    pub async fn holds(&self) {
        struct Holds<'a>(&'a Phase);
        impl Drop for Holds<'_> {
            fn drop(&mut self) {
                self.0.receives(false);
            }
        }
        self.0.wants.store(HOLDS, Ordering::Release);
        let _holds = Holds(self);
        self.is_told().await;
    }

    /// What the connection loses by its end, and since when it waits. `None`: a request is being served, or the
    /// connection ends already.
    #[must_use]
    pub fn waits(&self) -> Option<(Rank, u64)> {
        if self.yields() {
            return None;
        }
        let served = self.0.state.load(Ordering::Acquire) & COUNT > 0;
        let rank = match (served, self.0.wants.load(Ordering::Acquire)) {
            (false, _) if self.all_written() => Rank::Idle,
            (false, _) => Rank::Unread,
            (true, RECEIVES) => Rank::Receiving,
            (true, HOLDS) => Rank::Held,
            _ => return None,
        };
        Some((rank, self.0.since.load(Ordering::Acquire)))
    }

    /// Ends the connection as soon as its last request is answered.
    pub fn give_way(&self) {
        self.0.yields.store(true, Ordering::Release);
        self.0.holder.notify_one();
        self.0.guard.wake();
    }

    /// Whether the connection ends for a newcomer.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.0.yields.load(Ordering::Acquire)
    }

    /// Whether the guard is to give up what it waits for: a request, the rest of one, or a client that reads.
    pub(super) fn gives_up(&self, context: &Context<'_>) -> bool {
        self.0.guard.register(context.waker());
        let served = self.0.state.load(Ordering::Acquire) & COUNT > 0;
        self.yields() && (!served || self.0.wants.load(Ordering::Acquire) == RECEIVES)
    }

    /// Changes and requests; see [`Phase::is_served`].
    pub(super) fn now(&self) -> u64 {
        self.0.state.load(Ordering::Acquire) & !UNFLUSHED
    }

    /// Whether a request is being served in that state.
    pub(super) fn is_served(now: u64) -> bool {
        now & COUNT > 0
    }

    pub(super) fn unflushed(&self) {
        self.0.state.fetch_or(UNFLUSHED, Ordering::AcqRel);
    }

    pub(super) fn flushed(&self) {
        self.0.state.fetch_and(!UNFLUSHED, Ordering::AcqRel);
    }

    /// The connection is not idle at this moment.
    pub(super) fn touch(&self) {
        self.0.since.store(clock::mono().0, Ordering::Release);
    }

    /// Lets go of the task that serves the connection.
    pub(super) fn forget_task(&self) {
        drop::<Option<Waker>>(self.0.guard.take());
    }
}

/// Keeps the connection from being idle while it lives.
#[derive(Debug)]
pub struct Serving(Phase);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.receives(false);
        self.0.touch();
        self.0.0.state.fetch_add(CHANGE - 1, Ordering::AcqRel);
        if self.0.yields() {
            self.0.0.guard.wake();
        }
    }
}
