//! From an HTTP request to a session: everything that can be refused is refused before the upgrade, as a problem.

use super::{Peer, admin, refuse};
use crate::access::Client;
use crate::config::Config;
use crate::model::{Device, UserId};
use crate::protocol::client::Problem;
use crate::protocol::cluster::{Endpoint, Port, Question, Verdict};
use crate::worker::hub::{Hub, Opening, Phase, SessionRequest};
use crate::ws::handshake;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::time::Duration;

#[derive(Deserialize)]
struct Parameters {
    user_id: Option<String>,
    device: Option<String>,
    channels: Option<String>,
}

/// Whether a request wants to become a WebSocket.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) || headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// `/ws`
pub(super) async fn ws(State(hub): State<Hub>, request: Request) -> Response {
    open(hub, Endpoint::Ws, request).await
}

/// `/echo`
pub(super) async fn echo(state: State<Hub>, request: Request) -> Response {
    if !state.config().ws.echo {
        return elsewhere(state, request).await;
    }
    open(state.0, Endpoint::Echo, request).await
}

/// `/command`
pub(super) async fn command(State(hub): State<Hub>, request: Request) -> Response {
    open(hub, Endpoint::Command, request).await
}

/// `/chat`
pub(super) async fn chat(State(hub): State<Hub>, request: Request) -> Response {
    open(hub, Endpoint::Chat, request).await
}

/// `/broadcast`
pub(super) async fn broadcast(State(hub): State<Hub>, request: Request) -> Response {
    open(hub, Endpoint::Broadcast, request).await
}

/// `/`: the endpoint that `ws.root` names.
pub(super) async fn root(state: State<Hub>, request: Request) -> Response {
    match state.config().ws.root.as_str() {
        "ws" => ws(state, request).await,
        "echo" => echo(state, request).await,
        "command" => command(state, request).await,
        "chat" => chat(state, request).await,
        "broadcast" => broadcast(state, request).await,
        name => {
            let stream = state.config().stream(name).map(|stream| stream.name.as_str().into());
            open_on(state.0, (Endpoint::Stream, stream), request).await
        }
    }
}

/// The stream of that path.
pub(super) fn stream(config: &Config, path: &str) -> Option<Box<str>> {
    config.stream(path.strip_prefix('/')?).map(|stream| stream.name.as_str().into())
}

/// Any other path: a stream, or none.
pub(super) async fn elsewhere(State(hub): State<Hub>, request: Request) -> Response {
    let stream = stream(&hub.config(), request.uri().path());
    if stream.is_some() {
        return open_on(hub, (Endpoint::Stream, stream), request).await;
    }
    let on_ws_port = request.extensions().get::<Peer>().is_some_and(|peer| peer.port == Port::Ws);
    if on_ws_port && !wanted(request.headers()) {
        return upgrade_required();
    }
    refuse::with(&Problem::new(404, "not-found", "no WebSocket endpoint has this path"))
}

