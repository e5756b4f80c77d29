//! What the query of a session asks for, over whichever transport, and how a session is refused.

use crate::access::Client;
use crate::config::Config;
use crate::model::{Device, UserId};
use crate::protocol::client::{Problem, Resume, room};
use crate::protocol::cluster::{Endpoint, Verdict};
use crate::worker::hub::{Hub, Phase, Refused};
use axum::extract::{Query, Request};
use axum::http::Method;
use axum::response::Response;
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Deserialize)]
struct Parameters {
    user_id: Option<String>,
    device: Option<String>,
    channels: Option<String>,
    resume: Option<String>,
    cursor: Option<String>,
}

/// What the query asks for, checked.
pub(super) struct Wanted {
    pub(super) user: UserId,
    pub(super) device: Option<Device>,
    /// Where from; IPv6 cut to its /64.
    pub(super) address: IpAddr,
    pub(super) channels: Vec<String>,
    /// The session that it comes back to. One of which nothing can be read is none.
    pub(super) resume: Option<Resume>,
}

/// What a request for a main session without a WebSocket asks for.
pub(super) fn read_main(hub: &Hub, request: &Request) -> Result<Wanted, Problem> {
    if request.method() == Method::HEAD {
        return Err(Problem::new(
            405,
            "method-not-allowed",
            "it would open a session that nobody listens to",
        ));
    }
    read(hub, Endpoint::Ws, request)
}

/// Reads the query of a request for a session, where this worker takes any.
pub(super) fn read(hub: &Hub, endpoint: Endpoint, request: &Request) -> Result<Wanted, Problem> {
    let (config, stops) = {
        let state = hub.lock();
        (state.config.clone(), state.phase == Phase::Stopping)
    };
    let client = request.extensions().get::<Client>().copied();
    let client = client.ok_or_else(|| Problem::new(500, "internal-error", "the client has no address"))?;
    let query = Query::<Parameters>::try_from_uri(request.uri())
        .map_err(|error| Problem::new(400, "invalid-query", error.body_text()))?;
    let bad_user = |error| Problem::new(400, "invalid-user-id", format!("user_id {error}"));
    let user = match (&query.user_id, endpoint) {
        (Some(text), _) => UserId::new(text).map_err(bad_user)?,
        (None, Endpoint::Ws) => return Err(Problem::new(400, "invalid-user-id", "user_id is missing")),
        (None, _) => UserId::new(&client.counted.to_string()).map_err(bad_user)?,
    };
    let device = query.device.as_deref().map(Device::new).transpose();
    let device = device.map_err(|error| Problem::new(400, "invalid-device", format!("device {error}")))?;
    let channels = match endpoint {
        Endpoint::Ws => channels(&config, query.channels.as_deref())?,
        _ => Vec::new(),
    };
    let resume = query.cursor.as_deref().or(query.resume.as_deref()).and_then(Resume::parse);
    if stops {
        return Err(draining());
    }
    Ok(Wanted { user, device, address: client.counted, channels, resume })
}

fn channels(config: &Config, asked: Option<&str>) -> Result<Vec<String>, Problem> {
    let default = || vec!["stats".to_owned(), format!("price:{}", config.price.symbol)];
    let names = match asked {
        None => return Ok(default()),
        Some("none" | "") => return Ok(Vec::new()),
        Some(names) => names.split(','),
    };
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let known = config.has_state(name)
            || name == "presence"
            || room(name).is_some()
            || config.channels.iter().any(|channel| channel.name == name);
        if !known {
            return Err(Problem::new(400, "unknown-channel", "channels: there is no such channel"));
        }
        if !all.iter().any(|one| one == name) {
            all.push(name.to_owned());
        }
    }
    if all.len() > config.limits.channels_per_session as usize {
        return Err(Problem::new(
            400,
            "too-many-channels",
            "channels: more than limits.channels_per_session",
        ));
    }
    Ok(all)
}

/// A worker that ends takes nobody.
pub(super) fn draining() -> Problem {
    Problem::new(503, "draining", "this worker takes no new sessions")
}

/// The answer to a request for a session that is refused: it is counted.
pub(super) fn refused(hub: &Hub, problem: &Problem) -> Response {
    hub.lock().counters.count_refused(problem.slug);
    super::refuse::with(problem)
}

/// Why a session cannot be; an ended one is the transport's matter.
pub(super) fn refusal(refused: Refused) -> Problem {
    match refused {
        Refused::Verdict(verdict) => permitted(verdict).err().unwrap_or_else(busy),
        Refused::Ended(_) => Problem::new(410, "session-ended", "this session has ended"),
    }
}

fn busy() -> Problem {
    Problem::new(503, "cluster-busy", "the master did not answer in time")
}

/// What the master's verdict is to a client.
pub(super) fn permitted(verdict: Option<Verdict>) -> Result<(), Problem> {
    match verdict {
        Some(Verdict::Accepted) => Ok(()),
        Some(Verdict::Full) => Err(Problem::new(503, "full", "the cluster holds as many sessions as it may")),
        Some(Verdict::UserLimit) => {
            Err(Problem::new(429, "user-session-limit", "this user has as many sessions as one may have"))
        }
        Some(Verdict::StreamLimit) => {
            Err(Problem::new(429, "user-stream-limit", "this user has as many streams open as one may have"))
        }
        Some(Verdict::AddressLimit) => Err(Problem::new(
            429,
            "address-session-limit",
            "this address has as many sessions as one may have",
        )),
        Some(Verdict::ConnectRate(wait)) => {
            Err(Problem::new(429, "address-connect-rate", "too many sessions opened from this address")
                .after(wait))
        }
        None => Err(busy()),
    }
}
