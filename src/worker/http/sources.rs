//! `GET /api/v1/sources`: each price source, its state, and its part in the price.

use super::answer;
use super::ask::ask;
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::Question;
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// Serves the route: the master has the feeder's newest report.
pub(super) async fn show(State(hub): State<Hub>) -> Result<Response, Problem> {
    let text = ask(&hub, &Question::Sources).await?;
    Ok(answer::json(StatusCode::OK, text.ok_or(ProblemKind::NotFound)?))
}
