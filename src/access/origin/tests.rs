//! Hosts and origins, admitted and not.

use super::*;
use std::net::{IpAddr, Ipv4Addr};

const OPEN: Place = Place { only_local: false, any_host: false };
const LOCAL: Place = Place { only_local: true, any_host: false };

pub(super) fn gate(hosts: &[&str]) -> Gate {
    Gate {
        hosts: hosts.iter().map(|host| Host::parse(host).unwrap()).collect(),
        origins: vec!["https://app.example.com".to_owned(), "http://localhost:5173".to_owned()],
        told_by: ForwardedHeader::XForwardedFor,
    }
}

pub(super) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    headers
}

fn check(gate: &Gate, place: Place, proxied: bool, lines: &[(&str, &str)]) -> Result<Admitted, Denied> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let client = Client { address, counted: address, proxied };
    let (uri, headers) = (Uri::from_static("/ws"), headers(lines));
    gate.check(place, &Head { version: Version::HTTP_11, uri: &uri, headers: &headers }, &client)
}

#[test]
fn hosts_by_where_it_listens() {
    let (served, not) = (Ok(Admitted::Own), Err(Denied::HostNotServed));
    for (only_local, hosts, host, expected) in [
        (true, &[][..], "localhost:3000", &served),
        (true, &[], "127.0.0.1:3000", &served),
        (true, &[], "[::1]:3000", &served),
        (true, &[], "192.168.0.9", &served),
        (true, &[], "evil.example.com:3000", &not),
        (true, &[], "localhost.evil.com", &not),
        (true, &[], "shop.localhost:3000", &served),
        (true, &[], "LOCALHOST.", &served),
        (true, &["btc.example.com"], "btc.example.com", &served),
        (true, &["btc.example.com"], "localhost", &served),
        (true, &["btc.example.com"], "evil.example.com", &not),
        (false, &[], "anything.example.com", &served),
        (false, &["btc.example.com", "[2001:db8::1]"], "BTC.example.com.:8080", &served),
        (false, &["btc.example.com", "[2001:db8::1]"], "[2001:db8:0::1]:8080", &served),
        (false, &["btc.example.com"], "localhost", &not),
        (false, &["btc.example.com"], "127.0.0.1", &not),
        (false, &["btc.example.com"], "x.btc.example.com", &not),
    ] {
        let place = if only_local { LOCAL } else { OPEN };
        assert_eq!(&check(&gate(hosts), place, false, &[("host", host)]), expected, "{hosts:?} {host}");
    }
}

#[test]
fn a_request_names_one_host() {
    let open = gate(&[]);
    for lines in [
        &[][..],
        &[("host", "a"), ("host", "a")],
        &[("host", "")],
        &[("host", "a b")],
        &[("host", "a/b")],
        &[("host", "::1")],
        &[("host", "a:port")],
        &[("host", "ä")],
    ] {
        assert_eq!(check(&open, OPEN, false, lines), Err(Denied::BadHost), "{lines:?}");
    }
}

#[test]
fn http_1_0_may_name_none_and_a_whole_url_names_its_own() {
    let at = |gate: &Gate, version, uri: &'static str, lines: &[(&str, &str)]| {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let client = Client { address, counted: address, proxied: false };
        let (uri, headers) = (Uri::from_static(uri), headers(lines));
        let place = if gate.hosts.is_empty() { LOCAL } else { OPEN };
        gate.check(place, &Head { version, uri: &uri, headers: &headers }, &client)
    };
    let (local, listed) = (gate(&[]), gate(&["a"]));
    assert_eq!(at(&local, Version::HTTP_10, "/price", &[]), Ok(Admitted::Own));
    assert_eq!(at(&listed, Version::HTTP_10, "/price", &[]), Err(Denied::HostNotServed));
    assert_eq!(at(&listed, Version::HTTP_10, "/price", &[("host", "a")]), Ok(Admitted::Own));
    assert_eq!(
        at(&local, Version::HTTP_10, "/", &[("origin", "http://localhost")]),
        Err(Denied::ForeignOrigin)
    );
    let evil = "http://evil.com/ws";
    assert_eq!(at(&local, Version::HTTP_11, evil, &[("host", "localhost")]), Err(Denied::HostNotServed));
    assert_eq!(at(&local, Version::HTTP_11, "http://localhost/ws", &[]), Err(Denied::BadHost));
    assert_eq!(at(&local, Version::HTTP_2, "http://localhost/ws", &[]), Ok(Admitted::Own));
}

