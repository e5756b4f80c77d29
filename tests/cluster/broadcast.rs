//! `/broadcast`: what one client says goes to all others, on every worker; who comes and goes; the heartbeat.

use crate::harness::{
    Cluster, Heard, Recorder, Stopwatch, Tab, cluster, eventually, is_time, keys, kill, promised,
};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const OPEN: &str = "[limits]\nmessages_per_session = \"0\"\n";

async fn join(cluster: &Cluster, path: &str) -> Tab {
    cluster.open(path).await.expect("a session").greeted().await
}

/// The next message that somebody said.
async fn said(tab: &mut Tab) -> Value {
    loop {
        let message = tab.message().await;
        if ["echo", "broadcast"].contains(&message["type"].as_str().unwrap()) {
            return message;
        }
    }
}

#[tokio::test]
async fn a_browser_that_names_no_path_is_welcomed_echoed_and_heard_by_the_others() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut all = vec![];
    for n in 0..9 {
        all.push(join(&cluster, if n == 0 { "/?user_id=alice" } else { "/broadcast" }).await);
    }
    let workers: std::collections::BTreeSet<_> = all.iter().map(Tab::worker).collect();
    assert_eq!(workers.len(), 3, "the test wants a client on each worker");
    let welcome = &all[0].welcome;
    let expected = ["client", "heartbeat_ms", "server", "session_id", "time", "type", "worker"];
    assert_eq!((keys(welcome), &welcome["client"]), (expected.to_vec(), &json!("alice")));
    assert_eq!(all[1].welcome["client"], all[1].welcome["session_id"], "an address is nobody's business");
    for (text, data) in [
        (r#"{"type":"hello","n":[1.50]}"#, json!({"type": "hello", "n": [1.5]})),
        ("just text", json!("just text")),
        ("7", json!(7)),
        ("{broken \"", json!("{broken \"")),
    ] {
        all[0].say_text(text).await;
        for (n, tab) in all.iter_mut().enumerate() {
            let message = said(tab).await;
            assert_eq!(keys(&message), ["data", "from", "time", "type"]);
            assert_eq!(message["type"], if n == 0 { "echo" } else { "broadcast" }, "{message}");
            assert_eq!((&message["data"], &message["from"]), (&data, &json!("alice")));
            assert!(is_time(message["time"].as_str().unwrap()));
        }
    }
    assert_eq!(cluster.stats().await["totals"]["by_endpoint"]["broadcast"], 9);
}

#[tokio::test]
async fn among_many_who_speak_at_once_each_is_echoed_and_hears_all_others_once_in_order() {
    const EACH: usize = 60;
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut all = vec![];
    for n in 0..8 {
        all.push(join(&cluster, &format!("/broadcast?user_id=u{n}")).await);
    }
    let speak = all.into_iter().enumerate().map(async |(me, mut tab)| {
        for n in 0..EACH {
            tab.say_text(n.to_string()).await;
        }
        let mut next = [0; 8];
        for _ in 0..8 * EACH {
            let message = said(&mut tab).await;
            let from: usize = message["from"].as_str().unwrap()[1..].parse().unwrap();
            assert_eq!(message["type"], if from == me { "echo" } else { "broadcast" });
            assert_eq!(message["data"], next[from], "of {from} at {me}");
            next[from] += 1;
        }
        tab.say_text("last").await;
        while said(&mut tab).await["data"] != "last" {}
        tab
    });
    let _all = join_all(speak).await;
}

#[tokio::test]
async fn who_comes_and_goes_is_told_in_few_messages() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut first = join(&cluster, "/broadcast?user_id=first").await;
    let second = join(&cluster, "/broadcast?user_id=second").await;
    // Its own coming may be told when it is there already: before the other's, or together with it.
    let mut told = first.next("client_connected").await;
    if told["clients"] == json!(["first"]) {
        told = first.next("client_connected").await;
    }
    let own = usize::from(told["clients"][0] == "first");
    assert_eq!((&told["count"], &told["total"]), (&json!(own + 1), &json!(2)), "{told}");
    assert_eq!(told["clients"][own], "second", "{told}");
    second.leave().await;
    let told = first.next("client_disconnected").await;
    assert_eq!(
        (&told["clients"], &told["count"], &told["total"]),
        (&json!(["second"]), &json!(1), &json!(1))
    );
    let watcher = Recorder::of(first);
    let begin = Instant::now();
    let crowd = join_all((0..200).map(|_| join(&cluster, "/broadcast"))).await;
    let heard = |kind: &str| {
        let story = watcher.story();
        let (mut messages, mut count) = (0, 0);
        for message in story.of(kind) {
            messages += 1;
            count += message["count"].as_u64().unwrap();
            assert!(message["clients"].as_array().unwrap().len() <= 20, "{message}");
        }
        (messages, count)
    };
    let all_of = async |kind: &str| {
        eventually(&format!("all 200 are told by {kind}"), async || match heard(kind) {
            (messages, 200) => Ok(messages),
            other => Err(format!("{other:?}")),
        })
        .await
    };
    let messages = all_of("client_connected").await;
    let most = 2 + begin.elapsed().as_secs();
    assert!(messages <= most, "{messages} messages in {most} s");
    drop(crowd);
    all_of("client_disconnected").await;
    let total = watcher.story().of("client_disconnected").last().unwrap()["total"].clone();
    assert_eq!(total, 1);
}

