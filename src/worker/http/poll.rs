//! `GET /api/v1/poll`: a session over long polling.

use super::answer;
use super::peer::Peer;
use super::wanted::{self, Wanted};
use crate::protocol::client::{Close, Problem, ProblemKind};
use crate::protocol::cluster::Endpoint;
use crate::protocol::peer::{Poll, Polled};
use crate::worker::hub::{Hub, Refused, poll_anywhere};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Time for what waits already, perhaps at another worker.
const MOMENT: Duration = Duration::from_millis(100);

/// Serves the route.
pub(super) async fn show(State(hub): State<Hub>, request: Request) -> Response {
    if let Some(refusal) = wanted::refuse_head(&request) {
        return refusal;
    }
    poll(&hub, request).await.unwrap_or_else(|problem| answer::counted(&hub, problem))
}

async fn poll(hub: &Hub, request: Request) -> Result<Response, Problem> {
    let Wanted { user, device, address, channels, resume, wait, pass, .. } =
        wanted::read(hub, (Endpoint::Ws, None), &request)?;
    let pass = pass.map(|pass| pass.encode());
    let peer = Peer::of(&request).cloned();
    let cursor = resume.as_ref().map(ToString::to_string);
    let poll = Poll { user, device, channels, address, resume, wait, pass };
    match held(hub, poll, peer.zip(cursor)).await {
        Polled::Answer(text) => Ok(answer::json(StatusCode::OK, text)),
        Polled::Ended(code) => Err(ProblemKind::SessionEnded(Close::from_number(code)).into()),
        Polled::Refused(verdict) => Err(wanted::refusal(Refused::Verdict(verdict))),
        Polled::Gone => Err(ProblemKind::Draining.into()),
    }
}

/// Serves a poll. A client that has shut down its side gets its answer, but is not waited with: whether anybody still
/// reads cannot be seen, and what a closed connection takes would count as delivered. Nor is one whose connection is
/// needed for a newcomer, or whose worker leaves: it asks again from where it was.
async fn held(hub: &Hub, poll: Poll, client: Option<(Arc<Peer>, String)>) -> Polled {
    let answer = poll_anywhere(hub, poll);
    let Some((peer, cursor)) = client else { return answer.await };
    let ends = async {
        peer.life.said_all().await;
        sleep(MOMENT).await;
    };
    let leaving = hub.lock().connections.leaving();
    let leaves = async {
        leaving.begun().await;
        sleep(MOMENT).await;
    };
    let nothing = || Polled::Answer(format!(r#"{{"cursor":"{cursor}","messages":[]}}"#));
    tokio::select! {
        biased;
        answer = answer => answer,
        () = ends => nothing(),
        () = leaves => nothing(),
        () = peer.phase.holds() => nothing(),
    }
}
