//! The feeder: the only process that talks to exchanges.
//!
//! ```text
//! providers ──▶ source (sessions, pauses, panics) ──mailbox──▶ core ──▶ policy (pure) ──▶ FromFeeder::Tick
//!                └─ belief, halt (pure): news, and how old      │
//!                                                                ├────▶ table ──────────▶ FromFeeder::Sources
//!                                                                └────▶ candles ────────▶ FromFeeder::Candles, Answer
//!                                                                       history (pure), store (a thread, a file)
//! files, programs ──▶ lines (for streams) ──▶ the link to the master
//! ```
//!
//! Exchanges are asked once for the whole host, because their limits are per address. The caller of [`run`] gets what
//! is published; it owns the link to the master.

mod agreement;
mod belief;
mod candles;
mod core;
mod halt;
mod keys;
mod life;
mod lines;
mod mailbox;
mod note;
mod plan;
mod policy;
mod recorder;
mod running;
mod source;
mod table;
mod tails;
mod uplink;

pub use core::run;
pub use life::run as run_process;
pub use plan::{Plan, Retries};
pub use table::SourceState;

use crate::model::{Boot, Mono, Wall};
use crate::os::clock;
use std::sync::Arc;

/// A moment on the three clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub boot: Boot,
    pub wall: Wall,
}

/// The source of moments; tests use their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| Now { mono: clock::mono(), boot: clock::boot(), wall: clock::wall() })
    }

    /// A clock of another kind.
    pub fn new(read: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        (self.0)()
    }
}

#[cfg(test)]
impl Clock {
    /// Follows tokio's clock, which tests pause.
    pub(crate) fn virtual_time() -> Self {
        let begin = tokio::time::Instant::now();
        Self::new(move || {
            let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let wall = Wall(1_763_640_000_000 + i64::try_from(nanos / 1_000_000).unwrap_or(0));
            Now { mono: Mono(nanos), boot: Boot(nanos), wall }
        })
    }
}
