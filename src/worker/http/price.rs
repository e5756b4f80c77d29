//! `GET /api/v1/price`: the newest quote, with its sources.

use super::answer;
use super::parameters::{self, Parameters};
use crate::os::clock;
use crate::protocol::client::{Problem, ProblemKind};
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Asked {
    symbol: Option<String>,
}

/// Serves the route.
pub(super) async fn show(
    State(hub): State<Hub>,
    Parameters(asked): Parameters<Asked>,
) -> Result<Response, Problem> {
    let state = hub.lock();
    let symbol = parameters::symbol(asked.symbol.as_deref(), &state.config.price)?;
    let text = state.prices.whole(&symbol, clock::boot());
    Ok(answer::json(StatusCode::OK, text.ok_or(ProblemKind::PriceUnavailable)?))
}
