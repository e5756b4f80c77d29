//! Answers: a problem, or a JSON text.

use crate::protocol::client::{Problem, ProblemKind};
use crate::worker::hub::Hub;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Lets a route answer `Result<Response, Problem>`.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = of(status, "application/problem+json", self.json());
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge(self.kind));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// How to ask again with a token, or with a better one (RFC 6750, section 3).
fn challenge(kind: ProblemKind) -> HeaderValue {
    HeaderValue::from_static(match kind {
        ProblemKind::TokenMissing => r#"Bearer realm="btc-cluster""#,
        ProblemKind::TokenExpired => {
            r#"Bearer realm="btc-cluster", error="invalid_token", error_description="The token has expired.""#
        }
        ProblemKind::TokenRevoked => {
            r#"Bearer realm="btc-cluster", error="invalid_token", error_description="The token is revoked.""#
        }
        _ => r#"Bearer realm="btc-cluster", error="invalid_token""#,
    })
}

/// The usual problem of that kind as an answer.
pub(super) fn plain(kind: ProblemKind) -> Response {
    Problem::from(kind).into_response()
}

/// Answers a request for a session that is refused, and counts it.
pub(super) fn counted(hub: &Hub, problem: Problem) -> Response {
    hub.lock().counters.count_refused(problem.kind.slug());
    problem.into_response()
}

/// A method that a path does not take, which takes those that are told.
pub(super) fn takes_only(methods: &'static str, problem: impl Into<Problem>) -> Response {
    let mut response = problem.into().into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// Says that the connection ends with this answer.
pub(super) fn ends(headers: &mut HeaderMap) {
    let upgrade = headers.contains_key(header::UPGRADE);
    let options = if upgrade { "upgrade, close" } else { "close" };
    headers.insert(header::CONNECTION, HeaderValue::from_static(options));
}

/// Keeps an answer from pages of other origins, its address from other servers (an id may stand in it), and both from
/// caches if the answer says nothing about them.
pub(super) fn shield(headers: &mut HeaderMap) {
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// A method that a path does not take. The router adds those that it takes.
pub(super) async fn method_not_allowed(request: Request) -> Response {
    let method: String = request.method().as_str().chars().take(16).collect();
    ProblemKind::MethodNotAllowed.with(format!("This path does not take {method}.")).into_response()
}

/// A JSON text as an answer.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    of(status, "application/json", text)
}

/// A text of that type as an answer, which no cache keeps.
pub(super) fn of(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = (status, Body::from(text)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
