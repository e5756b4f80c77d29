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

/// A moment of the wall clock in milliseconds since 1970 (UTC): for display, and to judge what others date by it, as the
/// end of a token; never for a time that passes here.
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

/// A moment that somebody names: RFC 3339, or seconds since 1970, up to the year 9999 (milliseconds are a mistake).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Named")]
pub struct NamedMoment(pub Wall);

/// As it is written in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Seconds(f64),
    Text(Box<str>),
}

const NO_MOMENT: &str = "must be a time as 2026-11-20T08:14:23Z, or in seconds since 1970";

impl NamedMoment {
    /// Reads a word of the command line.
    ///
    /// # Errors
    /// It is no moment.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.parse::<f64>() {
            Ok(seconds) => Self::of(seconds),
            Err(_) => {
                let moment = text.parse::<jiff::Timestamp>().map_err(|_| NO_MOMENT)?;
                Ok(Self(Wall(moment.as_millisecond())))
            }
        }
    }

    fn of(seconds: f64) -> Result<Self, &'static str> {
        const YEAR_10000: f64 = 253_402_300_800.0;
        match (0.0..YEAR_10000).contains(&seconds) {
            true => Ok(Self(Wall((seconds * 1000.0) as i64))),
            false => Err(NO_MOMENT),
        }
    }
}

impl TryFrom<Named> for NamedMoment {
    type Error = &'static str;

    fn try_from(named: Named) -> Result<Self, Self::Error> {
        match named {
            Named::Seconds(seconds) => Self::of(seconds),
            Named::Text(text) => {
                let moment = text.parse::<jiff::Timestamp>().map_err(|_| NO_MOMENT)?;
                Ok(Self(Wall(moment.as_millisecond())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_named_in_two_ways() {
        let good = Ok(NamedMoment(Wall(1_763_640_863_000)));
        for text in ["1763640863", "2025-11-20T12:14:23Z", "2025-11-20T13:14:23+01:00"] {
            assert_eq!(NamedMoment::parse(text), good, "{text}");
        }
        for text in ["", "now", "1763640863000", "-1", "nan", "inf", "2025-11-20", "12:14"] {
            assert!(NamedMoment::parse(text).is_err(), "{text}");
        }
        let read = |text: &str| serde_json::from_str::<NamedMoment>(text).ok();
        assert_eq!(read("1763640863.5"), Some(NamedMoment(Wall(1_763_640_863_500))));
        assert_eq!(read("\"2025-11-20T12:14:23Z\""), good.ok());
        for text in ["\"1763640863\"", "null", "true", "1e300", "-1", "[]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

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
