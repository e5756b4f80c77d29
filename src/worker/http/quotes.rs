//! `POST /api/v1/quotes`: sends the price to the sessions of a user; the poster gets a receipt.

use super::ask::answered;
use super::identity::{self, Identity};
use super::{answer, body, parameters};
use crate::access::Client;
use crate::access::tokens::Action;
use crate::config::Config;
use crate::log::id as logged;
use crate::model::{Mono, RequestId, Symbol, UserId};
use crate::os::clock;
use crate::protocol::client::{Problem, ProblemKind};
use crate::protocol::cluster::{Outcome, ToMaster};
use crate::worker::hub::Hub;
use crate::ws::frame;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

#[derive(Deserialize)]
pub(super) struct Order<'a> {
    #[serde(borrow)]
    pub(super) user_id: Cow<'a, str>,
    #[serde(borrow, default)]
    symbol: Option<Cow<'a, str>>,
}

/// Serves the route.
pub(super) async fn create(State(hub): State<Hub>, request: Request) -> Response {
    let received = clock::mono();
    let config = hub.config();
    let poster = request.extensions().get::<Client>().map(|client| client.counted);
    let id = RequestId::at(clock::wall().0.unsigned_abs());
    let mut whose = None;
    let result = match (identity::of(request.extensions()), poster) {
        (Ok(identity), Some(poster)) => {
            ordered(&hub, (&config, poster), (id, identity, &mut whose), request, received).await
        }
        (Ok(_), None) => Err(ProblemKind::InternalError.into()),
        (Err(problem), _) => Err(problem),
    };
    let slug = result.as_ref().map_or_else(|problem| problem.kind.slug(), |_| "delivered");
    hub.lock().counters.count_quote(slug);
    if result.is_err() {
        let whose = whose.map(|user| tracing::field::display(logged(user)));
        tracing::debug!(event = "quote-refused", request = %id, user = whose, reason = slug);
    }
    result.unwrap_or_else(IntoResponse::into_response)
}

/// Who has no token, or a bad one, is refused before the body is read.
async fn ordered(
    hub: &Hub,
    (config, poster): (&Config, IpAddr),
    (id, identity, whose): (RequestId, Identity, &mut Option<UserId>),
    request: Request,
    at: Mono,
) -> Result<Response, Problem> {
    identity.is_known(hub)?;
    let bytes = body::read(config, request).await?;
    let order: Order<'_> = body::parse(&bytes)?;
    let user = whose.insert(parameters::user(&order.user_id, ProblemKind::BodyUserId)?);
    identity.permit(hub, Action::Quote(user))?;
    let symbol = parameters::symbol(order.symbol.as_deref(), &config.price)?;
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
            poster,
        };
        if state.uplink.send(&message).is_err() {
            state.requests.forget(number);
            return Err(ProblemKind::ClusterBusy.into());
        }
        (number, outcome)
    };
    receipt(answered(hub, number, outcome, deadline).await?, id, user, &symbol)
}

fn receipt(outcome: Outcome, id: RequestId, user: &UserId, symbol: &Symbol) -> Result<Response, Problem> {
    match outcome {
        Outcome::Delivered { sessions, unconfirmed } => {
            let request = id;
            tracing::debug!(event = "quote-delivered", %request, user = %logged(user), %symbol, sessions, unconfirmed);
            let mut text = String::with_capacity(192);
            let _ = write!(
                text,
                r#"{{"request_id":"{id}","user_id":"{user}","symbol":"{symbol}","sessions":{sessions}"#
            );
            if unconfirmed > 0 {
                let _ = write!(text, r#","unconfirmed":{unconfirmed}"#);
            }
            text.push('}');
            Ok(answer::json(StatusCode::ACCEPTED, text))
        }
        Outcome::NotConnected => Err(ProblemKind::UserNotConnected.into()),
        Outcome::Slow => Err(ProblemKind::SessionSlow.into()),
        Outcome::Unknown => Err(ProblemKind::WorkerTimeout.into()),
        Outcome::NoPrice => Err(ProblemKind::PriceUnavailable.into()),
        Outcome::Limited(wait) => Err(Problem::from(ProblemKind::RateLimited).after(wait)),
        Outcome::PosterLimited(wait) => Err(Problem::from(ProblemKind::PosterRateLimited).after(wait)),
    }
}
