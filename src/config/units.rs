//! Human texts of durations and sizes, and what addresses, networks and URLs must look like. Pure.

use rust_decimal::Decimal;
use std::net::IpAddr;
use std::time::Duration;

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
pub(crate) fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let what = || "must be a network, \"10.0.0.0/8\" or \"fd00::/8\" for instance".to_owned();
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| what())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = match prefix {
        Some(prefix) => prefix.parse().ok().filter(|p| *p <= most).ok_or_else(what)?,
        None => most,
    };
    let masked = mask(address, prefix);
    if masked == address {
        Ok((address, prefix))
    } else {
        Err(format!("is not the network's first address; did you mean \"{masked}/{prefix}\"?"))
    }
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & keep).into())
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & keep).into())
        }
    }
}

/// Checks a base URL of one of `schemes`, without credentials, query or fragment; gives it without a final slash.
pub(crate) fn base_url(text: &str, schemes: &[&str]) -> Result<String, String> {
    any_url(text, schemes)?;
    if text.contains(['?', '#']) {
        return Err("must be a host and a path, without query or spaces".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A URL of one of these schemes, with a query or without.
pub(crate) fn any_url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !schemes.contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(format!("must begin with {}", schemes.map_join("://")));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.is_empty() || rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("must be a host and a path, without query or spaces".to_owned());
    }
    if authority.contains('@') {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(())
}

trait MapJoin {
    fn map_join(&self, after: &str) -> String;
}

impl MapJoin for [&str] {
    fn map_join(&self, after: &str) -> String {
        self.iter().map(|s| format!("{s}{after}")).collect::<Vec<_>>().join(" or ")
    }
}

/// Checks an origin as a browser writes it, `https://example.com:8443`; gives it as one would.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let what =
        || "must be an origin, \"https://example.com\" for instance, without path or wildcard".to_owned();
    let lower = text.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").ok_or_else(what)?;
    let default_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return Err(what()),
    };
    // A browser leaves the usual port out; one that is written here would never match.
    let rest = rest.strip_suffix(default_port).unwrap_or(rest);
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (rest, None),
    };
    let port_is_good = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    if is_host(name) && port_is_good { Ok(format!("{scheme}://{rest}")) } else { Err(what()) }
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
    if let Some(inner) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
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
        assert_eq!((human_size(65536), human_size(1000)), ("64KiB".to_owned(), "1000".to_owned()));
    }

    #[test]
    fn networks() {
        assert_eq!(network("10.0.0.0/8"), Ok(("10.0.0.0".parse().unwrap(), 8)));
        assert_eq!(network("::1"), Ok(("::1".parse().unwrap(), 128)));
        assert_eq!(network("0.0.0.0/0"), Ok(("0.0.0.0".parse().unwrap(), 0)));
        assert_eq!(network("::/0"), Ok(("::".parse().unwrap(), 0)));
        assert!(network("10.1.2.3/8").unwrap_err().contains("did you mean \"10.0.0.0/8\"?"));
        for bad in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "1.2.3.4/-1"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_origins_hosts() {
        assert_eq!(base_url("https://a.b/c/", &["https"]), Ok("https://a.b/c".to_owned()));
        for bad in ["a.b", "ftp://a", "https://", "https://u:p@a", "https://a?q", "https://a b", "https:///x"]
        {
            assert!(base_url(bad, &["http", "https"]).is_err(), "{bad}");
        }
        assert_eq!(origin("HTTPS://Example.com:443"), Ok("https://example.com".to_owned()));
        assert_eq!(origin("http://[::1]:8080"), Ok("http://[::1]:8080".to_owned()));
        for bad in
            ["*", "null", "https://", "https://a/", "https://*.a.b", "https://a:0", "ws://a", "example.com"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
        assert_eq!(host("A.example"), Ok("a.example".to_owned()));
        assert_eq!(host("[::1]"), Ok("[::1]".to_owned()));
        for bad in ["", "a:80", "*.a", "a..b", "http://a", "a/b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
