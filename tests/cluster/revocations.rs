//! Revoked tokens wherever their sessions are, over the deaths and the restart of whoever knows of them; rights that a
//! reload takes away.

use crate::harness::{
    Cluster, Heard, Listener, Poller, Request, Tab, alone, delete, eventually, get, kill, post, upgrade,
};
use crate::tokens::{bearing, tab, token, with_tokens};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STAYS: &str = "channels=none";

fn opens(token: &str) -> Request {
    bearing(upgrade("/ws?user_id=ann"), token)
}

async fn refuses(cluster: &Cluster, token: &str) {
    assert_eq!(cluster.send(&opens(token)).await.problem(), (401, "token-revoked".into()));
}

/// `jti` and `exp` of a token.
fn claims(token: &str) -> Value {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

/// A token that was issued after the last revocation of its user: its `iat` has whole seconds.
async fn later(cluster: &Cluster, user: &str) -> String {
    eventually("a token of the next second", async || {
        let fresh = token(cluster, &["--user", user]).await;
        let answer = cluster.send(&opens(&fresh)).await;
        if answer.status == 101 { Ok(fresh) } else { Err(format!("{answer:?}")) }
    })
    .await
}

async fn revoke(cluster: &Cluster, words: &[&str]) {
    let told = cluster.ctl(&[&["revoke"], words].concat()).await;
    assert_eq!(told.code, Some(0), "{told:?}");
}

async fn restart(mut cluster: Cluster, workers: u16) -> Cluster {
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.ended(Duration::from_secs(15)).await.code(), Some(0));
    cluster.start_again(workers).await
}

fn file(cluster: &Cluster) -> std::path::PathBuf {
    cluster.folder().join("control.state/revocations")
}

