//! `GET /api/v1/history`: candles, which the feeder keeps.

use super::answer as answers;
use super::ask::ask;
use super::identity;
use super::parameters::{self, Parameters};
use crate::model::Interval;
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::Question;
use crate::worker::hub::{Hub, Wanted};
use axum::extract::State;
use axum::http::{Extensions, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// `limit` if the query has none.
const LIMIT: u32 = 60;
/// Largest `limit`: half a megabyte of JSON.
const MOST: u32 = 3_600;
#[derive(Deserialize)]
pub(super) struct Asked {
    symbol: Option<String>,
    interval: Option<String>,
    limit: Option<String>,
}

/// Serves the route.
pub(super) async fn show(
    State(hub): State<Hub>,
    Parameters(asked): Parameters<Asked>,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let wanted = wanted(&hub, &asked)?;
    identity::hears(&hub, &extensions, &wanted.channel())?;
    // A task of its own: a client that goes away takes neither the answer from the others nor its place in `here`.
    let text = tokio::spawn(answer(hub, wanted)).await.unwrap_or_else(|_| Err(unavailable()))?;
    Ok(answers::json(StatusCode::OK, text.to_string()))
}

/// A limit that is no number is 400; a value out of range, then an unknown symbol, is 422.
fn wanted(hub: &Hub, asked: &Asked) -> Result<Wanted, Problem> {
    let limit = match asked.limit.as_deref() {
        None => Some(LIMIT),
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().filter(|limit| (1..=MOST).contains(limit))
        }
        Some(_) => return Err(ProblemKind::LimitNotNumber.into()),
    };
    let interval = asked.interval.as_deref().map_or(Some(Interval::Minute), Interval::parse);
    let interval = interval.ok_or(ProblemKind::InvalidInterval)?;
    let limit = limit
        .ok_or_else(|| ProblemKind::LimitOutOfRange.with(format!("limit: must be from 1 to {MOST}.")))?;
    let symbol = parameters::symbol(asked.symbol.as_deref(), &hub.config().price)?;
    Ok(Wanted { symbol, interval, limit })
}

fn unavailable() -> Problem {
    ProblemKind::HistoryUnavailable.into()
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
