//! `GET /api/v1/streams`: the configured streams.

use super::refuse;
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

/// Serves the route.
pub(super) async fn show(State(hub): State<Hub>) -> Response {
    let config = hub.config();
    let streams = config.streams.iter().map(|stream| {
        json!({ "name": stream.name, "path": format!("/{}", stream.name), "channel": stream.channel })
    });
    let answer = json!({
        "streams": streams.collect::<Vec<_>>(),
        "connections_per_user": config.limits.connections_per_user,
    });
    refuse::json(StatusCode::OK, answer.to_string())
}
