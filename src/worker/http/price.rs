//! `GET /api/v1/price`: the newest quote, with its sources.

use super::refuse;
use crate::model::Symbol;
use crate::os::clock;
use crate::protocol::client::Problem;
use crate::worker::hub::Hub;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Parameters {
    symbol: Option<String>,
}

/// Serves the route.
pub(super) async fn show(
    State(hub): State<Hub>,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Response {
    let parameters = match query {
        Ok(Query(parameters)) => parameters,
        Err(why) => return refuse::query(&why),
    };
    let state = hub.lock();
    let config = &state.config.price;
    let symbol = match parameters.symbol {
        None => Some(config.symbol.clone()),
        Some(text) => Symbol::new(&text).ok().filter(|symbol| config.symbols.contains(symbol)),
    };
    let Some(symbol) = symbol else {
        return refuse::with(&Problem::new(422, "unknown-symbol", "no such symbol is priced here"));
    };
    match state.prices.whole(&symbol, clock::boot()) {
        Some(text) => refuse::json(StatusCode::OK, text),
        None => refuse::with(&Problem::new(503, "price-unavailable", "there is no price now")),
    }
}
