//! Why a session ended, sorted by consequence.

use std::fmt;
use std::time::Duration;

/// Longest wait that a source may demand (Binance bans for up to three days).
const LONGEST_WAIT: Duration = Duration::from_secs(3 * 24 * 3600);

/// A fault by its consequence. A dialect knows its exchange's codes, so it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Count one unusable message and go on; the session continues.
    Skip(String),
    /// Open a new connection at once: the source asked for it.
    Reconnect(String),
    /// Try again with growing pauses.
    Retry(String),
    /// Try again after this time, not before.
    Wait(Duration, String),
    /// Nothing helps without a change: no key, not served in this country, no such symbol.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(time, why) => write!(f, "{why} (told to wait {} s)", time.as_secs()),
            Self::Skip(why) | Self::Reconnect(why) | Self::Retry(why) | Self::Refused(why) => {
                f.write_str(why)
            }
        }
    }
}

impl Fault {
    /// The same for one of several symbols, which it names.
    pub(super) fn about(self, what: &str) -> Self {
        match self {
            Self::Skip(why) => Self::Skip(format!("{what}: {why}")),
            fault => fault,
        }
    }

    /// A wait within reason: at least a second, at most three days.
    pub(super) fn wait(time: Duration, why: String) -> Self {
        Self::Wait(time.clamp(Duration::from_secs(1), LONGEST_WAIT), why)
    }
}
