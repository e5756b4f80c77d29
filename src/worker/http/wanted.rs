//! The query of a request for a session, the same over all transports, and how a session is refused.

use super::identity::{self, Identity};
use super::{answer, parameters};
use crate::access::tokens::{Action, Pass};
use crate::access::{Client, is_planted};
use crate::config::Config;
use crate::model::{Device, UserId};
use crate::protocol::client::{Close, Problem, ProblemKind, Resume, room};
use crate::protocol::cluster::{Endpoint, Verdict};
use crate::worker::hub::{Hub, Phase, Refused};
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Deserialize)]
pub(super) struct Parameters {
    pub(super) user_id: Option<String>,
    device: Option<String>,
    channels: Option<String>,
    pub(super) resume: Option<String>,
    cursor: Option<String>,
    pub(super) wait_ms: Option<String>,
    pub(super) takeover: Option<String>,
}

/// A request for a session, checked.
pub(super) struct Wanted {
    pub(super) user: UserId,
    pub(super) device: Option<Device>,
    /// The client's address; IPv6 cut to its /64.
    pub(super) address: IpAddr,
    pub(super) channels: Vec<String>,
    /// The session that the client comes back to; `None` also for a token that cannot be read.
    pub(super) resume: Option<Resume>,
    /// Longest time that a poll is to be held.
    pub(super) wait: Option<Duration>,
    /// What its token allows, and until when.
    pub(super) pass: Option<Box<Pass>>,
    /// The oldest stream of the user may end for this one.
    pub(super) takes_over: bool,
}

/// Refuses HEAD where GET opens a session.
pub(super) fn refuse_head(request: &Request) -> Option<Response> {
    let detail = "HEAD would open a session to which nobody listens.";
    let refusal = || answer::takes_only("GET", ProblemKind::MethodNotAllowed.with(detail));
    (request.method() == Method::HEAD).then(refusal)
}

/// Reads the query of a request for a session, unless this worker is stopping.
pub(super) fn read(
    hub: &Hub,
    (endpoint, stream): (Endpoint, Option<&str>),
    request: &Request,
) -> Result<Wanted, Problem> {
    let (config, stops) = {
        let state = hub.lock();
        (state.config.whole(), state.phase == Phase::Stopping)
    };
    if is_planted(request.headers()) {
        let detail =
            "A page of another origin may open no session here; http.allowed_origins lists those that may.";
        return Err(ProblemKind::OriginNotAllowed.with(detail));
    }
    let client = request.extensions().get::<Client>().copied().ok_or(ProblemKind::InternalError)?;
    let query: Parameters = parameters::query(request.uri())?;
    let kind = ProblemKind::QueryUserId;
    let named = query.user_id.as_deref().map(|text| parameters::user(text, kind)).transpose()?;
    let device = query.device.as_deref().map(Device::new).transpose();
    let device = device.map_err(|error| ProblemKind::QueryDevice.with(format!("device {error}.")))?;
    let identity = identity::of(request.extensions())?;
    permit(hub, &identity, (endpoint, stream), named.as_ref())?;
    let claims = identity.claims();
    let user = match (named, claims, endpoint) {
        (Some(user), ..) => user,
        (None, Some(claims), _) => claims.user.clone(),
        (None, None, _) if identity.asks() => UserId::anonymous(client.counted),
        (None, None, Endpoint::Ws) => return Err(kind.with("user_id is missing.")),
        (None, None, _) => UserId::of_address(client.counted),
    };
    // A token's device is the client's, whatever it says.
    let device = claims.and_then(|claims| claims.device.clone()).or(device);
    let channels = match endpoint {
        Endpoint::Ws => {
            let mut all = channels(&config, query.channels.as_deref())?;
            let may_hear = |name: &String| {
                let channel = hub.lock().described(name);
                identity.permit(hub, Action::Hear(channel))
            };
            match query.channels {
                // Of those that nobody asked for, what is allowed.
                None => all.retain(|name| identity.hears(hub, name)),
                Some(_) => all.iter().try_for_each(may_hear)?,
            }
            all
        }
        _ => Vec::new(),
    };
    let resume = query.cursor.as_deref().or(query.resume.as_deref()).and_then(Resume::parse);
    let takes_over = query.takeover.as_deref().map(flag).transpose()?.unwrap_or(false);
    let wait = query.wait_ms.as_deref().map(milliseconds).transpose()?;
    if stops {
        return Err(ProblemKind::Draining.into());
    }
    // Strangers behind one address do not end each other's streams, nor hear of each other's devices.
    let is_known = claims.is_some() || !user.is_shared();
    let takes_over = takes_over && endpoint == Endpoint::Stream && is_known;
    Ok(Wanted {
        user,
        device,
        address: client.counted,
        channels,
        resume,
        wait,
        takes_over,
        pass: identity.pass(),
    })
}

