//! `btc-cluster token`: signs a token with the first secret of the configuration.

use super::arguments::Token;
use super::check;
use super::exit::Exit;
use super::out::{self, complain};
use crate::access::tokens::{self, LONGEST_TOKEN};
use crate::config::{AuthSection, Faults, Source, load};
use crate::model::{SessionId, Wall};
use crate::os::clock;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

pub(super) fn run(token: &Token, source: Result<Source, Faults>) -> ExitCode {
    let loaded = match source.and_then(|source| load(&source)) {
        Ok(loaded) => loaded,
        Err(faults) => return check::refuse(&faults),
    };
    let auth = &loaded.config.auth;
    let claims = claims(token, auth, clock::wall());
    let signed = auth.secrets.first().and_then(|secret| tokens::sign(&claims, secret));
    match signed {
        None => check::refuse(&loaded.fault("auth.secret_file", "names no secret to sign with".to_owned())),
        Some(signed) if signed.len() > LONGEST_TOKEN => {
            complain(&format!("a token of {} bytes is taken nowhere: name fewer channels", signed.len()));
            ExitCode::from(Exit::Usage)
        }
        Some(signed) => out::end(&format!("{signed}\n"), Exit::Done),
    }
}

/// The claims: what the arguments say, and what the configuration asks of a token.
fn claims(token: &Token, auth: &AuthSection, now: Wall) -> Map<String, Value> {
    let seconds = now.0 / 1000;
    let ttl = i64::try_from(token.ttl.as_secs()).unwrap_or(i64::MAX);
    let mut claims = Map::new();
    let mut set = |key: &str, value: Value| _ = claims.insert(key.to_owned(), value);
    set("sub", json!(token.user.as_str()));
    set("iat", json!(seconds));
    set("exp", json!(seconds.saturating_add(ttl)));
    set("jti", json!(SessionId::random().to_string()));
    if let Some(name) = auth.audience.first() {
        set("aud", json!(name));
    }
    if let Some(name) = auth.issuer.first() {
        set("iss", json!(name));
    }
    if let Some(device) = &token.device {
        set("device", json!(device.as_str()));
    }
    if let Some(scope) = &token.scope {
        set("scope", json!(scope));
    }
    let lists = [("subscribe", &token.subscribe), ("publish", &token.publish)];
    let named = lists.into_iter().filter_map(|(key, list)| Some((key.to_owned(), json!(list.as_ref()?))));
    let channels: Map<String, Value> = named.collect();
    if !channels.is_empty() {
        set("channels", Value::Object(channels));
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::super::arguments::{Arguments, Command};
    use super::*;
    use crate::access::tokens::{Keys, Rules, Scope, verify};
    use crate::config::{Source, Surroundings};
    use clap::Parser;
    use std::path::Path;

    fn token(words: &[&str]) -> Result<Token, String> {
        let words = ["btc-cluster", "token"].into_iter().chain(words.iter().copied());
        match Arguments::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Some(Command::Token(token)) => Ok(token),
            other => panic!("{other:?}"),
        }
    }

    fn auth() -> AuthSection {
        let around = Surroundings::default();
        let mut source = Source::find(Some(Path::new("no/such/file")), Some("test"), &around).unwrap();
        source.required = false;
        source.overrides = [
            ("auth.secret_file", "tests/fixtures/tokens/secret"),
            ("auth.audience", "btc-cluster"),
            ("auth.issuer", "me"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        load(&source).unwrap().config.auth
    }

    #[test]
    fn what_it_signs_is_what_the_daemon_takes() {
        let (auth, now) = (auth(), Wall(1_798_761_600_500));
        let words = [
            "--user",
            "ann",
            "--ttl",
            "90s",
            "--device",
            "phone",
            "--scope",
            "quote publish",
            "--subscribe",
            "price:*,chat:lobby",
            "--publish",
            "",
        ];
        let signed = tokens::sign(&claims(&token(&words).unwrap(), &auth, now), &auth.secrets[0]).unwrap();
        let read = verify(&signed, &Keys::new(&auth, None), &Rules::new(&auth), now).unwrap();
        assert_eq!((read.user.as_str(), read.issued), ("ann", Some(Wall(1_798_761_600_000))));
        assert_eq!(read.ends, Wall(1_798_761_690_000 + 10_000));
        assert_eq!(read.device.as_ref().map(crate::model::Device::as_str), Some("phone"));
        assert!(read.id.is_some() && read.rights.has(Scope::Publish));
        assert!(read.rights.may_hear("price:BTC-USD") && !read.rights.may_hear("stats"));
        assert!(!read.rights.may_publish_to("chat:lobby"), "an empty list is one without channels");
        let plain = claims(&token(&["--user", "ann"]).unwrap(), &auth, now);
        assert_eq!(plain["exp"], json!(1_798_761_600 + 3600));
        assert!(!plain.contains_key("channels") && !plain.contains_key("scope"));
    }

    #[test]
    fn arguments_that_no_token_can_have_are_refused() {
        for words in [
            vec![],
            vec!["--user", ""],
            vec!["--user", "a b"],
            vec!["--user", "a", "--ttl", "0s"],
            vec!["--user", "a", "--ttl", "soon"],
            vec!["--user", "a", "--device", "my phone"],
            vec!["--user", "a", "--scope", "quotes"],
        ] {
            assert!(token(&words).is_err(), "{words:?}");
        }
    }
}
