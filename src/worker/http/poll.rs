//! `GET /api/v1/poll`: a session over long polling.

use super::refuse;
use super::wanted::{self, Wanted};
use crate::protocol::client::{Close, Problem};
use crate::protocol::peer::{Poll, Polled};
use crate::worker::hub::{Hub, Refused, poll_anywhere};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

/// Serves the route.
pub(super) async fn show(State(hub): State<Hub>, request: Request) -> Response {
    answer(&hub, request).await.unwrap_or_else(|problem| wanted::refused(&hub, &problem))
}

async fn answer(hub: &Hub, request: Request) -> Result<Response, Problem> {
    let Wanted { user, device, address, channels, resume } = wanted::read_main(hub, &request)?;
    let poll = Poll { user, device, channels, address, resume };
    match poll_anywhere(hub, poll).await {
        Polled::Answer(text) => Ok(refuse::json(StatusCode::OK, text)),
        Polled::Ended(code) => {
            Err(Problem::new(410, Close::from_code(code).slug(), "this session has ended, do not come back"))
        }
        Polled::Refused(verdict) => Err(wanted::refusal(Refused::Verdict(verdict))),
        Polled::Gone => Err(wanted::draining()),
    }
}
