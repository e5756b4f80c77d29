//! Why a session ended, sorted by what is to be done about it; and what an HTTP status means.

pub(super) use crate::model::one_line;
use serde::Deserialize;
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

    /// What a status other than success means everywhere (RFC 9110; 418 and 451 as Binance uses them). `None`
    /// for 2xx.
    pub(super) fn of_status(reply: &Reply<'_>) -> Option<Self> {
        let why = || reply.excerpt();
        let or = |seconds| reply.retry_after.unwrap_or(Duration::from_secs(seconds));
        Some(match reply.status {
            200..=299 => return None,
            429 => Self::wait(or(10), why()),
            418 => Self::wait(or(120), why()),
            408 | 425 | 300..=399 => Self::Retry(why()),
            500.. => match reply.retry_after {
                Some(time) => Self::wait(time, why()),
                None => Self::Retry(why()),
            },
            _ => Self::Refused(why()),
        })
    }
}

/// An HTTP answer, read whole.
#[derive(Clone, Debug)]
pub(super) struct Reply<'a> {
    /// The status.
    pub status: u16,
    /// `Retry-After`, where it is a number of seconds.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The body of a good answer, where the status is enough to tell a good one.
    ///
    /// # Errors
    /// What the status means, or [`Fault::Skip`] for a body that is not what it should be.
    pub(super) fn good<T: Deserialize<'a>>(&self) -> Result<T, Fault> {
        Fault::of_status(self).map_or_else(|| super::digits::parse(self.body), Err)
    }

    /// Status and the beginning of the body, fit for one line of a log: no control characters, no markup.
    pub(super) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(400)]);
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('<') {
            return format!("HTTP {}: a page of HTML", self.status);
        }
        let line = one_line(text);
        if line.is_empty() {
            format!("HTTP {}", self.status)
        } else {
            format!("HTTP {}: {line}", self.status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<u64>) -> Option<Fault> {
        Fault::of_status(&Reply { status, retry_after: retry_after.map(Duration::from_secs), body: b"x" })
    }

    #[test]
    fn a_status_has_a_consequence() {
        let s = Duration::from_secs;
        let why = |status: u16| format!("HTTP {status}: x");
        assert_eq!(of(200, None), None);
        assert_eq!(of(429, Some(7)), Some(Fault::Wait(s(7), why(429))));
        assert_eq!(of(429, None), Some(Fault::Wait(s(10), why(429))));
        assert_eq!(of(418, None), Some(Fault::Wait(s(120), why(418))));
        assert_eq!(of(429, Some(0)), Some(Fault::Wait(s(1), why(429))), "never a hot loop");
        assert_eq!(of(429, Some(u64::MAX)), Some(Fault::Wait(LONGEST_WAIT, why(429))));
        assert_eq!(of(503, Some(3)), Some(Fault::Wait(s(3), why(503))));
        for status in [302, 408, 500, 503, 504, 599] {
            assert_eq!(of(status, None), Some(Fault::Retry(why(status))));
        }
        for status in [400, 401, 403, 404, 451] {
            assert_eq!(of(status, None), Some(Fault::Refused(why(status))));
        }
    }

    #[test]
    fn an_excerpt_is_one_clean_line() {
        let of = |body: &[u8]| Reply { status: 403, retry_after: None, body }.excerpt();
        assert_eq!(of(b"{\"a\":\r\n\t1}\x1b[31m"), "HTTP 403: {\"a\": 1} [31m");
        assert_eq!(of(b" <html><script>"), "HTTP 403: a page of HTML");
        assert_eq!(of(b""), "HTTP 403");
        assert!(of(&[b'x'; 5000]).len() < 200);
    }
}
