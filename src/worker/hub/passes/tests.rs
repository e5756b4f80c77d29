//! Sessions that come from elsewhere, where tokens are asked for.

use crate::access::tokens::{Life, Pass, sign};
use crate::config::AuthMode;
use crate::model::{Mono, UserId};
use crate::os::clock;
use crate::protocol::client::{Close, Resume};
use crate::protocol::cluster::Endpoint;
use crate::protocol::peer::{Lease, Poll, Polled, Taken};
use crate::session::{Connection, Framing, Kind, Origin, Places, Snapshot};
use crate::worker::hub::parts::cover::Cover;
use crate::worker::hub::parts::meanwhile::Meanwhile;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::state::State;
use crate::worker::hub::tests::hub;
use crate::worker::hub::{Hub, SessionRequest};
use crate::ws::frame;
use std::time::Duration;

const TOKEN: &[(&str, &str)] =
    &[("auth.mode", "token"), ("auth.secret_file", "tests/fixtures/tokens/secret")];

fn with(more: &[(&str, &str)]) -> Hub {
    let all = [TOKEN, more].concat();
    let (hub, ..) = hub(&all);
    assert_eq!(hub.config().auth.mode, AuthMode::Token);
    hub
}

fn request(user: &str, pass: Option<Pass>) -> SessionRequest {
    SessionRequest {
        user: UserId::new(user).unwrap(),
        device: None,
        endpoint: Endpoint::Ws,
        stream: None,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        framing: Framing::Poll,
        permit: None,
        pass: pass.map(Box::new),
        takes_over: false,
    }
}

/// A pass of a token of alice that holds for so many seconds from now on, and hears these channels.
fn pass(seconds: u64, hears: &[&str]) -> Pass {
    let hub = with(&[]);
    let (config, wall) = (hub.config(), clock::wall());
    let claims = serde_json::json!({
        "sub": "alice",
        "exp": wall.0 / 1000 + 3600,
        "channels": { "subscribe": hears },
    });
    let token = sign(claims.as_object().unwrap(), &config.auth.secrets[0]).unwrap();
    let claims = hub.lock().config.trust().verify(&token, wall).unwrap();
    Pass::Token { claims, life: Life::new(Duration::from_secs(seconds), clock::boot()) }
}

/// The session of a pass comes from another worker, with or without a client.
fn arrives(state: &mut State, hub: &Hub, pass: Option<Vec<u8>>, is_away: bool) {
    let (elsewhere, ..) = crate::worker::hub::tests::hub(&[]);
    let mut elsewhere = elsewhere.lock();
    let at = elsewhere.open(request("alice", None), None);
    let session = elsewhere.sessions.get(at).unwrap();
    let mut more = session.more(vec![]);
    more.pass = pass;
    let connection = match is_away {
        true => Connection::Away { has: Some(0), since: Mono(1) },
        false => Connection::Poll { notices: vec![] },
    };
    let value = crate::session::Session::clone(session).freeze(Places::default(), connection).with(more);
    let snapshot = Snapshot::decode(&value.encode().unwrap()).unwrap();
    let traveller = state.thaw_value(snapshot, None, Mono(1));
    state.settle_in(hub, vec![traveller], &Meanwhile::default(), Mono(1));
}

fn count(state: &State) -> usize {
    state.sessions.iter().count()
}

#[tokio::test]
async fn a_session_that_has_shown_no_token_elsewhere_ends_where_one_is_asked_for() {
    let anonymous = Some(Pass::Anonymous.encode());
    for (what, pass, stays) in [
        ("no pass", None, [false, false]),
        ("one that cannot be read", Some(vec![9, 9, 9]), [false, false]),
        ("an empty one", Some(vec![]), [false, false]),
        ("anonymous", anonymous, [false, true]),
        ("a token", Some(pass(60, &["*"]).encode()), [true, true]),
    ] {
        for is_away in [false, true] {
            for (free, stays) in [r#"[]"#, r#"["price"]"#].into_iter().zip(stays) {
                let hub = with(&[("auth.anonymous", free)]);
                let mut state = hub.lock();
                arrives(&mut state, &hub, pass.clone(), is_away);
                assert_eq!(count(&state), usize::from(stays), "{what}, away: {is_away}, free: {free}");
            }
        }
        let (hub, ..) = hub(&[]);
        let mut state = hub.lock();
        arrives(&mut state, &hub, pass, false);
        assert_eq!(count(&state), 1, "{what}, in open mode");
    }
}

/// A session of alice that polls.
fn open(state: &mut State, pass: Option<Pass>) -> SessionRef {
    let at = state.open(request("alice", pass), None);
    state.watch_life(at);
    at
}

#[tokio::test]
async fn a_session_that_was_opened_while_the_mode_changed_ends() {
    let hub = with(&[]);
    let mut state = hub.lock();
    open(&mut state, None);
    open(&mut state, Some(pass(60, &["*"])));
    state.tick(Duration::ZERO);
    assert_eq!(count(&state), 1);
}

