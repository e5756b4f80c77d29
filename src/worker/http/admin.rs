//! The admin routes: a message to a channel, the end of a session.

use super::ask::{answered, ask};
use super::{answer, body, identity};
use crate::access::tokens::Action;
use crate::model::SessionId;
use crate::os::clock;
use crate::protocol::client::{self, Problem, ProblemKind};
use crate::protocol::cluster::{Question, ToMaster};
use crate::worker::hub::Hub;
use crate::ws::frame;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

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
    let identity = identity::of(request.extensions())?;
    let channel = hub.lock().described(&name);
    identity.permit(&hub, Action::Publish(channel))?;
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
        state.requests.repeatable(number, &message);
        if state.uplink.send(&message).is_err() {
            state.requests.forget(number);
            return Err(ProblemKind::ClusterBusy.into());
        }
        (number, receiver)
    };
    let sessions = answered(&hub, number, receiver, deadline).await?;
    Ok(answer::json(StatusCode::ACCEPTED, json!({ "channel": name, "sessions": sessions }).to_string()))
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
