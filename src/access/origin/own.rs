//! Whether what a browser sends by itself, a cookie, counts: only for pages of the very origin that they ask.
//! Admission is wider, since a page may open its WebSocket at another port of its host; but browsers give cookies to all
//! ports of a host, and pages that are listed are others' pages.

use super::{FETCH_SITE, Gate, Head, is_foreign, named, told};
use crate::access::client::Client;
use crate::access::host::{Host, Site};
use http::{HeaderName, header};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The origin of a page of the web.
struct Page {
    secure: bool,
    host: Host,
    port: u16,
}

impl Page {
    fn parse(origin: &str) -> Option<Self> {
        let (scheme, site) = origin.split_once("://")?;
        let secure = scheme.eq_ignore_ascii_case("https");
        let is_web = secure || scheme.eq_ignore_ascii_case("http");
        let Site { host, port } = Site::parse(site).filter(|_| is_web)?;
        Some(Self { secure, host, port: port.unwrap_or(if secure { 443 } else { 80 }) })
    }

    /// Whether the page is of that host and port. Without a port it is the usual one of the scheme.
    fn is_of(&self, site: &Site) -> bool {
        let port = site.port.unwrap_or(if self.secure { 443 } else { 80 });
        self.host == site.host && self.port == port
    }
}

impl Gate {
    /// Whether an admitted request is made by a page of its own origin, scheme and port included, or by no page.
    /// `secure`: it came over TLS.
    #[must_use]
    pub fn is_own(&self, head: &Head<'_>, client: &Client, secure: bool) -> bool {
        let headers = head.headers;
        if is_foreign(headers) {
            return false;
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        // The browser's own word; it also knows the port that a proxy left out of `Host`.
        let mut sites = headers.get_all(FETCH_SITE).iter();
        if sites.next().is_some_and(|site| site == "same-origin") {
            return true;
        }
        let Some(page) = origin.to_str().ok().and_then(Page::parse) else { return false };
        let by = client.proxied.then_some(self.told_by);
        let proto = by.and_then(|by| told(headers, by, (&FORWARDED_PROTO, "proto")));
        let secure = secure || proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let heard = by.and_then(|by| super::heard(headers, by));
        let is_of = |site: Option<Site>| site.is_some_and(|site| page.is_of(&site));
        (page.secure || !secure) && (is_of(named(head).ok().flatten()) || is_of(heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::origin::tests::{gate, headers};
    use crate::config::ForwardedHeader;
    use http::{Uri, Version};
    use std::net::{IpAddr, Ipv4Addr};

    fn is_own(gate: &Gate, (proxied, secure): (bool, bool), lines: &[(&str, &str)]) -> bool {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let client = Client { address, counted: address, proxied };
        let (uri, headers) = (Uri::from_static("/ws"), headers(lines));
        gate.is_own(&Head { version: Version::HTTP_11, uri: &uri, headers: &headers }, &client, secure)
    }

    #[test]
    fn scheme_host_and_port_are_compared() {
        for (host, origin, plain, secure) in [
            ("btc.org", "https://btc.org", true, true),
            ("btc.org", "http://btc.org", true, false),
            ("btc.org:443", "https://btc.org", true, true),
            ("btc.org:443", "http://btc.org", false, false),
            ("btc.org:80", "http://BTC.org.", true, false),
            ("btc.org:80", "https://btc.org", false, false),
            ("btc.org:3000", "http://btc.org:3000", true, false),
            ("btc.org:3000", "https://btc.org:3000", true, true),
            ("btc.org:3000", "http://btc.org:8080", false, false),
            ("btc.org:3000", "http://btc.org", false, false),
            ("btc.org", "https://btc.org:8443", false, false),
            ("[::1]:3000", "http://[::1]:3000", true, false),
            ("[::1]:3000", "http://[::1]:3001", false, false),
            ("btc.org", "https://app.btc.org", false, false),
            // It is on the list of `gate`.
            ("app.example.com", "https://app.example.com", true, true),
            ("localhost:3000", "http://localhost:5173", false, false),
            ("btc.org", "https://app.example.com", false, false),
            ("btc.org", "null", false, false),
            ("btc.org", "app://btc.org", false, false),
        ] {
            let lines = [("host", host), ("origin", origin)];
            assert_eq!(is_own(&gate(&[]), (false, false), &lines), plain, "{host} {origin}");
            assert_eq!(is_own(&gate(&[]), (false, true), &lines), secure, "{host} {origin} over TLS");
        }
    }

    #[test]
    fn the_browser_is_believed_where_it_says_more() {
        let own = |lines: &[(&str, &str)]| {
            is_own(&gate(&[]), (false, false), &[&[("host", "btc.org")][..], lines].concat())
        };
        assert!(own(&[]) && own(&[("sec-fetch-site", "none")]) && own(&[("sec-fetch-site", "same-origin")]));
        assert!(!own(&[("sec-fetch-site", "cross-site")]) && !own(&[("sec-fetch-site", "same-site")]));
        assert!(!own(&[("origin", "https://btc.org"), ("sec-fetch-site", "same-site")]));
        // nginx with `proxy_set_header Host $host`.
        assert!(own(&[("origin", "https://btc.org:8443"), ("sec-fetch-site", "same-origin")]));
        assert!(!own(&[("origin", "https://btc.org:8443"), ("sec-fetch-site", "none")]));
        let two = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert!(!own(&two));
    }

    #[test]
    fn a_proxy_that_is_trusted_tells_host_and_scheme() {
        let lines = |origin, host, proto| {
            let from = [("host", "backend:3000"), ("origin", origin)];
            [&from[..], &[("x-forwarded-host", host), ("x-forwarded-proto", proto)]].concat()
        };
        for (origin, host, proto, own) in [
            ("https://btc.org", "btc.org", "https", true),
            ("https://btc.org:8443", "evil.org, btc.org:8443", "https", true),
            ("https://btc.org:8443", "btc.org", "https", false),
            ("http://btc.org", "btc.org", "https", false),
            ("http://btc.org", "btc.org", "http", true),
            ("http://backend:3000", "btc.org", "http", true),
        ] {
            let lines = lines(origin, host, proto);
            assert_eq!(is_own(&gate(&[]), (true, false), &lines), own, "{origin} {host} {proto}");
        }
        assert!(!is_own(&gate(&[]), (false, false), &lines("https://btc.org", "btc.org", "https")));
        let standard = Gate { told_by: ForwardedHeader::Forwarded, ..gate(&[]) };
        let lines = |origin, told| [("host", "backend:3000"), ("origin", origin), ("forwarded", told)];
        assert!(is_own(&standard, (true, false), &lines("https://btc.org", "host=btc.org;proto=https")));
        assert!(!is_own(&standard, (true, false), &lines("http://btc.org", "host=btc.org;proto=https")));
    }
}
