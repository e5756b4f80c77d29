//! The three clocks.

use crate::model::{Boot, Mono, Wall};
use rustix::time::{ClockId, clock_gettime};

fn nanos(id: ClockId) -> u64 {
    let now = clock_gettime(id);
    // The clocks used here start at boot: neither part is negative.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// `CLOCK_MONOTONIC`.
#[must_use]
pub fn mono() -> Mono {
    Mono(nanos(ClockId::Monotonic))
}

/// `CLOCK_BOOTTIME`.
#[must_use]
pub fn boot() -> Boot {
    Boot(nanos(ClockId::Boottime))
}

/// `CLOCK_REALTIME`, in milliseconds.
#[must_use]
pub fn wall() -> Wall {
    let now = clock_gettime(ClockId::Realtime);
    Wall(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
}

/// Converts a moment for the runtime's timers.
#[must_use]
pub fn instant(at: Mono) -> std::time::Instant {
    std::time::Instant::now() + at.since(mono())
}
