//! Keys that change while the daemon runs: those of an endpoint (JWKS), whatever it answers, and those of files.

use crate::harness::{
    Cluster, Connection, Request, Response, Setup, cluster, eventually, get, kill, upgrade,
};
use crate::standin::{Act, Standin};
use crate::tokens::{bearing, tab};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A key of the issuer.
struct Key(&'static str, Ed25519KeyPair);

impl Key {
    fn new(id: &'static str) -> Self {
        let mut seed = [7; 32];
        seed[..id.len()].copy_from_slice(id.as_bytes());
        Self(id, Ed25519KeyPair::from_seed_unchecked(&seed).unwrap())
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.1.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.0, "x": x, "use": "sig" })
    }

    fn pem(&self) -> String {
        const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
        let der = [&PREFIX, self.1.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn token(&self, user: &str) -> String {
        self.token_of(self.0, user)
    }

    fn token_of(&self, id: &str, user: &str) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "sub": user, "exp": 4_102_444_800_u64, "scope": "quote" });
        let message = format!("{}.{}", part(json!({ "alg": "EdDSA", "kid": id })), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.1.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn set(keys: &[&Key]) -> Act {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    Act::ok(json!({ "keys": keys }).to_string())
}

/// An issuer that answers what it is told.
struct Issuer(Standin, Arc<Mutex<Act>>);

impl Issuer {
    async fn new(act: Act) -> Self {
        let act = Arc::new(Mutex::new(act));
        let told = act.clone();
        Self(Standin::start(move |_| told.lock().unwrap().clone()).await.unwrap(), act)
    }

    fn answers(&self, act: Act) {
        *self.1.lock().unwrap() = act;
    }

    fn asked(&self) -> usize {
        self.0.requests().len()
    }

    /// A cluster that trusts it.
    fn trusted(&self, refresh: &str) -> Setup {
        cluster().config(&self.config(refresh))
    }

    fn config(&self, refresh: &str) -> String {
        let url = self.0.http();
        format!(
            "[auth]\nmode = \"token\"\njwks_url = \"{url}/jwks?tenant=secret\"\njwks_refresh = \"{refresh}\"\n"
        )
    }
}

/// A route that asks for a token, and that a worker serves alone.
fn shown(token: &str) -> Request {
    bearing(get("/api/v1/streams"), token)
}

async fn show(cluster: &Cluster, token: &str) -> Response {
    cluster.send(&shown(token)).await
}

async fn becomes(cluster: &Cluster, token: &str, status: u16, what: &str) {
    eventually(what, async || {
        let answer = show(cluster, token).await;
        if answer.status == status { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
    })
    .await;
}

/// What `ctl status` says of the endpoint, once that is so.
async fn status(cluster: &Cluster, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let status = cluster.ctl(&["status"]).await;
        if status.code != Some(0) {
            return Err(status.err);
        }
        let keys = status.json()["keys"]["jwks"].clone();
        if is_so(&keys) { Ok(keys) } else { Err(keys.to_string()) }
    })
    .await
}

fn kept(cluster: &Cluster) -> Option<String> {
    std::fs::read_to_string(cluster.folder().join("control.state/jwks")).ok()
}

