//! The three clocks of [`crate::model`], read.

use crate::model::{Boot, Mono, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, on `CLOCK_MONOTONIC`.
#[must_use]
pub fn mono() -> Mono {
    Mono(nanos(clock_gettime(ClockId::Monotonic)))
}

/// Now, on `CLOCK_BOOTTIME`.
#[must_use]
pub fn boot() -> Boot {
    Boot(nanos(clock_gettime(ClockId::Boottime)))
}

/// Now, on the wall clock.
#[must_use]
pub fn wall() -> Wall {
    let now = clock_gettime(ClockId::Realtime);
    Wall(now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000))
}

fn nanos(now: Timespec) -> u64 {
    // The kernel never says a negative time on these two clocks.
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
