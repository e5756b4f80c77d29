//! An HTTP answer, and the meaning of its status.

use super::digits;
use crate::model::{Wall, one_line};
use crate::providers::Fault;
use http::header::{CONTENT_ENCODING, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use serde::Deserialize;
use std::time::{Duration, UNIX_EPOCH};

/// A complete HTTP answer.
#[derive(Clone, Debug, Default)]
pub(in crate::providers) struct Reply<'a> {
    pub status: u16,
    /// `Retry-After`, as a time from now; a date that is past says nothing.
    pub retry_after: Option<Duration>,
    /// Where a redirect leads that was not followed.
    pub location: Option<&'a str>,
    /// The body's encoding, though none was asked for.
    pub encoding: Option<&'a str>,
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads the head of an answer that came at `now`.
    pub(in crate::providers) fn of(status: u16, headers: &'a HeaderMap, body: &'a [u8], now: Wall) -> Self {
        let text =
            |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
        // The server's own clock, if it tells, for ours may be wrong.
        let date = text(DATE).and_then(date).unwrap_or(now);
        Self {
            status,
            retry_after: text(RETRY_AFTER).and_then(|text| wait(text, date)),
            location: text(LOCATION),
            encoding: text(CONTENT_ENCODING).filter(|encoding| *encoding != "identity"),
            body,
        }
    }

    /// What a successful answer is that no dialect can read: a login page, something packed, nothing.
    pub(in crate::providers) fn stranger(&self) -> Option<String> {
        if !matches!(self.status, 200..=299) {
            return None;
        }
        if self.body.is_empty() {
            return Some(format!("HTTP {}: an empty answer instead of a price", self.status));
        }
        let strange = self.text().starts_with('<') || self.packed().is_some();
        strange.then(|| format!("{} instead of a price", self.excerpt()))
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(400)]);
        text.trim_start_matches('\u{feff}').trim().to_owned()
    }

    /// The packing of the body, by its head or its first bytes.
    fn packed(&self) -> Option<String> {
        let magic = match self.body {
            [0x1f, 0x8b, ..] => Some("gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
            _ => None,
        };
        self.encoding.map(one_line).or_else(|| magic.map(str::to_owned))
    }

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
        let fault = match self.status {
            200..=299 => return None,
            429 => Fault::wait(or(10), why()),
            418 => Fault::wait(or(120), why()),
            ..200 | 300..=399 | 408 | 425 | 500.. => Fault::Retry(why()),
            _ => Fault::refusal(why()),
        };
        Some(match (fault, self.retry_after) {
            // Whatever the status: it says when to come again.
            (Fault::Retry(why) | Fault::Refused(why), Some(time)) => Fault::wait(time, why),
            (fault, _) => fault,
        })
    }

    /// What the answer is, fit for one line of a log: no control characters, no markup.
    pub(in crate::providers) fn excerpt(&self) -> String {
        let (status, text) = (self.status, self.text());
        if let (300..=399, Some(to)) = (status, self.location) {
            return format!(
                "HTTP {status}: a redirect to {}",
                one_line(to.split(['?', '#']).next().unwrap_or(to))
            );
        }
        if let Some(packed) = self.packed() {
            return format!("HTTP {status}: packed ({packed}) unasked");
        }
        if text.starts_with('<') {
            return match title(&text) {
                Some(title) => format!("HTTP {status}: a page of HTML (\"{title}\")"),
                None => format!("HTTP {status}: a page of HTML"),
            };
        }
        let line = one_line(&text);
        if line.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {line}") }
    }
}

/// The title of a page.
fn title(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let begin = lower.find("<title")?;
    let begin = begin + lower.get(begin..)?.find('>')? + 1;
    let end = begin + lower.get(begin..)?.find("</title")?;
    let title = one_line(text.get(begin..end)?.trim());
    (!title.is_empty()).then_some(title)
}

/// A date of HTTP, in any of its three forms (RFC 9110, section 5.6.7).
pub(in crate::providers) fn date(text: &str) -> Option<Wall> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Wall(i64::try_from(since.as_millis()).ok()?))
}

