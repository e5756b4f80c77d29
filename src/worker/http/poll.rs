//! `GET /api/v1/poll`: a session over long polling.

use super::refuse;
use super::wanted::{self, Wanted};
use crate::protocol::client::{Close, Problem};
use crate::protocol::cluster::Endpoint;
use crate::protocol::peer::{Poll, Polled};
use crate::worker::hub::{Hub, Refused, poll_anywhere};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;

/// Serves the route.
pub(super) async fn show(State(hub): State<Hub>, request: Request) -> Response {
    answer(&hub, request).await.unwrap_or_else(|problem| {
        hub.lock().counters.count_refused(problem.slug);
        refuse::with(&problem)
    })
}

async fn answer(hub: &Hub, request: Request) -> Result<Response, Problem> {
    if request.method() == Method::HEAD {
        // It would open a session that nobody listens to.
        return Ok(super::method_not_allowed(request).await);
    }
    let client = wanted::client(&request)?;
    let Wanted { user, device, channels, resume } =
        wanted::read(&hub.config(), Endpoint::Ws, &request, client)?;
    wanted::takes_sessions(hub)?;
    let poll = Poll { user, device, channels, address: client.counted, resume };
    match poll_anywhere(hub, poll).await {
        Polled::Answer(text) => Ok(refuse::json(StatusCode::OK, text)),
        Polled::Ended(code) => {
            Err(Problem::new(410, Close::from_code(code).slug(), "this session has ended, do not come back"))
        }
        Polled::Refused(verdict) => Err(wanted::refusal(Refused::Verdict(verdict))),
        Polled::Gone => Err(Problem::new(503, "draining", "this worker takes no new sessions")),
    }
}
