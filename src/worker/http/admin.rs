//! The admin routes: a message to a channel, the end of a session.

use super::ask::{answered, ask};
use super::{answer, body, identity};
use crate::access::tokens::{Action, Revocation, Revocations};
use crate::model::{NamedMoment, SessionId};
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
use std::borrow::Cow;

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

/// A `jti`, or a user and a moment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked<'a> {
    #[serde(borrow, default)]
    jti: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
    #[serde(default)]
    issued_before: Option<NamedMoment>,
    #[serde(default)]
    until: Option<NamedMoment>,
}

/// `POST /api/v1/revocations`
pub(super) async fn revoke(State(hub): State<Hub>, request: Request) -> Result<Response, Problem> {
    let bytes = body::read(&hub.config(), request).await?;
    let Revoked { jti, user_id, issued_before, until } = body::parse(&bytes)?;
    let moment = |named: Option<NamedMoment>| named.map(|NamedMoment(moment)| moment);
    let (now, until) = (clock::wall(), moment(until));
    let wrong = |why: &'static str| ProblemKind::InvalidBody.with(why.to_owned());
    if until.is_some_and(|until| until <= now) {
        return Err(wrong("until is past"));
    }
    let one =
        Revocation::wanted(jti.as_deref(), user_id.as_deref(), moment(issued_before), now).map_err(wrong)?;
    let order = Revocations::of(one, until).encode();
    let done = ask(&hub, &Question::Revoke(&order)).await?;
    done.map(|_| StatusCode::NO_CONTENT.into_response()).ok_or_else(|| ProblemKind::RevocationsFull.into())
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