/// `Retry-After`: seconds, or a date after `now`.
fn wait(text: &str, now: Wall) -> Option<Duration> {
    if let Some(at) = date(text) {
        return u64::try_from(at.0 - now.0).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
    }
    let number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = text.parse().ok().filter(|_| number)?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<u64>) -> Option<Fault> {
        Reply { status, retry_after: retry_after.map(Duration::from_secs), body: b"x", ..Reply::default() }
            .fault()
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
        for status in [400, 401, 403, 404] {
            assert_eq!(of(status, None), Some(Fault::Refused(why(status))));
        }
        assert_eq!(of(403, Some(7)), Some(Fault::Wait(s(7), why(403))));
        assert_eq!([of(451, None), of(451, Some(7))], [(); 2].map(|()| Some(Fault::Barred(why(451)))));
    }

    #[test]
    fn an_excerpt_is_one_clean_line() {
        let of = |body: &[u8]| Reply { status: 403, body, ..Reply::default() }.excerpt();
        assert_eq!(of(b"{\"a\":\r\n\t1}\x1b[31m"), "HTTP 403: {\"a\": 1} [31m");
        assert_eq!(of(b" <html><script>"), "HTTP 403: a page of HTML");
        assert_eq!(of(b""), "HTTP 403");
        assert_eq!(of(b"<html><TITLE> Log in\n now</title>"), "HTTP 403: a page of HTML (\"Log in now\")");
        assert!(of(&[b'x'; 5000]).len() < 200);
    }

    fn of_headers(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &[u8],
    ) -> (Option<Duration>, String) {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers = headers.iter().map(pair).collect();
        let reply = Reply::of(status, &headers, body, Wall(1_795_000_000_000));
        (reply.retry_after, reply.stranger().unwrap_or_else(|| reply.excerpt()))
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let of = |text| of_headers(429, &[("retry-after", text)], b"").0;
        let s = Duration::from_secs;
        assert_eq!(
            [of("7"), of(" 0 "), of("1.5")],
            [Some(s(7)), Some(s(0)), Some(Duration::from_millis(1500))]
        );
        assert_eq!(of("99999999999999999999999"), Some(Duration::MAX), "whoever obeys has a limit");
        for nothing in ["-1", "soon", "", "1e9", "inf", "NaN", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
        // 1795000000 is Wed, 18 Nov 2026 11:06:40 GMT.
        let dates = [
            "Wed, 18 Nov 2026 11:07:40 GMT",
            "Wednesday, 18-Nov-26 11:07:40 GMT",
            "Wed Nov 18 11:07:40 2026",
        ];
        assert_eq!(dates.map(of), [Some(s(60)); 3]);
        let ahead =
            [("date", "Wed, 18 Nov 2026 12:06:40 GMT"), ("retry-after", "Wed, 18 Nov 2026 12:06:45 GMT")];
        assert_eq!(of_headers(429, &ahead, b"").0, Some(s(5)), "by the server's own clock");
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let of = |status, headers: &[_], body: &[u8]| of_headers(status, headers, body).1;
        let page = b"<!DOCTYPE html><html><head><title>Hotel Wi-Fi: please log in</title>";
        assert_eq!(
            of(200, &[], page),
            "HTTP 200: a page of HTML (\"Hotel Wi-Fi: please log in\") instead of a price"
        );
        assert_eq!(of(200, &[], b""), "HTTP 200: an empty answer instead of a price");
        let packed = "HTTP 200: packed (gzip) unasked instead of a price";
        assert_eq!(of(200, &[("content-encoding", "gzip")], b"\x1f\x8b\x08"), packed);
        assert_eq!(of(200, &[], b"\x1f\x8b\x08"), packed);
        assert_eq!(of(200, &[("content-encoding", "identity")], b"{}"), "HTTP 200: {}");
        let to = [("location", "https://login.example/portal?session=secret")];
        assert_eq!(of(302, &to, b"<html>"), "HTTP 302: a redirect to https://login.example/portal");
    }
}
