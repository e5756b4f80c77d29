//! Checks that every request must pass first: the host that it names, the origin of a browser.

use super::answer;
use super::peer::Peer;
use crate::access::{Client, preflight};
use crate::worker::hub::Hub;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Checks a request, and leaves the client's address for its route.
pub(super) async fn check(State(hub): State<Hub>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else { return next.run(request).await };
    let (gate, config) = {
        let state = hub.lock();
        (state.config.gate(), state.config.whole())
    };
    let client = Client::of(peer.address.ip(), request.headers(), &config.http.trusted_proxies);
    let admitted = match gate.check(request.version(), request.uri(), request.headers(), &client) {
        Ok(admitted) => admitted,
        Err(denied) => return answer::counted(&hub, denied.kind().into()),
    };
    let mut response = match preflight(&admitted, request.method(), request.headers()) {
        Some(headers) => (StatusCode::NO_CONTENT, headers).into_response(),
        None => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
    };
    admitted.mark(response.headers_mut());
    response
}
