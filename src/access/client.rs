//! Address of the client: that of the connection, or the one that trusted proxies name.

use super::forwarded;
use crate::config::ForwardedHeader;
use http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Header to which each proxy appends its peer.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Which proxies are believed, and the header by which they speak. Only one: a proxy passes on what a client wrote into
/// the other.
#[derive(Clone, Copy, Debug)]
pub struct Proxies<'a> {
    /// Their networks.
    pub networks: &'a [IpNet],
    pub header: ForwardedHeader,
}

/// A client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The whole address, for people. IPv4-mapped is IPv4.
    pub address: IpAddr,
    /// The part that limits count: IPv6 is cut to its /64, which one customer has at least.
    pub counted: IpAddr,
    /// The connection came from a trusted proxy: its other `X-Forwarded-*` are believed.
    pub proxied: bool,
}

impl Client {
    /// Reads the list of `X-Forwarded-For` or `Forwarded` from its end for as long as it was written by trusted proxies:
    /// the first address that is none of theirs is the client. Where the list ends or makes no sense, it is the last one
    /// that was believed.
    #[must_use]
    pub fn of(connection: IpAddr, headers: &HeaderMap, proxies: Proxies<'_>) -> Self {
        let is_trusted = |address: IpAddr| proxies.networks.iter().any(|network| network.contains(&address));
        let connection = connection.to_canonical();
        let proxied = is_trusted(connection);
        let mut address = connection;
        // A header of several lines is one list. Split before it is read as text: what the client itself put in front
        // must not make the rest unreadable.
        let name = match proxies.header {
            ForwardedHeader::XForwardedFor => FORWARDED_FOR,
            ForwardedHeader::Forwarded => forwarded::NAME,
        };
        let part = |hop| match proxies.header {
            ForwardedHeader::XForwardedFor => Some(hop),
            ForwardedHeader::Forwarded => forwarded::parameter(hop, "for"),
        };
        let lines = headers.get_all(name).iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b',')).map(<[u8]>::trim_ascii);
        while is_trusted(address) {
            let Some(hop) = hops.find(|hop| !hop.is_empty()) else { break };
            let Some(before) = part(hop).and_then(read) else { break };
            address = before;
        }
        Self { address, counted: counted(address), proxied }
    }
}

/// An address as proxies write it: bare, in brackets, with a port, in quotes. `None`: not one that a client has.
fn read(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?;
    let hop = hop.strip_prefix('"').and_then(|hop| hop.strip_suffix('"')).unwrap_or(hop);
    let bare = || hop.parse().ok();
    let with_port = || hop.parse().ok().map(|socket: SocketAddr| socket.ip());
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address: IpAddr = bare().or_else(with_port).or_else(in_brackets)?;
    let address = address.to_canonical();
    let nobody = address.is_unspecified() || address.is_multicast();
    (!nobody).then_some(address)
}

