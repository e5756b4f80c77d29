//! The admin routes: a message to a channel, sessions, metrics.

use super::ask::{answered, ask, busy};
use super::{body, refuse};
use crate::model::{SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::{self, Problem};
use crate::protocol::cluster::{Question, ToMaster};
use crate::worker::hub::{Hub, Lost};
use crate::ws::frame;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
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
pub(super) async fn publish(State(hub): State<Hub>, Path(name): Path<String>, request: Request) -> Response {
    let result = publish_to(&hub, &name, request).await;
    result.unwrap_or_else(|problem| refuse::with(&problem))
}

async fn publish_to(hub: &Hub, name: &str, request: Request) -> Result<Response, Problem> {
    let config = hub.config();
    let bytes = body::read(&config, request).await?;
    let message: Message<'_> = body::parse(&bytes)?;
    let known = config.channels.iter().any(|channel| channel.name == name);
    if !known && client::room(name).is_none() {
        return Err(Problem::new(
            404,
            "unknown-channel",
            "no [[channels]] of the configuration has this name",
        ));
    }
    let frame = frame::text(client::channel_message(name, None, clock::wall(), message.data.get()));
    let deadline = clock::mono().after(config.quotes.timeout);
    let (number, receiver) = {
        let mut state = hub.lock();
        let (number, receiver) = state.requests.publish();
        let message =
            ToMaster::Publish { request: number, channel: name, frame: &frame, deadline, skip: None };
        state.uplink.send(&message).map_err(|_| busy())?;
        (number, receiver)
    };
    let sessions = answered(hub, number, receiver, config.quotes.timeout).await.map_err(|Lost| busy())?;
    Ok(refuse::json(StatusCode::ACCEPTED, json!({ "channel": name, "sessions": sessions }).to_string()))
}

#[derive(Deserialize)]
pub(super) struct Of {
    user_id: Option<String>,
}

/// `GET /api/v1/sessions`
pub(super) async fn sessions(State(hub): State<Hub>, query: Result<Query<Of>, QueryRejection>) -> Response {
    let of = match query {
        Ok(Query(of)) => of,
        Err(why) => return refuse::query(&why),
    };
    let user = match of.user_id.as_deref().map(UserId::new).transpose() {
        Ok(user) => user,
        Err(error) => {
            return refuse::with(&Problem::new(400, "invalid-user-id", format!("user_id {error}")));
        }
    };
    match ask(&hub, &Question::Sessions(user.as_ref().map(UserId::as_str))).await {
        Ok(text) => refuse::json(StatusCode::OK, text.unwrap_or_else(|| "[]".to_owned())),
        Err(problem) => refuse::with(&problem),
    }
}

/// `DELETE /api/v1/sessions/{session_id}`
pub(super) async fn disconnect(State(hub): State<Hub>, Path(session): Path<String>) -> Response {
    let none = || Problem::new(404, "session-not-found", "there is no such session");
    let Some(session) = SessionId::parse(&session) else { return refuse::with(&none()) };
    match ask(&hub, &Question::Kick(session)).await {
        Ok(Some(_)) => StatusCode::NO_CONTENT.into_response(),
        Ok(None) => refuse::with(&none()),
        Err(problem) => refuse::with(&problem),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(hub): State<Hub>) -> Response {
    match ask(&hub, &Question::Metrics).await {
        Ok(text) => {
            let mut response = Body::from(text.unwrap_or_default()).into_response();
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        Err(problem) => refuse::with(&problem),
    }
}

/// `GET /metrics` on the public port: only where there is no admin port.
pub(super) async fn metrics_public(State(hub): State<Hub>) -> Response {
    if hub.config().admin.listen.is_some() {
        return refuse::with(&Problem::new(404, "not-found", "metrics are on the admin port"));
    }
    metrics(State(hub)).await
}
