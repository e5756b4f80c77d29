//! Where a request carries its token: `Authorization`, the subprotocols of a WebSocket, the query, a cookie.

use super::refusal::{Reason, Refusal};
use http::{HeaderMap, HeaderValue, header};
use std::borrow::Cow;
use url::form_urlencoded;

/// Parameter of the query.
const PARAMETER: &str = "token";
/// Beginning of a subprotocol that is a token. Browsers can send no header with a WebSocket.
const SUBPROTOCOL: &str = "bearer.";

/// Ways that a request may carry its token in beside `Authorization`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways<'a> {
    /// Its query: of event streams and polls, where a browser can send no header.
    pub query: Option<&'a str>,
    /// The cookie of `auth.cookie`, if no foreign page makes the request: a browser sends it by itself.
    pub cookie: Option<&'a str>,
}

/// Finds the token. The cookie counts only where nothing else was sent.
///
/// # Errors
/// Two different tokens (RFC 6750, section 2).
pub fn carried<'a>(headers: &'a HeaderMap, ways: Ways<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let texts = |name| headers.get_all(name).iter().filter_map(|line: &HeaderValue| line.to_str().ok());
    let header = texts(header::AUTHORIZATION).filter_map(bearer).map(Cow::Borrowed);
    let protocols = texts(header::SEC_WEBSOCKET_PROTOCOL).flat_map(|line| line.split(','));
    let protocol = protocols.filter_map(|name| name.trim().strip_prefix(SUBPROTOCOL)).map(Cow::Borrowed);
    let parameters = form_urlencoded::parse(ways.query.unwrap_or_default().as_bytes());
    let parameter = parameters.filter(|(name, _)| name == PARAMETER).map(|(_, value)| value);
    let said = one(header.chain(protocol).chain(parameter))?;
    if said.is_some() {
        return Ok(said);
    }
    let Some(wanted) = ways.cookie else { return Ok(None) };
    let pairs =
        texts(header::COOKIE).flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim());
    one(values.filter(|value| !value.is_empty()).map(Cow::Borrowed))
}

/// The token of `Bearer TOKEN`. Another scheme is for somebody else: a proxy's Basic, for instance.
fn bearer(line: &str) -> Option<&str> {
    let (scheme, token) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn one<'a>(mut found: impl Iterator<Item = Cow<'a, str>>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(first) = found.next() else { return Ok(None) };
    match found.all(|other| other == first) {
        true => Ok(Some(first)),
        false => Err(Reason::Several.into()),
    }
}

/// A query for log lines: a token in it is not shown.
#[must_use]
pub fn masked(query: &str) -> Cow<'_, str> {
    let is_token = |part: &str| {
        let name = form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned());
        name.is_some_and(|name| name.eq_ignore_ascii_case(PARAMETER))
    };
    if !query.split('&').any(is_token) {
        return Cow::Borrowed(query);
    }
    let part = |part| if is_token(part) { "token=***" } else { part };
    Cow::Owned(query.split('&').map(part).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn found(
        lines: &[(&'static str, &str)],
        query: Option<&str>,
        cookie: Option<&str>,
    ) -> Result<Option<String>, Refusal> {
        carried(&headers(lines), Ways { query, cookie }).map(|token| token.map(Cow::into_owned))
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        let token = Ok(Some("a.b.c".to_owned()));
        for line in ["Bearer a.b.c", "bearer  a.b.c ", "BEARER a.b.c"] {
            assert_eq!(found(&[("authorization", line)], None, None), token);
        }
        for line in ["btc-cluster.v1.json, bearer.a.b.c", "bearer.a.b.c", "x,bearer.a.b.c ,y"] {
            assert_eq!(found(&[("sec-websocket-protocol", line)], None, None), token);
        }
        for query in ["token=a.b.c", "user_id=x&token=a.b.c&y", "%74oken=a%2Eb.c"] {
            assert_eq!(found(&[], Some(query), None), token);
        }
        for line in ["jwt=a.b.c", "x=y; jwt=a.b.c; z", "jwt= a.b.c "] {
            assert_eq!(found(&[("cookie", line)], None, Some("jwt")), token);
        }
    }

    #[test]
    fn nothing_is_found_elsewhere() {
        for line in ["Basic YTpi", "Bearerx a.b.c", "a.b.c", ""] {
            assert_eq!(found(&[("authorization", line)], None, None), Ok(None), "{line}");
        }
        assert_eq!(found(&[("sec-websocket-protocol", "Bearer.a, xbearer.a")], None, None), Ok(None));
        assert_eq!(found(&[("cookie", "jwt=a.b.c")], None, None), Ok(None));
        assert_eq!(found(&[("cookie", "xjwt=a; JWT=b; jwt=")], Some("tokens=a"), Some("jwt")), Ok(None));
        // No token is a token that is none: it is said to be broken.
        assert_eq!(found(&[("authorization", "Bearer")], None, None), Ok(Some(String::new())));
    }

    #[test]
    fn two_tokens_are_refused_and_a_cookie_gives_way() {
        let several = Err(Refusal::Invalid(Reason::Several));
        let bearer = ("authorization", "Bearer a");
        assert_eq!(found(&[bearer, ("authorization", "Bearer b")], None, None), several);
        assert_eq!(found(&[bearer], Some("token=b"), None), several);
        assert_eq!(found(&[], Some("token=a&token=b"), None), several);
        assert_eq!(found(&[("sec-websocket-protocol", "bearer.a, bearer.b")], None, None), several);
        assert_eq!(found(&[("cookie", "jwt=a; jwt=b")], None, Some("jwt")), several);
        let same = [bearer, ("sec-websocket-protocol", "bearer.a"), ("cookie", "jwt=b")];
        assert_eq!(found(&same, Some("token=a"), Some("jwt")), Ok(Some("a".to_owned())));
    }

    #[test]
    fn no_token_of_a_query_is_shown() {
        for (query, shown) in [
            ("", ""),
            ("user_id=a&channels=b", "user_id=a&channels=b"),
            ("token=a.b.c", "token=***"),
            ("user_id=a&token=a.b.c&y=tokens", "user_id=a&token=***&y=tokens"),
            ("%74%6Fken=a", "token=***"),
            ("Token=a&token", "token=***&token=***"),
        ] {
            assert_eq!(masked(query), shown);
        }
    }
}
