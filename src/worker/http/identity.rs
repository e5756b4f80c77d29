//! Who asks, by the token of a request, and what that one may do. No route decides that by itself: [`Wants`] of its row
//! says what all of it needs, and [`Identity::permit`] asks for what depends on the request.

use super::answer;
use crate::access::tokens::{Action, Claims, Door, Pass, Refusal, Trust};
use crate::os::clock;
use crate::protocol::client::{Problem, ProblemKind};
use crate::worker::hub::Hub;
use axum::extract::{Request, State};
use axum::http::Extensions;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;
use std::sync::Arc;

/// Routes whose query may hold a token: a browser can send no header there.
const IN_QUERY: [&str; 2] = ["/api/v1/events", "/api/v1/poll"];

/// What all requests of a route need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Wants {
    /// Nothing.
    Nothing,
    /// Of all of the feed, nothing of one channel.
    Overview,
    /// An administrator.
    Admin,
    /// What it needs depends on the request.
    Inside,
}

/// Who sends a request. Left in it by the gate.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    door: Door,
    trust: Arc<Trust>,
    claims: Result<Option<Arc<Claims>>, Refusal>,
}

impl Identity {
    /// Of a request that came in by that door. `own`: no page of another origin makes it, so that its cookie counts.
    pub(super) fn of(trust: Arc<Trust>, door: Door, own: bool, request: &Request) -> Self {
        if door == Door::Admin || !trust.asks() {
            return Self::unseen(trust, door);
        }
        let query = request.uri().query().filter(|_| IN_QUERY.contains(&request.uri().path()));
        let headers = request.headers();
        let claims = trust.bearer(headers, query, own, clock::wall());
        Self { door, trust, claims: claims.map(|claims| claims.map(Arc::new)) }
    }

    /// Of a request at whose token nobody looks.
    pub(super) fn unseen(trust: Arc<Trust>, door: Door) -> Self {
        Self { door, trust, claims: Ok(None) }
    }

    /// Why its token is refused, if it has one and it is.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.claims.as_ref().err().copied()
    }

    /// Whether tokens are asked for here.
    pub(super) fn asks(&self) -> bool {
        self.door == Door::Public && self.trust.asks()
    }

    /// The claims of its token, if it has a good one.
    pub(super) fn claims(&self) -> Option<&Arc<Claims>> {
        self.claims.as_ref().ok().and_then(Option::as_ref)
    }

    /// How its session is admitted; `None`: no token is asked for.
    pub(super) fn pass(&self) -> Option<Box<Pass>> {
        let token = |claims: &Arc<Claims>| Pass::new(Claims::clone(claims), clock::wall(), clock::boot());
        self.asks().then(|| Box::new(self.claims().map_or(Pass::Anonymous, token)))
    }

    /// Decides.
    pub(super) fn permit(&self, hub: &Hub, action: Action<'_>) -> Result<(), Problem> {
        let refusal = match &self.claims {
            Err(refusal) if !matches!(action, Action::Public) => *refusal,
            claims => {
                let claims = claims.as_ref().ok().and_then(Option::as_deref);
                match self.trust.decide(self.door, claims, action) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => refusal,
                }
            }
        };
        Err(refuse(hub, refusal))
    }

    /// Whether a session of it may hear a channel; nothing is refused by asking.
    pub(super) fn hears(&self, hub: &Hub, channel: &str) -> bool {
        let channel = hub.lock().described(channel);
        let claims = self.claims().map(|claims| &**claims);
        self.trust.decide(self.door, claims, Action::Hear(channel)).is_ok()
    }

    /// Refuses who has no good token where one is needed, whatever is asked for.
    pub(super) fn is_known(&self, hub: &Hub) -> Result<(), Problem> {
        match &self.claims {
            Ok(Some(_)) => Ok(()),
            Ok(None) if !self.asks() => Ok(()),
            Ok(None) => Err(refuse(hub, Refusal::Missing)),
            Err(refusal) => Err(refuse(hub, *refusal)),
        }
    }
}

/// The identity that the gate has left. A request without one has not passed it.
pub(super) fn of(extensions: &Extensions) -> Result<Identity, Problem> {
    extensions.get::<Identity>().cloned().ok_or_else(|| ProblemKind::InternalError.into())
}

/// Puts what a route needs in front of it.
pub(super) fn guard(routes: MethodRouter<Hub>, wants: Wants, hub: &Hub) -> MethodRouter<Hub> {
    let action = match wants {
        Wants::Nothing | Wants::Inside => return routes,
        Wants::Overview => Action::Overview,
        Wants::Admin => Action::Administer,
    };
    routes.layer(from_fn_with_state((hub.clone(), action), ask))
}

async fn ask(State((hub, action)): State<(Hub, Action<'static>)>, request: Request, next: Next) -> Response {
    match of(request.extensions()).and_then(|identity| identity.permit(&hub, action)) {
        Ok(()) => next.run(request).await,
        Err(problem) => answer::counted(&hub, problem),
    }
}

/// Whether a request may read what a channel tells.
pub(super) fn hears(hub: &Hub, extensions: &Extensions, channel: &str) -> Result<(), Problem> {
    let identity = of(extensions)?;
    let channel = hub.lock().described(channel);
    identity.permit(hub, Action::Hear(channel)).inspect_err(|problem| {
        hub.lock().counters.count_refused(problem.kind.slug());
    })
}

/// Notes a refusal. Nothing of the token is written.
fn refuse(hub: &Hub, refusal: Refusal) -> Problem {
    hub.lock().token_refused(refusal);
    let kind = match refusal {
        Refusal::Missing => ProblemKind::TokenMissing,
        Refusal::Invalid(_) => ProblemKind::TokenInvalid,
        Refusal::Expired => ProblemKind::TokenExpired,
        Refusal::Revoked => ProblemKind::TokenRevoked,
        Refusal::Forbidden => ProblemKind::Forbidden,
        Refusal::KeysUnavailable => ProblemKind::KeysUnavailable,
        Refusal::NotHere => ProblemKind::NotFound,
    };
    kind.into()
}
