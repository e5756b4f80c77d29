//! `GET /api/v1/poll`: a session over long polling.

use super::answer;
use super::wanted::{self, Wanted};
use crate::net::phase::Phase;
use crate::protocol::client::{Close, Problem, ProblemKind, Resume};
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
    let phase = request.extensions().get::<Phase>().cloned().filter(|_| resume.is_some());
    let poll = Poll { user, device, channels, address, resume, wait };
    let polled = tokio::select! {
        biased;
        polled = poll_anywhere(hub, poll) => polled,
        () = yields(phase) => Polled::Answer(nothing(resume)),
    };
    match polled {
        Polled::Answer(text) => Ok(answer::json(StatusCode::OK, text)),
        Polled::Ended(code) => Err(ProblemKind::SessionEnded(Close::from_code(code)).into()),
        Polled::Refused(verdict) => Err(wanted::refusal(Refused::Verdict(verdict))),
        Polled::Gone => Err(ProblemKind::Draining.into()),
    }
}

/// Ready when the connection of a poll that is held is needed for a newcomer.
async fn yields(phase: Option<Phase>) {
    match phase {
        Some(phase) => phase.holds().await,
        None => std::future::pending().await,
    }
}

/// The answer without news: the client asks again from where it was.
fn nothing(cursor: Option<Resume>) -> String {
    let cursor = cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
    format!(r#"{{"cursor":"{cursor}","messages":[]}}"#)
}
