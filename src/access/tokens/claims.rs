//! What a token says of its bearer. Every claim that has a meaning here has one type, or the token is refused.

use super::encoding::MOST_ID;
use super::refusal::{Reason, Refusal};
use super::rights::Rights;
use crate::config::AuthSection;
use crate::model::{Device, UserId, Wall};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// What a token's claims must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `aud` must have one of these; none: a token that has an `aud` is for somebody else.
    pub audience: Vec<String>,
    /// `iss` must be one of these; none: any.
    pub issuer: Vec<String>,
    /// How far the clocks of issuer and server may be apart.
    pub leeway: Duration,
}

impl Rules {
    /// The rules of a configuration.
    #[must_use]
    pub fn new(auth: &AuthSection) -> Self {
        Self { audience: auth.audience.clone(), issuer: auth.issuer.clone(), leeway: auth.leeway }
    }
}

/// The claims of a verified token; part of its session's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// `sub`.
    pub user: UserId,
    /// `exp` and the leeway: at this moment its sessions end.
    pub ends: Wall,
    /// `iat`. Without it a token counts as older than any revocation of its user.
    pub issued: Option<Wall>,
    /// `jti`.
    pub id: Option<Box<str>>,
    /// `device`.
    pub device: Option<Device>,
    /// `scope` and `channels`.
    pub rights: Rights,
}

impl Claims {
    /// Reads the claims of a token whose signature is good.
    pub(super) fn read(claims: &Map<String, Value>, rules: &Rules, now: Wall) -> Result<Self, Refusal> {
        let user = claims.get("sub").and_then(Value::as_str).and_then(|sub| UserId::new(sub).ok());
        let user = user.filter(|user| !user.is_anonymous()).ok_or(Reason::Subject)?;
        let expiry = claims.get("exp").and_then(moment).ok_or(Reason::Expiry)?;
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => moment(value).map(Some).ok_or(Reason::Time),
        };
        let (not_before, issued) = (time("nbf")?, time("iat")?);
        audience(claims.get("aud"), &rules.audience)?;
        issuer(claims.get("iss"), &rules.issuer)?;
        let id = match claims.get("jti") {
            None => None,
            Some(Value::String(id)) if (1..=MOST_ID).contains(&id.len()) => Some(id.as_str().into()),
            Some(_) => return Err(Reason::TokenId.into()),
        };
        let device = match claims.get("device") {
            None => None,
            Some(name) => {
                let device = name.as_str().and_then(|name| Device::new(name).ok());
                Some(device.ok_or(Reason::Device)?)
            }
        };
        let rights = Rights::read(claims.get("scope"), claims.get("channels"))?;
        let leeway = i64::try_from(rules.leeway.as_millis()).unwrap_or(i64::MAX);
        let ends = Wall(expiry.0.saturating_add(leeway));
        if ends <= now {
            return Err(Refusal::Expired);
        }
        if not_before.is_some_and(|from| from.0 > now.0.saturating_add(leeway)) {
            return Err(Reason::NotYet.into());
        }
        Ok(Self { user, ends, issued, id, device, rights })
    }

    /// The time that is left. To be taken once, when the token is admitted: a wall clock that jumps later expires
    /// nobody.
    #[must_use]
    pub fn left(&self, now: Wall) -> Duration {
        Duration::from_millis(u64::try_from(self.ends.0.saturating_sub(now.0)).unwrap_or(0))
    }
}

/// A number of seconds since 1970, perhaps with a fraction (RFC 7519, section 2), up to the year 9999: a number of
/// milliseconds is a mistake of the issuer, and would be a token without an end.
fn moment(value: &Value) -> Option<Wall> {
    const YEAR_10000: i64 = 253_402_300_800;
    let Value::Number(number) = value else { return None };
    if let Some(seconds) = number.as_i64() {
        return (0..YEAR_10000).contains(&seconds).then(|| Wall(seconds * 1000));
    }
    let millis = number.as_f64()? * 1000.0;
    // Within the range, rounded down.
    (0.0..(YEAR_10000 * 1000) as f64).contains(&millis).then_some(Wall(millis as i64))
}

/// RFC 7519, section 4.1.3: a token for others is refused, also where no name of ours is known.
fn audience(claim: Option<&Value>, ours: &[String]) -> Result<(), Reason> {
    let names: Vec<&str> = match claim {
        None => vec![],
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => {
            names.iter().map(Value::as_str).collect::<Option<_>>().ok_or(Reason::Audience)?
        }
        Some(_) => return Err(Reason::Audience),
    };
    let good = match claim {
        None => ours.is_empty(),
        Some(_) => names.iter().any(|name| ours.iter().any(|one| one == name)),
    };
    if good { Ok(()) } else { Err(Reason::Audience) }
}

fn issuer(claim: Option<&Value>, known: &[String]) -> Result<(), Reason> {
    let name = match claim {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(Reason::Issuer),
    };
    let good = known.is_empty() || name.is_some_and(|name| known.contains(name));
    if good { Ok(()) } else { Err(Reason::Issuer) }
}
