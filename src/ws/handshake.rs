//! Checks a request for an upgrade to WebSocket (RFC 6455, section 4.2). Only what every endpoint requires: who may
//! connect, from which origin and to which path is decided elsewhere.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The subprotocol of the server's clients. A client that offers none, or another one, is accepted without a
/// subprotocol.
pub const SUBPROTOCOL: &str = "btc-cluster.v1.json";

/// The only version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The answer to a valid request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The proof that the key was read.
    pub accept: HeaderValue,
    /// [`SUBPROTOCOL`], if the client offered it.
    pub subprotocol: Option<&'static str>,
}

impl Acceptance {
    /// The headers of the answer, which is a 101.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(subprotocol) = self.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        headers
    }
}

/// Why a request cannot become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Anything but GET.
    Method,
    /// HTTP/1.0, or a version with another kind of upgrade.
    HttpVersion,
    /// The headers that ask for an upgrade are missing.
    NoUpgrade,
    /// A version other than 13.
    Version,
    /// Not exactly one key of 16 bytes in base64.
    Key,
}

impl Refusal {
    /// The headers that the answer must have.
    #[must_use]
    pub fn headers(self) -> HeaderMap {
        let headers: &[(HeaderName, HeaderValue)] = match self {
            Self::Method => &[(header::ALLOW, HeaderValue::from_static("GET"))],
            Self::HttpVersion | Self::Key => &[],
            Self::NoUpgrade | Self::Version => {
                &[(header::UPGRADE, WEBSOCKET), (header::SEC_WEBSOCKET_VERSION, VERSION)]
            }
        };
        headers.iter().cloned().collect()
    }

    /// A sentence for the client's developer.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Method => "a WebSocket is opened with GET",
            Self::HttpVersion => "a WebSocket is opened over HTTP/1.1",
            Self::NoUpgrade => "only WebSocket here: Connection: upgrade and Upgrade: websocket are missing",
            Self::Version => "Sec-WebSocket-Version must be 13",
            Self::Key => "Sec-WebSocket-Key must be 16 bytes in base64",
        }
    }
}

/// Checks a request's method, version and headers.
///
/// # Errors
/// The request cannot become a WebSocket: answer with the refusal's status, headers and reason.
pub fn check(method: &Method, version: Version, headers: &HeaderMap) -> Result<Acceptance, Refusal> {
    if method != Method::GET {
        return Err(Refusal::Method);
    }
    if version != Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    if !is_asked_for(headers) {
        return Err(Refusal::NoUpgrade);
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Refusal::Version);
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY).ok_or(Refusal::Key)?;
    if !is_key(key.as_bytes()) {
        return Err(Refusal::Key);
    }
    let accept = derive_accept_key(key.as_bytes()).try_into().map_err(|_| Refusal::Key)?;
    let subprotocol = offered(headers).any(|offer| offer == SUBPROTOCOL).then_some(SUBPROTOCOL);
    Ok(Acceptance { accept, subprotocol })
}

/// Whether a request asks for the protocol WebSocket at all.
#[must_use]
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let names = |name, wanted| tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted));
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, "websocket")
}

/// The subprotocols that a client offers, in its order (RFC 6455, section 11.3.4).
pub fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    tokens(headers, header::SEC_WEBSOCKET_PROTOCOL)
}

/// The elements of a list header, on one line or on several (RFC 9110, section 5.6.1).
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// The value of a header, if it occurs exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(name).into_iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// 16 bytes are 22 letters of base64 and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    matches!(key.split_at_checked(22), Some((letters, b"==")) if letters.iter().all(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455, section 1.3, with some headers replaced, or taken away.
    fn request(changes: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let usual = [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("origin", "http://example.com"),
            ("sec-websocket-version", "13"),
        ];
        for (name, value) in usual.iter().filter(|(name, _)| changes.iter().all(|change| change.0 != *name)) {
            headers.append(*name, value.parse().unwrap());
        }
        for (name, value) in changes.iter().filter(|change| !change.1.is_empty()) {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn judged(changes: &[(&'static str, &str)]) -> Result<Acceptance, Refusal> {
        check(&Method::GET, Version::HTTP_11, &request(changes))
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let acceptance = judged(&[]).unwrap();
        assert_eq!(acceptance.subprotocol, None);
        let headers = acceptance.headers();
        assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((&headers["connection"], &headers["upgrade"]), (&"upgrade".parse().unwrap(), &WEBSOCKET));
        assert!(!headers.contains_key("sec-websocket-protocol"));
    }

    #[test]
    fn tokens_may_be_anywhere_in_a_list_and_in_any_case() {
        assert!(judged(&[("connection", "keep-alive, UPGRADE"), ("upgrade", "h2c, WebSocket")]).is_ok());
        assert!(judged(&[("connection", "keep-alive"), ("connection", "upgrade")]).is_ok());
    }

    #[test]
    fn the_subprotocol_is_chosen_wherever_it_is_offered() {
        let chosen = |changes: &[_]| judged(changes).unwrap().subprotocol;
        let name = "sec-websocket-protocol";
        assert_eq!(chosen(&[(name, "btc-cluster.v1.json")]), Some(SUBPROTOCOL));
        assert_eq!(chosen(&[(name, "graphql-ws ,btc-cluster.v1.json,bearer.x")]), Some(SUBPROTOCOL));
        assert_eq!(chosen(&[(name, "bearer.x"), (name, "btc-cluster.v1.json")]), Some(SUBPROTOCOL));
        assert_eq!(chosen(&[(name, "btc-cluster.v2.json, BTC-CLUSTER.V1.JSON")]), None);
        let headers = judged(&[(name, "btc-cluster.v1.json")]).unwrap().headers();
        assert_eq!(headers[name], SUBPROTOCOL);
    }

    #[test]
    fn each_refusal_has_its_headers() {
        let headers = request(&[]);
        let refused = check(&Method::POST, Version::HTTP_11, &headers).unwrap_err();
        assert_eq!((refused, &refused.headers()["allow"]), (Refusal::Method, &"GET".parse().unwrap()));
        let refused = check(&Method::GET, Version::HTTP_10, &headers).unwrap_err();
        assert_eq!(refused, Refusal::HttpVersion);
        for changes in [("connection", ""), ("connection", "close"), ("upgrade", ""), ("upgrade", "h2c")] {
            let refused = judged(&[changes]).unwrap_err();
            assert_eq!(refused, Refusal::NoUpgrade, "{changes:?}");
            assert_eq!(refused.headers()["upgrade"], "websocket");
        }
        for version in ["", "8", "14", "13, 8", "abc"] {
            let refused = judged(&[("sec-websocket-version", version)]).unwrap_err();
            assert_eq!(refused, Refusal::Version, "{version}");
            assert_eq!(refused.headers()["sec-websocket-version"], "13");
        }
        let twice = [("sec-websocket-version", "13"), ("sec-websocket-version", "13")];
        assert_eq!(judged(&twice), Err(Refusal::Version));
    }

    #[test]
    fn a_key_is_16_bytes_and_stands_there_once() {
        for key in ["", "x", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ===", "dGhlIHNhbXBsZSBub25jZQ=a"]
        {
            let refused = judged(&[("sec-websocket-key", key)]).unwrap_err();
            assert_eq!(refused, Refusal::Key, "{key}");
        }
        assert!(judged(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ-=")]).is_err());
        let twice = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="); 2];
        assert_eq!(judged(&twice), Err(Refusal::Key));
    }
}
