//! Bad tokens, each with the refusal that it must get. `tests/fixtures/tokens/bad.txt` has one of each, for tests from
//! outside; `BLESS=1` writes it anew.

use super::*;
use crate::access::tokens::{LONGEST_TOKEN, Reason, Refusal};
use Reason as R;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A name, the token, the refusal.
type Row = (&'static str, String, Refusal);

const HS: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn row(name: &'static str, token: String, reason: Reason) -> Row {
    (name, token, Refusal::Invalid(reason))
}

/// Good claims with one wrong member.
fn claim(name: &'static str, others: &Value, reason: Reason) -> Row {
    row(name, HS256.sign(&claims(others)), reason)
}

/// A good token with one wrong member in its header.
fn header(name: &'static str, more: &Value, reason: Reason) -> Row {
    row(name, ES256.headed(more, &claims(&json!({}))), reason)
}

/// Good claims as text, with more in front.
fn text(more: &str) -> String {
    format!("{{{more}{}", &claims(&json!({})).to_string()[1..])
}

fn shapes() -> Vec<Row> {
    let good = HS256.sign(&claims(&json!({})));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let long = HS256.sign(&claims(&json!({ "more": "x".repeat(8192) })));
    let mut stray = signature.to_owned();
    // The last character of 32 bytes has two bits that say nothing.
    let last = stray.pop().unwrap();
    let next = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".split_once(last).unwrap().1;
    stray.push(next.chars().next().unwrap());
    vec![
        row("empty", String::new(), R::Shape),
        row("one-part", "abc".into(), R::Shape),
        row("two-parts", message.into(), R::Shape),
        row("no-signature", format!("{message}."), R::Shape),
        row("four-parts", format!("{good}.AAAA"), R::Shape),
        row("five-parts-jwe", format!("{good}.AAAA.AAAA"), R::Shape),
        row("only-dots", "..".into(), R::Shape),
        row("8-kib", long, R::TooLong),
        row("padded", format!("{good}="), R::Encoding),
        row("base64-not-url", format!("{}.{}.{}", parts[0], parts[1], "+/+/"), R::Encoding),
        row("trailing-bytes", format!("{good}\n"), R::Encoding),
        row("space-in-front", format!(" {good}"), R::Encoding),
        row("bearer-in-front", format!("Bearer {good}"), R::Encoding),
        row("stray-bits", format!("{message}.{stray}"), R::Encoding),
        row("percent-encoded", good.replacen('.', "%2E", 1), R::Shape),
        row("not-ascii", format!("{message}.ä"), R::Encoding),
    ]
}

fn headers() -> Vec<Row> {
    let claims = claims(&json!({})).to_string();
    let unsigned = |header: &str| format!("{}.{}.{}", encode(header), encode(&claims), encode("x"));
    let rsa_as_secret = Signer::Hs256(pem!("rs256.public")).raw(HS, &claims);
    vec![
        row("alg-none", unsigned(r#"{"alg":"none"}"#), R::Algorithm),
        row("alg-none-in-capitals", unsigned(r#"{"alg":"NONE"}"#), R::Algorithm),
        row(
            "alg-none-without-signature",
            format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims)),
            R::Shape,
        ),
        row("alg-missing", unsigned(r#"{"typ":"JWT"}"#), R::Algorithm),
        row("alg-number", unsigned(r#"{"alg":256}"#), R::Algorithm),
        row("alg-list", unsigned(r#"{"alg":["HS256"]}"#), R::Algorithm),
        row("alg-small", HS256.raw(r#"{"alg":"hs256"}"#, &claims), R::Algorithm),
        row("alg-hs512", unsigned(r#"{"alg":"HS512"}"#), R::Algorithm),
        row("alg-ps256", unsigned(r#"{"alg":"PS256"}"#), R::Algorithm),
        row("rs256-turned-hs256", rsa_as_secret, R::Signature),
        row("hs256-turned-rs256", HS256.raw(r#"{"alg":"RS256"}"#, &claims), R::Signature),
        row("es256-turned-eddsa", ES256.raw(r#"{"alg":"EdDSA"}"#, &claims), R::Signature),
        row("empty-key", Signer::Hs256("").raw(HS, &claims), R::Signature),
        row("header-empty", HS256.raw("", &claims), R::Header),
        row("header-list", HS256.raw("[]", &claims), R::Header),
        row("header-not-json", HS256.raw("alg=HS256", &claims), R::Header),
        row("header-with-more-behind", HS256.raw(&format!("{HS}x"), &claims), R::Header),
        row("header-alg-twice", HS256.raw(r#"{"alg":"none","alg":"HS256"}"#, &claims), R::DoubledKey),
        row(
            "header-alg-twice-escaped",
            HS256.raw(r#"{"alg":"HS256","\u0061lg":"none"}"#, &claims),
            R::DoubledKey,
        ),
        header("crit-unknown", &json!({ "crit": ["exp2"], "exp2": 1 }), R::Critical),
        header("crit-b64", &json!({ "crit": ["b64"], "b64": false }), R::Critical),
        header("crit-empty", &json!({ "crit": [] }), R::Critical),
        header("b64-false", &json!({ "b64": false }), R::Critical),
        header("typ-logout", &json!({ "typ": "logout+jwt" }), R::Type),
        header("typ-number", &json!({ "typ": 1 }), R::Type),
        header("kid-number", &json!({ "kid": 7 }), R::KeyId),
        header("kid-empty", &json!({ "kid": "" }), R::KeyId),
        header("kid-long", &json!({ "kid": "k".repeat(257) }), R::KeyId),
    ]
}

fn signatures() -> Vec<Row> {
    let claims = claims(&json!({}));
    let theirs = |more: &Value| STRANGER.headed(more, &claims);
    let (good, other) = (ES256.sign(&claims), ES256.sign(&with(&claims, &json!({ "sub": "bob" }))));
    let (message, _) = other.rsplit_once('.').unwrap();
    let der = format!("{message}.{}", encode([&[0x30, 0x44][..], &[2; 68]].concat()));
    let zero = format!("{message}.{}", encode([0; 64]));
    let swapped = format!("{message}.{}", good.rsplit_once('.').unwrap().1);
    let cut = format!("{message}.{}", encode(&ES256.signature(message.as_bytes())[..60]));
    vec![
        row("stranger", theirs(&json!({})), R::Signature),
        row("stranger-jku", theirs(&json!({ "jku": "https://evil.example/jwks" })), R::Signature),
        row("stranger-x5u", theirs(&json!({ "x5u": "https://evil.example/chain" })), R::Signature),
        row(
            "stranger-jwk",
            theirs(
                &json!({ "jwk": { "kty": "EC", "crv": "P-256", "x": encode([1; 32]), "y": encode([1; 32]) } }),
            ),
            R::Signature,
        ),
        row("stranger-kid-of-a-path", theirs(&json!({ "kid": "../../../../dev/null" })), R::Signature),
        row("stranger-kid-of-a-query", theirs(&json!({ "kid": "' UNION SELECT 'x" })), R::Signature),
        row("signature-of-another", swapped, R::Signature),
        row("signature-cut", cut, R::Signature),
        row("signature-of-zeros", zero, R::Signature),
        row("signature-in-der", der, R::Signature),
    ]
}

fn subjects() -> Vec<Row> {
    vec![
        claim("sub-missing", &json!({ "sub": null }), R::Subject),
        claim("sub-number", &json!({ "sub": 7 }), R::Subject),
        claim("sub-list", &json!({ "sub": ["ann"] }), R::Subject),
        claim("sub-empty", &json!({ "sub": "" }), R::Subject),
        claim("sub-long", &json!({ "sub": "a".repeat(129) }), R::Subject),
        claim("sub-outside-the-alphabet", &json!({ "sub": "ann/../bob" }), R::Subject),
        claim("sub-line-break", &json!({ "sub": "ann\r\nX: y" }), R::Subject),
        claim("sub-nul", &json!({ "sub": "ann\0" }), R::Subject),
        claim("sub-of-no-token", &json!({ "sub": "anonymous:127.0.0.1" }), R::Subject),
        claim("sub-lookalike", &json!({ "sub": "аnn" }), R::Subject),
        row("sub-null", HS256.raw(HS, r#"{"sub":null,"exp":4102444800}"#), R::Subject),
        row("claims-list", HS256.raw(HS, "[]"), R::Claims),
        row("claims-text", HS256.raw(HS, "\"ann\""), R::Claims),
        row("claims-empty", HS256.raw(HS, ""), R::Claims),
        row("claims-with-more-behind", HS256.raw(HS, &(claims(&json!({})).to_string() + "{}")), R::Claims),
        row("claims-nested-token", HS256.raw(HS, &HS256.sign(&claims(&json!({})))), R::Claims),
        row("sub-twice", HS256.raw(HS, &text(r#""sub":"bob","#)), R::DoubledKey),
        row("exp-twice", HS256.raw(HS, &text(r#""exp":1,"#)), R::DoubledKey),
        row("sub-twice-escaped", HS256.raw(HS, &text(r#""s\u0075b":"bob","#)), R::DoubledKey),
        row(
            "channels-twice",
            HS256.raw(HS, &text(r#""channels":{"publish":[],"publish":["*"]},"#)),
            R::DoubledKey,
        ),
    ]
}

fn others() -> Vec<Row> {
    let expired = |name, exp: Value| (name, HS256.sign(&claims(&json!({ "exp": exp }))), Refusal::Expired);
    vec![
        expired("expired", json!(1_000_000_000)),
        expired("expired-at-zero", json!(0)),
        claim("exp-missing", &json!({ "exp": null }), R::Expiry),
        claim("exp-text", &json!({ "exp": "4102444800" }), R::Expiry),
        claim("exp-flag", &json!({ "exp": true }), R::Expiry),
        claim("exp-negative", &json!({ "exp": -1 }), R::Expiry),
        claim("exp-in-milliseconds", &json!({ "exp": LATE * 1000 }), R::Expiry),
        row("exp-endless", HS256.raw(HS, &text("").replace("4102444800", "1e300")), R::Expiry),
        row("exp-infinite", HS256.raw(HS, &text("").replace("4102444800", "1e999")), R::Claims),
        claim("nbf-text", &json!({ "nbf": "1" }), R::Time),
        claim("nbf-future", &json!({ "nbf": 4_000_000_000_u64 }), R::NotYet),
        claim("iat-text", &json!({ "iat": "yesterday" }), R::Time),
        claim("aud-missing", &json!({ "aud": null }), R::Audience),
        claim("aud-foreign", &json!({ "aud": "other" }), R::Audience),
        claim("aud-foreign-list", &json!({ "aud": ["other", "btc-cluster.example"] }), R::Audience),
        claim("aud-empty-list", &json!({ "aud": [] }), R::Audience),
        claim("aud-list-of-numbers", &json!({ "aud": ["btc-cluster", 1] }), R::Audience),
        claim("aud-object", &json!({ "aud": { "btc-cluster": true } }), R::Audience),
        claim("iss-missing", &json!({ "iss": null }), R::Issuer),
        claim("iss-foreign", &json!({ "iss": "https://issuer.example.evil" }), R::Issuer),
        claim("iss-list", &json!({ "iss": ["https://issuer.example"] }), R::Issuer),
        claim("jti-number", &json!({ "jti": 1 }), R::TokenId),
        claim("jti-empty", &json!({ "jti": "" }), R::TokenId),
        claim("device-wrong", &json!({ "device": "my phone" }), R::Device),
        claim("scope-list", &json!({ "scope": ["admin"] }), R::Scope),
        claim("channels-list", &json!({ "channels": ["price:*"] }), R::Channels),
        claim("channels-text", &json!({ "channels": { "subscribe": "price:*" } }), R::Channels),
    ]
}

fn all() -> Vec<Row> {
    [shapes(), headers(), signatures(), subjects(), others()].concat()
}

#[test]
fn each_bad_token_is_refused_for_its_own_reason() {
    for (name, token, expected) in all() {
        assert_eq!(judge(&token), Err(expected), "{name}");
        let shown = format!("{expected:?} {}", expected.slug());
        assert!(!token.split('.').any(|part| part.len() > 8 && shown.contains(part)), "{name}");
    }
}

#[test]
fn every_reason_has_its_token() {
    let seen: BTreeSet<_> = all()
        .iter()
        .filter_map(|(_, _, refusal)| match refusal {
            Refusal::Invalid(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    // Of keys that are fetched, and of several tokens: `jwks.rs` and `carried.rs` have tests of them.
    let elsewhere =
        [Reason::NoKey, Reason::UnknownKey, Reason::UnnamedKey, Reason::Several].map(Reason::as_str);
    let missing: Vec<_> = Reason::ALL
        .map(Reason::as_str)
        .into_iter()
        .filter(|it| !seen.contains(it) && !elsewhere.contains(it))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_file_has_one_of_each() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokens/bad.txt");
    if std::env::var_os("BLESS").is_some() {
        let mut text = String::new();
        for (name, token, refusal) in all() {
            let token = serde_json::to_string(&token).unwrap();
            writeln!(text, "{name} {} {token}", refusal.slug()).unwrap();
        }
        std::fs::write(path, text).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.splitn(3, ' ').collect()).collect();
    let rows = all();
    assert_eq!(lines.len(), rows.len(), "BLESS=1 cargo test --lib access::");
    assert!(rows.len() >= 40);
    for (line, (name, _, refusal)) in lines.iter().zip(rows) {
        assert_eq!((line[0], line[1]), (name, refusal.slug()));
        let token: String = serde_json::from_str(line[2]).unwrap();
        assert_eq!(judge(&token), Err(refusal), "{name}");
    }
}

#[test]
fn a_token_of_4_kib_is_read_and_one_byte_more_is_not() {
    let token = |more: usize| HS256.sign(&claims(&json!({ "more": "x".repeat(more) })));
    let most = (0..4096).rev().find(|more| token(*more).len() <= LONGEST_TOKEN).unwrap();
    assert!(token(most).len() > LONGEST_TOKEN - 2);
    assert!(judge(&token(most)).is_ok());
    assert_eq!(judge(&token(most + 2)), Err(Refusal::Invalid(R::TooLong)));
    // Not even its dots are counted.
    assert_eq!(judge(&"x".repeat(LONGEST_TOKEN + 1)), Err(Refusal::Invalid(R::TooLong)));
}

#[test]
fn refusals_have_the_words_of_the_contract() {
    let all = [
        (Refusal::Missing, 401, "token-missing", 4001),
        (Refusal::Invalid(R::Signature), 401, "token-invalid", 4001),
        (Refusal::Expired, 401, "token-expired", 4002),
        (Refusal::Revoked, 401, "token-revoked", 4001),
        (Refusal::Forbidden, 403, "forbidden", 4003),
        (Refusal::KeysUnavailable, 503, "keys-unavailable", 1013),
        (Refusal::NotHere, 404, "not-found", 4003),
    ];
    for (refusal, status, slug, close) in all {
        assert_eq!((refusal.status(), refusal.slug(), refusal.close()), (status, slug, close));
    }
}
