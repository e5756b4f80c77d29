//! An issuer for tests, with the keys of `tests/fixtures/tokens`, and the tests of whole tokens.

mod bad;
mod good;
mod jwks;
mod table;

use super::keys::Keys;
use super::{Jwks, Refusal, Rules, verify};
use crate::config::{AuthMode, AuthSection, Secret};
use crate::model::{PublicKey, Wall};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::time::Duration;

/// 2027-01-01.
const NOW: Wall = Wall(1_798_761_600_000);
/// 2100-01-01: tokens of files live as long as the tests.
const LATE: u64 = 4_102_444_800;
const SECRET: &str = include_str!("../../../../tests/fixtures/tokens/secret");

macro_rules! pem {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/tokens/", $name, ".pem"))
    };
}
use pem;

/// A way to sign.
#[derive(Clone, Copy, Debug)]
enum Signer {
    Hs256(&'static str),
    Es256(&'static str),
    EdDsa(&'static str),
    Rs256(&'static str),
}

const HS256: Signer = Signer::Hs256(SECRET);
const ES256: Signer = Signer::Es256(pem!("es256.private"));
const EDDSA: Signer = Signer::EdDsa(pem!("eddsa.private"));
const RS256: Signer = Signer::Rs256(pem!("rs256.private"));
/// A key that nobody trusts.
const STRANGER: Signer = Signer::Es256(pem!("stranger.private"));

impl Signer {
    fn alg(self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    fn signature(self, message: &[u8]) -> Vec<u8> {
        let der = |pem: &str| PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        match self {
            Self::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Es256(pem) => {
                let key =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der(pem).secret_pkcs8_der());
                key.unwrap().sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Self::EdDsa(pem) => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der(pem).secret_pkcs8_der());
                key.unwrap().sign(message).as_ref().to_vec()
            }
            Self::Rs256(pem) => {
                let key = RsaKeyPair::from_pkcs8(der(pem).secret_pkcs8_der()).unwrap();
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &rand::SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// Signs texts as they are.
    fn raw(self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    /// Signs claims with a usual header.
    fn sign(self, claims: &Value) -> String {
        self.headed(&json!({}), claims)
    }

    /// Signs with more in the header.
    fn headed(self, more: &Value, claims: &Value) -> String {
        self.raw(&with(&json!({ "alg": self.alg(), "typ": "JWT" }), more).to_string(), &claims.to_string())
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An object with other members; null takes one away.
fn with(object: &Value, others: &Value) -> Value {
    let mut object = object.as_object().unwrap().clone();
    for (key, value) in others.as_object().unwrap() {
        match value.is_null() {
            true => _ = object.remove(key),
            false => _ = object.insert(key.clone(), value.clone()),
        }
    }
    Value::Object(object)
}

/// The claims of a good token, with other members.
fn claims(others: &Value) -> Value {
    let good = json!({
        "sub": "ann", "exp": LATE, "iat": 1_700_000_000, "aud": "btc-cluster", "iss": "https://issuer.example",
    });
    with(&good, others)
}

pub(super) fn auth() -> AuthSection {
    let public = |pem| PublicKey::from_pem(pem).unwrap();
    AuthSection {
        mode: AuthMode::Token,
        secrets: vec![Secret::new(SECRET.to_owned())],
        public_keys: vec![
            public(pem!("es256.public")),
            public(pem!("eddsa.public")),
            public(pem!("rs256.public")),
        ],
        jwks_url: None,
        jwks_refresh: Duration::from_secs(600),
        audience: vec!["btc-cluster".to_owned()],
        issuer: vec!["https://issuer.example".to_owned()],
        leeway: Duration::from_secs(10),
        notice: Duration::from_secs(30),
        cookie: None,
        anonymous: vec![],
    }
}

/// A configuration without keys of files.
fn auth_by_jwks() -> AuthSection {
    let jwks_url = Some("https://issuer.example/jwks".to_owned());
    AuthSection { secrets: vec![], public_keys: vec![], jwks_url, ..auth() }
}

fn judge(token: &str) -> Result<super::Claims, Refusal> {
    verify(token, &Keys::new(&auth(), None), &Rules::new(&auth()), NOW)
}

fn judge_by(token: &str, jwks: Option<&Jwks>) -> Result<super::Claims, Refusal> {
    verify(token, &Keys::new(&auth_by_jwks(), jwks), &Rules::new(&auth()), NOW)
}
