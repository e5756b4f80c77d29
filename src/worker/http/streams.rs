//! `GET /api/v1/streams`: the configured streams. The file or program behind one stays private.

use super::answer;
use crate::config::Carries;
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

/// Serves the route.
pub(super) async fn show(State(hub): State<Hub>) -> Response {
    let config = hub.config();
    let streams = config.streams.iter().map(|stream| {
        let (name, path) = (&stream.name, format!("/{}", stream.name));
        match &stream.carries {
            Carries::Channel(channel) => json!({ "name": name, "path": path, "channel": channel }),
            Carries::Lines(_) => json!({ "name": name, "path": path, "lines": true }),
        }
    });
    let list = json!({
        "streams": streams.collect::<Vec<_>>(),
        "connections_per_user": config.limits.connections_per_user,
    });
    answer::json(StatusCode::OK, list.to_string())
}
