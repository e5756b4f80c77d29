//! What sessions over TLS live through: deaths, replacements and upgrades, and clients that do not read.

use crate::harness::{Cluster, cluster, eventually, in_time, is_gone, kill, which};
use crate::tls::{NAME, Tab, ask, client, connect, der, port, presented, put, replace, secured};
use futures_util::StreamExt;
use futures_util::future::join_all;
use rustix::process::Signal;
use rustls::HandshakeKind;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Sessions of one user each, with their welcomes.
async fn tabs(at: SocketAddr, count: usize) -> Vec<(Tab, Value)> {
    let mut tabs = vec![];
    for user in 0..count {
        tabs.push(Tab::open(at, &client(None), &format!("user_id=u{user}")).await);
    }
    tabs
}

/// Each of these users has its quote.
async fn all_quoted(cluster: &Cluster, tabs: &mut [(String, Tab)]) {
    for (user, tab) in tabs {
        assert_eq!(cluster.quote(user).await.status, 202, "{user}");
        tab.until("quote").await;
    }
}

/// A client that has lost its connection comes back.
async fn again(at: SocketAddr, user: &str, welcome: &Value) -> (Tab, Value) {
    let token = welcome["resume"].as_str().unwrap();
    Tab::open(at, &client(None), &format!("user_id={user}&resume={token}")).await
}

#[tokio::test]
async fn a_killed_worker_takes_its_own_sessions_only_and_they_come_back() {
    let cluster = secured("").workers(2).start().await;
    let at = port(&cluster, "http-tls").await;
    let victim = cluster.worker(1).await.pid.unwrap();
    let (mut stay, mut go) = (vec![], vec![]);
    for (user, (tab, welcome)) in (0..).zip(tabs(at, 16).await) {
        let of = if welcome["worker"]["pid"] == victim { &mut go } else { &mut stay };
        of.push((format!("u{user}"), (tab, welcome)));
    }
    assert!(!stay.is_empty() && !go.is_empty());
    kill(victim, Signal::KILL);
    let mut back = vec![];
    for (user, (mut tab, welcome)) in go {
        // No close frame: nobody is left who could write one.
        while let Some(Ok(_)) = in_time("the end", tab.0.next()).await {}
        let (tab, _) = again(at, &user, &welcome).await;
        back.push((user, tab));
    }
    back.extend(stay.into_iter().map(|(user, (tab, _))| (user, tab)));
    eventually("all are there", async || {
        let sessions = cluster.stats().await["totals"]["sessions"].clone();
        if sessions == 16 { Ok(()) } else { Err(sessions.to_string()) }
    })
    .await;
    all_quoted(&cluster, &mut back).await;
}

#[tokio::test]
async fn a_killed_master_closes_nothing_though_all_files_are_torn() {
    let cluster = secured("").start().await;
    let (at, own) = (port(&cluster, "http-tls").await, client(None));
    ask(connect(at, &own, NAME).await, "/healthz", NAME).await.unwrap();
    let mut kept: Vec<_> =
        (0..).zip(tabs(at, 6).await).map(|(user, (tab, _))| (format!("u{user}"), tab)).collect();
    cluster.write("own.crt", "torn");
    std::fs::remove_file(cluster.folder().join("own.key")).unwrap();
    let master = cluster.master().await;
    kill(master, Signal::KILL);
    eventually("another master", async || {
        let status = cluster.ctl(&["--json", "status"]).await;
        let now = status.code.filter(|code| *code == 0).map(|_| status.json()["master"]["pid"].clone());
        if now.is_some_and(|pid| pid != master) && is_gone(master) { Ok(()) } else { Err(status.err) }
    })
    .await;
    let resumed = connect(at, &own, NAME).await;
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(presented(at, NAME).await, der("first.crt"));
    all_quoted(&cluster, &mut kept).await;
    // Also workers that are born now have it.
    let away = async {
        for (_, tab) in kept {
            assert_eq!(tab.closed().await, CloseCode::Restart);
        }
    };
    tokio::join!(replace(&cluster), away);
    assert_eq!(presented(at, NAME).await, der("first.crt"));
}

