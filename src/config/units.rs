//! Human texts of durations and sizes, and what names, addresses, networks and URLs must look like. Pure.
//!
//! Durations are not jiff's friendly ones: these read no days ("2d"), and take signs, "ago", words, clock times and ISO
//! 8601, which no key means.

use crate::model::Rate;
use ipnet::IpNet;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use url::{SyntaxViolation, Url};

/// Environment of the daemon; selects the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A checkout: loopback only, admin port open, users shown.
    Development,
    /// An installed daemon.
    Production,
    /// The test suite: the mock source, nothing else.
    Test,
}

impl Environment {
    pub const ALL: [Self; 3] = [Self::Development, Self::Production, Self::Test];

    /// The word for it, as in `BTC_CLUSTER_ENV`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
            Self::Test => "test",
        }
    }
}

/// Rule for names of providers, streams and channels.
pub(crate) const NAME_RULE: &str = "a name is 1 to 32 characters of a-z 0-9 _ -";

/// Checks [`NAME_RULE`].
pub(crate) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Reads `"30s"`, `"1m 30s"`, `"250ms"`, `"1.5h"`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let unit_us: u64 = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" | "sec" => 1_000_000,
            "m" | "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, unit_us)?)?;
        rest = after.trim_start();
    }
    Some(total)
}

/// `number` (at most three decimals) times a unit of so many microseconds.
fn scaled(number: &str, unit_us: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    let us = whole.checked_mul(unit_us)?.checked_add(thousandths.checked_mul(unit_us)? / 1000)?;
    Some(Duration::from_micros(us))
}

/// A duration for people, in the form that [`duration`] reads.
pub(crate) fn human(duration: Duration) -> String {
    let ms = duration.as_millis();
    let mut out = vec![];
    let mut rest = ms;
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= size {
            out.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out.join(" ") }
}

/// Reads `"1%"`, `"0.5 %"` as 0.01, 0.005: more than nothing and at most a half.
pub(crate) fn percent(text: &str) -> Option<Decimal> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    let digits = |b: u8| b.is_ascii_digit() || b == b'.';
    let hundredths = Decimal::from_str_exact(number).ok().filter(|_| number.bytes().all(digits))?;
    let part = hundredths / Decimal::ONE_HUNDRED;
    (part > Decimal::ZERO && part <= Decimal::new(5, 1)).then_some(part)
}

/// Reads `"64KiB"`, `"16KB"`, `"1 MiB"`, `"512"`, in bytes.
pub(crate) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Bytes in a time: `"64KiB/s"`, `"1MiB/10s"`; `"0"` is no limit.
pub(crate) fn byte_rate(text: &str) -> Option<Rate> {
    let text = text.trim();
    let Some((bytes, per)) = text.split_once('/') else { return Rate::parse(text).ok() };
    let count = size(bytes)?;
    Rate::parse(&format!("{count}/{}", per.trim())).ok()
}

/// A size for people, in the form that [`size`] reads.
pub(crate) fn human_size(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

/// Reads `10.0.0.0/8`, `fd00::/8`, or one address alone.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(one, two)| (one, Some(two)));
    // `IpNet` itself reads 010.0.0.0, which is 8.0.0.0 to other programs.
    let network = address.parse::<IpAddr>().ok().and_then(|address| match prefix {
        Some(prefix) => IpNet::new(address, prefix.parse().ok()?).ok(),
        None => Some(address.into()),
    });
    let network = network.ok_or("must be a network, \"10.0.0.0/8\" or \"fd00::/8\" for instance")?;
    match network.trunc() {
        first if first == network => Ok(network),
        first => Err(format!("is not the network's first address; did you mean \"{first}\"?")),
    }
}

/// Checks a base URL of one of `schemes`, without credentials, query or fragment; gives it without a final slash.
pub(crate) fn base_url(text: &str, schemes: &[&str]) -> Result<String, String> {
    let url = any_url(text, schemes)?;
    if url.query().or(url.fragment()).is_some() {
        return Err(NO_BASE.to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

const NO_BASE: &str = "must be a host and a path, without query or spaces";

/// Reads a URL of one of these schemes, with a query or without. Nothing is repaired that a browser would repair, but a
/// character that clients encode may stand as it is.
pub(crate) fn any_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if !schemes.contains(&scheme.as_str()) {
        let begins: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
        return Err(format!("must begin with {}", begins.join(" or ")));
    }
    let sloppy = Cell::new(None);
    let note = |violation| match violation {
        SyntaxViolation::NonUrlCodePoint | SyntaxViolation::PercentDecode => {}
        worse => sloppy.set(Some(worse)),
    };
    let url = Url::options().syntax_violation_callback(Some(&note)).parse(text);
    match (url, sloppy.get()) {
        _ if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') => {
            Err(NO_BASE.to_owned())
        }
        (_, Some(SyntaxViolation::EmbeddedCredentials)) => {
            Err("must not hold a user name or password".to_owned())
        }
        (Ok(url), None) => Ok(url),
        _ => Err(NO_BASE.to_owned()),
    }
}

/// Checks an origin, `https://example.com:8443`; gives it as a browser writes it, without the usual port.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let is_origin = |url: &Url| {
        let bare = url.path() == "/" && !text.ends_with('/') && url.query().or(url.fragment()).is_none();
        bare && url.port() != Some(0) && url.host_str().is_some_and(is_host)
    };
    match any_url(text, &["https", "http"]) {
        Ok(url) if is_origin(&url) => Ok(url.origin().ascii_serialization()),
        _ => {
            Err("must be an origin, \"https://example.com\" for instance, without path or wildcard"
                .to_owned())
        }
    }
}

