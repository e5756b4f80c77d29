//! HTTP of a worker: which path is whose, on each of the three ports. One file per route.

mod admin;
mod ask;
mod body;
mod connection;
mod events;
mod gate;
mod health;
mod history;
mod info;
mod page;
mod poll;
mod price;
mod quotes;
mod refuse;
mod sources;
mod streams;
mod takeover;
mod upgrade;
mod wanted;

pub(super) use connection::serve;

use super::hub::Hub;
use crate::protocol::client::Problem;
use crate::protocol::cluster::Port;
use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{any, delete, get, post};

/// What the connection tells about a request.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: std::net::SocketAddr,
    port: Port,
}

/// The routes of one port.
pub(super) fn router(hub: &Hub, port: Port) -> Router {
    let routes = match port {
        Port::Http => public().merge(health::routes()).route("/metrics", get(admin::metrics_public)),
        Port::Ws => health::routes(),
        Port::Admin => health::routes().merge(admin_routes()),
    };
    let routes = match port {
        Port::Admin => routes,
        Port::Http | Port::Ws => routes
            .route("/ws", any(upgrade::ws))
            .route("/echo", any(upgrade::echo))
            .route("/command", any(upgrade::command))
            .route("/chat", any(upgrade::chat))
            .route("/broadcast", any(upgrade::broadcast)),
    };
    let routes = match port {
        Port::Http => routes.route("/", any(page::root)).fallback(page::file),
        Port::Ws => routes.route("/", any(upgrade::root)).fallback(upgrade::elsewhere),
        Port::Admin => routes.fallback(not_found),
    };
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(hub.clone(), gate::check))
        .with_state(hub.clone())
}

fn public() -> Router<Hub> {
    Router::new()
        .route("/api/v1/quotes", post(quotes::create))
        .route("/api/v1/price", get(price::show))
        .route("/api/v1/sources", get(sources::show))
        .route("/api/v1/streams", get(streams::show))
        .route("/api/v1/history", get(history::show))
        .route("/api/v1/events", get(events::open))
        .route("/api/v1/poll", get(poll::show))
        .route("/api/v1/stats", get(info::stats))
        .route("/api/v1/info", get(info::show))
}

fn admin_routes() -> Router<Hub> {
    Router::new()
        .route("/api/v1/channels/{name}/messages", post(admin::publish))
        .route("/api/v1/sessions", get(admin::sessions))
        .route("/api/v1/sessions/{session_id}", delete(admin::disconnect))
        .route("/api/v1/stats", get(info::stats))
        .route("/metrics", get(admin::metrics))
}

async fn not_found(_: Request) -> Response {
    refuse::with(&Problem::new(404, "not-found", "there is nothing at this path"))
}

async fn method_not_allowed(request: Request) -> Response {
    let detail =
        format!("this path does not take {}", request.method().as_str().chars().take(16).collect::<String>());
    refuse::with(&Problem::new(405, "method-not-allowed", detail))
}
