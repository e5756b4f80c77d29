//! Refusals over HTTP: RFC 9457 problems. All kinds stand in one list; the slug of each is also the word of log events
//! and of metric labels.

use super::Close;
use std::borrow::Cow;
use std::time::Duration;

/// Declares [`ProblemKind`]: one line for each kind, with its status, its slug, its title and its usual detail.
macro_rules! kinds {
    ($($kind:ident: $status:literal, $slug:literal, $title:literal, $detail:literal;)*) => {
        /// Why a request is refused. A slug with two statuses is two kinds: 400 in a path or a query, 422 in a body.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $(#[doc = $title] $kind,)*
            /// The session of this cursor has ended with a close after which the client must not come back.
            SessionEnded(Close),
        }

        impl ProblemKind {
            #[cfg(test)]
            const LISTED: &'static [Self] = &[$(Self::$kind),*];

            fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row { status: $status, slug: $slug, title: $title, detail: $detail },)*
                    Self::SessionEnded(close) => Row { slug: close.slug(), ..ENDED },
                }
            }
        }
    };
}

kinds! {
    AddressConnectRate: 429, "address-connect-rate", "Too many sessions opened.",
        "This address opens sessions faster than limits.connects_per_address allows.";
    AddressConnectionLimit: 429, "address-connection-limit", "Too many connections of this address.",
        "This address has as many connections as limits.connections_per_address allows; see http.trusted_proxies.";
    AddressSessionLimit: 429, "address-session-limit", "Too many sessions of this address.",
        "This address has as many sessions as limits.sessions_per_address allows; see http.trusted_proxies.";
    BadFraming: 400, "bad-framing", "The body is framed in a wrong way.",
        "Transfer-Encoding must be chunked, once, or missing.";
    BadHandshake: 400, "bad-handshake", "The WebSocket handshake is wrong.",
        "The request cannot become a WebSocket.";
    BadHost: 400, "bad-host", "The Host header is missing or wrong.",
        "The request needs exactly one Host header with a host and perhaps a port.";
    BodyTimeout: 408, "body-timeout", "The body took too long.",
        "The body did not arrive within http.body_timeout.";
    BodyTooLarge: 413, "body-too-large", "The body is too large.",
        "The body has more bytes than http.max_body allows.";
    BodyUnreadable: 400, "invalid-body", "The body is broken.",
        "The body could not be read to its end.";
    BodyUserId: 422, "invalid-user-id", "The user id is not valid.",
        "The user_id in the body is not valid.";
    ClusterBusy: 503, "cluster-busy", "The cluster is busy.",
        "The master did not answer in time.";
    Draining: 503, "draining", "The worker is leaving.",
        "This worker takes no new sessions.";
    Forbidden: 403, "forbidden", "The token does not allow this.",
        "The token is another user's, or does not give this right.";
    Full: 503, "full", "The cluster is full.",
        "The cluster holds as many sessions as limits.sessions, poll.sessions or descriptors allow.";
    HeaderTimeout: 408, "header-timeout", "The head of the request took too long.",
        "The head of the request did not arrive within http.header_timeout.";
    HistoryUnavailable: 503, "history-unavailable", "There are no candles now.",
        "The feeder, which keeps the candles, does not answer now.";
    HostNotServed: 421, "host-not-served", "This host is not served here.",
        "This host name is not served here; http.hosts lists the names that are.";
    InternalError: 500, "internal-error", "The server has a defect.",
        "This request failed because of a defect; other requests are not affected.";
    InvalidBody: 422, "invalid-body", "The body has the wrong shape.",
        "The body is JSON, but not the object that this route takes.";
    InvalidInterval: 422, "invalid-interval", "There is no such interval.",
        "interval: must be 1s, 1m or 1h.";
    InvalidJson: 400, "invalid-json", "The body is not JSON.",
        "The body is not valid JSON, or it is nested too deep.";
    KeysUnavailable: 503, "keys-unavailable", "Tokens cannot be checked now.",
        "No key is there to check a token with.";
    LimitNotNumber: 400, "invalid-limit", "The limit is not a number.",
        "limit: must be a number.";
    LimitOutOfRange: 422, "invalid-limit", "The limit is out of range.",
        "limit: is out of range.";
    MethodNotAllowed: 405, "method-not-allowed", "The method is not allowed.",
        "This path exists, but it does not take this method.";
    NotFound: 404, "not-found", "There is nothing here.",
        "There is nothing at this path.";
    OriginNotAllowed: 403, "origin-not-allowed", "The origin is not allowed.",
        "Pages of this origin may not use this server; http.allowed_origins lists the origins that may.";
    PosterRateLimited: 429, "poster-rate-limited", "Too many quotes from one address.",
        "This address asks for more quotes than limits.quotes_per_poster allows; see http.trusted_proxies.";
    PriceUnavailable: 503, "price-unavailable", "There is no price now.",
        "No source has given a price that may be served now.";
    QueryChannel: 400, "unknown-channel", "There is no such channel.",
        "channels: names a channel that does not exist.";
    QueryDevice: 400, "invalid-device", "The device is not valid.",
        "The device in the query is not valid.";
    QueryInvalid: 400, "invalid-query", "The query cannot be read.",
        "The query is malformed, or names a parameter twice.";
    QueryUserId: 400, "invalid-user-id", "The user id is not valid.",
        "The user_id in the query is missing or not valid.";
    RateLimited: 429, "rate-limited", "Too many quotes.",
        "This user is sent more quotes than limits.quotes_per_user allows.";
    RevocationsFull: 503, "revocations-full", "There are too many revocations.",
        "There is no room for a further revocation until tokens end that others cover.";
    SessionNotFound: 404, "session-not-found", "There is no such session.",
        "No session in the cluster has this id.";
    SessionSlow: 503, "session-slow", "The user's sessions are too slow.",
        "The user has sessions, but none of them reads fast enough to take the quote.";
    TokenExpired: 401, "token-expired", "The token has expired.",
        "The token is past its end; bring a fresh one.";
    TokenInvalid: 401, "token-invalid", "The token is not valid.",
        "The token is broken, or no key of this server has signed it.";
    TokenMissing: 401, "token-missing", "A token is needed.",
        "This request needs a token.";
    TokenRevoked: 401, "token-revoked", "The token is revoked.",
        "The token was revoked.";
    TooManyChannels: 400, "too-many-channels", "Too many channels.",
        "channels: names more channels than limits.channels_per_session allows.";
    UnknownChannel: 404, "unknown-channel", "There is no such channel.",
        "The path names no chat room and no channel of [[channels]].";
    UnknownSymbol: 422, "unknown-symbol", "There is no such symbol.",
        "symbol: is not one of price.symbols.";
    UnsupportedMediaType: 415, "unsupported-media-type", "The body must be JSON.",
        "The Content-Type of the body must be application/json.";
    UpgradeRequired: 426, "upgrade-required", "This is a WebSocket endpoint.",
        "The path is a WebSocket endpoint; open it with a WebSocket client.";
    UserNotConnected: 404, "user-not-connected", "The user is not connected.",
        "The user has no session that takes quotes.";
    UserSessionLimit: 429, "user-session-limit", "Too many sessions of this user.",
        "This user has as many sessions as limits.sessions_per_user allows.";
    UserStreamLimit: 429, "user-stream-limit", "Too many streams of this user.",
        "This user has as many streams open as limits.connections_per_user allows.";
    WorkerTimeout: 504, "worker-timeout", "A worker did not answer.",
        "A worker that holds the user did not answer in time; whether it delivered is unknown.";
}

