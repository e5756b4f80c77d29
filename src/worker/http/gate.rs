//! Checks that every request must pass first: how its body is framed, the host that it names, the origin of a browser.
//! What answers say to browsers about origins is added on the way back.

use super::answer;
use super::identity::{Identity, Wants};
use super::peer::Peer;
use super::route::Route;
use super::upgrade;
use crate::access::tokens::{Door, Trust};
use crate::access::{Admitted, Client, Denied, Head, Place, Proxies, is_foreign, preflight};
use crate::config::Config;
use crate::protocol::client::ProblemKind;
use crate::protocol::cluster::Port;
use crate::worker::hub::{Hub, PATIENCE};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::time::timeout;

/// Where requests come in: one port of this worker.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) hub: Hub,
    pub(super) port: Port,
    /// All sockets of the port are loopback.
    pub(super) only_local: bool,
    pub(super) routes: Arc<[&'static Route]>,
}

impl Entry {
    fn place(&self, request: &Request) -> Place {
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        let path = request.uri().path();
        let any_host = reads && self.routes.iter().any(|route| route.any_host && route.path == path);
        Place { only_local: self.only_local, any_host }
    }

    /// The way in, for what may be done by it.
    fn door(&self) -> Door {
        if self.port == Port::Admin { Door::Admin } else { Door::Public }
    }

    /// Who asks, by the token. If newer keys may make it good, they are waited for.
    async fn identify(
        &self,
        (config, trust): (&Config, Arc<Trust>),
        own: bool,
        request: Request,
    ) -> (Identity, Request) {
        let door = self.door();
        let is_stream = |path: &str| upgrade::stream(config, path).is_some();
        if !asks((self.port, &self.routes), is_stream, &request) {
            return (Identity::unseen(trust, door), request);
        }
        let identity = Identity::of(trust, door, own, &request);
        let answers = identity.refusal().and_then(|refusal| self.hub.lock().await_keys(refusal));
        let Some(mut answers) = answers else { return (identity, request) };
        // Without an answer it is looked at again all the same.
        let _ = timeout(PATIENCE, answers.changed()).await;
        let trust = self.hub.lock().config.trust().clone();
        (Identity::of(trust, door, own, &request), request)
    }

    /// The admin port trusts whoever reaches it, so a page of another port of the same host is foreign there as well.
    fn distrusts(&self, place: Place, admitted: &Admitted, headers: &HeaderMap) -> bool {
        self.port == Port::Admin && !place.any_host && *admitted == Admitted::Own && is_foreign(headers)
    }
}

/// Whether what a request may get depends on its token. Health, `/api/v1/info` and the files of the page are there for
/// everybody: no token costs a signature there, or makes the answer wait for keys.
fn asks(
    (port, routes): (Port, &[&'static Route]),
    is_stream: impl Fn(&str) -> bool,
    request: &Request,
) -> bool {
    let path = request.uri().path();
    let here = routes.iter().filter(|route| route.path == path);
    match here.map(|route| route.wants != Wants::Nothing).reduce(|one, other| one || other) {
        // The page, unless it is to become a session.
        Some(_) if port == Port::Http && path == "/" => upgrade::wants(request.headers()),
        Some(asks) => asks,
        // A route with a part that is not fixed, or a stream; else a file.
        None => path.starts_with("/api/") || is_stream(path),
    }
}

/// Checks a request, and leaves the client's address for its route.
pub(super) async fn check(State(entry): State<Entry>, request: Request, next: Next) -> Response {
    let Some(peer) = Peer::of(&request) else { return answer::plain(ProblemKind::InternalError) };
    let hub = &entry.hub;
    let (gate, config, trust) = {
        let state = hub.lock();
        (state.config.gate(), state.config.whole(), state.config.trust().clone())
    };
    let proxies = Proxies { networks: &config.http.trusted_proxies, header: config.http.forwarded_header };
    let client = Client::of(peer.address.ip(), request.headers(), proxies);
    let place = entry.place(&request);
    let head = Head { version: request.version(), uri: request.uri(), headers: request.headers() };
    let admitted = match gate.check(place, &head, &client) {
        Ok(admitted) if entry.distrusts(place, &admitted, request.headers()) => Err(Denied::ForeignOrigin),
        verdict => verdict,
    };
    let mut response = match &admitted {
        _ if !is_framed_once(request.headers()) => answer::plain(ProblemKind::BadFraming),
        Err(denied) => answer::counted(hub, denied.kind().into()),
        Ok(admitted) => match preflight(admitted, request.method(), request.headers()) {
            Some(headers) => (StatusCode::NO_CONTENT, headers).into_response(),
            None => {
                let own = trust.asks() && gate.is_own(&head, &client, peer.secure);
                let (identity, mut request) = entry.identify((&config, trust), own, request).await;
                request.extensions_mut().insert(client);
                request.extensions_mut().insert(identity);
                next.run(request).await
            }
        },
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let headers = response.headers_mut();
    if let Ok(admitted) = admitted {
        admitted.mark(headers);
    }
    if gate.tells_origins_apart() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// Whether the body is framed so that no proxy reads it otherwise: `Transfer-Encoding` is `chunked`, once, or missing
/// (RFC 9112, section 6.1).
fn is_framed_once(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    codings.next().is_none_or(|first| first.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::ROUTES;
    use axum::body::Body;

    #[test]
    fn tokens_are_looked_at_where_an_answer_depends_on_them() {
        let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
        let asks = |port, request: &Request| {
            let routes: Vec<_> = ROUTES.iter().filter(|route| route.ports.contains(&port)).collect();
            asks((port, &routes), |path| path == "/stream1", request)
        };
        for path in
            ["/", "/app.js", "/healthz", "/livez?token=a", "/readyz", "/metrics", "/api/v1/info", "/x"]
        {
            assert!(!asks(Port::Http, &get(path)), "{path}");
        }
        let routes = ROUTES.iter().filter(|route| route.ports.contains(&Port::Http));
        let asking = routes.filter(|route| route.path != "/" && route.wants != Wants::Nothing);
        for path in asking.map(|route| route.path.replace(['{', '}'], "")).chain(["/stream1".to_owned()]) {
            assert!(asks(Port::Http, &get(&path)), "{path}");
        }
        let upgrade = |path: &str| {
            let request = Request::get(path).header(header::UPGRADE, "websocket");
            request.header(header::CONNECTION, "upgrade").body(Body::empty()).unwrap()
        };
        assert!(
            asks(Port::Http, &upgrade("/")) && asks(Port::Ws, &upgrade("/")) && asks(Port::Ws, &get("/"))
        );
        assert!(!asks(Port::Ws, &get("/healthz")));
    }

    #[test]
    fn a_body_is_framed_in_one_way() {
        for (lines, good) in [
            (&[][..], true),
            (&["chunked"], true),
            (&[" Chunked "], true),
            (&["chunked, chunked"], false),
            (&["chunked", "chunked"], false),
            (&["gzip, chunked"], false),
            (&["identity"], false),
            (&[""], false),
            (&["chunked,"], false),
            (&["xchunked"], false),
        ] {
            let value = |line: &&str| (header::TRANSFER_ENCODING, HeaderValue::from_str(line).unwrap());
            let mut headers = HeaderMap::new();
            lines.iter().map(value).for_each(|(name, value)| _ = headers.append(name, value));
            assert_eq!(is_framed_once(&headers), good, "{lines:?}");
        }
    }
}
