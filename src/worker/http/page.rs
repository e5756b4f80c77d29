//! The page: its files, compiled in or from `http.static_dir`.

use super::{refuse, upgrade};
use crate::protocol::client::Problem;
use crate::worker::hub::Hub;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::hash::{BuildHasher, Hasher};

/// The files as they were when this program was built.
const FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/static.rs"));

const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'; \
                      form-action 'none'; object-src 'none'";

/// `/`: the page for a browser, the root endpoint for a WebSocket.
pub(super) async fn root(state: State<Hub>, request: Request) -> Response {
    if upgrade::wants(request.headers()) {
        upgrade::root(state, request).await
    } else {
        file(state, request).await
    }
}

/// Any other path of the page.
pub(super) async fn file(State(hub): State<Hub>, request: Request) -> Response {
    let missing = || refuse::with(&Problem::new(404, "not-found", "there is nothing at this path"));
    let path = request.uri().path();
    if upgrade::stream(&hub.config(), path).is_some() {
        return upgrade::elsewhere(State(hub), request).await;
    }
    let name = if path == "/" { "index.html" } else { path.strip_prefix('/').unwrap_or("") };
    // Flat names only: nothing to climb out of.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.starts_with('.') || name.len() > 64 || !name.bytes().all(plain) {
        return missing();
    }
    let Some(bytes) = content(&hub, name) else { return missing() };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return super::method_not_allowed(request).await;
    }
    answer(name, bytes, request.headers())
}

fn content(hub: &Hub, name: &str) -> Option<Bytes> {
    let built_in =
        || FILES.iter().find(|(file, _)| *file == name).map(|(_, bytes)| Bytes::from_static(bytes));
    match &hub.config().http.static_dir {
        // Small files of a local folder: read at once, like configuration.
        Some(folder) => std::fs::read(folder.join(name)).ok().map(Bytes::from),
        None => built_in(),
    }
}

fn answer(name: &str, bytes: Bytes, asked: &HeaderMap) -> Response {
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(&bytes);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known =
        asked.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(&tag));
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(bytes).into_response() };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    };
    let headers = response.headers_mut();
    for (header, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(header, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}