fn lines(cluster: &Cluster) -> Vec<Value> {
    let text = std::fs::read_to_string(file(cluster)).unwrap_or_default();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_restart_of_the_daemon_keeps_revocations() {
    let cluster = with_tokens("").workers(1).start().await;
    let [one, other] = [token(&cluster, &["--user", "ann"]).await, token(&cluster, &["--user", "ann"]).await];
    let bob = token(&cluster, &["--user", "bob"]).await;
    revoke(&cluster, &["--jti", claims(&one)["jti"].as_str().unwrap()]).await;
    revoke(&cluster, &["--user", "bob"]).await;
    let cluster = restart(cluster, 1).await;
    refuses(&cluster, &one).await;
    refuses(&cluster, &bob).await;
    tab(&cluster, &other, STAYS).await;
    // A second time, with what was changed since; the daemon is killed, with all its processes.
    revoke(&cluster, &["--user", "ann"]).await;
    eventually("it is on the disk", async || {
        let lines = lines(&cluster);
        if lines.iter().any(|line| line["user"] == "ann") { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
    let mut cluster = cluster;
    kill(cluster.pid, Signal::KILL);
    cluster.ended(Duration::from_secs(15)).await;
    let cluster = cluster.start_again(1).await;
    for token in [&one, &other, &bob] {
        refuses(&cluster, token).await;
    }
    later(&cluster, "ann").await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_ends_the_start_and_a_torn_line_does_not() {
    let cluster = with_tokens("").workers(1).start().await;
    let ann = token(&cluster, &["--user", "ann"]).await;
    revoke(&cluster, &["--user", "ann"]).await;
    let mut cluster = cluster;
    cluster.signal(Signal::TERM);
    cluster.ended(Duration::from_secs(15)).await;
    let good = std::fs::read_to_string(file(&cluster)).unwrap();
    std::fs::write(file(&cluster), format!("{good}{{\"jti\":\"torn")).unwrap();
    let mut cluster = cluster.start_again(1).await;
    refuses(&cluster, &ann).await;
    cluster.logged(&["revocations-damaged", "1"]).await;
    cluster.signal(Signal::TERM);
    cluster.ended(Duration::from_secs(15)).await;
    std::fs::write(file(&cluster), "nobody's list").unwrap();
    let ended = cluster.run(&["--env", "test", "--config", "btc-cluster.toml"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = ended.out + &ended.err;
    assert!(said.contains("revocations") && said.contains("no list of revocations"), "{said}");
    std::fs::remove_file(file(&cluster)).unwrap();
    cluster.start_again(1).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_said_and_tried_again() {
    let cluster = with_tokens("").workers(1).start().await;
    let ann = token(&cluster, &["--user", "ann"]).await;
    // Not even root writes a file over a folder.
    let beside = cluster.folder().join("control.state/revocations.new");
    std::fs::create_dir_all(&beside).unwrap();
    revoke(&cluster, &["--user", "ann"]).await;
    refuses(&cluster, &ann).await;
    cluster.logged(&["revocations-not-kept"]).await;
    std::fs::remove_dir(&beside).unwrap();
    cluster.logged(&["revocations-kept"]).await;
    assert_eq!(lines(&cluster).len(), 1);
}

#[tokio::test]
async fn the_end_of_a_revoked_token_is_learnt_where_it_is_shown() {
    let cluster = with_tokens("").workers(2).start().await;
    let ann = token(&cluster, &["--user", "ann", "--ttl", "1h"]).await;
    let claims = claims(&ann);
    let jti = claims["jti"].as_str().unwrap();
    revoke(&cluster, &["--jti", jti]).await;
    refuses(&cluster, &ann).await;
    let ends = claims["exp"].as_i64().unwrap() * 1000;
    eventually("its end is on the disk", async || {
        let lines = lines(&cluster);
        let last = lines.last().cloned().unwrap_or_default();
        if last == json!({ "jti": jti, "until": ends }) { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;
    // What has ended long ago is not taken at all; whose end is known takes no place for ever.
    for (words, code) in [
        (["--user", "bob", "--until", "2020-01-01T00:00:00Z"], 1),
        (["--user", "bob", "--until", "2099-01-01T00:00:00Z"], 0),
        (["--user", "bob", "--issued-before", "2099-01-01T00:00:00Z"], 1),
        (["--user", "bob", "--issued-before", "1600000000"], 0),
        (["--user", "bob", "--issued-before", "yesterday"], 2),
    ] {
        let told = cluster.ctl(&[&["revoke"], words.as_slice()].concat()).await;
        assert_eq!(told.code, Some(code), "{words:?} {told:?}");
    }
}

fn revocation(body: &Value) -> Request {
    post("/api/v1/revocations", body.to_string())
}

#[tokio::test]
async fn the_route_revokes_for_administrators_only() {
    let cluster = with_tokens("").workers(2).start().await;
    let ann = token(&cluster, &["--user", "ann"]).await;
    let root = token(&cluster, &["--user", "root", "--scope", "admin"]).await;
    let mut connected = tab(&cluster, &ann, STAYS).await;
    let body = json!({ "jti": claims(&ann)["jti"] });
    assert_eq!(cluster.send(&revocation(&body)).await.problem(), (401, "token-missing".into()));
    assert_eq!(cluster.send(&bearing(revocation(&body), &ann)).await.problem(), (403, "forbidden".into()));
    connected.until_pong().await;
    assert_eq!(cluster.send(&bearing(revocation(&body), &root)).await.status, 204);
    assert_eq!(connected.closed().await, (4001, "token-revoked".into()));
    refuses(&cluster, &ann).await;
    for body in [
        json!({}),
        json!({ "jti": "" }),
        json!({ "jti": "a".repeat(257) }),
        json!({ "jti": "a", "user_id": "ann" }),
        json!({ "jti": "a", "issued_before": 5 }),
        json!({ "user_id": "no user" }),
        json!({ "user_id": "ann", "issued_before": "2099-01-01T00:00:00Z" }),
        json!({ "user_id": "ann", "issued_before": 1_763_640_863_000_u64 }),
        json!({ "user_id": "ann", "issued_before": "now" }),
        json!({ "user_id": "ann", "until": 1 }),
        json!({ "user_id": "ann", "more": 1 }),
    ] {
        let answer = cluster.administer(&revocation(&body)).await;
        assert_eq!(answer.problem(), (422, "invalid-body".into()), "{body}");
    }
    let bob = token(&cluster, &["--user", "bob"]).await;
    let old = json!({ "user_id": "bob", "issued_before": "2020-01-01T00:00:00Z" });
    assert_eq!(cluster.administer(&revocation(&old)).await.status, 204);
    let mut good = tab(&cluster, &bob, STAYS).await;
    good.until_pong().await;
    assert_eq!(cluster.administer(&revocation(&json!({ "user_id": "bob" }))).await.status, 204);
    assert_eq!(good.closed().await, (4001, "token-revoked".into()));
    // The master is another: what the route said last still holds.
    kill(cluster.master().await, Signal::KILL);
    cluster.logged(&["master-died"]).await;
    eventually("the next master answers", async || {
        let status = cluster.ctl(&["status"]).await;
        if status.code == Some(0) { Ok(()) } else { Err(status.err) }
    })
    .await;
    refuses(&cluster, &bob).await;
}

#[tokio::test]
async fn all_kinds_of_sessions_of_a_revoked_token_end() {
    let cluster = with_tokens("").workers(2).start().await;
    let ann = token(&cluster, &["--user", "ann", "--scope", "quote publish"]).await;
    let query = format!("channels=none&token={ann}");
    let mut listener = Listener::open(cluster.http, &query).await;
    let mut poller = Poller::new(cluster.http, &query);
    poller.until("welcome").await;
    let mut tabs = vec![tab(&cluster, &ann, STAYS).await];
    for path in ["/stream1", "/chat", "/broadcast", "/command", "/echo"] {
        tabs.push(Tab::open_as(cluster.ws, &bearing(upgrade(path), &ann)).await.unwrap());
    }
    let began = Instant::now();
    revoke(&cluster, &["--user", "ann"]).await;
    for tab in &mut tabs {
        let end = loop {
            // Some endpoints greet with words that are no messages.
            if let Heard::Closed(code, reason) = tab.hear().await {
                break (code, reason);
            }
        };
        assert_eq!(end, (4001, "token-revoked".into()));
    }
    assert_eq!(listener.next("close").await.data["code"], 4001);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(cluster.send(&poller.request()).await.problem(), (401, "token-revoked".into()));
    let fresh = later(&cluster, "ann").await;
    // The poll comes back with a good token: its session is no more.
    let mut back = Poller::new(cluster.http, &format!("channels=none&token={fresh}"));
    back.cursor = poller.cursor.clone();
    let answer = cluster.send(&back.request()).await;
    assert!(answer.status == 410 || answer.json()["messages"][0]["resumed"] == false, "{answer:?}");
    eventually("nobody is left", async || {
        let stats = cluster.administer(&get("/api/v1/stats")).await.json();
        let sessions = stats["totals"]["sessions"].clone();
        if sessions.as_u64() <= Some(1) { Ok(()) } else { Err(sessions.to_string()) }
    })
    .await;
}

/// Sessions of two users on all workers, beside suspended ones of the first.
struct Crowd {
    revoked: Vec<Tab>,
    good: Vec<Tab>,
    resume: String,
    token: String,
}

async fn crowd(cluster: &Cluster, sessions: usize) -> Crowd {
    let ann = token(cluster, &["--user", "ann"]).await;
    let bob = token(cluster, &["--user", "bob"]).await;
    let (mut revoked, mut good) = (vec![], vec![]);
    for _ in 0..sessions {
        revoked.push(tab(cluster, &ann, STAYS).await);
        good.push(tab(cluster, &bob, STAYS).await);
    }
    let away = tab(cluster, &ann, STAYS).await;
    let resume = away.welcome["resume"].as_str().unwrap().to_owned();
    drop(away);
    Crowd { revoked, good, resume, token: ann }
}

impl Crowd {
    /// Those of the revoked token have ended or end, the others live on.
    async fn tell_apart(mut self, cluster: &Cluster) {
        for tab in &mut self.revoked {
            assert_eq!(tab.closed().await, (4001, "token-revoked".into()));
        }
        for tab in &mut self.good {
            tab.until_pong().await;
        }
        for _ in 0..4 {
            refuses(cluster, &self.token).await;
        }
        let fresh = later(cluster, "ann").await;
        let back = tab(cluster, &fresh, &format!("{STAYS}&resume={}", self.resume)).await;
        assert_eq!(back.welcome["resumed"], false, "{}", back.welcome);
    }
}

async fn until_all_are_others(cluster: &Cluster, before: &[u32]) {
    eventually("all workers are others", async || {
        let now = cluster.try_workers().await?;
        let fresh = |pid: Option<u32>| pid.is_some_and(|pid| !before.contains(&pid));
        let all = now.iter().all(|one| one.state == "ready" && fresh(one.pid));
        if all { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

#[tokio::test]
async fn sessions_that_move_while_their_token_is_revoked_end() {
    let cluster = with_tokens("").workers(2).start().await;
    let all = crowd(&cluster, 20).await;
    let before: Vec<u32> = cluster.workers().await.iter().filter_map(|worker| worker.pid).collect();
    cluster.signal(Signal::USR2);
    revoke(&cluster, &["--user", "ann"]).await;
    until_all_are_others(&cluster, &before).await;
    all.tell_apart(&cluster).await;
}

#[tokio::test]
async fn sessions_whose_worker_is_killed_while_their_token_is_revoked_end() {
    let cluster = with_tokens("").workers(2).start().await;
    let mut all = crowd(&cluster, 6).await;
    cluster.until_covered(12).await;
    let dies = all.revoked[0].pid();
    kill(dies, Signal::STOP);
    revoke(&cluster, &["--user", "ann"]).await;
    // The other worker has heard of it; this one never does.
    let here = all.revoked.iter().position(|tab| tab.pid() != dies);
    if let Some(mut tab) = here.map(|at| all.revoked.swap_remove(at)) {
        assert_eq!(tab.closed().await, (4001, "token-revoked".into()));
    }
    kill(dies, Signal::KILL);
    cluster.until_settled(1).await;
    all.tell_apart(&cluster).await;
}

#[tokio::test]
async fn sessions_that_outlive_an_upgrade_while_their_token_is_revoked_end() {
    let _alone = alone().await;
    let cluster = with_tokens("").workers(2).start().await;
    let all = crowd(&cluster, 8).await;
    let (upgraded, ()) = tokio::join!(cluster.ctl(&["upgrade"]), async {
        // At any moment of it: between the two masters nobody answers.
        eventually("it is revoked", async || {
            let told = cluster.ctl(&["revoke", "--user", "ann"]).await;
            if told.code == Some(0) { Ok(()) } else { Err(told.err) }
        })
        .await;
    });
    assert_eq!(upgraded.json()["upgrade"]["outcome"], "upgraded", "{} {}", upgraded.out, upgraded.err);
    all.tell_apart(&cluster).await;
}

#[tokio::test]
async fn reconnect_sends_a_user_away_and_its_sessions_are_found_again() {
    let cluster = with_tokens("").workers(2).start().await;
    let ann = token(&cluster, &["--user", "ann"]).await;
    let bob = token(&cluster, &["--user", "bob"]).await;
    let mut other = tab(&cluster, &bob, STAYS).await;
    let mut tabs = vec![];
    for _ in 0..4 {
        tabs.push(tab(&cluster, &ann, "channels=news").await);
    }
    let mut listener = Listener::open(cluster.http, &format!("channels=none&token={ann}")).await;
    let told = cluster.ctl(&["reconnect", "ann"]).await;
    assert_eq!((told.code, told.json()["sessions"].as_u64()), (Some(0), Some(5)), "{told:?}");
    let fresh = token(&cluster, &["--user", "ann"]).await;
    for mut tab in tabs {
        let (messages, end) = tab.farewell().await;
        assert_eq!(end, (4200, "reconnect".into()));
        let last = messages.last().unwrap();
        assert_eq!(last["event"], "reconnect", "{last}");
        assert!(last["reconnect_in_ms"].as_u64().is_some_and(|wait| wait < 1000), "{last}");
        let resume = tab.welcome["resume"].as_str().unwrap();
        let back = self::tab(&cluster, &fresh, &format!("channels=news&resume={resume}")).await;
        assert_eq!(back.welcome["resumed"], true, "{}", back.welcome);
    }
    let closed = listener.next("close").await;
    assert_eq!(closed.data["code"], 4200);
    assert!(closed.data["reconnect_in_ms"].is_u64(), "{:?}", closed.data);
    other.until_pong().await;
    assert_eq!(cluster.ctl(&["reconnect", "nobody"]).await.json()["sessions"], 0);
}

const NEWS: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\nsubscribe = \"anyone\"\n";

fn auth(mode: &str, more: &str) -> String {
    format!(
        "[auth]\nmode = \"{mode}\"\nsecret_file = \"{{dir}}/secret\"\naudience = [\"btc-cluster\"]\n\
         issuer = [\"https://issuer.example\"]\nleeway = \"0s\"\n{more}\n"
    )
}

#[tokio::test]
async fn a_reload_that_allows_less_ends_subscriptions_and_says_so() {
    let cluster = with_tokens("anonymous = [\"price\", \"message\"]").workers(2).start().await;
    cluster.reconfigure(&(auth("token", "anonymous = [\"price\", \"message\"]") + NEWS)).await;
    let ann = token(&cluster, &["--user", "ann"]).await;
    let root = token(&cluster, &["--user", "root", "--scope", "admin"]).await;
    let mut known = tab(&cluster, &ann, "channels=news,price:BTC-USD").await;
    let mut admin = tab(&cluster, &root, "channels=news").await;
    let mut nobody = cluster.open("/ws?channels=news,price:BTC-USD").await.unwrap().greeted().await;
    let away = tab(&cluster, &ann, "channels=news,price:BTC-USD").await;
    let resume = away.welcome["resume"].as_str().unwrap().to_owned();
    drop(away);
    let lost = |message: &Value| {
        assert_eq!(message["event"], "unsubscribed", "{message}");
        message["channels"].clone()
    };

    // Only administrators hear the news from now on.
    let staff = NEWS.replace("subscribe = \"anyone\"", "subscribe = \"admin\"");
    cluster.reconfigure(&(auth("token", "anonymous = [\"price\", \"message\"]") + &staff)).await;
    assert_eq!(lost(&known.next("system").await), json!(["news"]));
    assert_eq!(lost(&nobody.next("system").await), json!(["news"]));
    let news = post("/api/v1/channels/news/messages", json!({ "data": 7 }).to_string());
    assert_eq!(cluster.administer(&news).await.json()["sessions"], 1);
    assert_eq!(admin.next("message").await["data"], 7);
    let mut back = tab(&cluster, &ann, &format!("channels=none&resume={resume}")).await;
    assert_eq!(back.welcome["channels"], json!(["price:BTC-USD"]), "{}", back.welcome);
    for tab in [&mut known, &mut nobody, &mut back] {
        let heard = tab.until_pong().await;
        assert!(!heard.iter().any(|message| message["type"] == "message"), "{heard:?}");
        tab.next("price").await;
    }

    // Without a token nothing may be heard any more.
    let mut stream = cluster.open("/stream1").await.unwrap();
    cluster.reconfigure(&(auth("token", "") + &staff)).await;
    assert_eq!(nobody.closed().await, (4001, "token-invalid".into()));
    assert_eq!(stream.closed().await, (4001, "token-invalid".into()));
    known.until_pong().await;
    admin.until_pong().await;
}

#[tokio::test]
async fn a_reload_from_open_to_token_mode_ends_those_who_have_shown_none() {
    let open = auth("open", "") + NEWS;
    let cluster = crate::harness::cluster()
        .file("secret", include_str!("../fixtures/tokens/secret"))
        .config(&open)
        .workers(2)
        .start()
        .await;
    let mut tabs = vec![];
    for user in ["ann", "bob", "ann"] {
        tabs.push(cluster.tab(user).await);
    }
    let mut stream = cluster.open("/stream1?user_id=ann").await.unwrap();
    let mut listener = Listener::open(cluster.http, "user_id=ann&channels=none").await;
    let away = cluster.quiet_tab("ann").await;
    let resume = away.welcome["resume"].as_str().unwrap().to_owned();
    drop(away);
    cluster.reconfigure(&(auth("token", "anonymous = [\"price\"]") + NEWS)).await;
    for tab in tabs.iter_mut().chain([&mut stream]) {
        let (messages, end) = tab.farewell().await;
        assert_eq!(end, (4001, "token-invalid".into()));
        assert_eq!(messages.last().unwrap()["event"], "token-invalid", "{messages:?}");
    }
    assert_eq!(listener.next("close").await.data["code"], 4001);
    // Nobody takes over in token mode what was anybody's in open mode.
    let ann = token(&cluster, &["--user", "ann"]).await;
    let mut back = tab(&cluster, &ann, &format!("{STAYS}&resume={resume}")).await;
    assert_eq!(back.welcome["resumed"], false, "{}", back.welcome);
    let at = format!("/api/v1/sessions/{}", back.session());
    assert_eq!(cluster.send(&delete(&at)).await.problem(), (401, "token-missing".into()));
    // Back in open mode those with a token go on.
    cluster.reconfigure(&open).await;
    back.until_pong().await;
    cluster.tab("bob").await.until_pong().await;
}

#[tokio::test]
async fn a_secret_that_everybody_may_read_is_warned_of() {
    let setup = with_tokens("").workers(1);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(setup.folder().join("secret"), mode).unwrap();
    let cluster = setup.start().await;
    cluster.logged(&["configuration", "secret: everybody may read this secret; chmod 600 it"]).await;
}
