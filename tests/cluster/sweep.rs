//! Clients that are dead or deaf: noticed, told why, forgotten everywhere.

use crate::harness::{
    Cluster, Raw, Recorder, Stopwatch, alone, cluster, eventually, promised, resident, within,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FAST: &str = "[heartbeat]\ninterval = \"1s\"\ntimeout = \"2s\"";

async fn nobody_is_left(cluster: &Cluster) {
    eventually("nobody is left", async || {
        let stats = cluster.stats().await;
        let (totals, zero) = (&stats["totals"], json!(0));
        let sums = [
            &totals["sessions"],
            &totals["users"],
            &totals["by_endpoint"]["ws"],
            &totals["by_transport"]["websocket"],
        ];
        let rows = stats["workers"].as_array().unwrap();
        let empty = sums.iter().all(|sum| **sum == zero || sum.is_null())
            && rows.iter().all(|row| row["sessions"] == 0 && row["users"] == 0)
            && stats["users"] == json!([]);
        if empty { Ok(()) } else { Err(stats.to_string()) }
    })
    .await;
    assert_eq!(cluster.ctl(&["sessions"]).await.json(), json!([]));
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_and_forgotten() {
    let cluster = cluster().workers(2).config(FAST).start().await;
    let mut dead = Raw::session(cluster.ws, "/ws?user_id=dead&channels=none").await;
    let begin = Stopwatch::start();
    let mut pings = 0;
    let close = loop {
        let frame = dead.next().await.expect("a close frame");
        pings += usize::from(frame.opcode == 9);
        if let Some(close) = frame.close() {
            break close;
        }
    };
    let (time, net) = (begin.elapsed(), begin.net());
    assert_eq!((close, pings > 0), ((4201, "heartbeat-timeout".into()), true));
    assert!(time > Duration::from_millis(1_800), "{time:?}");
    assert!(net < promised(Duration::from_millis(3_200)), "{time:?}, {net:?} of it without load");
    assert_eq!(cluster.quote("dead").await.problem().0, 404);
    nobody_is_left(&cluster).await;
}

#[tokio::test]
async fn a_client_that_gives_any_sign_of_life_stays() {
    let cluster = cluster().workers(2).config(FAST).start().await;
    let polite = Recorder::of(cluster.quiet_tab("polite").await);
    // Answers no ping, but says something.
    let mut talker = Raw::session(cluster.ws, "/ws?user_id=talker&channels=none").await;
    let end = Instant::now() + Duration::from_millis(4_500);
    while Instant::now() < end {
        sleep(Duration::from_millis(700)).await;
        talker.frame(0x8A, b"unasked").await;
    }
    assert_eq!(polite.closed(), None);
    assert_eq!(cluster.quote("talker").await.status, 202);
    assert_eq!(cluster.quote("polite").await.status, 202);
}

#[tokio::test]
async fn nobody_is_pruned_because_the_server_itself_stood_still() {
    let cluster = cluster().workers(1).config(FAST).start().await;
    let tab = cluster.quiet_tab("alice").await;
    let first = [cluster.pid, cluster.master().await];
    let pids: Vec<u32> = cluster.children().await.into_iter().chain(first).collect();
    let polite = Recorder::of(tab);
    pids.iter().for_each(|pid| crate::harness::kill(*pid, rustix::process::Signal::STOP));
    sleep(Duration::from_secs(4)).await;
    pids.iter().for_each(|pid| crate::harness::kill(*pid, rustix::process::Signal::CONT));
    eventually("it serves again", async || match cluster.quote("alice").await.status {
        202 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(polite.closed(), None, "one round of grace");
    assert_eq!(cluster.worker(1).await.restarts, 0, "nor is a worker");
}

#[tokio::test]
async fn a_changed_heartbeat_is_kept_from_then_on() {
    let cluster = cluster().workers(1).start().await;
    let mut dead = Raw::session(cluster.ws, "/ws?user_id=dead&channels=none").await;
    let polite = Recorder::of(cluster.quiet_tab("polite").await);
    cluster.reconfigure(FAST).await;
    assert_eq!(dead.closed().await.0, 4201);
    assert_eq!(polite.closed(), None);
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_and_nobody_waits_for_it() {
    let _alone = alone().await;
    let config =
        "[limits]\nmessages_per_session = \"0\"\n[ws]\nslow_timeout = \"2s\"\n[[channels]]\nname = \"news\"";
    let cluster = cluster().workers(1).config(config).start().await;
    let pid = cluster.worker(1).await.pid.unwrap();
    let mut polite = cluster.tab_with("user_id=polite&channels=news").await;
    let mut deaf = vec![];
    for n in 0..20 {
        deaf.push(Raw::narrow(cluster.ws, &format!("/ws?user_id=deaf-{n}&channels=news")).await);
    }
    let before = resident(pid);
    let text = json!({"data": "x".repeat(15_000)}).to_string();
    let mut slowest = Duration::ZERO;
    within(promised(Duration::from_secs(20)), "the deaf are cut", async || {
        let begin = Stopwatch::start();
        let sent = cluster.administer(&crate::harness::post("/api/v1/channels/news/messages", &text)).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        polite.next("message").await;
        slowest = slowest.max(begin.net());
        let left = cluster.stats().await["totals"]["sessions"].as_u64().unwrap();
        if left == 1 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < 16 << 20, "20 queues of 64 KiB: {grown} bytes");
    // Who waited for a deaf one would wait for slow_timeout.
    assert!(slowest < promised(Duration::from_millis(1_500)), "the others waited {slowest:?}");
    assert_eq!(polite.until_pong().await, [] as [Value; 0], "and missed nothing");
    // What was on its way to them is there; then they are told.
    for mut deaf in deaf.into_iter().take(3) {
        assert_eq!(deaf.closed().await, (4102, "slow-consumer".into()));
    }
}

#[tokio::test]
async fn prices_to_a_slow_reader_are_conflated_and_answers_are_not() {
    let config = "[limits]\nmessages_per_session = \"0\"\n[provider.mock]\ntick = \"1ms\"\n[price]\npublish_interval = \"0s\"\n[ws]\noutbox = \"16MiB\"";
    let cluster = cluster().workers(1).config(config).start().await;
    let mut slow = Raw::narrow(cluster.ws, "/ws?user_id=slow&channels=price:BTC-USD").await;
    // Fills what the kernel takes, and a little more.
    let echo = json!({"type": "echo", "data": "x".repeat(60_000)}).to_string();
    let mut sent = 0;
    eventually("the socket is full", async || {
        slow.frame(0x81, echo.as_bytes()).await;
        sent += 1;
        sleep(Duration::from_millis(10)).await;
        let text = cluster.administer(&crate::harness::get("/metrics")).await.text().to_owned();
        let conflated = text.lines().filter(|line| !line.starts_with('#') && line.contains("conflated"));
        let some =
            conflated.filter_map(|line| line.rsplit_once(' ')).any(|(_, n)| n.parse::<f64>().unwrap() > 0.0);
        if some { Ok(()) } else { Err(text) }
    })
    .await;
    let (mut echoes, mut last, mut gap) = (0, 0, false);
    while echoes < sent || !gap {
        let message = slow.next().await.expect("the session stays").json();
        match message["type"].as_str() {
            Some("echo") => echoes += 1,
            Some("price") => {
                let seq = message["seq"].as_u64().unwrap();
                assert!(seq > last, "no tab goes back in time: {seq} after {last}");
                gap |= last > 0 && seq > last + 1;
                last = seq;
            }
            _ => {}
        }
    }
    assert_eq!(echoes, sent, "no answer is dropped");
}

#[tokio::test]
async fn whatever_way_sessions_end_nothing_of_them_is_left() {
    let cluster = cluster().workers(3).start().await;
    let mut tabs = vec![];
    for n in 0..90 {
        tabs.push(cluster.tab(&format!("user-{}", n % 30)).await);
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], 90);
    for (n, mut tab) in tabs.into_iter().enumerate() {
        match n % 4 {
            0 => drop(tab),
            1 => tab.leave().await,
            2 => assert_eq!(cluster.ctl(&["kick", tab.session()]).await.code, Some(0)),
            _ => {
                tab.send(tokio_tungstenite::tungstenite::Message::binary(vec![1])).await;
                assert_eq!(tab.closed().await.0, 1003);
            }
        }
    }
    nobody_is_left(&cluster).await;
}
