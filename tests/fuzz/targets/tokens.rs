//! Tokens and key sets.

#![allow(clippy::expect_used, reason = "a panic is what is looked for")]

use super::{
    Claims, FetchedJwks, Jwks, KeptJwks, Keys, Pass, Refusal, Revocation, Rules, Ways, carried, json, verify,
};
use crate::config::{AuthMode, AuthSection, Secret};
use crate::fuzzing::Parts;
use crate::model::{Boot, PublicKey, Wall};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::sync::LazyLock;
use std::time::Duration;

/// 2027-01-01.
const NOW: Wall = Wall(1_798_761_600_000);
const SECRET: &str = include_str!("../../fixtures/tokens/secret");
const PUBLIC: [&str; 3] = [
    include_str!("../../fixtures/tokens/es256.public.pem"),
    include_str!("../../fixtures/tokens/eddsa.public.pem"),
    include_str!("../../fixtures/tokens/rs256.public.pem"),
];

const URL: &str = "https://issuer.example/jwks";

/// All keys, and each key alone.
static KEYS: LazyLock<Vec<Keys>> = LazyLock::new(|| {
    let secrets = vec![Secret::new(SECRET.to_owned())];
    let public: Vec<_> = PUBLIC.iter().map(|pem| PublicKey::from_pem(pem).expect("a key")).collect();
    let one = |key: &PublicKey| Keys::new(&auth(vec![], vec![key.clone()]), None);
    let mut keys = vec![Keys::new(&auth(secrets.clone(), public.clone()), None)];
    keys.push(Keys::new(&auth(secrets, vec![]), None));
    keys.extend(public.iter().map(one));
    keys
});

fn auth(secrets: Vec<Secret>, public_keys: Vec<PublicKey>) -> AuthSection {
    AuthSection {
        mode: AuthMode::Token,
        secrets,
        public_keys,
        jwks_url: None,
        jwks_refresh: Duration::from_secs(600),
        audience: vec!["btc-cluster".to_owned()],
        issuer: vec![],
        leeway: Duration::from_secs(10),
        notice: Duration::from_secs(30),
        cookie: None,
        anonymous: vec![],
    }
}

fn rules() -> Rules {
    Rules { audience: vec!["btc-cluster".to_owned()], issuer: vec![], leeway: Duration::from_secs(10) }
}

/// After a byte of choice, either a token as it is, against each key; or a header and claims, a line each, that are
/// signed here, so that they are read; or the lines of a head that may carry a token.
pub fn token(data: &[u8]) {
    let mut parts = Parts(data);
    match parts.byte() % 3 {
        0 => {
            let Ok(token) = std::str::from_utf8(parts.0) else { return };
            for keys in KEYS.iter() {
                judge(token, keys);
            }
        }
        1 => {
            let mut lines = parts.0.splitn(2, |byte| *byte == b'\n');
            let (header, claims) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            let token = signed(header, claims);
            judge(&token, &KEYS[0]);
            assert!(verify(&token, &KEYS[2], &rules(), NOW).is_err(), "another key");
            if let Ok(object) = json::object(claims) {
                let value: Value = serde_json::from_slice(claims).expect("JSON");
                assert_eq!(Value::Object(object), value);
            }
        }
        _ => lines(parts.0),
    }
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Whoever is let in has a name and an end; nothing of that depends on how often it is asked.
fn judge(token: &str, keys: &Keys) {
    let verdict = verify(token, keys, &rules(), NOW);
    assert_eq!(verify(token, keys, &rules(), NOW), verdict);
    match verdict {
        Ok(claims) => good(claims),
        Err(refusal) => assert!(refusal != Refusal::KeysUnavailable && refusal != Refusal::Revoked),
    }
}

fn good(claims: Claims) {
    assert!(!claims.user.as_str().is_empty() && claims.ends > NOW && !claims.left(NOW).is_zero());
    let pass = Pass::new(claims.clone(), NOW, Boot(1));
    assert_eq!(Pass::decode(&pass.encode()).as_ref(), Some(&pass));
    let (common, own) = pass.split().expect("two parts");
    assert_eq!(Pass::join(&claims.user, &common, &own).as_ref(), Some(&pass));
    let until_now = Revocation::User(claims.user.clone(), NOW);
    assert_eq!(until_now.covers(&claims), claims.issued.is_none_or(|issued| issued < NOW));
}

fn lines(text: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut query = None;
    for line in text.split(|byte| *byte == b'\n').take(32) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            query = std::str::from_utf8(line).ok();
            continue;
        };
        let (name, value) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(&line[at + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let found = carried(&headers, Ways { query, cookie: Some("jwt") });
    if let Ok(Some(token)) = &found {
        let _ = verify(token, &KEYS[1], &rules(), NOW);
    }
    let without = carried(&headers, Ways { query, cookie: None });
    assert!(!matches!(&without, Ok(Some(_))) || without == found, "a cookie gives way");
    if let Some(query) = query {
        let shown = super::masked(query);
        assert_eq!(super::masked(&shown), shown);
    }
}

/// A JWKS, and a PEM file. One that is taken is taken again, and a bad one changes nothing.
pub fn jwks(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = PublicKey::from_pem(text)
    {
        let json = serde_json::to_string(&key).expect("JSON");
        assert_eq!(serde_json::from_str::<PublicKey>(&json).expect("the same"), key);
    }
    let _ = FetchedJwks::decode(data);
    let mut kept = KeptJwks::new(URL);
    match Jwks::parse(data) {
        Ok(set) => {
            assert!((1..=100).contains(&set.len()) && set.len() + set.ignored() <= 100);
            assert_eq!((kept.take(data), kept.take(data)), (Ok(true), Ok(false)));
            let bytes = kept.encode();
            assert_eq!(KeptJwks::from_file(URL, &bytes), kept);
            assert_eq!(
                KeptJwks::from_file("https://other.example", &bytes).jwks().map(|set| set.len()),
                None
            );
            assert!(FetchedJwks::decode(&bytes).is_some());
            let mut section = auth(vec![], vec![]);
            section.jwks_url = Some(URL.to_owned());
            let keys = Keys::new(&section, Some(&set));
            judge(&signed(br#"{"alg":"HS256"}"#, b"{}"), &keys);
        }
        Err(_) => assert!(kept.take(data).is_err() && kept.encode().is_empty()),
    }
}