#[tokio::test]
async fn keys_are_fetched_at_the_start_and_those_that_are_kept_serve_while_the_endpoint_is_down() {
    let (key, other) = (Key::new("a"), Key::new("other"));
    let issuer = Issuer::new(Act::Cut).await;
    let mut cluster = issuer.trusted("1s").workers(2).start().await;
    let token = key.token("ann");
    // Nobody knows whether it is good.
    for request in [shown(&token), bearing(upgrade("/ws?user_id=ann"), &token)] {
        assert_eq!(cluster.send(&request).await.problem(), (503, "keys-unavailable".into()));
    }
    assert_eq!(show(&cluster, "x").await.status, 503);
    status(&cluster, "why", |keys| keys["trouble"].is_string() && keys["keys"] == 0).await;
    issuer.answers(set(&[&key]));
    becomes(&cluster, &token, 200, "the endpoint is back").await;
    let known = status(&cluster, "one key", |keys| keys["keys"] == 1).await;
    assert_eq!((&known["trouble"], &known["host"]), (&Value::Null, &json!("127.0.0.1")));
    assert_eq!(show(&cluster, &other.token_of("a", "ann")).await.problem(), (401, "token-invalid".into()));
    eventually("a metric tells it, too", async || {
        let metrics = cluster.administer(&get("/metrics")).await;
        let is_told = metrics.text().contains("btc_cluster_auth_keys{source=\"jwks\"} 1.0\n");
        if is_told { Ok(()) } else { Err(metrics.text().to_owned()) }
    })
    .await;
    eventually("they are kept", async || kept(&cluster).map(drop).ok_or_else(|| "not yet".to_owned())).await;

    issuer.answers(Act::Cut);
    cluster.signal(Signal::TERM);
    cluster.ended(Duration::from_secs(20)).await;
    let cluster = cluster.start_again(2).await;
    for _ in 0..8 {
        assert_eq!(show(&cluster, &token).await.status, 200, "from the first moment on");
    }
    status(&cluster, "why again", |keys| keys["trouble"].is_string() && keys["keys"] == 1).await;

    // A new master, feeder and worker: none of them needs the endpoint.
    let processes = cluster.ctl(&["status"]).await.json()["processes"].clone();
    let of = |row: &Value| row["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let before: Vec<_> = processes.as_array().unwrap().iter().filter_map(of).collect();
    before.iter().filter(|pid| **pid != cluster.pid).for_each(|pid| kill(*pid, Signal::KILL));
    eventually("all are new", async || {
        let status = cluster.ctl(&["status"]).await;
        if status.code != Some(0) {
            return Err(status.err);
        }
        let workers = status.json()["workers"].as_array().cloned().unwrap_or_default();
        let is_new = |one: &Value| {
            one["pid"].as_u64().is_some_and(|now| before.iter().all(|pid| u64::from(*pid) != now))
        };
        let all = workers.len() == 2 && workers.iter().all(|one| one["state"] == "ready" && is_new(one));
        if all { Ok(()) } else { Err(format!("{workers:?}")) }
    })
    .await;
    for _ in 0..8 {
        assert_eq!(show(&cluster, &token).await.status, 200);
    }
    assert!(!cluster.log().contains("tenant=secret"), "the address is not written");
}

#[tokio::test]
async fn whatever_the_endpoint_answers_the_last_good_keys_stay() {
    let (key, evil) = (Key::new("a"), Key::new("evil"));
    let elsewhere = Issuer::new(set(&[&evil])).await;
    let issuer = Issuer::new(set(&[&key])).await;
    let cluster = issuer.trusted("1s").workers(1).start().await;
    let token = key.token("ann");
    becomes(&cluster, &token, 200, "the first keys").await;
    let huge = format!("{{\"keys\":[{}],\"x\":\"{}\"}}", evil.jwk(), "x".repeat(300 << 10));
    let slow = format!("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{}", " ".repeat(9000));
    for (name, act, why) in [
        ("redirecting", Act::redirect(elsewhere.0.http()), "HTTP 302"),
        ("huge", Act::ok(huge), "more than 262144 bytes"),
        ("no JSON", Act::ok("<html>"), "no JSON object"),
        ("no keys", Act::ok("{\"keys\":[]}"), "no key"),
        ("failing", Act::answer(500, "secret words"), "HTTP 500"),
        ("silent", Act::Hang, "within 4s"),
        ("slow", Act::Drip(slow.into(), Duration::from_millis(100)), "within 4s"),
    ] {
        issuer.answers(act);
        let known =
            status(&cluster, name, |keys| keys["trouble"].as_str().is_some_and(|said| said.contains(why)))
                .await;
        assert_eq!(known["keys"], 1, "{name}");
        assert_eq!(show(&cluster, &token).await.status, 200, "{name}");
        assert_eq!(show(&cluster, &evil.token("ann")).await.status, 401, "{name}");
        issuer.answers(set(&[&key]));
        status(&cluster, "it is good again", |keys| keys["trouble"].is_null()).await;
    }
    assert_eq!(elsewhere.asked(), 0);
    cluster.logged(&["keys-reached"]).await;
    cluster.logged(&["keys-not-fetched", "HTTP 302"]).await;
    assert!(!cluster.log().contains("secret words"), "what strangers say is not written");
}

#[tokio::test]
async fn a_thousand_tokens_of_unknown_keys_make_one_request() {
    let key = Key::new("a");
    let issuer = Issuer::new(set(&[&key])).await;
    let cluster = issuer.trusted("10m").workers(2).start().await;
    becomes(&cluster, &key.token("ann"), 200, "the first keys").await;
    assert_eq!(issuer.asked(), 1);
    let began = Instant::now();
    let rows = (0..10).map(async |row| {
        let mut connection = Connection::open(cluster.http).await.unwrap();
        let mut n = 0;
        while n < 100 {
            let token = key.token_of(&format!("no-{row}-{n}"), "ann");
            match connection.send(&shown(&token)).await {
                Ok(answer) => assert_eq!(answer.problem(), (401, "token-invalid".into())),
                // On a machine without a moment to spare, a worker is taken for dead.
                Err(_) => {
                    connection = Connection::open(cluster.http).await.unwrap();
                    continue;
                }
            }
            n += 1;
        }
    });
    join_all(rows).await;
    // The feeder fetches once in half a minute; and again what came too late, or when it is another feeder.
    let most = 2 + usize::try_from(began.elapsed().as_secs() / 30).unwrap();
    let log = cluster.log();
    let is_calm = !log.contains("keys-not-fetched") && !log.contains("child-died");
    assert!(issuer.asked() >= 2 && (!is_calm || issuer.asked() <= most), "{}", issuer.asked());
    assert_eq!(show(&cluster, &key.token("ann")).await.status, 200);
}

#[tokio::test]
async fn keys_are_rotated_under_load_and_nobody_is_refused() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::new(set(&[&old])).await;
    let cluster = Arc::new(issuer.trusted("10m").workers(2).start().await);
    becomes(&cluster, &old.token("ann"), 200, "the first keys").await;
    let mut ann = tab(&cluster, &old.token("ann"), "channels=none").await;
    let (stops, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = (0..4).map(|_| {
        let (cluster, stops, asked) = (cluster.clone(), stops.clone(), asked.clone());
        let token = old.token("ann");
        tokio::spawn(async move {
            while !stops.load(Ordering::Relaxed) {
                assert_eq!(show(&cluster, &token).await.status, 200);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load: Vec<_> = load.collect();
    issuer.answers(set(&[&new, &old]));
    // The first token of the new key is the reason to fetch it, and waits for it; so do all that come meanwhile.
    let first: Vec<_> = (0..20).map(|n| new.token(&format!("user-{n}"))).collect();
    for answer in join_all(first.iter().map(|token| show(&cluster, token))).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    ann.ask(&json!({ "type": "auth", "id": 1, "token": new.token("ann") }), "ack").await;
    let so_far = asked.load(Ordering::Relaxed);
    eventually("the load goes on", async || {
        let now = asked.load(Ordering::Relaxed);
        if now > so_far + 50 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    stops.store(true, Ordering::Relaxed);
    for one in load {
        one.await.unwrap();
    }
    assert_eq!(issuer.asked(), 2);

    // The old key is withdrawn: nobody comes in with it, who is in stays.
    issuer.answers(set(&[&new]));
    cluster.reconfigure(&issuer.config("1s")).await;
    becomes(&cluster, &old.token("ann"), 401, "the old key is gone").await;
    assert_eq!(show(&cluster, &new.token("bob")).await.status, 200);
    ann.until_pong().await;
}

#[tokio::test]
async fn a_session_brings_a_token_of_an_unknown_key_and_hears_when_it_is_judged() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::new(set(&[&old])).await;
    let cluster = issuer.trusted("10m").workers(1).start().await;
    becomes(&cluster, &old.token("ann"), 200, "the first keys").await;
    let mut ann = tab(&cluster, &old.token("ann"), "channels=none").await;
    issuer.answers(set(&[&new]));
    let answer = ann.ask(&json!({ "type": "auth", "id": 1, "token": new.token("ann") }), "ack").await;
    assert_eq!(answer["id"], 1);
    assert_eq!(issuer.asked(), 2);
    let unknown = old.token_of("never", "ann");
    let answer = ann.ask(&json!({ "type": "auth", "id": 2, "token": unknown }), "error").await;
    assert_eq!((&answer["id"], &answer["code"]), (&json!(2), &json!("token-invalid")));
}

#[tokio::test]
async fn another_endpoint_gets_no_trust_from_the_keys_of_the_one_before() {
    let (key, other) = (Key::new("a"), Key::new("b"));
    let (first, second) = (Issuer::new(set(&[&key])).await, Issuer::new(Act::Cut).await);
    let cluster = first.trusted("1s").workers(1).start().await;
    becomes(&cluster, &key.token("ann"), 200, "the first keys").await;
    cluster.reconfigure(&second.config("1s")).await;
    assert_eq!(show(&cluster, &key.token("ann")).await.problem(), (503, "keys-unavailable".into()));
    second.answers(set(&[&other]));
    becomes(&cluster, &other.token("ann"), 200, "the keys of the other").await;
    assert_eq!(show(&cluster, &key.token("ann")).await.status, 401);
    cluster.reconfigure("[auth]\nmode = \"open\"\n").await;
    assert_eq!(show(&cluster, "x").await.status, 200);
    assert!(cluster.ctl(&["status"]).await.json()["keys"].is_null());
}

#[tokio::test]
async fn key_files_are_rotated_while_sessions_live_and_a_bad_one_changes_nothing() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let config = |files: &str| format!("[auth]\nmode = \"token\"\npublic_key_file = {files}\n");
    let setup = cluster().file("old.pem", &old.pem()).file("key.pem", &old.pem());
    let cluster = setup.config(&config("\"{dir}/key.pem\"")).workers(2).start().await;
    let mut ann = tab(&cluster, &old.token("ann"), "channels=none").await;
    assert_eq!(show(&cluster, &new.token("bob")).await.status, 401);

    cluster.write("key.pem", &old.pem()[..60]);
    cluster.logged(&["reload-refused", "key.pem"]).await;
    assert_eq!(show(&cluster, &old.token("ann")).await.status, 200, "the old key stays");

    cluster.write("key.pem", &new.pem());
    becomes(&cluster, &new.token("bob"), 200, "the new key, by itself").await;
    becomes(&cluster, &old.token("ann"), 401, "the old key is gone").await;
    ann.until_pong().await;
    let dir = cluster.folder().display().to_string();
    cluster.reconfigure(&config(&format!("[\"{dir}/key.pem\", \"{dir}/old.pem\"]"))).await;
    for token in [new.token("bob"), old.token("ann")] {
        assert_eq!(show(&cluster, &token).await.status, 200);
    }
    ann.ask(&json!({ "type": "auth", "id": 1, "token": new.token("ann") }), "ack").await;
}
