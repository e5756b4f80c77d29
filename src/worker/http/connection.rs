//! One HTTP connection: hyper, behind the time limits that hyper does not keep.

use super::answer;
use super::health;
use super::linger;
use super::peer::{Io, Peer};
use super::proxied::{self, Arrived};
use super::rest::{Asked, Rest};
use super::secure::{self, Came};
use super::socket::{Busy, Life, Socket};
use super::takeover::Takeover;
use crate::config::Config;
use crate::net::guard::Limits;
use crate::net::phase::{Phase, Serving};
use crate::protocol::client::ProblemKind;
use crate::protocol::cluster::{Door, Port};
use crate::worker::hub::{Entrance, Hub, Leaving};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower::ServiceExt;

/// Largest head of a request in bytes.
const HEAD: usize = 32 << 10;
/// Most headers of a request.
const HEADERS: usize = 100;

/// The answer to the first bytes of HTTP/2.
const HTTP_1_ONLY: &[u8] =
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// What the requests of one connection share.
struct Conversation {
    hub: Hub,
    router: Router,
    peer: Arc<Peer>,
    /// There is no room for the connection: the answer to all but health.
    turned: Option<ProblemKind>,
    leaving: Leaving,
    taken: OnceLock<Takeover>,
}

impl Conversation {
    async fn answer(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        turn: (Serving, Busy),
    ) -> Result<Response, Infallible> {
        let asked = Asked::of(request.headers());
        let (head, body) = request.into_parts();
        let (body, rest) = Rest::lend(body, &self.peer.phase);
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(self.peer.clone());
        let turned_away = self.turned.filter(|_| !health::is_asked(request.uri().path()));
        let mut response = match turned_away {
            Some(kind) => turned(&self.hub, kind),
            None => respond(&self.hub, self.router.clone(), request).await,
        };
        if let Some(rest) = rest
            && let Some(drops) = rest.settle(asked, &mut response, self.hub.config().http.body_timeout)
        {
            tokio::spawn(async move {
                drops.await;
                drop(turn);
            });
        }
        let ends = self.leaving.quiet().is_some() || self.turned.is_some();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer::shield(response.headers_mut());
            if ends {
                answer::ends(response.headers_mut());
            }
        }
        if let Some(takeover) = response.extensions_mut().remove::<Takeover>() {
            let _ = self.taken.set(takeover);
        }
        Ok(response)
    }

    /// Whether a session takes the connection over now: the kernel has the head of its response.
    fn is_taken(&self) -> bool {
        self.taken.get().is_some_and(Takeover::has_begun) && self.peer.phase.all_written()
    }
}

/// The time limits of a connection's first steps.
fn limits(config: &Config, port: Port) -> Limits {
    let head = match port {
        Port::Ws => config.ws.handshake_timeout.min(config.http.header_timeout),
        Port::Http | Port::Admin => config.http.header_timeout,
    };
    Limits { head, idle: config.http.idle_timeout }
}

/// Serves a connection until it ends or becomes a session.
pub(in crate::worker) async fn serve(
    hub: Hub,
    router: Router,
    mut socket: TcpStream,
    (address, door, entrance): (SocketAddr, Door, Entrance),
) {
    let limits = limits(&hub.config(), door.port);
    let (life, leaving) = (Life::default(), hub.lock().connections.leaving());
    let phase = Phase::new();
    let key = hub.lock().let_in(&entrance, phase.clone());
    let counted = Counted { hub: hub.clone(), life: life.clone(), key };
    let came = Arrived { socket: &mut socket, port: door.port, key, phase: &phase, leaving: &leaving };
    let whose = proxied::whose(&hub, came, (address, entrance), limits.head).await;
    let Some((address, Entrance { permit, turned, .. })) = whose else { return };
    let came = Came { socket, door, address: permit.address(), phase: &phase, leaving: &leaving };
    let Some(stream) = secure::secure(&hub, came, limits.head).await else { return };
    let io = Io::new(Socket::new(stream, life.clone(), leaving.clone()), limits, phase.clone());
    let peer = Arc::new(Peer { address, port: door.port, secure: door.tls, permit, life, phase });
    let all = Arc::new(Conversation { hub, router, peer, turned, leaving, taken: OnceLock::new() });
    let asked = all.clone();
    let service = service_fn(move |request| {
        let (busy, is_first) = asked.peer.life.begin();
        if is_first {
            asked.hub.lock().arrived();
        }
        asked.clone().answer(request, (asked.peer.phase.begin(), busy))
    });
    // Boxed, so that a connection frees this memory when it becomes a session.
    let mut connection = Box::pin(
        hyper::server::conn::http1::Builder::new()
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            // hyper takes the end of what a client says for its end; `Socket` knows better.
            .half_close(true)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades(),
    );
    let end = tokio::select! {
        end = poll_fn(|cx| carry(connection.as_mut(), cx, &all)) => end,
        // From now on `Socket` ends the connection when it is quiet; its clock starts with the next reading.
        () = all.leaving.begun() => poll_fn(|cx| carry(connection.as_mut(), cx, &all)).await,
    };
    // hyper's buffers go now, not at the end of the connection.
    let Some(io) = Pin::into_inner(connection).into_parts().map(|parts| parts.io) else { return };
    let socket = io.into_inner().into_inner();
    let phase = all.peer.phase.clone();
    if socket.was_quiet() || phase.yields() {
        return;
    }
    let stream = socket.into_inner();
    if end != End::Taken {
        let last = if end == End::Newer { HTTP_1_ONLY } else { b"" };
        let config = all.hub.config();
        let (most, time) = (config.http.max_discard, config.http.body_timeout);
        drop((config, all));
        let lingering = Box::pin(linger::close(stream, last, most, time));
        tokio::select! {
            () = lingering => {}
            () = phase.is_told() => {}
        }
        return;
    }
    drop(counted);
    if let Some((opening, greeting)) = all.taken.get().and_then(Takeover::take) {
        opening.attach(stream, &[], &greeting);
    }
}

/// A connection that counts until it ends, be it by a panic, or becomes a session.
struct Counted {
    hub: Hub,
    life: Life,
    /// Its name in the crowd.
    key: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if !self.life.has_asked() {
            state.arrived();
        }
        state.left(self.key);
        if std::thread::panicking() {
            state.panicked("connection");
        }
    }
}

/// The answer to a connection for which there is no room. It ends with it.
fn turned(hub: &Hub, kind: ProblemKind) -> Response {
    let response = answer::counted(hub, kind.into());
    hub.lock().counters.count_http(response.status().as_u16());
    response
}

/// How hyper's part of a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A session takes the connection over.
    Taken,
    /// The client speaks HTTP/2 from the first byte on: hyper leaves that without an answer.
    Newer,
    /// In any other way.
    Over,
}

/// Drives hyper until its part ends.
fn carry(
    connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    cx: &mut Context<'_>,
    all: &Conversation,
) -> Poll<End> {
    match connection.poll(cx) {
        Poll::Ready(Err(error)) if error.is_parse_version_h2() => Poll::Ready(End::Newer),
        Poll::Ready(_) => Poll::Ready(End::Over),
        Poll::Pending if all.is_taken() => Poll::Ready(End::Taken),
        Poll::Pending => Poll::Pending,
    }
}

async fn respond(hub: &Hub, router: Router, request: Request) -> Response {
    let routed = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    let response = match routed {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            hub.lock().panicked("request");
            answer::plain(ProblemKind::InternalError)
        }
    };
    hub.lock().counters.count_http(response.status().as_u16());
    response
}
