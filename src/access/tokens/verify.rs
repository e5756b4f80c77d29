//! Verifies a token: a signed JWT (RFC 7519) in compact form. Strict in front of the library that has the cryptography:
//! whatever two readers might read differently is refused.

use super::claims::{Claims, Rules};
use super::encoding::{MOST_ID, base64url};
use super::json::{self, JsonFault};
use super::key::Algorithm;
use super::keys::Keys;
use super::refusal::{Reason, Refusal};
use crate::model::Wall;
use serde_json::{Map, Value};

/// A longer token is refused unread.
pub const LONGEST_TOKEN: usize = 4096;
/// `typ` of tokens for us, without "application/": none, any JWT, or an access token (RFC 9068).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Verifies a token at a moment of the wall clock.
///
/// # Errors
/// Why it is refused. Whether it is expired is said only of a token that one of our keys has signed.
pub fn verify(token: &str, keys: &Keys, rules: &Rules, now: Wall) -> Result<Claims, Refusal> {
    if !keys.usable() {
        return Err(Refusal::KeysUnavailable);
    }
    if token.len() > LONGEST_TOKEN {
        return Err(Reason::TooLong.into());
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Reason::Shape.into());
    };
    if signature.is_empty() {
        return Err(Reason::Shape.into());
    }
    let decoded = |part| base64url(part).ok_or(Reason::Encoding);
    let (header, claims) = (decoded(header)?, decoded(claims)?);
    decoded(signature)?;
    let header = object(&header, Reason::Header)?;
    keys.check(token, named(&header)?)?;
    Claims::read(&object(&claims, Reason::Claims)?, rules, now)
}

fn object(text: &[u8], otherwise: Reason) -> Result<Map<String, Value>, Reason> {
    json::object(text).map_err(|fault| match fault {
        JsonFault::DoubledKey => Reason::DoubledKey,
        JsonFault::NoObject => otherwise,
    })
}

/// Algorithm and key id of a header. Nothing else in it has a meaning here: no key and no address comes from a token.
fn named(header: &Map<String, Value>) -> Result<(Algorithm, Option<&str>), Reason> {
    // RFC 7797: without encoding, other bytes are signed.
    if header.contains_key("crit") || header.get("b64").is_some_and(|encoded| *encoded != true) {
        return Err(Reason::Critical);
    }
    let is_ours = |typ: &Value| {
        let typ = typ.as_str()?.to_ascii_lowercase();
        Some(TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ)))
    };
    if header.get("typ").is_some_and(|typ| is_ours(typ) != Some(true)) {
        return Err(Reason::Type);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
    let id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) if (1..=MOST_ID).contains(&id.len()) => Some(id.as_str()),
        Some(_) => return Err(Reason::KeyId),
    };
    Ok((algorithm.ok_or(Reason::Algorithm)?, id))
}
