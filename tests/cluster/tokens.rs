//! Tokens from outside: what is refused with which words, on which way in, and when sessions end.

use crate::harness::{
    Cluster, Listener, Poller, Request, Response, Setup, Tab, cluster, delete, eventually, get, kill, post,
    upgrade,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

const SECRET: &str = include_str!("../fixtures/tokens/secret");
const BAD: &str = include_str!("../fixtures/tokens/bad.txt");

/// A cluster that asks for tokens.
pub(crate) fn with_tokens(more: &str) -> Setup {
    cluster().file("secret", SECRET).config(&in_token_mode(more))
}

/// The configuration of such a cluster.
fn in_token_mode(more: &str) -> String {
    format!(
        "[auth]\nmode = \"token\"\nsecret_file = \"{{dir}}/secret\"\naudience = [\"btc-cluster\"]\n\
         issuer = [\"https://issuer.example\"]\ncookie = \"token\"\nleeway = \"0s\"\n{more}\n\
         [[channels]]\nname = \"news\"\npublish = \"anyone\"\n\
         [[channels]]\nname = \"staff\"\nsubscribe = \"admin\"\n"
    )
}

/// A fresh token.
pub(crate) async fn token(cluster: &Cluster, words: &[&str]) -> String {
    let all = [&["token", "--env", "test", "--config", "btc-cluster.toml"], words].concat();
    let signed = cluster.run(&all).await;
    assert_eq!(signed.code, Some(0), "{signed:?}");
    signed.out.trim().to_owned()
}

pub(crate) fn bearing(request: Request, token: &str) -> Request {
    request.header("Authorization", &format!("Bearer {token}"))
}

pub(crate) async fn tab(cluster: &Cluster, token: &str, query: &str) -> Tab {
    let request = bearing(upgrade(&format!("/ws?{query}")), token);
    Tab::open_as(cluster.ws, &request).await.expect("a session").greeted().await
}

/// The bad tokens of the fixtures: name, slug, token.
fn bad() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    BAD.lines().map(|line| {
        let mut parts = line.splitn(3, ' ');
        let (name, slug) = (parts.next().unwrap(), parts.next().unwrap());
        (name, slug, serde_json::from_str(parts.next().unwrap()).unwrap())
    })
}

/// The ways in: a header, a subprotocol, the query, a cookie.
fn ways(token: &str) -> [Request; 4] {
    let query: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    [
        bearing(get("/api/v1/price"), token),
        upgrade("/ws?user_id=ann")
            .header("Sec-WebSocket-Protocol", &format!("btc-cluster.v1.json, bearer.{token}")),
        get(&format!("/api/v1/poll?user_id=ann&token={query}")),
        get("/api/v1/price").header("Cookie", &format!("other=1; token={token}")),
    ]
}

#[tokio::test]
async fn bad_tokens_are_refused_on_every_way_in_and_never_logged() {
    let cluster = with_tokens("").workers(1).start().await;
    let mut count = 0_u32;
    for (name, slug, token) in bad() {
        // What cannot stand in a header, or is none there, is for the query alone.
        let fits =
            !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()) && !token.contains([',', ';']);
        for (way, request) in ways(&token).into_iter().enumerate().filter(|(way, _)| fits || *way == 2) {
            let answer = cluster.send(&request).await;
            assert_eq!(answer.problem(), (401, slug.into()), "{name}, way {way}");
            count += 1;
        }
    }
    assert!(count > 300, "{count} requests");
    cluster.logged(&["token-refused", "token-invalid"]).await;
    cluster.logged(&["token-refused", "token-expired"]).await;
    eventually("all refusals are counted", async || {
        let metrics = cluster.administer(&get("/metrics")).await;
        let counts = metrics.text().lines().filter(|line| line.contains("refused_total{reason=\"token-"));
        let sum: f64 = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        if sum >= f64::from(count) { Ok(()) } else { Err(format!("{sum} of {count}")) }
    })
    .await;
    let log = cluster.log();
    for (name, _, token) in bad().filter(|(.., token)| token.len() > 8) {
        let encoded: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
        assert!(!log.contains(&token) && !log.contains(&encoded), "the log has the token {name}");
    }
}

/// What each kind of bearer gets. `BLESS=1` writes it anew.
const MATRIX: &str = "tests/fixtures/tokens/matrix.txt";

