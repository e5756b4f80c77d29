//! `GET /api/v1/events`: a session over Server-Sent Events.

use super::answer;
use super::peer::Peer;
use super::takeover::Takeover;
use super::wanted::{self, Wanted};
use crate::protocol::client::{Problem, Resume};
use crate::protocol::cluster::Endpoint;
use crate::transports::sse::Body;
use crate::worker::hub::{Framing, Greeting, Hub, Refused, SessionRequest, arrive};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};

/// Serves the route.
pub(super) async fn open(State(hub): State<Hub>, request: Request) -> Response {
    if let Some(refusal) = wanted::refuse_head(&request) {
        return refusal;
    }
    begin(&hub, request).await.unwrap_or_else(|problem| answer::counted(&hub, problem))
}

async fn begin(hub: &Hub, request: Request) -> Result<Response, Problem> {
    let Wanted { user, device, address, channels, resume, pass, .. } =
        wanted::read(hub, (Endpoint::Ws, None), &request)?;
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let resume = last.and_then(Resume::parse).or(resume);
    let chunks = request.version() >= Version::HTTP_11;
    let session = SessionRequest {
        user,
        device,
        endpoint: Endpoint::Ws,
        stream: None,
        address,
        framing: Framing::Events(if chunks { Body::Chunked } else { Body::Plain }),
        permit: Peer::of(&request).map(|peer| peer.permit.clone()),
        pass,
        takes_over: false,
    };
    let arrival = match arrive(hub, session, resume).await {
        Ok(arrival) => arrival,
        // An EventSource reconnects until it gets a 204.
        Err(Refused::Ended(_)) => return Ok(StatusCode::NO_CONTENT.into_response()),
        Err(refused) => return Err(wanted::refusal(refused)),
    };
    let greeting = Greeting::new(arrival.before, channels);
    let (takeover, body) = Takeover::by(arrival.opening, greeting);
    let mut response = Response::new(body);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONNECTION, "close"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // nginx buffers responses unless this header forbids it.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response.extensions_mut().insert(takeover);
    Ok(response)
}
