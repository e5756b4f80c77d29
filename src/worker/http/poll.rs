//! `GET /api/v1/poll`: a session over long polling.

use super::answer;
use super::wanted::{self, Wanted};
use crate::protocol::client::{Close, Problem, ProblemKind};
use crate::protocol::peer::{Poll, Polled};
use crate::worker::hub::{Hub, Refused, poll_anywhere};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

/// Serves the route.
pub(super) async fn show(State(hub): State<Hub>, request: Request) -> Response {
    poll(&hub, request).await.unwrap_or_else(|problem| answer::counted(&hub, problem))
}

async fn poll(hub: &Hub, request: Request) -> Result<Response, Problem> {
    let Wanted { user, device, address, channels, resume, wait } = wanted::read_main(hub, &request)?;
    let poll = Poll { user, device, channels, address, resume, wait };
    match poll_anywhere(hub, poll).await {
        Polled::Answer(text) => Ok(answer::json(StatusCode::OK, text)),
        Polled::Ended(code) => Err(ProblemKind::SessionEnded(Close::from_code(code)).into()),
        Polled::Refused(verdict) => Err(wanted::refusal(Refused::Verdict(verdict))),
        Polled::Gone => Err(ProblemKind::Draining.into()),
    }
}