/// Whether a session may begin there, in that user's name if one is given.
fn permit(
    hub: &Hub,
    identity: &Identity,
    (endpoint, stream): (Endpoint, Option<&str>),
    user: Option<&UserId>,
) -> Result<(), Problem> {
    let config = hub.config();
    let stream = stream.and_then(|name| config.stream(name));
    let action = match endpoint {
        Endpoint::Ws => Action::Open(user),
        Endpoint::Echo | Endpoint::Command => Action::Tool,
        Endpoint::Chat => Action::Talk("chat"),
        Endpoint::Broadcast => Action::Talk("broadcast"),
        Endpoint::Stream => {
            let stream = stream.ok_or(ProblemKind::NotFound)?;
            Action::Stream(user, hub.lock().carried(stream))
        }
    };
    identity.permit(hub, action)?;
    // Whoever names a user speaks for that one only.
    match (identity.claims(), user) {
        (Some(claims), Some(user)) if claims.user != *user => identity.permit(hub, Action::Open(Some(user))),
        _ => Ok(()),
    }
}

pub(super) fn flag(text: &str) -> Result<bool, Problem> {
    match text {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(ProblemKind::QueryInvalid.with("takeover: must be 0 or 1.")),
    }
}

pub(super) fn milliseconds(text: &str) -> Result<Duration, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ms = text.parse().ok().filter(|_| digits).map(Duration::from_millis);
    ms.ok_or_else(|| ProblemKind::QueryInvalid.with("wait_ms: must be a whole number of milliseconds."))
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
            return Err(ProblemKind::QueryChannel.into());
        }
        if !all.iter().any(|one| one == name) {
            all.push(name.to_owned());
        }
    }
    if all.len() > config.limits.channels_per_session as usize {
        return Err(ProblemKind::TooManyChannels.into());
    }
    Ok(all)
}

/// Why a session is refused; the transport itself answers for a session that has ended.
pub(super) fn refusal(refused: Refused) -> Problem {
    match refused {
        Refused::Verdict(verdict) => {
            permitted(verdict).err().unwrap_or_else(|| ProblemKind::ClusterBusy.into())
        }
        Refused::Ended(code) => ProblemKind::SessionEnded(Close::from_number(code)).into(),
    }
}

/// The master's verdict as an answer to a client.
pub(super) fn permitted(verdict: Option<Verdict>) -> Result<(), Problem> {
    let kind = match verdict {
        Some(Verdict::Accepted) => return Ok(()),
        Some(Verdict::Full) => ProblemKind::Full,
        Some(Verdict::UserLimit) => ProblemKind::UserSessionLimit,
        Some(Verdict::StreamLimit) => ProblemKind::UserStreamLimit,
        Some(Verdict::AddressLimit) => ProblemKind::AddressSessionLimit,
        Some(Verdict::ConnectRate(wait)) => {
            return Err(Problem::from(ProblemKind::AddressConnectRate).after(wait));
        }
        None => ProblemKind::ClusterBusy,
    };
    Err(kind.into())
}