#[tokio::test]
async fn each_route_answers_each_bearer_as_the_table_says() {
    let open =
        cluster().workers(1).config("[[channels]]\nname = \"news\"\npublish = \"anyone\"\n").start().await;
    let asks = with_tokens("").workers(1).start().await;
    let expired = bad().find(|(name, ..)| *name == "expired").unwrap().2;
    let own = token(&asks, &["--user", "ann"]).await;
    let other = token(&asks, &["--user", "bob"]).await;
    let any = token(&asks, &["--user", "back", "--scope", "quote:any"]).await;
    let speaker = token(&asks, &["--user", "ann", "--scope", "quote publish"]).await;
    let admin = token(&asks, &["--user", "root", "--scope", "admin"]).await;
    let bearers: [(&Cluster, Option<&str>); 8] = [
        (&open, None),
        (&asks, None),
        (&asks, Some(&expired)),
        (&asks, Some(&own)),
        (&asks, Some(&other)),
        (&asks, Some(&speaker)),
        (&asks, Some(&any)),
        (&asks, Some(&admin)),
    ];
    let mut table =
        String::from("# open | no token | expired | own | another's | publish | quote:any | admin\n");
    for (what, request) in requests() {
        let mut cells = vec![];
        for (cluster, token) in &bearers {
            let request = token.map_or_else(|| request.clone(), |token| bearing(request.clone(), token));
            cells.push(told(&cluster.send(&request).await));
        }
        writeln!(table, "{what}: {}", cells.join(" | ")).unwrap();
    }
    let mut cells = vec![];
    for (cluster, token) in &bearers {
        let header = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let listener = Listener::ask(cluster.http, "/api/v1/events?user_id=ann", &header, "1.1").await;
        cells.push(listener.status.to_string());
    }
    writeln!(table, "events of ann: {}", cells.join(" | ")).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(MATRIX, &table).unwrap();
        return;
    }
    let matrix = std::fs::read_to_string(MATRIX).unwrap();
    for (is, ought) in table.lines().zip(matrix.lines()) {
        assert_eq!(is, ought);
    }
    assert_eq!(table.lines().count(), matrix.lines().count());
}

