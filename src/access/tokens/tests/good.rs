//! Tokens that are taken, and what is read from them.

use super::*;
use crate::access::tokens::{Claims, Refusal, Scope, sign};
use proptest::prelude::*;

#[test]
fn tokens_of_all_four_algorithms_are_taken() {
    for signer in [HS256, ES256, EDDSA, RS256] {
        let claims = judge(&signer.sign(&claims(&json!({})))).unwrap();
        assert_eq!((claims.user.as_str(), claims.issued), ("ann", Some(Wall(1_700_000_000_000))));
        assert_eq!(claims.ends, Wall(i64::try_from(LATE).unwrap() * 1000 + 10_000));
        assert!(claims.rights.has(Scope::Quote) && !claims.rights.has(Scope::Publish));
    }
}

#[test]
fn a_header_may_say_more_and_none_of_it_is_believed() {
    for more in [
        json!({ "typ": null }),
        json!({ "typ": "at+jwt" }),
        json!({ "typ": "application/AT+JWT" }),
        json!({ "kid": "of no file" }),
        json!({ "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x", "x5c": ["AAAA"] }),
        json!({ "jwk": { "kty": "oct", "k": encode("mine") } }),
        json!({ "private": { "deep": [1, 2] } }),
    ] {
        assert!(judge(&ES256.headed(&more, &claims(&json!({})))).is_ok(), "{more}");
    }
}

#[test]
fn optional_claims_are_read() {
    let token = HS256.sign(&claims(&json!({
        "aud": ["other", "btc-cluster"], "jti": "7", "device": "phone", "nbf": 1_700_000_000.5, "iat": null,
        "scope": "openid publish", "channels": { "subscribe": ["price:*"] }, "unknown": { "a": [null] },
    })));
    let claims = judge(&token).unwrap();
    assert_eq!(claims.id.as_deref(), Some("7"));
    assert_eq!(claims.device.as_ref().map(crate::model::Device::as_str), Some("phone"));
    assert_eq!(claims.issued, None);
    assert!(claims.rights.has(Scope::Publish) && !claims.rights.has(Scope::Quote));
    assert!(claims.rights.may_hear("price:BTC-USD") && !claims.rights.may_hear("stats"));
    let bytes = postcard::to_stdvec(&claims).unwrap();
    assert_eq!(postcard::from_bytes::<Claims>(&bytes).unwrap(), claims);
}

#[test]
fn the_leeway_is_on_both_sides_and_nowhere_else() {
    let seconds = NOW.0 / 1000;
    let judge = |others: Value| judge(&HS256.sign(&claims(&others)));
    let left = |exp: Value| judge(json!({ "exp": exp })).map(|claims| claims.left(NOW));
    assert_eq!(left(json!(seconds - 9)), Ok(Duration::from_secs(1)));
    assert_eq!(left(json!(seconds - 10)), Err(Refusal::Expired));
    assert_eq!(
        left(json!(f64::from(u32::try_from(seconds).unwrap()) + 0.25)),
        Ok(Duration::from_millis(10_250))
    );
    assert!(judge(json!({ "nbf": seconds + 10 })).is_ok());
    assert!(judge(json!({ "nbf": seconds + 11 })).is_err());
}

#[test]
fn rules_that_are_not_set_ask_for_nothing() {
    let free = Rules::default();
    let keys = Keys::new(&auth(), None);
    let verified = |others: &Value| verify(&HS256.sign(&claims(others)), &keys, &free, NOW);
    assert!(verified(&json!({ "aud": null, "iss": null })).is_ok());
    assert!(verified(&json!({ "aud": null, "iss": "anyone" })).is_ok());
    assert!(verified(&json!({ "aud": "btc-cluster" })).is_err(), "a token for others, whoever we are");
    assert!(verified(&json!({ "aud": [] })).is_err());
}

#[test]
fn what_the_command_signs_is_taken() {
    let secret = Secret::new(SECRET.to_owned());
    let token = sign(claims(&json!({ "scope": "admin" })).as_object().unwrap(), &secret).unwrap();
    assert!(judge(&token).unwrap().rights.has(Scope::Admin));
}

#[test]
fn a_new_secret_signs_while_the_old_one_still_verifies() {
    let new = "another secret of the tests, and of nothing else, 00";
    let secrets = vec![Secret::new(new.to_owned()), Secret::new(SECRET.to_owned())];
    let keys = Keys::new(&AuthSection { secrets, ..auth() }, None);
    for signer in [HS256, Signer::Hs256(new)] {
        let token = signer.sign(&claims(&json!({})));
        assert!(verify(&token, &keys, &Rules::new(&auth()), NOW).is_ok());
    }
}

proptest! {
    #[test]
    fn a_changed_token_is_no_token(at in any::<prop::sample::Index>(), other in "[A-Za-z0-9_.=+/ -]", kind in 0..3u8) {
        for signer in [HS256, ES256, EDDSA] {
            let token = signer.sign(&claims(&json!({})));
            let at = at.index(token.len());
            let mut changed = token.clone();
            match kind {
                0 => changed.replace_range(at..=at, &other),
                1 => changed.insert_str(at, &other),
                _ => _ = changed.remove(at),
            }
            if changed != token {
                prop_assert!(judge(&changed).is_err(), "{}", changed);
            }
        }
    }

    #[test]
    fn whatever_comes_is_answered(header in ".{0,40}", body in ".{0,40}", any in ".{0,200}") {
        prop_assert!(judge(&any).is_err());
        let _ = judge(&HS256.raw(&header, &body));
        let _ = judge(&HS256.raw(r#"{"alg":"HS256"}"#, &body));
    }
}
