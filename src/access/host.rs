//! The host in a `Host` header or an origin: a name or an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host that can be compared: names in small letters without a final dot, addresses as addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// `localhost`, `example.com`
    Name(String),
    /// `127.0.0.1`, `[::1]`
    Address(IpAddr),
}

/// A host, and its port if one is named.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) host: Host,
    pub(super) port: Option<u16>,
}

impl Site {
    /// Reads `host` or `host:port` (RFC 3986, section 3.2.2, less the characters that no host name has).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, port) = rest.split_once(']')?;
                (Host::Address(inner.parse::<Ipv6Addr>().ok()?.to_canonical()), port)
            }
            None => {
                let (name, port) = text.find(':').map_or((text, ""), |at| text.split_at(at));
                (Host::name(name)?, port)
            }
        };
        let is_number = |digits: &str| {
            digits.bytes().all(|b| b.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
        };
        let good = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
        let port = port.get(1..).and_then(|digits| digits.parse().ok());
        good.then_some(Self { host, port })
    }
}

impl Host {
    /// Reads `host` or `host:port`; the port is left away.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Site::parse(text).map(|site| site.host)
    }

    fn name(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        (!text.is_empty() && text.len() <= 253 && text.bytes().all(good))
            .then(|| Self::Name(text.to_ascii_lowercase()))
    }

    /// Tells whether no page of the network can have this host: an address, `localhost`, or a name below it, which
    /// browsers never ask a name server for (RFC 6761, section 6.3).
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Name(name) => {
                let below = |rest: &str| rest.is_empty() || rest.strip_suffix('.').is_some_and(is_labels);
                name.strip_suffix("localhost").is_some_and(below)
            }
        }
    }
}

fn is_labels(name: &str) -> bool {
    name.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_compare_without_their_ports() {
        for (one, other) in [
            ("Example.com", "example.com:8080"),
            ("example.com.", "example.com:"),
            ("127.0.0.1", "127.0.0.1:3000"),
            ("[::1]", "[::1]:3000"),
            ("[::1]", "[::1]:"),
            ("[::1]", "[0:0:0:0:0:0:0:1]:1"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ] {
            assert!(Host::parse(one).is_some(), "{one}");
            assert_eq!(Host::parse(one), Host::parse(other), "{one} {other}");
        }
        assert_ne!(Host::parse("localhost"), Host::parse("127.0.0.1"));
    }

    #[test]
    fn what_is_no_host() {
        for bad in [
            "", ".", ":80", "a:b", "a:99999", "a:+1", "a:1:2", "::1", "[::1", "[::1]x", "[::1]80", "[x]",
            "a/b", "a b", "a@b", "ä", "a,b", "http://a", "[]", "a\"", "[::1]:x",
        ] {
            assert_eq!(Host::parse(bad), None, "{bad:?}");
        }
        assert!(Host::parse(&"a".repeat(254)).is_none());
    }

    #[test]
    fn local_hosts() {
        for (text, local) in [
            ("localhost:3000", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("203.0.113.9:80", true),
            ("[2001:db8::1]:80", true),
            ("localhost.example.com", false),
            ("evil.localhost.com", false),
            ("shop.localhost", true),
            ("a.b.LocalHost.:3000", true),
            ("evillocalhost", false),
            (".localhost", false),
            ("a..localhost", false),
            ("localhost.evil", false),
            ("127.0.0.1.nip.io", false),
            ("127.1", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_local(), local, "{text}");
        }
    }
}
