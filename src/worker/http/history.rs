//! `GET /api/v1/history`: candles, which the feeder keeps.

use super::parameters::{self, Parameters};
use super::{admin, answer as answers};
use crate::model::{Interval, Symbol};
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::Question;
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// `limit` if the query has none.
const LIMIT: u32 = 60;
/// Largest `limit`: half a megabyte of JSON.
const MOST: u32 = 3_600;
/// Questions to the feeder that one worker has open at a time, so that a crowd that wants charts does not keep the
/// feeder from its prices. Other requests wait, and mostly take the answer to a question that was asked meanwhile.
const AT_ONCE: usize = 2;
/// Answers that are kept while a request waits.
const KEPT: usize = 8;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    symbol: Symbol,
    interval: Interval,
    limit: u32,
}

/// Limits the questions that are open, and keeps answers for the requests that waited meanwhile.
#[derive(Debug)]
pub(in crate::worker) struct Charts {
    places: Arc<Semaphore>,
    here: usize,
    /// Answers, each with the moment of its question. An answer is good for requests that came before that moment, so
    /// that no client sees less than an earlier one.
    kept: Vec<(Wanted, Instant, Arc<str>)>,
}

impl Default for Charts {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), here: 0, kept: Vec::new() }
    }
}

impl Charts {
    fn find(&self, wanted: &Wanted, came: Instant) -> Option<Arc<str>> {
        let good = self.kept.iter().rev().find(|(known, asked, _)| known == wanted && *asked >= came);
        good.map(|(.., text)| text.clone())
    }

    fn keep(&mut self, wanted: Wanted, asked: Instant, text: Arc<str>) {
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push((wanted, asked, text));
    }

    fn leave(&mut self) {
        self.here -= 1;
        if self.here == 0 {
            self.kept = Vec::new();
        }
    }
}

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
) -> Result<Response, Problem> {
    let wanted = wanted(&hub, &asked)?;
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
        state.charts.here += 1;
        (state.charts.places.clone(), came + state.config.quotes.timeout)
    };
    let result = match timeout_at(late, places.acquire_owned()).await {
        Ok(Ok(_place)) => ask(&hub, wanted, came).await,
        _ => Err(unavailable()),
    };
    hub.lock().charts.leave();
    result
}

async fn ask(hub: &Hub, wanted: Wanted, came: Instant) -> Result<Arc<str>, Problem> {
    if let Some(text) = hub.lock().charts.find(&wanted, came) {
        return Ok(text);
    }
    let asked = Instant::now();
    let Wanted { symbol, interval, limit } = &wanted;
    let question = Question::History { symbol: symbol.as_str(), interval: *interval, limit: *limit };
    let Ok(Some(text)) = admin::ask(hub, &question).await else { return Err(unavailable()) };
    let text: Arc<str> = text.into();
    hub.lock().charts.keep(wanted, asked, text.clone());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_those_who_were_there_before_its_question() {
        let wanted =
            |limit| Wanted { symbol: Symbol::new("BTC-USD").unwrap(), interval: Interval::Hour, limit };
        let now = Instant::now();
        let later = now + std::time::Duration::from_millis(1);
        let mut charts = Charts { here: 2, ..Charts::default() };
        charts.keep(wanted(1), now, "old".into());
        charts.keep(wanted(1), later, "new".into());
        assert_eq!(charts.find(&wanted(1), now).as_deref(), Some("new"));
        assert_eq!(charts.find(&wanted(1), later).as_deref(), Some("new"));
        assert_eq!(charts.find(&wanted(1), later + std::time::Duration::from_millis(1)), None);
        assert_eq!(charts.find(&wanted(2), now), None);
        (0..20).for_each(|limit| charts.keep(wanted(limit), now, "x".into()));
        assert_eq!(charts.kept.len(), KEPT);
        charts.leave();
        assert_eq!(charts.kept.len(), KEPT);
        charts.leave();
        assert!(charts.kept.is_empty(), "nobody waits: nothing is kept");
    }
}