/// The part of an address that limits count: IPv6 is cut to its /64, IPv4-mapped is IPv4.
#[must_use]
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn of(connection: &str, lines: &[&str]) -> Client {
        by(ForwardedHeader::XForwardedFor, connection, lines)
    }

    fn by(header: ForwardedHeader, connection: &str, lines: &[&str]) -> Client {
        let trusted =
            ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8", "192.0.2.7/32"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        let (told, other) = match header {
            ForwardedHeader::XForwardedFor => (FORWARDED_FOR, forwarded::NAME),
            ForwardedHeader::Forwarded => (forwarded::NAME, FORWARDED_FOR),
        };
        for line in lines {
            headers.append(told, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        // What a client writes into the header by which proxies do not speak.
        headers.append(other, HeaderValue::from_static("for=6.6.6.6"));
        headers.append(other, HeaderValue::from_static("6.6.6.6"));
        Client::of(ip(connection), &headers, Proxies { networks: &trusted, header })
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        for (connection, lines, client) in [
            // Nobody is trusted to speak for others.
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("11.0.0.1", &["198.51.100.1"], "11.0.0.1"),
            // First a single proxy, then two; what the client itself wrote comes first and is not read.
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["6.6.6.6, 198.51.100.1, 10.1.2.3"], "198.51.100.1"),
            ("::ffff:127.0.0.1", &["6.6.6.6,198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["2001:db8::5"], "2001:db8::5"),
            ("192.0.2.7", &["198.51.100.1"], "198.51.100.1"),
            ("192.0.2.8", &["198.51.100.1"], "192.0.2.8"),
            // Several lines are one list.
            ("127.0.0.1", &["6.6.6.6", "198.51.100.1", "10.1.2.3, 10.9.9.9"], "198.51.100.1"),
            // Ports, brackets, quotes, IPv4 within IPv6, empty places.
            ("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("127.0.0.1", &["[2001:db8::5]:4711"], "2001:db8::5"),
            ("127.0.0.1", &["[2001:db8::5]"], "2001:db8::5"),
            ("127.0.0.1", &["\"[2001:db8::5]:1\""], "2001:db8::5"),
            ("127.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["198.51.100.1, ,", "", " , "], "198.51.100.1"),
            // A client cannot hide behind what it puts in front.
            ("127.0.0.1", &["ä\u{80}, 198.51.100.1"], "198.51.100.1"),
            // Nothing there, or proxies only: the farthest of them.
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["", ","], "127.0.0.1"),
            ("127.0.0.1", &["10.0.0.5, 10.0.0.6"], "10.0.0.5"),
        ] {
            assert_eq!(of(connection, lines).address, ip(client), "{connection} {lines:?}");
        }
    }

    #[test]
    fn proxies_may_speak_by_the_header_of_the_standard() {
        for (connection, lines, client) in [
            ("203.0.113.9", &["for=198.51.100.1"][..], "203.0.113.9"),
            ("127.0.0.1", &["for=198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["For=\"198.51.100.1:4711\";proto=https;by=10.0.0.1"], "198.51.100.1"),
            ("127.0.0.1", &["proto=http ; FOR = 198.51.100.1"], "127.0.0.1"),
            ("127.0.0.1", &["proto=http ; FOR=198.51.100.1 "], "198.51.100.1"),
            ("127.0.0.1", &["for=\"[2001:db8::5]\""], "2001:db8::5"),
            ("127.0.0.1", &["for=\"[2001:db8::5]:4711\""], "2001:db8::5"),
            ("127.0.0.1", &["for=6.6.6.6, for=198.51.100.1, for=10.1.2.3"], "198.51.100.1"),
            ("127.0.0.1", &["for=6.6.6.6", "for=198.51.100.1;host=a", "for=10.1.2.3"], "198.51.100.1"),
            // A quotation that the client leaves open does not take in what the proxy appends.
            ("127.0.0.1", &["for=\"6.6.6.6", "for=198.51.100.1"], "198.51.100.1"),
            ("127.0.0.1", &["for=\"6.6.6.6, for=198.51.100.1"], "198.51.100.1"),
            // Hidden, unknown, missing, twice.
            ("127.0.0.1", &["for=6.6.6.6, for=unknown"], "127.0.0.1"),
            ("127.0.0.1", &["for=6.6.6.6, for=_hidden, for=10.0.0.6"], "10.0.0.6"),
            ("127.0.0.1", &["for=6.6.6.6, proto=https"], "127.0.0.1"),
            ("127.0.0.1", &["for=6.6.6.6;for=198.51.100.1"], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1"], "127.0.0.1"),
            ("127.0.0.1", &["for="], "127.0.0.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
        ] {
            let told = by(ForwardedHeader::Forwarded, connection, lines).address;
            assert_eq!(told, ip(client), "{connection} {lines:?}");
        }
    }

    #[test]
    fn garbage_ends_the_list() {
        for garbage in [
            "unknown",
            "_hidden",
            "198.51.100.1.2",
            "198.51.100.1:x",
            "198.51.100.1:70000",
            "[2001:db8::5",
            "[2001:db8::5]x",
            "[198.51.100.1]",
            "fe80::1%eth0",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "ä",
            "198.51.100.1;",
            "a b",
        ] {
            let line = format!("6.6.6.6, {garbage}, 10.0.0.6");
            assert_eq!(of("127.0.0.1", &[&line]).address, ip("10.0.0.6"), "{garbage}");
            assert_eq!(of("127.0.0.1", &["6.6.6.6", garbage]).address, ip("127.0.0.1"), "{garbage}");
        }
    }

    #[test]
    fn limits_count_ipv6_by_its_network() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6", &[]).counted, ip("2001:db8:1:2::"));
        assert_eq!(of("::1", &[]).counted, ip("::"));
        assert_eq!(of("203.0.113.9", &[]).counted, ip("203.0.113.9"));
        assert_eq!(of("::ffff:203.0.113.9", &[]).counted, ip("203.0.113.9"));
        assert_eq!((of("10.0.0.1", &[]).proxied, of("11.0.0.1", &[]).proxied), (true, false));
    }
}
