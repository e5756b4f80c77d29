//! `GET /api/v1/info` and `GET /api/v1/stats`.

use super::ask::ask;
use super::{answer, identity};
use crate::protocol::client::{PriceRules, Problem, ProblemKind};
use crate::protocol::cluster::{Question, Transport};
use crate::worker::hub::Hub;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::json;

/// The program, its limits and its symbols.
pub(super) async fn show(State(hub): State<Hub>, headers: HeaderMap) -> Response {
    let state = hub.lock();
    let config = &state.config;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let ws_url = config.http.page_ws_url.as_ref().map(|url| url.replace("{host}", host_name(host)));
    let limits = &config.limits;
    let rules = PriceRules::from(config.price.rules());
    let info = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "environment": config.environment.as_str(),
        "mock": state.prices.mock(),
        "auth": if config.trust().asks() { "token" } else { "open" },
        "ws_url": ws_url,
        "transports": Transport::ALL.map(Transport::as_str),
        "symbol": config.price.symbol,
        "symbols": config.price.symbols,
        "fresh_for_ms": rules.fresh_for_ms,
        "max_age_ms": rules.max_age_ms,
        "gone_after_ms": rules.gone_after_ms,
        "limits": {
            "max_message": config.ws.max_message,
            "max_body": config.http.max_body,
            "connections_per_user": limits.connections_per_user,
            "sessions_per_user": limits.sessions_per_user,
            "channels_per_session": limits.channels_per_session,
            "messages_per_session": limits.messages_per_session.to_string(),
            "messages_burst": limits.messages_burst,
            "bytes_per_session": limits.bytes().to_string(),
            "bytes_burst": limits.bytes_burst,
            "quotes_per_user": limits.quotes_per_user.to_string(),
            "quotes_per_poster": limits.quotes_per_poster.to_string(),
        },
    });
    answer::json(StatusCode::OK, info.to_string())
}

/// The name in a Host header, without its port.
fn host_name(host: &str) -> &str {
    if let Some(end) = host.find(']').filter(|_| host.starts_with('[')) {
        return &host[..=end];
    }
    host.split(':').next().unwrap_or(host)
}

/// The statistics of all workers, of this moment.
pub(super) async fn stats(State(hub): State<Hub>, extensions: Extensions) -> Result<Response, Problem> {
    identity::hears(&hub, &extensions, "stats")?;
    let text = ask(&hub, &Question::Stats).await?;
    Ok(answer::json(StatusCode::OK, text.ok_or(ProblemKind::NotFound)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_host_loses_its_port() {
        for (host, name) in
            [("a.b:80", "a.b"), ("a", "a"), ("[::1]:3000", "[::1]"), ("127.0.0.1:1", "127.0.0.1")]
        {
            assert_eq!(super::host_name(host), name);
        }
    }
}