#[tokio::test]
async fn an_upgrade_resumes_sessions_and_tickets() {
    let cluster = secured("").start().await;
    let (at, own) = (port(&cluster, "http-tls").await, client(None));
    ask(connect(at, &own, NAME).await, "/healthz", NAME).await.unwrap();
    let tabs = tabs(at, 6).await;
    let next = cluster.folder().join("next");
    let program = env!("CARGO_BIN_EXE_btc-cluster");
    assert!(std::process::Command::new("cp").arg(program).arg(&next).status().unwrap().success());
    put(&cluster, "own.crt", "renewed.crt");
    put(&cluster, "own.key", "renewed.key");
    let back = async {
        let comes_back = async |(user, (mut tab, welcome)): (u32, (Tab, Value))| {
            let user = format!("u{user}");
            assert_eq!(tab.until("system").await["event"], "restarting");
            assert_eq!(tab.closed().await, CloseCode::Restart);
            let (tab, again) = again(at, &user, &welcome).await;
            assert_eq!(
                (&again["resumed"], &again["session_id"]),
                (&true.into(), &welcome["session_id"]),
                "{user}"
            );
            (user, tab, again)
        };
        join_all((0..).zip(tabs).map(comes_back)).await
    };
    let words = ["upgrade", next.to_str().unwrap()];
    let (done, back) = tokio::join!(cluster.ctl(&words), back);
    assert_eq!(done.json()["upgrade"]["outcome"], "upgraded", "{} {}", done.out, done.err);
    for (user, mut tab, mut welcome) in back {
        // The worker that it came back to may have been replaced after that.
        while cluster.quote(&user).await.status == 404 {
            assert_eq!(tab.closed().await, CloseCode::Restart);
            (tab, welcome) = again(at, &user, &welcome).await;
            assert_eq!(welcome["resumed"], true, "{user}");
        }
        tab.until("quote").await;
    }
    // A certificate that is renewed meanwhile is in force in the end, and tickets hold.
    eventually("the new one is presented", async || {
        if presented(at, NAME).await == der("renewed.crt") { Ok(()) } else { Err("the first".to_owned()) }
    })
    .await;
    let resumed = connect(at, &own, NAME).await;
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
}