fn poll(pass: Vec<u8>) -> Poll {
    let (user, address) = (UserId::new("alice").unwrap(), std::net::Ipv4Addr::LOCALHOST.into());
    Poll { user, device: None, channels: vec![], address, resume: None, wait: None, pass: Some(pass) }
}

#[tokio::test]
async fn a_poll_with_a_pass_that_cannot_be_read_is_refused() {
    let hub = with(&[]);
    assert_eq!(crate::worker::hub::poll::poll(&hub, poll(vec![9, 9, 9])).await, Polled::Refused(None));
    assert_eq!(count(&hub.lock()), 0);
}

#[tokio::test]
async fn a_session_that_has_no_connection_yet_is_told_why_it_ends() {
    let hub = with(&[]);
    let mut state = hub.lock();
    let at = state.open(SessionRequest { framing: Framing::Websocket, ..request("alice", None) }, None);
    let id = state.sessions.get(at).unwrap().id();
    state.watch_life(at);
    state.tick(Duration::ZERO);
    assert_eq!((count(&state), state.requests.early_end(id)), (0, Some(Close::TokenInvalid)));
}

/// A polling session of alice for which a message on `news` waits; its token hears all.
fn waits(state: &mut State) -> (SessionRef, Resume) {
    let news = match state.channels.find("news") {
        Some(news) => news,
        None => state.channels.add("news".to_owned(), Kind::Messages { anyone: true }).unwrap(),
    };
    let at = open(state, Some(pass(60, &["*"])));
    state.subscribe(at, news);
    let frame = frame::text("{}");
    state.send_numbered(at, &frame, std::iter::once(frame.clone()), None);
    let token = state.sessions.get(at).and_then(|session| session.token()).unwrap();
    (at, Resume { token, seen: Some(0) })
}

/// Tokens that may hear `news`, and one that may not.
const HEARS: [(&[&str], bool); 3] = [(&["*"], true), (&["news"], true), (&["price:*"], false)];

#[tokio::test]
async fn who_comes_back_with_a_token_for_less_begins_anew() {
    for (hears, resumed) in HEARS {
        let hub = with(&[]);
        let mut state = hub.lock();
        let (_, resume) = waits(&mut state);
        let lease = Lease { holder: 7, request: 1 };
        let taken = state.take(&resume, &UserId::new("alice").unwrap(), lease, false);
        assert!(matches!(taken, Taken::Session(_)));
        let (request, origin) = (request("alice", Some(pass(60, hears))), Origin { home: 7, lease });
        let announced = state.received(request, origin, taken, Some(vec![])).unwrap();
        let kept = state
            .sessions
            .get(announced.at)
            .and_then(|own| own.replay.as_ref())
            .map(|own| own.kept().count());
        assert_eq!((announced.before.is_some(), kept), (resumed, Some(usize::from(resumed))), "{hears:?}");
        assert_eq!(state.counters.gaps, u64::from(!resumed), "{hears:?}");
        drop(state);
        drop(announced);
    }
}

#[tokio::test]
async fn a_poll_with_a_token_for_less_gets_nothing_of_what_waits() {
    for (hears, goes_on) in HEARS {
        let hub = with(&[]);
        let (at, resume) = waits(&mut hub.lock());
        let fresh = pass(60, hears);
        let poll = Poll { wait: Some(Duration::ZERO), ..poll(fresh.encode()) };
        let waiting = hub.lock().poll_again(&hub, &resume, (&poll, Some(&fresh)));
        assert_eq!(waiting.is_some(), goes_on, "{hears:?}");
        let kept =
            hub.lock().sessions.get(at).and_then(|own| own.replay.as_ref()).map(|own| own.kept().count());
        assert_eq!(kept, Some(1), "{hears:?}");
    }
}

#[tokio::test]
async fn sessions_of_many_tokens_share_one_set_in_the_memory_of_crash_cover() {
    let hub = with(&[]);
    let mut state = hub.lock();
    let tokens = [pass(60, &["news"]), pass(61, &["news"]), pass(60, &["price:*"]), Pass::Anonymous];
    let all = tokens.map(|pass| open(&mut state, Some(pass)));
    let [first, second, third, fourth] = all.map(|at| state.encode_set(at).unwrap());
    assert!(first.0 == second.0 && first.1 != second.1, "the rights are the same, the ends are not");
    assert!(first.0 != third.0 && third.0 != fourth.0 && first.0 != fourth.0);
}

#[test]
fn a_full_memory_is_not_written_anew_for_each_session() {
    let mut cover = Cover::default();
    let second = Mono(1_000_000_000);
    assert!(cover.turn(second));
    assert!(!cover.turn(second) && !cover.turn(Mono(second.0 * 2 - 1)));
    assert!(cover.turn(Mono(second.0 * 2)));
}
