//! One HTTP connection: hyper, behind the time limits that hyper does not keep.

use super::answer;
use super::health;
use super::peer::{Io, Peer};
use super::receiving::Receiving;
use super::takeover::Takeover;
use crate::net::guard::Limits;
use crate::protocol::client::ProblemKind;
use crate::protocol::cluster::Port;
use crate::worker::hub::{Entrance, Hub};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
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
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower::ServiceExt;

/// Largest head of a request in bytes.
const HEAD: usize = 32 << 10;
/// Most headers of a request.
const HEADERS: usize = 100;

/// Serves a connection until it ends or becomes a session.
pub(in crate::worker) async fn serve(
    hub: Hub,
    router: Router,
    stream: TcpStream,
    (address, port, entrance): (SocketAddr, Port, Entrance),
) {
    let config = hub.config();
    let head = match port {
        Port::Ws => config.ws.handshake_timeout.min(config.http.header_timeout),
        Port::Http | Port::Admin => config.http.header_timeout,
    };
    let (io, phase) = Io::new(stream, Limits { head, idle: config.http.idle_timeout });
    drop(config);
    let peer = Peer { address, port };
    let ending = hub.lock().connections.ending();
    let served = Arc::new(AtomicBool::new(false));
    let key = hub.lock().let_in(&entrance, phase.clone());
    let counted = Counted { hub: hub.clone(), served: served.clone(), key };
    let (first, closing) = (served.clone(), ending.clone());
    let (taken, written) = (Arc::new(OnceLock::<Takeover>::new()), phase.clone());
    let takes = taken.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        if !first.swap(true, Relaxed) {
            hub.lock().arrived();
        }
        let (router, hub, closing) = (router.clone(), hub.clone(), closing.clone());
        let (takes, entrance) = (takes.clone(), entrance.clone());
        let (serving, phase) = (phase.begin(), phase.clone());
        async move {
            let mut request = request.map(|body| Receiving::new(body, phase.clone()));
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(entrance.permit);
            request.extensions_mut().insert(phase);
            let mut response = match entrance.turned.filter(|_| !health::is_asked(request.uri().path())) {
                Some(kind) => turned(&hub, kind),
                None => respond(&hub, router, request).await,
            };
            if (closing.is_cancelled() || entrance.turned.is_some())
                && response.status() != StatusCode::SWITCHING_PROTOCOLS
            {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some(takeover) = response.extensions_mut().remove::<Takeover>() {
                let _ = takes.set(takeover);
            }
            drop(serving);
            Ok::<Response, Infallible>(response)
        }
    });
    // Boxed, so that a connection frees this memory when it becomes a session.
    let mut connection = Box::pin(
        hyper::server::conn::http1::Builder::new()
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades(),
    );
    let is_ready = || taken.get().is_some_and(Takeover::has_begun) && written.all_written();
    let is_taken = tokio::select! {
        is_taken = poll_fn(|cx| carry(connection.as_mut(), cx, is_ready)) => is_taken,
        () = ending.cancelled() => {
            // A connection that waits for its next request ends now; a new one is answered first.
            if served.load(Relaxed) {
                connection.as_mut().graceful_shutdown();
            }
            poll_fn(|cx| carry(connection.as_mut(), cx, is_ready)).await
        }
    };
    drop(counted);
    let session = taken.get().filter(|_| is_taken).and_then(Takeover::take);
    if let (Some((opening, greeting)), Some(parts)) = (session, Pin::into_inner(connection).into_parts()) {
        opening.attach(parts.io.into_inner().into_inner(), &[], &greeting);
    }
}

/// A connection that counts until it ends, be it by a panic, or becomes a session.
struct Counted {
    hub: Hub,
    /// A request has come.
    served: Arc<AtomicBool>,
    /// Its name in the crowd.
    key: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if !self.served.load(Relaxed) {
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

/// Drives hyper. Ready with `true` when a session takes the connection over: the kernel has the head of its response.
fn carry(
    connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    cx: &mut Context<'_>,
    is_ready: impl Fn() -> bool,
) -> Poll<bool> {
    match connection.poll(cx) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if is_ready() => Poll::Ready(true),
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
