//! Signs tokens, for `btc-cluster token`.

use crate::config::Secret;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

/// Signs claims with a secret (HS256). `None`: the secret is empty.
#[must_use]
pub fn sign(claims: &Map<String, Value>, secret: &Secret) -> Option<String> {
    let key = EncodingKey::from_secret(secret.expose().as_bytes()).ok()?;
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).ok()
}
