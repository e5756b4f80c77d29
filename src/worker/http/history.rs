//! `GET /api/v1/history`: candles, which the feeder has.

use super::ask::ask;
use super::refuse;
use crate::model::{Interval, Symbol};
use crate::protocol::client::Problem;
use crate::protocol::cluster::Question;
use crate::worker::hub::{Hub, Wanted};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Candles where `limit` does not say.
const LIMIT: u32 = 60;
/// Most of them: half a megabyte of JSON.
const MOST: u32 = 3_600;
#[derive(Deserialize)]
pub(super) struct Parameters {
    symbol: Option<String>,
    interval: Option<String>,
    limit: Option<String>,
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
    let result = match wanted(&hub, &parameters) {
        // In a task of its own: a client that goes away takes neither the answer from the others, nor its number.
        Ok(wanted) => tokio::spawn(answer(hub, wanted)).await.unwrap_or_else(|_| Err(unavailable())),
        Err(problem) => Err(problem),
    };
    match result {
        Ok(text) => refuse::json(StatusCode::OK, text.to_string()),
        Err(problem) => refuse::with(&problem),
    }
}

/// What is no number is 400; what is none of the values 422, and so is an unknown symbol, last.
fn wanted(hub: &Hub, parameters: &Parameters) -> Result<Wanted, Problem> {
    let limit = match parameters.limit.as_deref() {
        None => Some(LIMIT),
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().filter(|limit| (1..=MOST).contains(limit))
        }
        Some(_) => return Err(Problem::new(400, "invalid-limit", "limit: must be a number")),
    };
    let interval = parameters.interval.as_deref().map_or(Some(Interval::Minute), Interval::parse);
    let interval =
        interval.ok_or_else(|| Problem::new(422, "invalid-interval", "interval: must be 1s, 1m or 1h"))?;
    let limit = limit
        .ok_or_else(|| Problem::new(422, "invalid-limit", format!("limit: must be from 1 to {MOST}")))?;
    let config = hub.config();
    let symbol = match &parameters.symbol {
        None => Some(config.price.symbol.clone()),
        Some(text) => Symbol::new(text).ok().filter(|symbol| config.price.symbols.contains(symbol)),
    };
    let symbol =
        symbol.ok_or_else(|| Problem::new(422, "unknown-symbol", "symbol: no such symbol is priced here"))?;
    Ok(Wanted { symbol, interval, limit })
}

fn unavailable() -> Problem {
    Problem::new(503, "history-unavailable", "the feeder does not answer now")
}

async fn answer(hub: Hub, wanted: Wanted) -> Result<Arc<str>, Problem> {
    let came = Instant::now();
    let (places, late) = {
        let mut state = hub.lock();
        (state.charts.come(), came + state.config.quotes.timeout)
    };
    let result = match timeout_at(late, places.acquire_owned()).await {
        Ok(Ok(_place)) => ask_once(&hub, wanted, came).await,
        _ => Err(unavailable()),
    };
    hub.lock().charts.leave();
    result
}

async fn ask_once(hub: &Hub, wanted: Wanted, came: Instant) -> Result<Arc<str>, Problem> {
    if let Some(text) = hub.lock().charts.find(&wanted, came) {
        return Ok(text);
    }
    let asked = Instant::now();
    let Wanted { symbol, interval, limit } = &wanted;
    let question = Question::History { symbol: symbol.as_str(), interval: *interval, limit: *limit };
    let Ok(Some(text)) = ask(hub, &question).await else { return Err(unavailable()) };
    let text: Arc<str> = text.into();
    hub.lock().charts.keep(wanted, asked, text.clone());
    Ok(text)
}