#[tokio::test]
async fn the_heartbeat_says_how_it_is_and_its_pace_is_live() {
    let cluster = cluster().config("[broadcast]\nheartbeat = \"200ms\"").start().await;
    let (begin, mut beats) = (Stopwatch::start(), 1);
    let mut tab = join(&cluster, "/broadcast").await;
    let _other = join(&cluster, "/broadcast").await;
    // Some that were said before the second came may be on their way.
    while tab.next("system").await["connections"] != 2 {
        beats += 1;
    }
    let both = Stopwatch::start();
    for _ in 0..5 {
        let beat = tab.next("system").await;
        beats += 1;
        assert_eq!(keys(&beat), ["connections", "event", "memory_bytes", "time", "type", "uptime_s"]);
        assert_eq!((&beat["event"], &beat["connections"]), (&json!("heartbeat"), &json!(2)));
        assert!(beat["memory_bytes"].as_u64().unwrap() > 1 << 20, "{beat}");
    }
    let (took, most) = (begin.elapsed(), beats - 2);
    assert!(took >= Duration::from_millis(200) * most, "{beats} heartbeats in {took:?}");
    assert!(both.net() < promised(Duration::from_secs(3)), "{:?}", both.elapsed());
    cluster.reconfigure("[broadcast]\nheartbeat = \"1h\"").await;
    let mut last = join(&cluster, "/broadcast").await;
    last.say_text("what was on its way comes before this").await;
    said(&mut last).await;
    let watcher = Recorder::of(last);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(watcher.story().of("system").count(), 0);
}

/// Six or more, some of them on each of two workers.
async fn on_both(cluster: &Cluster) -> Vec<Tab> {
    let mut all: Vec<Tab> = vec![];
    while all.iter().map(Tab::worker).collect::<std::collections::BTreeSet<_>>().len() < 2 || all.len() < 6 {
        all.push(join(cluster, "/broadcast").await);
    }
    all
}

#[tokio::test]
async fn nobody_is_told_as_gone_with_a_killed_worker_and_all_are_heard() {
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut all = on_both(&cluster).await;
    cluster.until_covered(all.len()).await;
    kill(all[0].pid(), Signal::KILL);
    cluster.until_settled(1).await;
    for n in 0..all.len() {
        all[n].say_text(n.to_string()).await;
        for (me, tab) in all.iter_mut().enumerate() {
            let message = loop {
                let message = tab.message().await;
                assert_ne!(message["type"], "client_disconnected", "{message}");
                if message["type"] == "echo" || message["type"] == "broadcast" {
                    break message;
                }
            };
            assert_eq!((&message["data"], message["type"] == "echo"), (&json!(n), me == n), "once, in order");
        }
    }
    assert_eq!(cluster.stats().await["totals"]["by_endpoint"]["broadcast"], all.len());
}

#[tokio::test]
async fn without_cover_a_killed_workers_clients_are_told_as_gone_and_a_stop_is_said_to_all() {
    let mut cluster =
        cluster().workers(2).config(&format!("{OPEN}[handover]\ncrash_cover = false\n")).start().await;
    let all = on_both(&cluster).await;
    let victim = all[0].pid();
    let (gone, mut left): (Vec<_>, Vec<_>) = all.into_iter().partition(|tab| tab.pid() == victim);
    kill(victim, Signal::KILL);
    let mut count = 0;
    while count < gone.len() as u64 {
        count += left[0].next("client_disconnected").await["count"].as_u64().unwrap();
    }
    assert_eq!(count, gone.len() as u64);
    left[0].say_text("still here").await;
    for tab in &mut left {
        assert_eq!(said(tab).await["data"], "still here");
    }
    cluster.signal(Signal::TERM);
    for mut tab in left {
        let (heard, end) = tab.farewell().await;
        let last = heard.last().unwrap();
        assert_eq!((&last["type"], &last["event"]), (&json!("system"), &json!("shutdown")), "{heard:?}");
        assert_eq!(end, (1001, "shutdown".into()));
    }
    assert!(cluster.ended(Duration::from_secs(10)).await.success());
}

#[tokio::test]
async fn the_root_is_whatever_endpoint_the_configuration_names() {
    let cluster = cluster().config("[ws]\nroot = \"chat\"").start().await;
    let mut chat = cluster.open("/").await.unwrap();
    chat.say_text("hi").await;
    assert_eq!(chat.hear().await, Heard::Text("hi".into()));
    cluster.reconfigure("[ws]\nroot = \"echo\"").await;
    let mut echo = cluster.open("/").await.unwrap();
    echo.say_text("{}").await;
    assert_eq!(echo.hear().await, Heard::Message(json!({})), "an echo, no wrong query");
    chat.say_text("{}").await;
    assert_eq!(chat.hear().await, Heard::Text("Wrong query".into()), "who is there stays what it is");
    cluster.reconfigure("[quotes]\ntimeout = \"2s\"").await;
    assert_eq!(join(&cluster, "/").await.welcome["type"], "welcome");
    cluster.configure("[ws]\nroot = \"nowhere\"");
    let refused = cluster.ctl(&["reload"]).await;
    assert!(refused.code == Some(1) && refused.out.contains("ws.root"), "{refused:?}");
}
