//! HTTP of a worker: the routes of its three ports. One file per route.

mod admin;
mod answer;
mod ask;
mod body;
mod connection;
mod events;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/http.rs"]
pub mod fuzzed;
mod gate;
mod health;
mod history;
mod identity;
mod info;
mod linger;
mod metrics;
mod page;
mod parameters;
mod peer;
mod poll;
mod price;
mod proxied;
mod quotes;
mod rest;
mod route;
mod secure;
mod sessions;
mod socket;
mod sources;
mod streams;
mod takeover;
mod upgrade;
mod wanted;

pub(super) use connection::serve;

pub(crate) use route::{Method, Route};

use self::Method::{Delete, Get, Post, Socket};
use self::identity::Wants::{Admin, Nothing, Overview};
use self::route::route;
use super::hub::Hub;
use crate::protocol::client::ProblemKind;
use crate::protocol::cluster::Port;
use axum::Router;
use axum::middleware::from_fn_with_state;

const HTTP: &[Port] = &[Port::Http];
const ADMIN: &[Port] = &[Port::Admin];
/// Routes for administrators. On the public port they are there for tokens with the scope `admin`.
const ADMINS: &[Port] = &[Port::Http, Port::Admin];
const CLIENTS: &[Port] = &[Port::Http, Port::Ws];
const EVERYWHERE: &[Port] = &[Port::Http, Port::Ws, Port::Admin];

/// All routes. The streams of the configuration and the files of the page are the fallback.
pub(crate) const ROUTES: &[Route] = &[
    route(Post, "/api/v1/quotes", HTTP, |m| m.with(quotes::create)),
    route(Get, "/api/v1/price", HTTP, |m| m.with(price::show)),
    route(Get, "/api/v1/history", HTTP, |m| m.with(history::show)),
    route(Get, "/api/v1/sources", HTTP, |m| m.with(sources::show)).wants(Overview),
    route(Get, "/api/v1/streams", HTTP, |m| m.with(streams::show)).wants(Overview),
    route(Get, "/api/v1/info", HTTP, |m| m.with(info::show)).wants(Nothing),
    route(Get, "/api/v1/stats", &[Port::Http, Port::Admin], |m| m.with(info::stats)),
    route(Get, "/api/v1/events", HTTP, |m| m.with(events::open)),
    route(Get, "/api/v1/poll", HTTP, |m| m.with(poll::show)),
    route(Post, "/api/v1/channels/{name}/messages", ADMINS, |m| m.with(admin::publish)).wants(Admin),
    route(Get, "/api/v1/sessions", ADMINS, |m| m.with(sessions::show)).wants(Admin),
    route(Delete, "/api/v1/sessions/{session_id}", ADMINS, |m| m.with(admin::disconnect)).wants(Admin),
    route(Post, "/api/v1/revocations", ADMINS, |m| m.with(admin::revoke)).wants(Admin),
    route(Get, "/metrics", HTTP, |m| m.with(metrics::show_public)).wants(Nothing),
    route(Get, "/metrics", ADMIN, |m| m.with(metrics::show)).for_any_host().wants(Nothing),
    route(Get, "/healthz", EVERYWHERE, |m| m.with(health::alive)).for_any_host().wants(Nothing),
    route(Get, "/livez", EVERYWHERE, |m| m.with(health::alive)).for_any_host().wants(Nothing),
    route(Get, "/readyz", EVERYWHERE, |m| m.with(health::ready)).for_any_host().wants(Nothing),
    route(Socket, "/ws", CLIENTS, |m| m.with(upgrade::ws)),
    route(Socket, "/echo", CLIENTS, |m| m.with(upgrade::echo)),
    route(Socket, "/command", CLIENTS, |m| m.with(upgrade::command)),
    route(Socket, "/chat", CLIENTS, |m| m.with(upgrade::chat)),
    route(Socket, "/broadcast", CLIENTS, |m| m.with(upgrade::broadcast)),
    route(Socket, "/", HTTP, |m| m.with(page::root)),
    route(Socket, "/", &[Port::Ws], |m| m.with(upgrade::root)),
];

/// The routes of one port; `only_local`: all its sockets are loopback.
pub(super) fn router(hub: &Hub, port: Port, only_local: bool) -> Router {
    let here = || ROUTES.iter().filter(|route| route.ports.contains(&port));
    let served = |route: &Route| identity::guard((route.serve)(route.method), route.wants, hub);
    let routes = here().fold(Router::new(), |routes, route| routes.route(route.path, served(route)));
    let entry = gate::Entry { hub: hub.clone(), port, only_local, routes: here().collect() };
    let routes = match port {
        Port::Http => routes.fallback(page::file),
        Port::Ws => routes.fallback(upgrade::elsewhere),
        Port::Admin => routes.fallback(async || answer::plain(ProblemKind::NotFound)),
    };
    routes
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(from_fn_with_state(entry, gate::check))
        .with_state(hub.clone())
}
