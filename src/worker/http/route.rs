//! What a route is.

use super::identity::Wants;
use crate::protocol::cluster::Port;
use crate::worker::hub::Hub;
use axum::handler::Handler;
use axum::routing::{MethodRouter, any, delete, get, post};

/// One route. `docs/interface.md` describes all of them.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// The ports that serve it.
    pub(crate) ports: &'static [Port],
    /// Answers whatever host is named, and none: balancers and monitors ask, and no page gains by the answer.
    pub(super) any_host: bool,
    /// What every request of it needs.
    pub(super) wants: Wants,
    pub(super) serve: fn(Method) -> MethodRouter<Hub>,
}

/// The method of a route. `Get` includes HEAD; `Socket` is a WebSocket endpoint, which judges the method itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Delete,
    Socket,
}

impl Method {
    pub(super) fn with<H: Handler<T, Hub>, T: 'static>(self, handler: H) -> MethodRouter<Hub> {
        match self {
            Self::Get => get(handler),
            Self::Post => post(handler),
            Self::Delete => delete(handler),
            Self::Socket => any(handler),
        }
    }
}

/// A route of the inside.
pub(super) const fn route(
    method: Method,
    path: &'static str,
    ports: &'static [Port],
    serve: fn(Method) -> MethodRouter<Hub>,
) -> Route {
    Route { method, path, ports, any_host: false, wants: Wants::Inside, serve }
}

impl Route {
    pub(super) const fn for_any_host(self) -> Self {
        Self { any_host: true, ..self }
    }

    pub(super) const fn wants(self, wants: Wants) -> Self {
        Self { wants, ..self }
    }
}