/// A kind as clients see it.
struct Row {
    status: u16,
    slug: &'static str,
    title: &'static str,
    detail: &'static str,
}

/// [`ProblemKind::SessionEnded`], whose slug is the reason of the close.
const ENDED: Row = Row {
    status: 410,
    slug: "",
    title: "The session has ended.",
    detail: "This session has ended for good; open a new one only if a person asks for it.",
};

/// `Retry-After` in seconds when the problem does not know better.
const RETRY_AFTER: u64 = 1;

impl ProblemKind {
    /// All kinds, for the tests that hold the documentation against them.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = Self> {
        let closes = Close::ALL.iter().copied();
        let ended = closes.filter(|close| close.is_final());
        Self::LISTED.iter().copied().chain(ended.map(Self::SessionEnded))
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// The last part of the problem's `type`.
    #[must_use]
    pub fn slug(self) -> &'static str {
        self.row().slug
    }

    /// The fault, the same for all problems of this kind.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// `Retry-After`: every 429 and 503 has one.
    #[must_use]
    pub fn retry_after(self) -> Option<u64> {
        matches!(self.status(), 429 | 503).then_some(RETRY_AFTER)
    }

    /// A problem of this kind with a detail of its own.
    #[must_use]
    pub fn with(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { kind: self, detail: detail.into(), retry_after: self.retry_after() }
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        kind.with(kind.row().detail)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Status, slug and title.
    pub kind: ProblemKind,
    /// The fault of this request, for a person.
    pub detail: Cow<'static, str>,
    /// `Retry-After` in whole seconds, at least 1.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// The same problem, to be tried again after `wait`.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(RETRY_AFTER));
        self
    }

    /// The body, `application/problem+json`.
    #[must_use]
    pub fn json(&self) -> String {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
        }
        let (kind, detail) = (self.kind, &*self.detail);
        let r#type = format!("/problems/{}", kind.slug());
        let body = Body { r#type, title: kind.title(), status: kind.status(), detail };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_problem_names_itself() {
        let problem = Problem::from(ProblemKind::UserNotConnected);
        let body: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
        let expected = serde_json::json!({
            "type": "/problems/user-not-connected", "title": "The user is not connected.", "status": 404,
            "detail": "The user has no session that takes quotes.",
        });
        assert_eq!(body, expected);
        let own = ProblemKind::InvalidJson.with("expected value at line 1 column 1");
        assert!(own.json().ends_with(r#""status":400,"detail":"expected value at line 1 column 1"}"#));
    }

    #[test]
    fn a_refusal_for_now_says_when_to_come_back() {
        let limited = || Problem::from(ProblemKind::RateLimited);
        let after = |ms| limited().after(Duration::from_millis(ms)).retry_after;
        assert_eq!((after(0), after(1), after(1000), after(1001)), (Some(1), Some(1), Some(1), Some(2)));
        for kind in ProblemKind::all() {
            let waits = matches!(kind.status(), 429 | 503);
            assert_eq!(Problem::from(kind).retry_after.is_some(), waits, "{kind:?}");
        }
    }

    #[test]
    fn every_kind_is_one_status_and_slug_and_says_what_is_wrong() {
        let mut seen = HashSet::new();
        for kind in ProblemKind::all() {
            let Row { status, slug, title, detail } = kind.row();
            assert!(seen.insert((status, slug)), "twice: {status} {slug}");
            assert!((400..600).contains(&status), "{kind:?}");
            assert!(
                slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{slug}"
            );
            assert!([title, detail].iter().all(|text| text.ends_with('.') && text.len() < 120), "{kind:?}");
        }
        assert!(seen.contains(&(400, "invalid-user-id")) && seen.contains(&(422, "invalid-user-id")));
        assert!(seen.contains(&(410, "disconnected")) && !seen.contains(&(410, "restarting")));
    }
}
