//! An HTTP answer, and the meaning of its status.

use super::digits;
use crate::model::one_line;
use crate::providers::Fault;
use serde::Deserialize;
use std::time::Duration;

/// A complete HTTP answer.
#[derive(Clone, Debug)]
pub(in crate::providers) struct Reply<'a> {
    pub status: u16,
    /// `Retry-After`, if it is a number of seconds.
    pub retry_after: Option<Duration>,
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Parses the body of a successful answer, for sources whose status is reliable.
    ///
    /// # Errors
    /// The meaning of the status, or [`Fault::Skip`] for a body of another form.
    pub(in crate::providers) fn good<T: Deserialize<'a>>(&self) -> Result<T, Fault> {
        self.fault().map_or_else(|| digits::parse(self.body), Err)
    }

    /// The meaning of a status other than success, where sources do not differ (RFC 9110; 418 and 451 as Binance uses
    /// them). `None` for 2xx.
    pub(in crate::providers) fn fault(&self) -> Option<Fault> {
        let why = || self.excerpt();
        let or = |seconds| self.retry_after.unwrap_or(Duration::from_secs(seconds));
        Some(match self.status {
            200..=299 => return None,
            429 => Fault::wait(or(10), why()),
            418 => Fault::wait(or(120), why()),
            408 | 425 | 300..=399 => Fault::Retry(why()),
            500.. => match self.retry_after {
                Some(time) => Fault::wait(time, why()),
                None => Fault::Retry(why()),
            },
            _ => Fault::Refused(why()),
        })
    }

    /// The status and the beginning of the body, fit for one line of a log: no control characters, no markup.
    pub(in crate::providers) fn excerpt(&self) -> String {
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
        Reply { status, retry_after: retry_after.map(Duration::from_secs), body: b"x" }.fault()
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
        assert_eq!(of(429, Some(u64::MAX)), Some(Fault::wait(Duration::MAX, why(429))));
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