/// Reads until these words come, or the end.
async fn reads(stream: &mut TlsStream<TcpStream>, text: &mut String, words: &str) {
    let mut bytes = [0; 4096];
    while !text.contains(words) {
        let n = in_time(words, stream.read(&mut bytes)).await.unwrap_or(0);
        if n == 0 {
            assert!(words.is_empty(), "no {words} in {text}");
            return;
        }
        text.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
}

async fn listen(at: SocketAddr, last: &str) -> TlsStream<TcpStream> {
    let mut stream = connect(at, &client(None), NAME).await;
    let head = format!("GET /api/v1/events?user_id=sse&channels=none HTTP/1.1\r\nHost: {NAME}\r\n{last}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Comes back after the last event of `text`; a worker that leaves sends it on to the next.
async fn listens_again(at: SocketAddr, text: &str) -> (TlsStream<TcpStream>, String) {
    let last = text.rsplit("id: ").next().unwrap().split('\n').next().unwrap();
    loop {
        let mut stream = listen(at, &format!("Last-Event-ID: {last}\r\n")).await;
        let mut text = String::new();
        reads(&mut stream, &mut text, "event: ").await;
        reads(&mut stream, &mut text, "\n\n").await;
        if text.contains("event: welcome") {
            return (stream, text);
        }
        assert!(text.contains("\"code\":1012"), "{text}");
    }
}

#[tokio::test]
async fn events_and_polls_go_on_through_a_replacement() {
    let cluster = secured("").start().await;
    let at = port(&cluster, "http-tls").await;
    let mut stream = listen(at, "").await;
    let mut text = String::new();
    reads(&mut stream, &mut text, "event: welcome").await;
    assert_eq!(cluster.quote("sse").await.status, 202);
    reads(&mut stream, &mut text, "event: quote").await;
    reads(&mut stream, &mut text, "\n\n").await;
    let polled =
        |text: &str| -> Value { serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap() };
    let first = "/api/v1/poll?user_id=poll&channels=none";
    let first = polled(&ask(connect(at, &client(None), NAME).await, first, NAME).await.unwrap());
    let listener = async {
        reads(&mut stream, &mut text, "restarting").await;
        reads(&mut stream, &mut text, "").await;
        listens_again(at, &text).await
    };
    let (_, (mut again, mut text)) = tokio::join!(replace(&cluster), listener);
    assert!(text.contains("\"resumed\":true"), "{text}");
    if cluster.quote("sse").await.status == 404 {
        // The worker that it came back to was replaced after that.
        reads(&mut again, &mut text, "restarting").await;
        reads(&mut again, &mut text, "").await;
        (again, text) = listens_again(at, &text).await;
        assert_eq!(cluster.quote("sse").await.status, 202);
    }
    reads(&mut again, &mut text, "event: quote").await;
    // The first answer may be that the session has moved: the quote comes with the next one, then.
    let mut cursor = first["cursor"].as_str().unwrap().to_owned();
    let polling = async {
        loop {
            let path = format!("/api/v1/poll?user_id=poll&cursor={cursor}");
            let next = polled(&ask(connect(at, &client(None), NAME).await, &path, NAME).await.unwrap());
            if next["messages"].to_string().contains("\"quote\"") {
                return;
            }
            cursor = next["cursor"].as_str().unwrap().to_owned();
        }
    };
    tokio::join!(cluster.quote("poll"), in_time("a quote by polling", polling));
}

#[tokio::test]
async fn who_does_not_read_ends_alone() {
    let more = "[limits]\nmessages_per_session = \"0\"\nquotes_per_user = \"0\"\n[[channels]]\nname = \"news\"\npublish = \"anyone\"\n";
    let text = format!("{}{more}[ws]\nlisten_tls = \"127.0.0.1:0\"\nslow_timeout = \"1s\"\n", SECURED);
    let cluster = secured("").config(&text).workers(1).start().await;
    let at = port(&cluster, "ws-tls").await;
    let (deaf, _) = Tab::open(at, &client(None), "user_id=deaf&channels=news").await;
    let (mut well, _) = Tab::open(at, &client(None), "user_id=well&channels=news").await;
    let news = serde_json::json!({ "data": "x".repeat(8000) }).to_string();
    let mut sent = 0;
    eventually("the deaf one has gone", async || {
        for _ in 0..50 {
            let request = crate::harness::post("/api/v1/channels/news/messages", news.clone());
            assert_eq!(cluster.administer(&request).await.status, 202);
            well.until("message").await;
            sent += 1;
        }
        let sessions = cluster.stats().await["totals"]["sessions"].clone();
        if sessions == 1 { Ok(()) } else { Err(format!("{sessions} {sent}")) }
    })
    .await;
    cluster.logged(&["slow-consumer"]).await;
    drop(deaf);
}

const SECURED: &str = "[http]\nhosts = [\"one.example.com\"]\nlisten_tls = \"127.0.0.1:0\"\n\
                       [tls]\ncert = \"{dir}/own.crt\"\nkey = \"{dir}/own.key\"\n";

#[tokio::test]
async fn a_certificate_that_ends_soon_is_told_of() {
    let test = "a_certificate_that_ends_soon_is_told_of";
    let Some(openssl) = which("openssl", test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new(openssl)
        .current_dir(folder.path())
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "10",
        ])
        .args(["-keyout", "own.key", "-out", "own.crt", "-subj", "/CN=a"])
        .args(["-addext", "subjectAltName=DNS:one.example.com"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let cluster =
        cluster().config(SECURED).file("own.crt", &read("own.crt")).file("own.key", &read("own.key"));
    let cluster = cluster.start().await;
    cluster.logged(&["certificate-ends", "days=9"]).await;
    let metrics = cluster.administer(&crate::harness::get("/metrics")).await;
    let line =
        metrics.text().lines().find(|line| line.starts_with("btc_cluster_certificate_expiry_seconds{"));
    let left: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a gauge");
    assert!((8.0 * 86_400.0..=10.0 * 86_400.0).contains(&left), "{left}");
}
