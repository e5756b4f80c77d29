//! `GET /api/v1/price`: the newest quote, with its sources.

use super::parameters::{self, Parameters};
use super::{answer, identity};
use crate::os::clock;
use crate::protocol::client::{Problem, ProblemKind};
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::{Extensions, StatusCode};
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
    extensions: Extensions,
) -> Result<Response, Problem> {
    let symbol = parameters::symbol(asked.symbol.as_deref(), &hub.config().price)?;
    identity::hears(&hub, &extensions, &format!("price:{symbol}"))?;
    let state = hub.lock();
    let text = state.prices.whole(&symbol, clock::boot());
    Ok(answer::json(StatusCode::OK, text.ok_or(ProblemKind::PriceUnavailable)?))
}
