//! Why a session ended, sorted by what is to be done about it.

use std::fmt;
use std::time::Duration;

/// Longest time that a source may tell us to wait (Binance bans for up to three days).
const LONGEST_WAIT: Duration = Duration::from_secs(3 * 24 * 3600);

/// What went wrong. A dialect knows its exchange's codes, so it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One message is of no use. The drivers count it and go on; it never ends a session.
    Skip(String),
    /// The source asked for a new connection: at once.
    Reconnect(String),
    /// Try again, later and later.
    Retry(String),
    /// Try again after that time, not before.
    Wait(Duration, String),
    /// It will not work without a change: no key, not from this country, no such symbol.
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
    /// A wait within reason: at least a second, at most three days.
    pub(super) fn wait(time: Duration, why: String) -> Self {
        Self::Wait(time.clamp(Duration::from_secs(1), LONGEST_WAIT), why)
    }
}
