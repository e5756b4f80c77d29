//! Moments of the three clocks, each a type of its own so that they cannot be mixed. `os::clock` reads them.

use serde::{Deserialize, Serialize};
use std::time::Duration;

macro_rules! clock {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(
            /// Nanoseconds since the clock's start.
            pub u64,
        );

        impl $name {
            /// The time from `earlier` to `self`; zero if `earlier` is later.
            #[must_use]
            pub fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(self.0.saturating_sub(earlier.0))
            }

            /// The moment `by` later, at most the last one that the type can hold.
            #[must_use]
            pub fn after(self, by: Duration) -> Self {
                Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
            }
        }
    };
}

clock!(
    /// `CLOCK_MONOTONIC`, for deadlines and heartbeats. Stops while the machine is suspended; the same for all
    /// processes of a host.
    Mono
);

impl Mono {
    /// The moment in whole seconds since the clock's start.
    #[must_use]
    pub fn second(self) -> u32 {
        u32::try_from(self.0 / 1_000_000_000).unwrap_or(u32::MAX)
    }
}

clock!(
    /// `CLOCK_BOOTTIME`, for the age of a price. Goes on while the machine is suspended; the same for all processes of
    /// a host.
    Boot
);

/// A moment of the wall clock in milliseconds since 1970 (UTC): only for display, never for a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wall(pub i64);

/// RFC 3339 in UTC with milliseconds, `2026-11-20T08:14:23.123Z`.
impl std::fmt::Display for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(stamp) => write!(f, "{stamp:.3}"),
            Err(_) => f.write_str("1970-01-01T00:00:00.000Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_is_written_with_milliseconds() {
        assert_eq!(Wall(1_763_640_863_120).to_string(), "2025-11-20T12:14:23.120Z");
        assert_eq!(Wall(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn time_never_runs_backwards() {
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
        assert_eq!(Mono(1).after(Duration::MAX), Mono(u64::MAX));
    }
}
