//! From an HTTP request to a WebSocket session. Everything that can be refused is refused before the upgrade, as a problem.

use super::ask::ask;
use super::peer::{Io, Peer};
use super::wanted::Wanted;
use super::{answer, wanted};
use crate::config::Config;
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::{Endpoint, Port, Question, Verdict};
use crate::worker::hub::{Arrival, Framing, Greeting, Hub, Opening, Refused, SessionRequest, arrive};
use crate::ws::handshake;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body::Body as _;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::task::yield_now;

/// Whether a request asks to become a WebSocket. Another protocol in `Upgrade` is an offer that a server may ignore, and
/// so is the header without its name in `Connection` (RFC 9110, section 7.8).
pub(super) fn wants(headers: &HeaderMap) -> bool {
    handshake::is_asked_for(headers)
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

/// The name of the stream at a path.
pub(super) fn stream(config: &Config, path: &str) -> Option<Box<str>> {
    config.stream(path.strip_prefix('/')?).map(|stream| stream.name.as_str().into())
}

/// Any other path: a stream, or nothing.
pub(super) async fn elsewhere(State(hub): State<Hub>, request: Request) -> Response {
    let stream = stream(&hub.config(), request.uri().path());
    if stream.is_some() {
        return open_on(hub, (Endpoint::Stream, stream), request).await;
    }
    let on_ws_port = Peer::of(&request).is_some_and(|peer| peer.port == Port::Ws);
    if on_ws_port && !wants(request.headers()) {
        return upgrade_required();
    }
    answer::plain(ProblemKind::NotFound)
}

fn upgrade_required() -> Response {
    let mut response = answer::plain(ProblemKind::UpgradeRequired);
    response.headers_mut().extend(handshake::Refusal::NoUpgrade.headers());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

async fn open(hub: Hub, endpoint: Endpoint, request: Request) -> Response {
    open_on(hub, (endpoint, None), request).await
}

/// An endpoint, and for [`Endpoint::Stream`] the name of the stream.
type On = (Endpoint, Option<Box<str>>);

async fn open_on(hub: Hub, on: On, request: Request) -> Response {
    let result = negotiate(&hub, on, request).await;
    result.unwrap_or_else(|problem| answer::counted(&hub, problem))
}

async fn negotiate(hub: &Hub, (endpoint, stream): On, request: Request) -> Result<Response, Problem> {
    let upgrade = wants(request.headers());
    if upgrade && !request.body().is_end_stream() {
        return Err(ProblemKind::BadHandshake.with("a handshake has no body"));
    }
    let acceptance = match handshake::check(request.method(), request.version(), request.headers()) {
        Ok(acceptance) => Some(acceptance),
        Err(refusal) if upgrade || request.method() != axum::http::Method::GET => {
            return Ok(bad_handshake(hub, refusal));
        }
        Err(_) => None,
    };
    let wanted = wanted::read(hub, (endpoint, stream.as_deref()), &request)?;
    let Wanted { user, device, address, channels, resume, takes_over, pass, .. } = wanted;
    let Some(acceptance) = acceptance else {
        // A plain GET asks what an upgrade would get: nothing is opened, and nothing counted.
        let question = Question::Admission(endpoint, user.as_str(), address);
        let verdict = ask(hub, &question).await?.and_then(|text| serde_json::from_str(&text).ok());
        let verdict = if takes_over && verdict == Some(Verdict::StreamLimit) {
            Some(Verdict::Accepted)
        } else {
            verdict
        };
        return wanted::permitted(verdict).map(|()| upgrade_required());
    };
    let peer = Peer::of(&request).cloned();
    // hyper looks for the end of the client's bytes between two polls of a request.
    yield_now().await;
    if peer.as_ref().is_some_and(|peer| peer.life.has_said_all()) {
        return Err(ProblemKind::BadHandshake.with("a WebSocket needs both directions of its connection"));
    }
    let (framing, permit) = (Framing::Websocket, peer.map(|peer| peer.permit.clone()));
    let session =
        SessionRequest { user, device, endpoint, stream, address, framing, permit, takes_over, pass };
    let resume = resume.filter(|_| endpoint == Endpoint::Ws);
    let arrival = match arrive(hub, session.clone(), resume).await {
        // A token of an ended session counts as no token.
        Err(Refused::Ended(_)) => arrive(hub, session, None).await,
        arrived => arrived,
    };
    let Arrival { opening, before } = arrival.map_err(wanted::refusal)?;
    let greeting = Greeting::new(before, channels);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = acceptance.headers();
    tokio::spawn(upgraded(opening, request, greeting));
    Ok(response)
}

fn bad_handshake(hub: &Hub, refusal: handshake::Refusal) -> Response {
    let kind = match refusal {
        handshake::Refusal::Method => ProblemKind::MethodNotAllowed,
        handshake::Refusal::NoUpgrade | handshake::Refusal::Version => ProblemKind::UpgradeRequired,
        handshake::Refusal::HttpVersion | handshake::Refusal::Key => ProblemKind::BadHandshake,
    };
    let mut response = answer::counted(hub, kind.with(refusal.reason()));
    response.headers_mut().extend(refusal.headers());
    response
}

/// Waits for hyper to let go of the connection and gives it to the session.
async fn upgraded(opening: Opening, request: Request, greeting: Greeting) {
    // A client that is slow to read its 101 delays this; the time limits of its connection end it.
    let upgrade = tokio::time::timeout(Duration::from_secs(30), hyper::upgrade::on(request));
    let Ok(Ok(upgraded)) = upgrade.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<Io>>() else { return };
    let stream = parts.io.into_inner().into_inner().into_inner();
    opening.attach(stream, &parts.read_buf, &greeting);
}
