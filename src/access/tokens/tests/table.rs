//! The table of who may do what, held against docs/access.md. `BLESS=1` writes it there.

use super::*;
use crate::access::tokens::{Action, Bearer, Channel, Claims, Door, Policy, Refusal};
use crate::config::{AnonymousKind, Hearers, Publish};
use crate::model::UserId;
use std::fmt::Write;

/// Columns: a heading, mode, kinds without a token, the door, and the claims of the token beside those of "ann".
struct Column(&'static str, AuthMode, &'static [AnonymousKind], Door, Option<Value>);

fn columns() -> Vec<Column> {
    use AuthMode::{Open, Token};
    let token = |name, claims| Column(name, Token, &[], Door::Public, Some(claims));
    vec![
        Column("open mode", Open, &[], Door::Public, None),
        Column("no token", Token, &[], Door::Public, None),
        Column("no token, `anonymous = [\"price\"]`", Token, &[AnonymousKind::Price], Door::Public, None),
        token("a token", json!({})),
        token("`scope` empty", json!({ "scope": "" })),
        token("`quote:any`", json!({ "scope": "quote:any" })),
        token("`message:any`", json!({ "scope": "message:any" })),
        token("`publish`", json!({ "scope": "publish" })),
        token("`admin`", json!({ "scope": "admin" })),
        token(
            "`admin`, `channels` empty",
            json!({ "scope": "admin", "channels": { "subscribe": [], "publish": [] } }),
        ),
        Column("admin port", Token, &[], Door::Admin, None),
    ]
}

/// Rows: what a reader knows it by, and the action.
fn rows<'a>(ann: &'a UserId, bob: &'a UserId) -> Vec<(&'static str, Action<'a>)> {
    let channel = Channel::new;
    let feed = |name| channel(name, Hearers::Anyone, Publish::Admin);
    vec![
        ("page, files, health, `/metrics`, `/api/v1/info`, schemas", Action::Public),
        ("`GET /api/v1/sources`, `/streams`", Action::Overview),
        ("`GET /api/v1/price`; channel `price:*`", Action::Hear(feed("price:BTC-USD"))),
        ("`GET /api/v1/history`; channel `candle:*`", Action::Hear(feed("candle:BTC-USD@1m"))),
        ("`GET /api/v1/stats`; channel `stats`", Action::Hear(feed("stats"))),
        ("channel `presence`", Action::Hear(feed("presence"))),
        ("channel `chat:ROOM`: hear", Action::Hear(channel("chat:a", Hearers::Anyone, Publish::Anyone))),
        (
            "channel `chat:ROOM`: publish",
            Action::Publish(channel("chat:a", Hearers::Anyone, Publish::Anyone)),
        ),
        ("`[[channels]]`: hear", Action::Hear(feed("news"))),
        ("`subscribe = \"token\"`: hear", Action::Hear(channel("news", Hearers::Token, Publish::Admin))),
        ("`subscribe = \"admin\"`: hear", Action::Hear(channel("news", Hearers::Admin, Publish::Admin))),
        (
            "`publish = \"anyone\"`: publish",
            Action::Publish(channel("news", Hearers::Anyone, Publish::Anyone)),
        ),
        ("`publish = \"admin\"`: publish", Action::Publish(feed("news"))),
        ("`/ws`, events, poll without `user_id`", Action::Open(None)),
        ("`/ws`, events, poll, resume: own `user_id`", Action::Open(Some(ann))),
        ("`/ws`, events, poll, resume: another's", Action::Open(Some(bob))),
        ("`/{stream}` of a price, without `user_id`", Action::Stream(None, feed("price:BTC-USD"))),
        ("`/{stream}` of a price, own `user_id`", Action::Stream(Some(ann), feed("price:BTC-USD"))),
        ("`/{stream}` of a price, another's", Action::Stream(Some(bob), feed("price:BTC-USD"))),
        ("`/{stream}` of `stats`, without `user_id`", Action::Stream(None, feed("stats"))),
        (
            "`/{stream}` of a file or a program, without `user_id`",
            Action::Stream(None, Channel::lines("price")),
        ),
        ("`/command`, `/echo`", Action::Tool),
        ("`/chat`, `/broadcast`", Action::Talk("broadcast")),
        ("quote, own `user_id`", Action::Quote(ann)),
        ("quote, another's", Action::Quote(bob)),
        ("messages to a user (no route yet)", Action::Message),
        ("sessions, revocations", Action::Administer),
    ]
}

fn made() -> String {
    let (ann, bob) = (UserId::new("ann").unwrap(), UserId::new("bob").unwrap());
    let columns = columns();
    let judged = |others: &Value| judge(&HS256.sign(&claims(others))).unwrap();
    let tokens: Vec<Option<Claims>> = columns.iter().map(|column| column.4.as_ref().map(judged)).collect();
    let mut text = String::from("| |");
    columns.iter().for_each(|column| write!(text, " {} |", column.0).unwrap());
    writeln!(text, "\n|--|{}", "--|".repeat(columns.len())).unwrap();
    for (name, action) in rows(&ann, &bob) {
        write!(text, "| {name} |").unwrap();
        for (Column(_, mode, anonymous, door, _), token) in columns.iter().zip(&tokens) {
            let policy = Policy::new(&AuthSection { mode: *mode, anonymous: anonymous.to_vec(), ..auth() });
            let bearer = token.as_ref().map_or(Bearer::Nobody, Bearer::Token);
            let cell = match policy.decide(*door, bearer, action) {
                Ok(()) => "yes".to_owned(),
                Err(refusal) => refusal.status().to_string(),
            };
            write!(text, " {cell} |").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_table_is_that_of_the_documentation() {
    const BEGIN: &str = "<!-- The table is made by src/access/tokens/tests/table.rs. -->\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let after = rest.find("\n\n").map_or("", |end| &rest[end + 1..]);
    let good = format!("{before}{BEGIN}{}{after}", made());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &good).unwrap();
        return;
    }
    assert!(page == good, "docs/access.md is old: BLESS=1 cargo test --lib access::\n{}", made());
}

#[test]
fn an_administrator_is_refused_only_what_the_token_itself_narrows() {
    let (ann, bob) = (UserId::new("ann").unwrap(), UserId::new("bob").unwrap());
    let admin = judge(&HS256.sign(&claims(&json!({ "scope": "admin" })))).unwrap();
    let policy = Policy::new(&auth());
    for (name, action) in rows(&ann, &bob) {
        let is_anothers =
            matches!(action, Action::Open(Some(user)) | Action::Stream(Some(user), _) if *user == bob);
        let expected = if is_anothers { Err(Refusal::Forbidden) } else { Ok(()) };
        assert_eq!(policy.decide(Door::Public, Bearer::Token(&admin), action), expected, "{name}");
    }
}

#[test]
fn a_token_never_gives_less_than_none() {
    let (ann, bob) = (UserId::new("ann").unwrap(), UserId::new("bob").unwrap());
    let anonymous = vec![AnonymousKind::Price, AnonymousKind::Stats, AnonymousKind::Message];
    let policy = Policy::new(&AuthSection { anonymous, ..auth() });
    let plain = judge(&HS256.sign(&claims(&json!({ "scope": "" })))).unwrap();
    for (name, action) in rows(&ann, &bob) {
        if policy.decide(Door::Public, Bearer::Nobody, action).is_ok() {
            assert_eq!(policy.decide(Door::Public, Bearer::Token(&plain), action), Ok(()), "{name}");
        }
    }
}
