//! The admin routes: a message to a channel, the end of a session, metrics.

use super::{answer, body};
use crate::model::{Mono, SessionId};
use crate::os::clock;
use crate::protocol::client::{self, Problem, ProblemKind};
use crate::protocol::cluster::{Question, ToMaster};
use crate::worker::hub::{Hub, Reply};
use crate::ws::frame;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::oneshot;

/// The master answers by the deadline; after this time more, the question is given up.
const LATE: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// `POST /api/v1/channels/{name}/messages`
pub(super) async fn publish(
    State(hub): State<Hub>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let config = hub.config();
    let bytes = body::read(&config, request).await?;
    let message: Message<'_> = body::parse(&bytes)?;
    let known = config.channels.iter().any(|channel| channel.name == name);
    if !known && client::room(&name).is_none() {
        return Err(ProblemKind::UnknownChannel.into());
    }
    let frame = frame::text(client::channel_message(&name, None, clock::wall(), message.data.get()));
    let deadline = clock::mono().after(config.quotes.timeout);
    let (number, receiver) = {
        let mut state = hub.lock();
        let (number, receiver) = state.requests.publish();
        let message =
            ToMaster::Publish { request: number, channel: &name, frame: &frame, deadline, skip: None };
        if state.uplink.send(&message).is_err() {
            state.requests.forget(number);
            return Err(ProblemKind::ClusterBusy.into());
        }
        (number, receiver)
    };
    let sessions = answered(&hub, number, receiver, deadline).await?;
    Ok(answer::json(StatusCode::ACCEPTED, json!({ "channel": name, "sessions": sessions }).to_string()))
}

/// Waits for the master's answer to a question that is on its way.
pub(super) async fn answered<T>(
    hub: &Hub,
    number: u64,
    receiver: oneshot::Receiver<T>,
    deadline: Mono,
) -> Result<T, Problem> {
    let patience = clock::instant(deadline.after(LATE));
    match tokio::time::timeout_at(patience.into(), receiver).await {
        Ok(Ok(answer)) => Ok(answer),
        _ => {
            hub.lock().requests.forget(number);
            Err(ProblemKind::ClusterBusy.into())
        }
    }
}

/// Asks the master; `None`: there is no such thing.
pub(super) async fn ask(hub: &Hub, question: &Question<'_>) -> Result<Option<String>, Problem> {
    Ok(reply(hub, question).await?.map(|reply| reply.text))
}

/// Asks for what may be a page of a list.
pub(super) async fn reply(hub: &Hub, question: &Question<'_>) -> Result<Option<Reply>, Problem> {
    let (number, receiver, deadline) = {
        let mut state = hub.lock();
        let (request, receiver) = state.requests.question();
        let question = question.clone();
        let sent = state.uplink.send(&ToMaster::Ask { request, question });
        if sent.is_err() {
            state.requests.forget(request);
            return Err(ProblemKind::ClusterBusy.into());
        }
        (request, receiver, clock::mono().after(state.config.quotes.timeout))
    };
    answered(hub, number, receiver, deadline).await
}

/// `DELETE /api/v1/sessions/{session_id}`
pub(super) async fn disconnect(
    State(hub): State<Hub>,
    Path(session): Path<String>,
) -> Result<Response, Problem> {
    let session = SessionId::parse(&session).ok_or(ProblemKind::SessionNotFound)?;
    let done = ask(&hub, &Question::Kick(session)).await?;
    done.map(|_| StatusCode::NO_CONTENT.into_response()).ok_or_else(|| ProblemKind::SessionNotFound.into())
}

/// `GET /metrics`
pub(super) async fn metrics(State(hub): State<Hub>) -> Result<Response, Problem> {
    let text = ask(&hub, &Question::Metrics).await?;
    let mut response = Body::from(text.unwrap_or_default()).into_response();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// `GET /metrics` on the HTTP port: only without an admin port.
pub(super) async fn metrics_public(State(hub): State<Hub>) -> Result<Response, Problem> {
    if hub.config().admin.listen.is_some() {
        return Err(ProblemKind::NotFound.with("The metrics are on the admin port."));
    }
    metrics(State(hub)).await
}
