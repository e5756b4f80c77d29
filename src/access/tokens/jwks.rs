//! Reads a JWKS (RFC 7517), as an endpoint publishes it. A key that cannot verify our tokens is left out; a text that
//! holds no key at all is refused, so that the last good one stays.

use super::encoding::{MOST_ID, base64url};
use super::json;
use super::key::Key;
use crate::model::{KeyFault, PublicKey};
use serde_json::{Map, Value};
use std::fmt;

/// A longer text is no JWKS: it is not read.
pub const LONGEST_JWKS: usize = 256 << 10;
/// More entries than any issuer has.
const MOST_KEYS: usize = 100;

/// Why a text is no JWKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwksFault {
    /// More than 256 KiB.
    TooLong,
    /// No JSON object with a list `keys`.
    Shape,
    /// More than 100 keys.
    TooMany,
    /// None of the keys can be used.
    NoKey,
}

impl fmt::Display for JwksFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "is longer than 256 KiB",
            Self::Shape => "is no JSON object with a list \"keys\", or names something twice",
            Self::TooMany => "holds more than 100 keys",
            Self::NoKey => "holds no key for ES256, EdDSA or RS256",
        })
    }
}

/// The usable keys of a JWKS.
#[derive(Clone, Debug)]
pub struct Jwks {
    keys: Vec<Key>,
    ignored: usize,
}

impl Jwks {
    /// Reads a text.
    ///
    /// # Errors
    /// Why it holds no keys.
    pub fn parse(text: &[u8]) -> Result<Self, JwksFault> {
        if text.len() > LONGEST_JWKS {
            return Err(JwksFault::TooLong);
        }
        let set = json::object(text).map_err(|_| JwksFault::Shape)?;
        let list = set.get("keys").and_then(Value::as_array).ok_or(JwksFault::Shape)?;
        if list.len() > MOST_KEYS {
            return Err(JwksFault::TooMany);
        }
        let keys: Vec<_> = list.iter().filter_map(|key| usable(key.as_object()?)).collect();
        match keys.is_empty() {
            true => Err(JwksFault::NoKey),
            false => Ok(Self { ignored: list.len() - keys.len(), keys }),
        }
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Keys that can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Entries that are left out: other uses, other algorithms, broken ones.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.ignored
    }
}

/// The key, if it is public, for signatures, of one of the algorithms, and whole.
fn usable(jwk: &Map<String, Value>) -> Option<Key> {
    // A private key that is published is nobody's alone any more.
    if ["d", "k", "p", "q"].iter().any(|private| jwk.contains_key(*private)) {
        return None;
    }
    let text = |name: &str| match jwk.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text.as_str())),
        Some(_) => None,
    };
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops")
        && !operations.as_array()?.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let id = text("kid")?;
    if id.is_some_and(|id| id.is_empty() || id.len() > MOST_ID) {
        return None;
    }
    let (key, names) = key(jwk)?.ok()?;
    let known = text("alg")?.is_none_or(|name| names.contains(&name));
    known.then(|| Key::public(&key, id.map(Into::into)))
}

/// The key, and the words for its algorithm in `alg`.
fn key(jwk: &Map<String, Value>) -> Option<Result<(PublicKey, &'static [&'static str]), KeyFault>> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| base64url(text(name)?);
    let curve = text("crv").unwrap_or_default();
    let (key, names): (_, &'static [&'static str]) = match (text("kty")?, curve) {
        ("EC", "P-256") => (PublicKey::p256(&bytes("x")?, &bytes("y")?), &["ES256"]),
        ("OKP", "Ed25519") => (PublicKey::ed25519(&bytes("x")?), &["EdDSA", "Ed25519"]),
        ("RSA", _) => (PublicKey::rsa(&bytes("n")?, &bytes("e")?), &["RS256"]),
        _ => return None,
    };
    Some(key.map(|key| (key, names)))
}