#[test]
fn a_page_of_somewhere_else_is_refused() {
    let open = gate(&[]);
    for (host, origin, own) in [
        ("btc.example.com", "https://btc.example.com", true),
        ("btc.example.com:8080", "http://BTC.example.com:3000", true),
        ("[::1]:3000", "http://[::1]:3000", true),
        ("[::1]:3000", "http://[0:0::1]", true),
        ("127.0.0.1:8080", "http://127.0.0.1:3000", true),
        ("127.0.0.1:8080", "http://localhost:3000", false),
        ("btc.example.com", "null", false),
        ("btc.example.com", "", false),
        ("btc.example.com", "btc.example.com", false),
        ("btc.example.com", "https://example.com", false),
        ("btc.example.com", "https://btc.example.com.evil.com", false),
        ("btc.example.com", "https://evil.com/btc.example.com", false),
        ("btc.example.com", "https://btc.example.com@evil.com", false),
        ("btc.example.com", "file://", false),
        ("btc.example.com", "https://app.example.com:444", false),
        ("btc.example.com", "ä", false),
    ] {
        let expected = if own { Ok(Admitted::Own) } else { Err(Denied::ForeignOrigin) };
        assert_eq!(
            check(&open, OPEN, false, &[("host", host), ("origin", origin)]),
            expected,
            "{host} {origin}"
        );
    }
    let twice = [("host", "a"), ("origin", "http://a"), ("origin", "http://a")];
    assert_eq!(check(&open, OPEN, false, &twice), Err(Denied::ForeignOrigin));
}

#[test]
fn a_proxy_that_is_trusted_tells_the_host() {
    let open = gate(&[]);
    let lines = |forwarded| {
        [("host", "backend:3000"), ("origin", "https://btc.org"), ("x-forwarded-host", forwarded)]
    };
    assert_eq!(check(&open, OPEN, true, &lines("btc.org")), Ok(Admitted::Own));
    assert_eq!(check(&open, OPEN, true, &lines("evil.com, btc.org:443")), Ok(Admitted::Own));
    assert_eq!(check(&open, OPEN, true, &lines("btc.org, evil.com")), Err(Denied::ForeignOrigin));
    assert_eq!(check(&open, OPEN, false, &lines("btc.org")), Err(Denied::ForeignOrigin));
    let standard = Gate { told_by: ForwardedHeader::Forwarded, ..gate(&[]) };
    for (told, own) in [
        ("for=10.0.0.1;host=btc.org;proto=https", true),
        ("host=evil.com, for=10.0.0.1;Host=\"btc.org:443\"", true),
        ("host=\"evil.com, host=btc.org", true),
        ("host=btc.org, host=evil.com", false),
        ("host=btc.org, for=10.0.0.1", false),
        ("host=btc.org;host=btc.org", false),
    ] {
        let lines = [
            ("host", "backend:3000"),
            ("origin", "https://btc.org"),
            ("forwarded", told),
            ("x-forwarded-host", "btc.org"),
        ];
        assert_eq!(check(&standard, OPEN, true, &lines).is_ok(), own, "{told}");
        assert!(check(&standard, OPEN, false, &lines).is_err(), "{told}");
    }
    let local = gate(&[]);
    let rebound = [("host", "evil.com"), ("x-forwarded-host", "localhost")];
    assert_eq!(
        check(&local, LOCAL, true, &rebound),
        Err(Denied::HostNotServed),
        "the host itself must be served"
    );
}

#[test]
fn an_allowed_page_may_read_the_answers() {
    let open = gate(&[]);
    let lines = [("host", "btc.example.com"), ("origin", "https://APP.example.com")];
    let admitted = check(&open, OPEN, false, &lines).unwrap();
    let mut answer = headers(&[("vary", "accept")]);
    admitted.mark(&mut answer);
    assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://APP.example.com");
    let mut none = HeaderMap::new();
    Admitted::Own.mark(&mut none);
    assert!(none.is_empty());
    let listed =
        check(&open, OPEN, false, &[("host", "localhost:3000"), ("origin", "http://localhost:5173")]);
    assert!(matches!(listed, Ok(Admitted::Foreign(_))), "another port is another origin for a browser");
}

