//! `GET /api/v1/sources`: each price source, how it is, and its part in the price.

use super::ask::ask;
use super::refuse;
use crate::protocol::client::Problem;
use crate::protocol::cluster::Question;
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// Serves the route: the master has what the feeder told last.
pub(super) async fn show(State(hub): State<Hub>) -> Response {
    match ask(&hub, &Question::Sources).await {
        Ok(Some(text)) => refuse::json(StatusCode::OK, text),
        Ok(None) => refuse::with(&Problem::new(404, "not-found", "there are no sources")),
        Err(problem) => refuse::with(&problem),
    }
}
