//! `POST /api/v1/quotes`: the main job. The price goes to the user's own sessions, the poster gets a receipt.

use super::{body, refuse};
use crate::config::Config;
use crate::model::{Mono, RequestId, Symbol, UserId};
use crate::os::clock;
use crate::protocol::client::Problem;
use crate::protocol::cluster::{Outcome, ToMaster};
use crate::worker::hub::Hub;
use crate::ws::frame;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// The master answers by the deadline; so much later it is held for dead.
const LATE: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    #[serde(borrow, default)]
    symbol: Option<Cow<'a, str>>,
}

/// Serves the route.
pub(super) async fn create(State(hub): State<Hub>, request: Request) -> Response {
    let received = clock::mono();
    let config = hub.config();
    let id = RequestId::at(clock::wall().0.unsigned_abs());
    let result = match body::read(&config, request).await {
        Ok(bytes) => deliver(&hub, &config, id, &bytes, received).await,
        Err(problem) => Err(problem),
    };
    let slug = result.as_ref().map_or_else(|problem| problem.slug, |_| "delivered");
    hub.lock().counters.count_quote(slug);
    result.unwrap_or_else(|problem| refuse::with(&problem))
}

async fn deliver(
    hub: &Hub,
    config: &Config,
    id: RequestId,
    bytes: &[u8],
    at: Mono,
) -> Result<Response, Problem> {
    let order: Order<'_> = body::parse(bytes)?;
    let user = UserId::new(&order.user_id)
        .map_err(|error| Problem::new(422, "invalid-user-id", format!("user_id {error}")))?;
    let symbol = match &order.symbol {
        None => config.price.symbol.clone(),
        Some(text) => Symbol::new(text)
            .ok()
            .filter(|s| config.price.symbols.contains(s))
            .ok_or_else(|| Problem::new(422, "unknown-symbol", "symbol: no such symbol is priced here"))?,
    };
    let deadline = at.after(config.quotes.timeout);
    let (number, outcome) = {
        let mut state = hub.lock();
        let text = state.prices.answer(&symbol, id, clock::boot());
        let frame = text.map(frame::text).unwrap_or_default();
        let (number, outcome) = state.requests.quote();
        let message = ToMaster::Deliver {
            request: number,
            id,
            user: user.as_str(),
            symbol: symbol.as_str(),
            frame: &frame,
            deadline,
        };
        if state.uplink.send(&message).is_err() {
            state.requests.forget(number);
            return Err(busy());
        }
        (number, outcome)
    };
    let patience = clock::instant(deadline.after(LATE));
    let Ok(Ok(outcome)) = tokio::time::timeout_at(patience.into(), outcome).await else {
        hub.lock().requests.forget(number);
        return Err(busy());
    };
    answer(outcome, id, &user, &symbol)
}

fn busy() -> Problem {
    Problem::new(503, "cluster-busy", "the master did not answer in time")
}

fn answer(outcome: Outcome, id: RequestId, user: &UserId, symbol: &Symbol) -> Result<Response, Problem> {
    match outcome {
        Outcome::Delivered { sessions, unconfirmed } => {
            let mut text = String::with_capacity(192);
            let _ = write!(
                text,
                r#"{{"request_id":"{id}","user_id":"{user}","symbol":"{symbol}","sessions":{sessions}"#
            );
            if unconfirmed > 0 {
                let _ = write!(text, r#","unconfirmed":{unconfirmed}"#);
            }
            text.push('}');
            Ok(refuse::json(StatusCode::ACCEPTED, text))
        }
        Outcome::NotConnected => {
            Err(Problem::new(404, "user-not-connected", "the user has no session that takes quotes"))
        }
        Outcome::Slow => {
            Err(Problem::new(503, "session-slow", "the user's sessions do not read fast enough"))
        }
        Outcome::Unknown => Err(Problem::new(
            504,
            "worker-timeout",
            "a worker that holds the user was silent: delivery is unknown",
        )),
        Outcome::NoPrice => Err(Problem::new(503, "price-unavailable", "there is no price now")),
        Outcome::Limited(wait) => {
            Err(Problem::new(429, "rate-limited", "too many quotes for this user").after(wait))
        }
    }
}
