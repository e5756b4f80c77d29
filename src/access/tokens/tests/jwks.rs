//! Keys of an endpoint: which of them are taken, and which token is checked with which.

use super::*;
use crate::access::tokens::{Jwks, JwksFault, LONGEST_JWKS, Reason, Refusal};
use crate::model::KeyKind;
use proptest::prelude::*;

fn jwk(pem: &str, more: &Value) -> Value {
    let key = PublicKey::from_pem(pem).unwrap();
    let tail = |count: usize| &key.der()[key.der().len() - count..];
    let jwk = match key.kind() {
        KeyKind::Es256 => {
            let (x, y) = tail(64).split_at(32);
            json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
        }
        KeyKind::EdDsa => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(tail(32)) }),
        // SubjectPublicKeyInfo ends with the modulus of 2048 bits and the exponent 65537.
        KeyKind::Rs256 => {
            let n = &tail(261)[..256];
            json!({ "kty": "RSA", "n": encode(n), "e": "AQAB" })
        }
    };
    with(&jwk, more)
}

fn set(keys: &[Value]) -> Result<Jwks, JwksFault> {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn es256(kid: &str) -> Value {
    jwk(pem!("es256.public"), &json!({ "kid": kid, "use": "sig", "alg": "ES256" }))
}

fn token(signer: Signer, kid: &str) -> String {
    signer.headed(&json!({ "kid": kid }), &claims(&json!({})))
}

const UNKNOWN: Result<crate::access::tokens::Claims, Refusal> = Err(Refusal::Invalid(Reason::UnknownKey));

#[test]
fn keys_of_three_kinds_verify_by_their_ids() {
    let keys = [
        es256("a"),
        jwk(pem!("eddsa.public"), &json!({ "kid": "b", "key_ops": ["verify"] })),
        jwk(pem!("rs256.public"), &json!({ "kid": "c", "x5c": ["AAAA"], "unknown": 1 })),
    ];
    let jwks = set(&keys).unwrap();
    assert_eq!((jwks.len(), jwks.ignored()), (3, 0));
    for (signer, kid) in [(ES256, "a"), (EDDSA, "b"), (RS256, "c")] {
        assert!(judge_by(&token(signer, kid), Some(&jwks)).is_ok());
        assert!(
            judge_by(&signer.sign(&claims(&json!({}))), Some(&jwks)).is_ok(),
            "its only key of that kind"
        );
        assert_eq!(judge_by(&token(signer, "d"), Some(&jwks)), UNKNOWN);
        // No secret is fetched, and no algorithm without an id.
        assert_eq!(judge_by(&token(HS256, kid), Some(&jwks)), Err(Reason::NoKey.into()));
    }
    assert_eq!(judge_by(&token(STRANGER, "a"), Some(&jwks)), Err(Reason::Signature.into()));
    // The id of another kind is no id of this kind.
    assert_eq!(judge_by(&token(ES256, "b"), Some(&jwks)), UNKNOWN);
    assert!(Refusal::from(Reason::UnknownKey).wants_keys());
    assert!(!Refusal::from(Reason::NoKey).wants_keys() && !Refusal::from(Reason::Signature).wants_keys());
    let only_es256 = set(&[es256("a")]).unwrap();
    let unnamed = EDDSA.sign(&claims(&json!({})));
    assert_eq!(judge_by(&unnamed, Some(&only_es256)), Err(Reason::NoKey.into()));
}

/// RFC 7515, appendices A.2 and A.3; RFC 8037, appendix A.4: signed by others. Their claims are none of ours, which is
/// said only where the signature is good.
#[test]
fn tokens_of_the_standards_verify() {
    let joe =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let keys = [
        json!({ "kty": "RSA", "e": "AQAB", "n": concat!(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql",
            "L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUs",
            "LA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoud",
            "F8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        ) }),
        json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }),
    ];
    let rs256 = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb",
        "F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383",
        "LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy",
        "wlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    let es256 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let eddsa = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let (jwks, example) = (set(&keys).unwrap(), encode("Example of Ed25519 signing"));
    for (header, claims, signature, behind) in [
        (r#"{"alg":"RS256"}"#, joe, rs256, Reason::Subject),
        (r#"{"alg":"ES256"}"#, joe, es256, Reason::Subject),
        (r#"{"alg":"EdDSA"}"#, &example, eddsa, Reason::Claims),
    ] {
        let good = format!("{}.{claims}.{signature}", encode(header));
        assert_eq!(judge_by(&good, Some(&jwks)), Err(behind.into()), "{header}");
        let other = format!("{}.{}.{signature}", encode(header), encode("{}"));
        assert_eq!(judge_by(&other, Some(&jwks)), Err(Reason::Signature.into()), "{header}");
    }
}

proptest! {
    #[test]
    fn whatever_an_endpoint_says_is_answered(text in ".{0,100}", member in "kty|kid|use|key_ops|alg|crv|x|y", value in any::<u8>()) {
        let _ = Jwks::parse(text.as_bytes());
        let value = match value % 6 {
            0 => Value::Null,
            1 => json!(value),
            2 => json!([text]),
            3 => json!({ "x": text }),
            4 => json!(encode(&text)),
            _ => json!(text),
        };
        // One wrong member at most takes the key away.
        let mut key = es256("a");
        key[member] = value;
        match set(&[key, es256("b")]) {
            Ok(jwks) => prop_assert_eq!(jwks.len() + jwks.ignored(), 2),
            Err(fault) => prop_assert!(false, "{}", fault),
        }
    }
}

#[test]
fn keys_for_something_else_are_left_out() {
    let of = |more: Value| jwk(pem!("es256.public"), &more);
    let useless = [
        json!(7),
        json!({}),
        json!({ "kty": "oct", "k": encode(SECRET), "alg": "HS256", "kid": "a" }),
        of(json!({ "use": "enc" })),
        of(json!({ "use": 1 })),
        of(json!({ "key_ops": ["encrypt"] })),
        of(json!({ "key_ops": "verify" })),
        of(json!({ "alg": "ES384" })),
        of(json!({ "alg": 1 })),
        of(json!({ "crv": "P-384" })),
        of(json!({ "kid": 7 })),
        of(json!({ "kid": "" })),
        of(json!({ "kid": "k".repeat(257) })),
        of(json!({ "x": null })),
        of(json!({ "x": "AAAA" })),
        of(json!({ "x": encode([1; 32]) })),
        of(json!({ "kty": "RSA" })),
        of(json!({ "d": encode([1; 32]) })),
        jwk(pem!("rs256.public"), &json!({ "alg": "RS512" })),
        jwk(pem!("rs256.public"), &json!({ "n": encode([0xff; 128]) })),
        jwk(pem!("rs256.public"), &json!({ "e": encode([1]) })),
        jwk(pem!("eddsa.public"), &json!({ "crv": "X25519" })),
    ];
    for key in &useless {
        assert_eq!(set(std::slice::from_ref(key)).err(), Some(JwksFault::NoKey), "{key}");
    }
    let jwks = set(&[&useless[..], &[es256("good")]].concat()).unwrap();
    assert_eq!((jwks.len(), jwks.ignored()), (1, useless.len()));
    assert!(judge_by(&token(ES256, "good"), Some(&jwks)).is_ok());
}

#[test]
fn what_is_no_key_set_is_refused_whole() {
    let parse = |text: &str| Jwks::parse(text.as_bytes()).err();
    for text in [
        "",
        "[]",
        "{}",
        "<html>",
        r#"{"keys":{}}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[{"a":1,"a":2}]}"#,
    ] {
        assert_eq!(parse(text), Some(JwksFault::Shape), "{text}");
    }
    assert_eq!(parse(r#"{"keys":[]}"#), Some(JwksFault::NoKey));
    assert_eq!(parse(&format!("{{\"keys\":[{}]}}", ["{}"; 101].join(","))), Some(JwksFault::TooMany));
    assert_eq!(parse(&" ".repeat(LONGEST_JWKS + 1)), Some(JwksFault::TooLong));
}

#[test]
fn without_keys_nothing_is_said_of_a_token() {
    for token in [token(ES256, "a"), token(STRANGER, "a"), String::new(), "x".repeat(9000)] {
        assert_eq!(judge_by(&token, None), Err(Refusal::KeysUnavailable));
    }
    // Keys of files verify theirs meanwhile; of another token nobody knows.
    let both = AuthSection { jwks_url: auth_by_jwks().jwks_url, ..auth() };
    let judge = |token: &str| verify(token, &Keys::new(&both, None), &Rules::new(&auth()), NOW);
    assert!(judge(&token(ES256, "a")).is_ok());
    assert_eq!(judge(&token(STRANGER, "a")), Err(Refusal::KeysUnavailable));
    assert_eq!(
        judge(&token(Signer::Hs256("a secret that nobody knows of, long enough"), "a")),
        Err(Reason::Signature.into())
    );
    assert_eq!(judge("a.b.c"), Err(Reason::Encoding.into()));
}

#[test]
fn a_key_that_is_rotated_away_verifies_no_more() {
    let old = set(&[es256("old")]).unwrap();
    let new = set(&[jwk(pem!("stranger.public"), &json!({ "kid": "new" }))]).unwrap();
    let (before, after) = (token(ES256, "old"), token(STRANGER, "new"));
    assert!(judge_by(&before, Some(&old)).is_ok());
    assert_eq!(judge_by(&after, Some(&old)), UNKNOWN, "a reason to fetch");
    assert!(judge_by(&after, Some(&new)).is_ok());
    assert_eq!(judge_by(&before, Some(&new)), UNKNOWN);
}

#[test]
fn two_keys_of_one_id_are_both_that_key() {
    let twice = set(&[es256("a"), jwk(pem!("stranger.public"), &json!({ "kid": "a" }))]).unwrap();
    assert!(judge_by(&token(ES256, "a"), Some(&twice)).is_ok());
    assert!(judge_by(&token(STRANGER, "a"), Some(&twice)).is_ok());
    let mixed = set(&[es256("a"), jwk(pem!("eddsa.public"), &json!({ "kid": "a" }))]).unwrap();
    assert!(judge_by(&token(EDDSA, "a"), Some(&mixed)).is_ok());
}

#[test]
fn a_token_without_an_id_is_not_tried_with_every_key() {
    let many = |count: usize| {
        let keys: Vec<_> = (0..count).map(|number| es256(&format!("key-{number}"))).collect();
        set(&keys).unwrap()
    };
    let unnamed = ES256.sign(&claims(&json!({})));
    assert!(judge_by(&unnamed, Some(&many(8))).is_ok());
    assert_eq!(judge_by(&unnamed, Some(&many(9))), Err(Reason::UnnamedKey.into()));
    assert!(judge_by(&token(ES256, "key-8"), Some(&many(9))).is_ok());
    // An id that many keys have is no id.
    let same: Vec<_> = (0..9).map(|_| es256("a")).collect();
    assert_eq!(judge_by(&token(ES256, "a"), Some(&set(&same).unwrap())), Err(Reason::UnnamedKey.into()));
}
