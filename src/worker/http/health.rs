//! `/healthz`, `/livez`, `/readyz`.

use super::answer;
use crate::os::clock;
use crate::worker::hub::{Hub, Phase};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

/// Tells whether a path is one of these, which always get an answer.
pub(super) fn is_asked(path: &str) -> bool {
    matches!(path, "/healthz" | "/livez" | "/readyz")
}

/// Answers as long as this worker lives.
pub(super) async fn alive(State(hub): State<Hub>) -> Response {
    let me = hub.lock().me;
    answer::json(StatusCode::OK, json!({ "status": "ok", "worker": me.slot, "pid": me.pid }).to_string())
}

/// Whether the cluster would answer a quote now.
pub(super) async fn ready(State(hub): State<Hub>) -> Response {
    let state = hub.lock();
    let mut reasons = Vec::new();
    // A drained worker is asked over a connection from before: the others serve.
    if !matches!(state.phase, Phase::Serving | Phase::Aside) {
        reasons.push("draining");
    }
    let absence = state.prices.absence(&state.config.price.symbol, clock::boot());
    if absence.is_some() {
        reasons.push("price-unavailable");
    }
    let (status, word) = if reasons.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unready")
    };
    let mut health = json!({ "status": word, "reasons": reasons });
    if let Some(absence) = absence {
        health["detail"] = absence.into();
    }
    let mut response = answer::json(status, health.to_string());
    if !reasons.is_empty() {
        response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("1"));
    }
    response
}
