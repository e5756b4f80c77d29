//! Used part of an exchange's limit, by its answers, and the hosts that told us to wait.

use crate::providers::Fault;
use http::header::HeaderMap;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Binance's weight of requests per minute and address (rest-api.md; 6000 since 2023).
const BINANCE: (&str, u64, Duration) = ("x-mbx-used-weight-1m", 6000, Duration::from_secs(60));
/// Largest factor by which an interval is stretched, and the longest interval that results.
const STRETCH: f64 = 20.0;
const LONGEST: Duration = Duration::from_secs(3600);

/// The used part of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Used in this window, by all clients that the host counts together.
    pub used: u64,
    /// Allowed in a window.
    pub limit: u64,
    /// Length of a window in seconds (or the time until its end, if only that is told).
    pub window_s: u64,
}

impl Budget {
    /// Reads an answer's headers: Binance's weight, or `X-RateLimit-Limit` and `-Remaining`. If these are lists with
    /// one entry per window (`20, 300;window=60`), the most used window counts.
    pub(in crate::providers) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let (name, limit, window) = BINANCE;
        if let Some(used) = text(name).and_then(|used| used.trim().parse().ok()) {
            return Some(Self { used, limit, window_s: window.as_secs() });
        }
        let limits = entries(text("x-ratelimit-limit")?);
        let remaining = text("x-ratelimit-remaining-all").or_else(|| text("x-ratelimit-remaining"))?;
        let reset = text("x-ratelimit-reset").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        // A number longer than any window is a date.
        let reset = if reset > 366 * 86_400 { 0 } else { reset };
        let of = |(limit, window): &(u64, Option<u64>), (left, other): &(u64, Option<u64>)| {
            (window == other && *limit > 0).then(|| Self {
                used: limit.saturating_sub(*left),
                limit: *limit,
                window_s: window.unwrap_or(reset),
            })
        };
        let all = entries(remaining);
        let pairs = limits.iter().flat_map(|limit| all.iter().filter_map(move |left| of(limit, left)));
        pairs.max_by(|a, b| a.share().total_cmp(&b.share()))
    }

    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    fn share(&self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }

    /// Stretches the interval `every` more and more past one half of the limit, so that neither we nor others who share
    /// the limit run into it. Never shortens it.
    pub(in crate::providers) fn stretch(&self, every: Duration) -> Duration {
        let left = (1.0 - self.share()).max(0.0);
        let factor = if left >= 0.5 { 1.0 } else { (0.5 / left.max(f64::EPSILON)).min(STRETCH) };
        every.max(every.mul_f64(factor).min(LONGEST))
    }
}

/// `20`, `20, 300;window=60`, `300;w=60`: numbers with the seconds of their window.
fn entries(text: &str) -> Vec<(u64, Option<u64>)> {
    let entry = |part: &str| {
        let mut words = part.split(';').map(str::trim);
        let number = words.next()?.parse().ok()?;
        let window = words.find_map(|word| word.strip_prefix("window=").or_else(|| word.strip_prefix("w=")));
        Some((number, window.and_then(|window| window.parse().ok())))
    };
    text.split(',').filter_map(entry).collect()
}

/// Hosts that told us to wait, for all clients of a host: its limits count addresses, not connections.
#[derive(Debug, Default)]
pub(in crate::providers) struct Hosts(Mutex<HashMap<String, (Instant, String)>>);

impl Hosts {
    /// Checks whether the host of `url` may be contacted.
    ///
    /// # Errors
    /// [`Fault::Wait`] with the remaining time.
    pub(in crate::providers) fn check(&self, url: &Url) -> Result<(), Fault> {
        let closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((until, why)) = closed.get(&key(url)) else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Ok(()) } else { Err(Fault::wait(left, why.clone())) }
    }

    /// Lets the host of `url` be contacted.
    pub(in crate::providers) fn lift(&self, url: &Url) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(url));
    }

    /// Blocks the host of `url` for this time.
    pub(in crate::providers) fn close(&self, url: &Url, time: Duration, why: &str) {
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        closed.retain(|_, (until, _)| *until > now);
        let entry = closed.entry(key(url)).or_insert_with(|| (now, String::new()));
        if entry.0 < now + time {
            *entry = (now + time, why.to_owned());
        }
    }
}

/// `wss` and `https` are the same host.
fn key(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(0);
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Option<(u64, u64, u64)> {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let budget = Budget::of(&headers.iter().map(pair).collect())?;
        Some((budget.used, budget.limit, budget.window_s))
    }

    #[test]
    fn headers_tell_what_is_used() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("x-mbx-used-weight-1m", "3120")]), Some((3120, 6000, 60)));
        assert_eq!(of(&[("x-mbx-used-weight-1m", "many")]), None);
        let (limit, left, reset) = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset");
        assert_eq!(of(&[(limit, "300"), (left, "299"), (reset, "42")]), Some((1, 300, 42)));
        assert_eq!(of(&[(limit, "300"), (left, "301"), (reset, "1795000000")]), Some((0, 300, 0)));
        assert_eq!(of(&[(limit, "300")]), None);
        assert_eq!(of(&[(limit, "0"), (left, "0")]), None, "never divides by it");
        let all = "x-ratelimit-remaining-all";
        let lists = [(limit, "20;window=1, 300;window=60,11000;w=2592000"), (left, "19")];
        assert_eq!(of(&lists), None, "a window that is not named is none of them");
        let lists = [lists[0], (all, "19;window=1, 280;window=60, 1000;w=2592000")];
        assert_eq!(of(&lists), Some((10_000, 11_000, 2_592_000)));
    }

    #[test]
    fn past_a_half_questions_are_rarer() {
        let at =
            |used| Budget { used, limit: 6000, window_s: 60 }.stretch(Duration::from_secs(2)).as_secs_f64();
        assert_eq!([at(0), at(2999), at(3000)], [2.0; 3]);
        assert_eq!([at(4500), at(5400)], [4.0, 10.0]);
        assert_eq!([at(6000), at(9000)], [40.0; 2]);
    }

    proptest! {
        #[test]
        fn never_more_often_and_never_for_ever(used: u64, limit: u64, more: u64, ms in 10u64..10_000_000) {
            let every = Duration::from_millis(ms);
            let budget = Budget { used, limit, window_s: 60 };
            let stretched = budget.stretch(every);
            prop_assert!(stretched >= every && stretched <= every.max(LONGEST));
            let later = Budget { used: used.saturating_add(more), ..budget }.stretch(every);
            prop_assert!(later >= stretched);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_left_alone_for_as_long_as_it_said() {
        let url = |text: &str| Url::parse(text).unwrap();
        let hosts = Hosts::default();
        hosts.close(&url("https://a.example/x?y"), Duration::from_secs(7), "too often");
        hosts.close(&url("https://a.example/z"), Duration::from_secs(3), "less");
        let expected = Err(Fault::Wait(Duration::from_secs(7), "too often".to_owned()));
        assert_eq!(hosts.check(&url("wss://a.example:443/stream")), expected);
        assert_eq!(hosts.check(&url("https://a.example:8443/")), Ok(()));
        assert_eq!(hosts.check(&url("https://b.example/")), Ok(()));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(hosts.check(&url("https://a.example/")), Ok(()));
    }
}
