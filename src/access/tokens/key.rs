//! One key that verifies tokens. Its algorithm is part of it: a token never says how it is to be checked.

use crate::config::Secret;
use crate::model::{KeyKind, PublicKey};
use jsonwebtoken::DecodingKey;

/// Algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// HMAC with SHA-256: who verifies can sign.
    Hs256,
    /// A public key.
    Public(KeyKind),
}

impl Algorithm {
    /// The algorithm that a header's `alg` names.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "ES256" => Some(Self::Public(KeyKind::Es256)),
            "EdDSA" => Some(Self::Public(KeyKind::EdDsa)),
            "RS256" => Some(Self::Public(KeyKind::Rs256)),
            _ => None,
        }
    }

    fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Public(KeyKind::Es256) => jsonwebtoken::Algorithm::ES256,
            Self::Public(KeyKind::EdDsa) => jsonwebtoken::Algorithm::EdDSA,
            Self::Public(KeyKind::Rs256) => jsonwebtoken::Algorithm::RS256,
        }
    }
}

/// A key. It prints without its content.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    /// `kid`; a key of a file has none, and takes any.
    pub(super) id: Option<Box<str>>,
    decoding: DecodingKey,
}

impl Key {
    /// A secret; `None`: an empty one.
    pub(super) fn secret(secret: &Secret) -> Option<Self> {
        let decoding = DecodingKey::from_secret(secret.expose().as_bytes()).ok()?;
        Some(Self::new(Algorithm::Hs256, None, decoding))
    }

    /// A public key, with its id if it has one.
    pub(super) fn public(key: &PublicKey, id: Option<Box<str>>) -> Self {
        let decoding = match key.kind() {
            KeyKind::Es256 => DecodingKey::from_ec_der(key.der()),
            KeyKind::EdDsa => DecodingKey::from_ed_der(key.der()),
            KeyKind::Rs256 => DecodingKey::from_rsa_der(key.der()),
        };
        Self::new(Algorithm::Public(key.kind()), id, decoding)
    }

    fn new(algorithm: Algorithm, id: Option<Box<str>>, decoding: DecodingKey) -> Self {
        Self { algorithm, id, decoding }
    }

    /// Checks the signature of a token by this key's own algorithm.
    pub(super) fn has_signed(&self, message: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.of_library();
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm)
            .unwrap_or(false)
    }
}