/// The rows of the table.
fn requests() -> Vec<(&'static str, Request)> {
    let quote = |user| post("/api/v1/quotes", json!({ "user_id": user }).to_string());
    vec![
        ("GET /", get("/")),
        ("GET /healthz", get("/healthz")),
        ("GET /metrics", get("/metrics")),
        ("GET /api/v1/info", get("/api/v1/info")),
        ("GET /api/v1/sources", get("/api/v1/sources")),
        ("GET /api/v1/streams", get("/api/v1/streams")),
        ("GET /api/v1/price", get("/api/v1/price")),
        ("GET /api/v1/history", get("/api/v1/history")),
        ("GET /api/v1/stats", get("/api/v1/stats")),
        ("quote for ann", quote("ann")),
        ("quote for nobody", quote("nobody")),
        ("poll of ann", get("/api/v1/poll?user_id=ann")),
        ("/ws of ann", upgrade("/ws?user_id=ann")),
        ("/ws of whom the token names", upgrade("/ws")),
        ("/ws of ann, channel staff", upgrade("/ws?user_id=ann&channels=staff")),
        ("/echo", upgrade("/echo")),
        ("/command", upgrade("/command")),
        ("/chat", upgrade("/chat")),
        ("/broadcast", upgrade("/broadcast")),
        ("/stream1", upgrade("/stream1")),
        ("/stream1 of ann", upgrade("/stream1?user_id=ann")),
        ("/stream4", upgrade("/stream4")),
        ("publish to news", post("/api/v1/channels/news/messages", r#"{"data":1}"#)),
        ("GET /api/v1/sessions", get("/api/v1/sessions")),
        ("revoke nothing", post("/api/v1/revocations", "{}")),
        ("DELETE a session", delete("/api/v1/sessions/00000000000000000000000000000000")),
    ]
}

/// Status and slug of an answer.
fn told(answer: &Response) -> String {
    match answer.header("Content-Type") {
        Some("application/problem+json") if !answer.body.is_empty() => {
            let (status, slug) = answer.problem();
            format!("{status} {slug}")
        }
        _ => answer.status.to_string(),
    }
}

#[tokio::test]
async fn a_session_hears_of_its_tokens_end_and_ends_then() {
    let cluster = with_tokens("notice = \"2s\"").workers(1).start().await;
    let short = token(&cluster, &["--user", "ann", "--ttl", "4s"]).await;
    let mut tab = tab(&cluster, &short, "channels=none").await;
    let left = tab.welcome["expires_in_ms"].as_u64().expect("expires_in_ms");
    assert!((1000..=4000).contains(&left), "{}", tab.welcome);
    let notice = tab.next("system").await;
    assert_eq!(notice["event"], "token-expiring", "{notice}");
    assert!(notice["expires_in_ms"].as_u64().is_some_and(|left| (500..=2000).contains(&left)), "{notice}");
    let (messages, end) = tab.farewell().await;
    assert_eq!(end, (4002, "token-expired".into()));
    assert!(messages.iter().any(|message| message["event"] == "token-expired"), "{messages:?}");
    // With a fresh token the client has its session again, with the old one it has not.
    let resume = tab.welcome["resume"].as_str().unwrap();
    let path = format!("/ws?user_id=ann&channels=none&resume={resume}");
    let refused = Tab::open_as(cluster.ws, &bearing(upgrade(&path), &short)).await.unwrap_err();
    assert_eq!(refused.problem(), (401, "token-expired".into()));
    let fresh = token(&cluster, &["--user", "ann"]).await;
    let back = Tab::open_as(cluster.ws, &bearing(upgrade(&path), &fresh)).await.unwrap().greeted().await;
    assert_eq!(back.welcome["resumed"], true, "{}", back.welcome);
}

#[tokio::test]
async fn a_fresh_token_takes_the_place_of_an_old_one() {
    let cluster = with_tokens("notice = \"0s\"").workers(1).start().await;
    let short = token(&cluster, &["--user", "ann", "--ttl", "4s"]).await;
    let mut tab = tab(&cluster, &short, "channels=news,price:BTC-USD").await;
    let fresh = token(&cluster, &["--user", "ann", "--ttl", "1h", "--subscribe", "price:*"]).await;
    tab.say(&json!({ "type": "auth", "token": fresh, "id": 7 })).await;
    let gone = tab.next("system").await;
    assert_eq!((&gone["event"], &gone["channels"]), (&json!("unsubscribed"), &json!(["news"])), "{gone}");
    let ack = tab.next("ack").await;
    assert_eq!(ack["id"], 7);
    assert!(ack["expires_in_ms"].as_u64().is_some_and(|left| left > 3_500_000), "{ack}");
    for (bad, slug) in [("x.y.z", "token-invalid"), (short.as_str(), "token-expired")] {
        if slug == "token-expired" {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        tab.say(&json!({ "type": "auth", "token": bad, "id": slug })).await;
        let error = tab.next("error").await;
        assert_eq!((&error["code"], &error["id"]), (&json!(slug), &json!(slug)), "{error}");
    }
    tab.say(&json!({ "type": "subscribe", "channels": ["news"], "id": 8 })).await;
    assert_eq!(tab.next("error").await["code"], "forbidden");
    tab.say(&json!({ "type": "ping", "id": 1 })).await;
    assert_eq!(tab.next("pong").await["id"], 1, "it lives past the end of its first token");
    let other = token(&cluster, &["--user", "bob"]).await;
    tab.say(&json!({ "type": "auth", "token": other })).await;
    assert_eq!(tab.closed().await, (4003, "forbidden".into()));
}

#[tokio::test]
async fn events_and_polls_end_with_their_token() {
    let cluster = with_tokens("notice = \"0s\"").workers(1).start().await;
    let short = token(&cluster, &["--user", "ann", "--ttl", "3s"]).await;
    let query = format!("channels=none&token={short}");
    let (mut listener, mut poller) =
        (Listener::open(cluster.http, &query).await, Poller::new(cluster.http, &query));
    assert!(poller.poll().await.iter().any(|message| message["type"] == "welcome"));
    let last = poller.until("close").await;
    assert_eq!(last.last().unwrap()["code"], 4002, "{last:?}");
    let closed = listener.next("close").await;
    assert_eq!(closed.data["code"], 4002);
    assert_eq!(cluster.send(&poller.request()).await.problem(), (401, "token-expired".into()));
}

#[tokio::test]
async fn a_suspended_session_ends_with_its_token() {
    let cluster = with_tokens("notice = \"0s\"").workers(1).start().await;
    let mut resumes = vec![];
    for (user, ttl) in [("ann", "12s"), ("bob", "1h")] {
        let token = token(&cluster, &["--user", user, "--ttl", ttl]).await;
        let tab = tab(&cluster, &token, "channels=none").await;
        resumes.push((user, tab.welcome["resume"].as_str().unwrap().to_owned()));
    }
    suspended(&cluster, 2).await;
    suspended(&cluster, 1).await;
    // Of two sessions that are alike but for the end of their tokens, one has ended.
    for (user, resume) in resumes {
        let fresh = token(&cluster, &["--user", user]).await;
        let back = tab(&cluster, &fresh, &format!("channels=none&resume={resume}")).await;
        assert_eq!(back.welcome["resumed"], user == "bob", "{}", back.welcome);
    }
}

/// Waits until so many sessions are suspended.
async fn suspended(cluster: &Cluster, count: u32) {
    eventually(&format!("{count} are suspended"), async || {
        let metrics = cluster.administer(&get("/metrics")).await;
        let mut lines = metrics.text().lines();
        let is = lines.find_map(|line| line.strip_prefix("btc_cluster_suspended_sessions "));
        match is.and_then(|is| is.parse::<f64>().ok()) {
            Some(is) if is == f64::from(count) => Ok(()),
            _ => Err(format!("{is:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn no_session_of_open_mode_outlives_it() {
    let cluster = cluster().file("secret", SECRET).workers(2).start().await;
    // The second has the name that a client without a token gets in token mode.
    let paths = ["/ws?user_id=ann&channels=none", "/ws?user_id=anonymous:127.0.0.1&channels=none"];
    let mut tabs = vec![];
    for path in paths {
        tabs.push(cluster.open(path).await.unwrap().greeted().await);
    }
    let (mut listener, mut poller) = (
        Listener::open(cluster.http, "user_id=ann&channels=none").await,
        Poller::new(cluster.http, "user_id=ann&channels=none"),
    );
    poller.poll().await;
    cluster.configure(&in_token_mode("anonymous = [\"price\"]"));
    // The next program reads it once it leads.
    let next = cluster.folder().join("next");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_btc-cluster")).arg(&next).status().unwrap();
    assert!(copied.success());
    let done = cluster.ctl(&["upgrade", next.to_str().unwrap()]).await;
    assert_eq!(done.json()["upgrade"]["outcome"], "upgraded", "{} {}", done.out, done.err);
    for mut tab in tabs {
        assert_eq!(tab.closed().await, (4001, "token-invalid".into()));
    }
    assert_eq!(listener.next("close").await.data["code"], 4001);
    assert_eq!(cluster.send(&poller.request()).await.problem(), (401, "token-missing".into()));
    eventually("no session is left", async || {
        let sessions = cluster.ctl(&["sessions"]).await.json();
        if sessions == json!([]) { Ok(()) } else { Err(sessions.to_string()) }
    })
    .await;
    // Who has come without a token stays.
    let mut tab = cluster.open("/ws").await.unwrap().greeted().await;
    cluster.signal(Signal::USR2);
    while tab.next("system").await["event"] != "moved" {}
    tab.say(&json!({ "type": "ping", "id": 1 })).await;
    assert_eq!(tab.next("pong").await["id"], 1);
}

#[tokio::test]
async fn nobody_hears_what_is_free_only() {
    let cluster = with_tokens("anonymous = [\"price\"]").workers(1).start().await;
    let mut tab = cluster.open("/ws").await.unwrap().greeted().await;
    assert_eq!(tab.welcome["channels"], json!(["price:BTC-USD"]), "{}", tab.welcome);
    for (message, code) in [
        (json!({ "type": "subscribe", "channels": ["stats"], "id": 1 }), "forbidden"),
        (json!({ "type": "quote", "id": 2 }), "forbidden"),
        (json!({ "type": "publish", "channel": "news", "data": 1, "id": 3 }), "forbidden"),
    ] {
        tab.say(&message).await;
        let error = tab.next("error").await;
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &message["id"]), "{error}");
    }
    let refused = cluster.open("/ws?user_id=ann").await.unwrap_err();
    assert_eq!(refused.problem(), (401, "token-missing".into()));
    assert_eq!(cluster.get("/api/v1/price").await.status, 200);
    assert_eq!(cluster.get("/api/v1/stats").await.problem(), (401, "token-missing".into()));
}

#[tokio::test]
async fn a_pass_goes_with_its_session() {
    let cluster = with_tokens("notice = \"0s\"").start().await;
    let words = ["--user", "ann", "--ttl", "15s", "--subscribe", "price:*,news", "--scope", "quote publish"];
    let short = token(&cluster, &words).await;
    let mut tabs = vec![];
    for _ in 0..4 {
        tabs.push(tab(&cluster, &short, "channels=news").await);
    }
    cluster.until_covered(4).await;
    // The death of a worker, then the replacement of all.
    kill(tabs[0].pid(), Signal::KILL);
    cluster.until_settled(1).await;
    rights_are_kept(&mut tabs).await;
    let before: Vec<u32> = cluster.workers().await.iter().filter_map(|worker| worker.pid).collect();
    cluster.signal(Signal::USR2);
    eventually("all workers are others", async || {
        let now = cluster.try_workers().await?;
        let fresh = |pid: Option<u32>| pid.is_some_and(|pid| !before.contains(&pid));
        if now.iter().all(|one| one.state == "ready" && fresh(one.pid)) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    rights_are_kept(&mut tabs).await;
    for mut tab in tabs {
        assert_eq!(tab.closed().await, (4002, "token-expired".into()));
    }
}

async fn rights_are_kept(tabs: &mut [Tab]) {
    for tab in tabs {
        tab.say(&json!({ "type": "subscribe", "channels": ["stats"], "id": "no" })).await;
        let error: Value = tab.next("error").await;
        assert_eq!(error["code"], "forbidden", "{error}");
        tab.say(&json!({ "type": "quote", "id": "yes" })).await;
        assert_eq!(tab.next("quote").await["id"], "yes");
    }
}