fn upgrade_required() -> Response {
    let mut response = refuse::with(&Problem::new(426, "upgrade-required", "this is a WebSocket endpoint"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// What the query asks for, checked.
struct Wanted {
    user: UserId,
    device: Option<Device>,
    channels: Vec<String>,
}

async fn open(hub: Hub, endpoint: Endpoint, request: Request) -> Response {
    open_on(hub, (endpoint, None), request).await
}

/// An endpoint, and which stream where it is one.
type On = (Endpoint, Option<Box<str>>);

async fn open_on(hub: Hub, on: On, request: Request) -> Response {
    let result = negotiate(&hub, on, request).await;
    result.unwrap_or_else(|problem| {
        hub.lock().counters.count_refused(problem.slug);
        refuse::with(&problem)
    })
}

async fn negotiate(hub: &Hub, (endpoint, stream): On, request: Request) -> Result<Response, Problem> {
    let upgrade = wanted(request.headers());
    let acceptance = match handshake::check(request.method(), request.version(), request.headers()) {
        Ok(acceptance) => Some(acceptance),
        Err(refusal) if upgrade || request.method() != axum::http::Method::GET => {
            return Ok(bad_handshake(refusal));
        }
        Err(_) => None,
    };
    let config = hub.config();
    let client = request.extensions().get::<Client>().copied();
    let client = client.ok_or_else(|| Problem::new(500, "internal-error", "the client has no address"))?;
    let wanted = read(&config, endpoint, &request, client)?;
    if hub.lock().phase == Phase::Stopping {
        return Err(Problem::new(503, "draining", "this worker takes no new sessions"));
    }
    let Some(acceptance) = acceptance else {
        // Only asked what an upgrade would get: nothing is opened, and nothing counted.
        let question = Question::Admission(endpoint, wanted.user.as_str(), client.counted);
        let verdict = admin::ask(hub, &question).await?.and_then(|text| serde_json::from_str(&text).ok());
        return permitted(verdict).map(|()| upgrade_required());
    };
    let (opening, verdict) = Opening::announce(
        hub,
        SessionRequest {
            user: wanted.user,
            device: wanted.device,
            endpoint,
            stream,
            address: client.counted,
        },
    );
    let verdict = tokio::time::timeout(config.ws.handshake_timeout, verdict).await;
    permitted(verdict.ok().and_then(Result::ok))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = acceptance.headers();
    tokio::spawn(upgraded(opening, request, wanted.channels));
    Ok(response)
}

fn bad_handshake(refusal: handshake::Refusal) -> Response {
    let slug = match refusal.status().as_u16() {
        405 => "method-not-allowed",
        426 => "upgrade-required",
        _ => "bad-handshake",
    };
    let mut response = refuse::with(&Problem::new(refusal.status().as_u16(), slug, refusal.reason()));
    response.headers_mut().extend(refusal.headers());
    response
}

fn read(config: &Config, endpoint: Endpoint, request: &Request, client: Client) -> Result<Wanted, Problem> {
    let query = Query::<Parameters>::try_from_uri(request.uri())
        .map_err(|error| Problem::new(400, "invalid-query", error.body_text()))?;
    let bad_user = |error| Problem::new(400, "invalid-user-id", format!("user_id {error}"));
    let user = match (&query.user_id, endpoint) {
        (Some(text), _) => UserId::new(text).map_err(bad_user)?,
        (None, Endpoint::Ws) => return Err(Problem::new(400, "invalid-user-id", "user_id is missing")),
        (None, _) => UserId::new(&client.counted.to_string()).map_err(bad_user)?,
    };
    let device = query.device.as_deref().map(Device::new).transpose();
    let device = device.map_err(|error| Problem::new(400, "invalid-device", format!("device {error}")))?;
    let channels = match endpoint {
        Endpoint::Ws => channels(config, query.channels.as_deref())?,
        _ => Vec::new(),
    };
    Ok(Wanted { user, device, channels })
}

fn channels(config: &Config, asked: Option<&str>) -> Result<Vec<String>, Problem> {
    let default = || vec!["stats".to_owned(), format!("price:{}", config.price.symbol)];
    let names = match asked {
        None => return Ok(default()),
        Some("none" | "") => return Ok(Vec::new()),
        Some(names) => names.split(','),
    };
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let known = config.has_state(name) || config.channels.iter().any(|channel| channel.name == name);
        if !known {
            return Err(Problem::new(400, "unknown-channel", "channels: there is no such channel"));
        }
        if !all.iter().any(|one| one == name) {
            all.push(name.to_owned());
        }
    }
    if all.len() > config.limits.channels_per_session as usize {
        return Err(Problem::new(
            400,
            "too-many-channels",
            "channels: more than limits.channels_per_session",
        ));
    }
    Ok(all)
}

fn permitted(verdict: Option<Verdict>) -> Result<(), Problem> {
    match verdict {
        Some(Verdict::Accepted) => Ok(()),
        Some(Verdict::Full) => Err(Problem::new(503, "full", "the cluster holds as many sessions as it may")),
        Some(Verdict::UserLimit) => {
            Err(Problem::new(429, "user-session-limit", "this user has as many sessions as one may have"))
        }
        Some(Verdict::StreamLimit) => {
            Err(Problem::new(429, "user-stream-limit", "this user has as many streams open as one may have"))
        }
        Some(Verdict::AddressLimit) => Err(Problem::new(
            429,
            "address-session-limit",
            "this address has as many sessions as one may have",
        )),
        Some(Verdict::ConnectRate(wait)) => {
            Err(Problem::new(429, "address-connect-rate", "too many sessions opened from this address")
                .after(wait))
        }
        None => Err(Problem::new(503, "cluster-busy", "the master did not answer in time")),
    }
}

/// Waits for hyper to let go of the connection and gives it to the session.
async fn upgraded(opening: Opening, request: Request, channels: Vec<String>) {
    // A client that is slow to take its 101 holds this up; its connection's own limits end it.
    let upgrade = tokio::time::timeout(Duration::from_secs(30), hyper::upgrade::on(request));
    let Ok(Ok(upgraded)) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<super::connection::Io>>() else { return };
    opening.attach(parts.io.into_inner().into_inner(), &parts.read_buf, &channels);
}
