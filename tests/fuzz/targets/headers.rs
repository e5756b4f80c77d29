//! What proxies and browsers say in the head of a request: addresses, hosts, origins.

use super::Parts;
use crate::access::{Admitted, Client, Gate, Head, Place, Proxies, counted, is_planted, preflight};
use crate::config::{Config, ForwardedHeader, Source, Surroundings, load};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::LazyLock;

const ORIGIN: &str = "https://shop.example";

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let source = Source::find(Some(Path::new("/nonexistent/fuzz.toml")), None, &Surroundings::default());
    let mut source = source.expect("a source");
    source.required = false;
    source.overrides = vec![
        ("http.hosts".to_owned(), "[\"price.example\"]".to_owned()),
        ("http.allowed_origins".to_owned(), format!("[\"{ORIGIN}\"]")),
    ];
    load(&source).unwrap_or_else(|faults| panic!("{faults:?}")).config
});

/// The lines of a head. Whoever is not behind a trusted proxy is who connects; an address is never one that nobody can
/// have; a foreign page comes in only from a listed origin.
pub fn forwarded(data: &[u8]) {
    let mut parts = Parts(data);
    let flags = parts.byte();
    let lines = parts.0.split(|byte| *byte == b'\n').take(64);
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(&line[at + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let client = client(flags, &headers);
    let mut config = CONFIG.clone();
    config.http.forwarded_header = by(flags);
    let gate = Gate::new(&config);
    let place = Place { only_local: flags & 8 != 0, any_host: flags & 16 != 0 };
    let version = if flags & 32 != 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let uri = Uri::from_static(if flags & 64 != 0 { "http://price.example/" } else { "/" });
    let admitted = gate.check(place, &Head { version, uri: &uri, headers: &headers }, &client);
    if let Ok(admitted) = admitted {
        let mut answer = HeaderMap::new();
        admitted.mark(&mut answer);
        if let Admitted::Foreign(origin) = &admitted {
            assert!(origin.as_bytes().eq_ignore_ascii_case(ORIGIN.as_bytes()));
            assert_eq!(headers.get_all(header::ORIGIN).iter().count(), 1);
        }
        let _ = preflight(&admitted, &Method::OPTIONS, &headers);
    }
    let _ = is_planted(&headers);
}

fn by(flags: u8) -> ForwardedHeader {
    if flags & 1 == 0 { ForwardedHeader::XForwardedFor } else { ForwardedHeader::Forwarded }
}

fn client(flags: u8, headers: &HeaderMap) -> Client {
    let trusted: IpNet = "192.0.2.0/24".parse().expect("a network");
    let trusts_all: [IpNet; 3] =
        [trusted, "0.0.0.0/0".parse().expect("all"), "::/0".parse().expect("all of them")];
    let networks = if flags & 2 == 0 { &trusts_all[..1] } else { &trusts_all[..] };
    let connection = if flags & 4 == 0 { [192, 0, 2, 1] } else { [203, 0, 113, 9] };
    let connection = IpAddr::V4(Ipv4Addr::from(connection));
    let client = Client::of(connection, headers, Proxies { networks, header: by(flags) });
    let is_trusted = networks.iter().any(|network| network.contains(&connection));
    assert_eq!(client.proxied, is_trusted);
    assert!(is_trusted || client.address == connection, "a stranger says who it is");
    assert!(!client.address.is_unspecified() && !client.address.is_multicast());
    assert_eq!(client.counted, counted(client.address));
    assert_eq!(client.address, client.address.to_canonical());
    client
}
