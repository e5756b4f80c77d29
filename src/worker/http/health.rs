//! `/healthz`, `/livez`, `/readyz`.

use super::refuse;
use crate::os::clock;
use crate::worker::hub::{Hub, Phase};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

/// On every port.
pub(super) fn routes() -> Router<Hub> {
    Router::new().route("/healthz", get(alive)).route("/livez", get(alive)).route("/readyz", get(ready))
}

/// This worker answers.
async fn alive(State(hub): State<Hub>) -> Response {
    let me = hub.lock().me;
    refuse::json(StatusCode::OK, json!({ "status": "ok", "worker": me.slot, "pid": me.pid }).to_string())
}

/// The cluster would answer a quote now.
async fn ready(State(hub): State<Hub>) -> Response {
    let state = hub.lock();
    let mut reasons = Vec::new();
    if state.phase != Phase::Serving {
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
    let mut answer = json!({ "status": word, "reasons": reasons });
    if let Some(absence) = absence {
        answer["detail"] = absence.into();
    }
    let mut response = refuse::json(status, answer.to_string());
    if !reasons.is_empty() {
        response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("1"));
    }
    response
}