#[test]
fn a_browser_may_ask_before() {
    let page = Admitted::Foreign(HeaderValue::from_static("https://app.example.com"));
    let question = headers(&[("access-control-request-method", "POST")]);
    let told = preflight(&page, &Method::OPTIONS, &question).unwrap();
    assert_eq!(told[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, POST, DELETE");
    assert!(preflight(&page, &Method::POST, &question).is_none());
    assert!(preflight(&page, &Method::OPTIONS, &HeaderMap::new()).is_none());
    assert!(preflight(&Admitted::Own, &Method::OPTIONS, &question).is_none());
}

#[test]
fn a_listed_page_may_send_what_its_libraries_add() {
    let page = Admitted::Foreign(HeaderValue::from_static("https://app.example.com"));
    let told = |asked: &[&str]| {
        let mut question = headers(&[("access-control-request-method", "POST")]);
        for line in asked {
            question.append(header::ACCESS_CONTROL_REQUEST_HEADERS, line.parse().unwrap());
        }
        let told = preflight(&page, &Method::OPTIONS, &question).unwrap();
        told[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_owned()
    };
    assert_eq!(told(&[]), HEADERS);
    assert_eq!(
        told(&["content-type,Traceparent, tracestate", "sentry-trace ,baggage"]),
        format!("{HEADERS}, traceparent, tracestate, sentry-trace, baggage")
    );
    assert_eq!(told(&["x-forwarded-for, X-Forwarded-Host, forwarded, x-real-ip, a b, ,é"]), HEADERS);
    let many: Vec<_> = (0..1000).map(|n| format!("x-{n}")).collect();
    assert_eq!(told(&[&many.join(",")]).split(", ").count(), NAMES);
}

#[test]
fn health_answers_whatever_host_is_named() {
    let health = |only_local| Place { only_local, any_host: true };
    for gate in [gate(&[]), gate(&["btc.example.com"])] {
        for place in [health(true), health(false)] {
            for lines in [&[][..], &[("host", "10.0.0.5:3000")], &[("host", "evil.com")], &[("host", "")]] {
                assert_eq!(check(&gate, place, false, lines), Ok(Admitted::Own), "{lines:?}");
            }
            let two = [("host", "a"), ("host", "a")];
            assert_eq!(check(&gate, place, false, &two), Err(Denied::BadHost));
            let page = [("host", "evil.com"), ("origin", "http://foreign.com")];
            assert_eq!(check(&gate, place, false, &page), Err(Denied::ForeignOrigin));
        }
    }
}

#[test]
fn pages_of_apps_may_be_listed() {
    let mut gate = gate(&[]);
    let apps = ["capacitor://localhost", "chrome-extension://abc", "file://"];
    gate.origins = apps.map(str::to_owned).to_vec();
    for app in apps {
        let lines = [("host", "btc.example.com"), ("origin", app)];
        assert!(matches!(check(&gate, OPEN, false, &lines), Ok(Admitted::Foreign(_))), "{app}");
    }
    for other in ["chrome-extension://abd", "capacitor://localhost:1", "null", "tauri://localhost"] {
        let lines = [("host", "btc.example.com"), ("origin", other)];
        assert_eq!(check(&gate, OPEN, false, &lines), Err(Denied::ForeignOrigin), "{other}");
    }
}

#[test]
fn the_page_of_an_app_is_no_own_page_whatever_it_calls_itself() {
    let open = gate(&[]);
    for (origin, own) in [
        ("http://localhost", true),
        ("HTTPS://localhost", true),
        ("capacitor://localhost", false),
        ("ionic://localhost", false),
        ("tauri://localhost", false),
        ("javascript://localhost", false),
        ("://localhost", false),
    ] {
        let expected = if own { Ok(Admitted::Own) } else { Err(Denied::ForeignOrigin) };
        let lines = [("host", "localhost:3000"), ("origin", origin)];
        assert_eq!(check(&open, LOCAL, false, &lines), expected, "{origin}");
    }
}

#[test]
fn what_a_foreign_page_plants() {
    for (lines, planted) in [
        (&[][..], false),
        (&[("sec-fetch-site", "same-origin")], false),
        (&[("sec-fetch-site", "none")], false),
        (&[("sec-fetch-site", "cross-site")], true),
        (&[("sec-fetch-site", "same-site")], true),
        (&[("sec-fetch-site", "cross-site"), ("origin", "https://app.example.com")], false),
    ] {
        assert_eq!(is_planted(&headers(lines)), planted, "{lines:?}");
    }
}
