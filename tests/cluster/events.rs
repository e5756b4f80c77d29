//! Sessions over Server-Sent Events are sessions like all others.

use crate::harness::{Cluster, Listener, cluster, delete, eventually, kill, promised};
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_listener_is_welcomed_hears_prices_and_gets_its_quotes() {
    let cluster = cluster().workers(3).start().await;
    let mut listener = Listener::open(cluster.http, "user_id=alice&device=phone").await;
    let head = listener.head.to_lowercase();
    for line in [
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "x-accel-buffering: no",
        "transfer-encoding: chunked",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let welcome = listener.hear().await.expect("an event");
    assert_eq!((welcome.kind.as_str(), &welcome.data["resumed"]), ("welcome", &json!(false)));
    assert_eq!(welcome.data["device"], "phone");
    assert_eq!(welcome.data["channels"], json!(["stats", "price:BTC-USD"]));
    assert!(welcome.id.is_some_and(|id| id.ends_with(".0")));
    assert_eq!(listener.next("price").await.id, None, "state has no place to come back to");
    listener.next("stats").await;
    let receipt = cluster.quote("alice").await;
    assert_eq!((receipt.status, &receipt.json()["sessions"]), (202, &json!(1)));
    let quote = listener.next("quote").await;
    assert_eq!(quote.data["request_id"], receipt.json()["request_id"]);
    assert!(quote.id.is_some_and(|id| id.ends_with(".1")));
    let totals = cluster.stats().await["totals"].clone();
    assert_eq!(totals["by_transport"], json!({"websocket": 0, "sse": 1, "poll": 0}));
    assert_eq!((&totals["sessions"], &totals["by_endpoint"]["ws"]), (&json!(1), &json!(1)));
    drop(listener);
    eventually("the session is gone", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(cluster.quote("alice").await.status, 404);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_same_without_chunks() {
    let cluster = cluster().start().await;
    let path = "/api/v1/events?user_id=old&channels=none";
    let mut listener = Listener::ask(cluster.http, path, "", "1.0").await;
    assert!(!listener.head.to_lowercase().contains("chunked"), "{}", listener.head);
    assert_eq!(listener.hear().await.expect("an event").kind, "welcome");
    assert_eq!(cluster.quote("old").await.status, 202);
    assert_eq!(listener.next("quote").await.id.map(|id| id.ends_with(".1")), Some(true));
}

#[tokio::test]
async fn it_is_limited_and_refused_like_the_others() {
    let cluster = cluster().config("[limits]\nsessions_per_user = 1\n").start().await;
    let _tab = cluster.quiet_tab("alice").await;
    let ask = async |query: &str, headers: &str| {
        Listener::ask(cluster.http, &format!("/api/v1/events?{query}"), headers, "1.1").await.status
    };
    assert_eq!(ask("user_id=alice", "").await, 429);
    assert_eq!(ask("user_id=bob", "").await, 200);
    for query in
        ["", "user_id=a%20b", "user_id=a&channels=nonsense", "user_id=a&device=", "user_id=a&user_id=b"]
    {
        assert_eq!(ask(query, "").await, 400, "{query}");
    }
    assert_eq!(ask("user_id=carol", "Origin: https://evil.example\r\n").await, 403);
    assert_eq!(ask("user_id=dora", "Last-Event-ID: nonsense\r\n").await, 200);
}

#[tokio::test]
async fn a_comment_comes_each_heartbeat_and_one_who_never_reads_is_let_go() {
    let times = "[heartbeat]\ninterval = \"300ms\"\ntimeout = \"1200ms\"\n";
    let cluster = cluster().config(times).start().await;
    let mut listener = Listener::open(cluster.http, "user_id=alice&channels=none").await;
    assert_eq!(listener.hear().await.expect("an event").kind, "welcome");
    listener.until_comments(6).await;
    assert_eq!(
        cluster.stats().await["totals"]["sessions"],
        1,
        "silent for longer than the timeout, and there"
    );
}

#[tokio::test]
async fn who_is_disconnected_is_told_and_does_not_come_back() {
    let cluster = cluster().workers(2).start().await;
    let mut listener = Listener::open(cluster.http, "user_id=alice&channels=none").await;
    let welcome = listener.hear().await.expect("an event").data;
    let id = welcome["session_id"].as_str().unwrap();
    let gone = cluster.administer(&delete(&format!("/api/v1/sessions/{id}"))).await;
    assert_eq!(gone.status, 204);
    assert_eq!(listener.next("system").await.data["event"], "disconnected");
    let close = listener.next("close").await.data;
    assert_eq!((&close["code"], &close["reason"]), (&json!(4006), &json!("disconnected")));
    assert_eq!(listener.hear().await, None, "the response has ended");
    let last = listener.cut();
    for _ in 0..6 {
        let again = Listener::again(cluster.http, "user_id=alice&channels=none", &last).await;
        assert_eq!(again.status, 204, "on whichever worker");
    }
}

#[tokio::test]
async fn at_the_end_each_is_sent_away() {
    let mut cluster = cluster().start().await;
    let mut all = vec![];
    for n in 0..5 {
        let mut listener = Listener::open(cluster.http, &format!("user_id=u{n}&channels=none")).await;
        listener.next("welcome").await;
        all.push(listener);
    }
    cluster.signal(Signal::TERM);
    // Each closes its connection, as clients do: the daemon waits some seconds for one that does not.
    for mut listener in all {
        let event = listener.next("system").await.data;
        assert_eq!((&event["event"], event["reconnect_in_ms"].is_u64()), (&json!("shutdown"), true));
        let close = listener.next("close").await.data;
        assert_eq!((&close["code"], close["reconnect_in_ms"].is_u64()), (&json!(1001), true));
        assert_eq!(listener.hear().await, None);
    }
    assert!(cluster.ended(promised(Duration::from_secs(5))).await.success());
}

#[tokio::test]
async fn one_who_does_not_read_costs_nobody_anything_and_is_closed() {
    let config = "[limits]\nquotes_per_user = \"0\"\n[ws]\nslow_timeout = \"2s\"\n";
    let cluster = cluster().workers(1).config(config).start().await;
    let slow = Listener::open(cluster.http, "user_id=slow&channels=none").await;
    let mut quick = Listener::open(cluster.http, "user_id=quick&channels=none").await;
    // Until the kernel's buffers and the outbox are full, or nothing could be written for the slow timeout.
    let start = Instant::now();
    while cluster.quote("slow").await.status == 202 {
        assert!(start.elapsed() < promised(Duration::from_secs(60)), "it takes all there is");
        if start.elapsed().as_millis().is_multiple_of(7) {
            assert_eq!(cluster.quote("quick").await.status, 202);
            quick.next("quote").await;
        }
    }
    eventually("the slow one is closed", async || {
        let closed = cluster.get("/api/v1/stats").await.json()["totals"]["sessions"].clone();
        if closed == 1 { Ok(()) } else { Err(closed.to_string()) }
    })
    .await;
    assert_eq!(cluster.quote("quick").await.status, 202);
    quick.next("quote").await;
    drop(slow);
}

/// Eight listeners, with the process that each is on.
async fn eight(cluster: &Cluster) -> Vec<(usize, u64, Listener)> {
    let mut all = vec![];
    for n in 0..8 {
        let mut listener = Listener::open(cluster.http, &format!("user_id=u{n}&channels=none")).await;
        let welcome = listener.next("welcome").await.data;
        all.push((n, welcome["worker"]["pid"].as_u64().unwrap(), listener));
    }
    all
}

#[tokio::test]
async fn listeners_of_a_killed_worker_go_on_and_can_come_back() {
    let cluster = cluster().workers(2).start().await;
    let mut all = eight(&cluster).await;
    cluster.until_covered(all.len()).await;
    kill(u32::try_from(all[0].1).unwrap(), Signal::KILL);
    cluster.until_settled(1).await;
    for (n, _, listener) in &mut all {
        let receipt = cluster.quote(&format!("u{n}")).await;
        assert_eq!((receipt.status, &receipt.json()["sessions"]), (202, &json!(1)), "u{n}");
        let quote = listener.next("quote").await;
        assert_eq!(quote.data["request_id"], receipt.json()["request_id"]);
        assert!(quote.id.is_some_and(|id| id.ends_with(".1")), "numbers go on");
    }
    for (n, _, listener) in all {
        let last = listener.cut();
        let mut again = Listener::again(cluster.http, &format!("user_id=u{n}&channels=none"), &last).await;
        assert_eq!(again.next("welcome").await.data["resumed"], true, "u{n}");
    }
}

#[tokio::test]
async fn without_cover_a_worker_that_is_killed_takes_its_listeners_along_and_no_others() {
    let cluster = cluster().workers(2).config("[handover]\ncrash_cover = false\n").start().await;
    let mut all = eight(&cluster).await;
    let victim = all[0].1;
    kill(u32::try_from(victim).unwrap(), Signal::KILL);
    for (n, pid, listener) in &mut all {
        if *pid == victim {
            assert_eq!(listener.hear().await, None);
            let last = listener.last.clone().unwrap();
            let mut again =
                Listener::again(cluster.http, &format!("user_id=u{n}&channels=none"), &last).await;
            let welcome = again.next("welcome").await.data;
            assert_eq!(welcome["resumed"], false, "its session is gone, and that is said");
        } else {
            assert_eq!(cluster.quote(&format!("u{n}")).await.status, 202);
            listener.next("quote").await;
        }
    }
}