/// Checks a host name or address as it stands in a Host header, without a port; gives it in small letters.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if is_host(&lower) {
        Ok(lower)
    } else {
        Err("must be a host name, \"btc.example.com\" for instance, without port or wildcard".to_owned())
    }
}

fn is_host(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => name.len() <= 253 && name.split('.').all(label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_human() {
        for (text, ms) in [
            ("30s", 30_000),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("0s", 0),
            ("2d", 172_800_000),
            (" 5 s ", 5000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "5x",
            "-5s",
            "1.s",
            ".5s",
            "5s x",
            "1.2345s",
            "99999999999999999999s",
            "1e3s",
            "5S",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        for text in ["1d 2h 3m 4s 5ms", "0s", "90ms", "2m"] {
            assert_eq!(human(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_human() {
        for (text, bytes) in [
            ("64KiB", 65536),
            ("16KB", 16000),
            ("1 mib", 1 << 20),
            ("512", 512),
            ("7b", 7),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "KiB", "64K", "-1", "1.5MiB", "99999999999GiB", "1 KiB x"] {
            assert_eq!(size(bad), None, "{bad}");
        }
        let rate = byte_rate("64KiB/s").unwrap();
        assert_eq!((rate.count, rate.per), (65_536, Duration::from_secs(1)));
        assert_eq!(
            byte_rate("1MB / 10s").map(|rate| (rate.count, rate.per.as_secs())),
            Some((1_000_000, 10))
        );
        assert_eq!(byte_rate("0"), Some(Rate::OFF));
        for bad in ["", "64KiB", "0/s", "x/s", "64KiB/0s", "64KiB/y", "5GiB/s", "-1/s"] {
            assert_eq!(byte_rate(bad), None, "{bad}");
        }
        assert_eq!((human_size(65536), human_size(1000)), ("64KiB".to_owned(), "1000".to_owned()));
    }

    #[test]
    fn networks() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), shown);
        }
        assert!(network("10.1.2.3/8").unwrap_err().contains("did you mean \"10.0.0.0/8\"?"));
        // Some programs read 010 as 8.
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "1.2.3.4/-1", "010.0.0.0/8"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_origins_hosts() {
        assert_eq!(base_url("https://a.b/c/", &["https"]), Ok("https://a.b/c".to_owned()));
        for bad in [
            "a.b",
            "ftp://a",
            "https://",
            "https://u:p@a",
            "https://@a",
            "https://a?q",
            "https://a#f",
            "https://a b",
            "https://a/b c",
            "https:///x",
            "https:/a",
            "https:\\\\a",
            "https://a\\b",
            " https://a",
            "https://a ",
            "https://a\t/",
            "https://a:99999",
            "https://a:x",
            "https://a%/",
        ] {
            assert!(base_url(bad, &["http", "https"]).is_err(), "{bad}");
        }
        // A client sends these as they are, or encodes them.
        for good in ["https://a/?s=[\"b\",\"q\"]", "https://a/b|q", "https://a/^?p=%", "https://a/{host}/ws"]
        {
            assert!(any_url(good, &["https"]).is_ok(), "{good}");
        }
        assert!(any_url("https://u:p@a/|", &["https"]).unwrap_err().contains("password"));
        assert_eq!(origin("HTTPS://Example.com:443"), Ok("https://example.com".to_owned()));
        assert_eq!(origin("http://[::1]:8080"), Ok("http://[::1]:8080".to_owned()));
        assert_eq!(origin("https://bücher.example"), Ok("https://xn--bcher-kva.example".to_owned()));
        for bad in [
            "*",
            "null",
            "https://",
            "https://a/",
            "https://*.a.b",
            "https://a:0",
            "ws://a",
            "example.com",
            "https://a?",
            "https://a#",
            "https://u@a",
            "https://a..b",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert_eq!(host("A.example"), Ok("a.example".to_owned()));
        assert_eq!(host("[::1]"), Ok("[::1]".to_owned()));
        for bad in ["", "a:80", "*.a", "a..b", "http://a", "a/b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
