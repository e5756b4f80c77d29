//! Sessions go on while their processes are replaced: no connection is closed, nothing is lost, nothing comes twice.

use crate::harness::{
    Cluster, Connection, Heard, Listener, Poller, Raw, Recorder, Stopwatch, Tab, alone, cluster, eventually,
    kill, masked, post, promised, quote_for, within,
};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const OPEN: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\n\
                    [limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\nbytes_per_session = \"0\"\n";

async fn publish(cluster: &Cluster, n: usize) {
    let request = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
    assert_eq!(cluster.administer(&request).await.status, 202);
}

async fn pids(cluster: &Cluster) -> BTreeSet<u32> {
    cluster.workers().await.iter().filter_map(|worker| worker.pid).collect()
}

/// Waits until so many workers serve, none of them one of these, and no other process is left.
async fn settled(cluster: &Cluster, workers: usize, old: &BTreeSet<u32>) {
    within(promised(Duration::from_secs(20)), &format!("{workers} other workers serve"), async || {
        let rows = cluster.ctl(&["workers"]).await.json();
        let rows = rows.as_array().unwrap();
        let is_new = |row: &&Value| {
            row["state"] == "ready" && !old.iter().any(|pid| Some(u64::from(*pid)) == row["pid"].as_u64())
        };
        let new = rows.iter().filter(is_new).count();
        if (new, rows.len()) == (workers, workers) { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
}

/// Replaces all workers.
async fn replaced(cluster: &Cluster, workers: usize) {
    let old = pids(cluster).await;
    cluster.signal(Signal::USR2);
    settled(cluster, workers, &old).await;
}

/// The next `moved` of a main session.
async fn moved(tab: &mut Tab) -> Value {
    loop {
        let message = tab.next("system").await;
        if message["event"] == "moved" {
            return message;
        }
    }
}

#[tokio::test]
async fn a_tab_is_told_that_it_has_moved_and_all_it_had_goes_on() {
    let _alone = alone().await;
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    tab.say(&json!({"type": "subscribe", "channels": ["chat:lobby"], "id": 1})).await;
    tab.next("ack").await;
    for n in 0..3usize {
        let old = pids(&cluster).await;
        cluster.signal(Signal::USR2);
        let told = moved(&mut tab).await;
        settled(&cluster, 1, &old).await;
        let worker = cluster.worker(1).await;
        assert_eq!(told["worker"], json!({"id": 1, "pid": worker.pid}));
        assert_eq!(told["moves"], n + 1);
        assert!(told["silence_ms"].as_u64().unwrap() < 1000, "{told}");
        publish(&cluster, n).await;
        assert_eq!(tab.next("message").await["data"], n);
        tab.say(&json!({"type": "publish", "channel": "chat:lobby", "data": n, "id": 2})).await;
        assert_eq!(tab.next("message").await["channel"], "chat:lobby");
        assert_eq!(cluster.quote("alice").await.status, 202);
        tab.quote().await;
        assert_eq!(cluster.stats().await["totals"]["sessions"], 1);
    }
    // The token of before holds.
    let token = tab.welcome["resume"].as_str().unwrap().to_owned();
    drop(tab);
    let back = cluster.tab_with(&format!("user_id=alice&channels=none&resume={token}")).await;
    assert_eq!((&back.welcome["resumed"], &back.welcome["moves"]), (&json!(true), &json!(3)));
    let log = cluster.log();
    assert!(!log.contains("directory-resynchronised") && !log.contains("child-died"), "{log}");
}

#[tokio::test]
async fn half_a_frame_is_sent_before_and_half_after() {
    let _alone = alone().await;
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let mut echo = Raw::session(cluster.ws, "/echo").await;
    let mut main = Raw::session(cluster.ws, "/ws?user_id=a&channels=none").await;
    main.next().await;
    let frame = masked(0x81, "x".repeat(1000).as_bytes());
    echo.write(&frame[..500]).await;
    // A message in fragments: the first, and half of a letter.
    main.frame(0x01, br#"{"type":"echo","id":1,"data":""#).await;
    main.frame(0x00, &"ž".as_bytes()[..1]).await;
    eventually("the worker has read it", async || {
        let stats = cluster.stats().await;
        if stats["totals"]["sessions"] == 2 { Ok(()) } else { Err(stats.to_string()) }
    })
    .await;
    replaced(&cluster, 1).await;
    echo.write(&frame[500..]).await;
    main.frame(0x00, &"ž".as_bytes()[1..]).await;
    main.frame(0x80, br#""}"#).await;
    assert_eq!(echo.next().await.unwrap().payload, "x".repeat(1000).as_bytes());
    loop {
        let heard = main.next().await.expect("no close").json();
        if heard["type"] == "echo" {
            assert_eq!(heard["data"], "ž");
            break;
        }
        assert_eq!(heard["event"], "moved");
    }
}

#[tokio::test]
async fn listeners_to_events_go_on_in_chunks_and_without() {
    let _alone = alone().await;
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let path = "/api/v1/events?user_id=bob&channels=news";
    let mut chunked = Listener::ask(cluster.http, path, "", "1.1").await;
    let mut plain = Listener::ask(cluster.http, path, "", "1.0").await;
    for listener in [&mut chunked, &mut plain] {
        listener.next("welcome").await;
    }
    for n in 0..3 {
        publish(&cluster, n).await;
        replaced(&cluster, 1).await;
        for listener in [&mut chunked, &mut plain] {
            assert_eq!(listener.next("message").await.data["data"], n);
        }
    }
    assert_eq!(cluster.quote("bob").await.json()["sessions"], 2);
    let mut ids = vec![];
    for mut listener in [chunked, plain] {
        ids.extend(listener.next("quote").await.id);
        drop(listener);
    }
    let mut back = Listener::again(cluster.http, "user_id=bob", &ids[0]).await;
    assert_eq!(back.next("welcome").await.data["resumed"], true);
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_and_goes_on_with_its_cursor() {
    let _alone = alone().await;
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let mut poller = Poller::new(cluster.http, "user_id=carol&channels=news");
    poller.poll().await;
    let request = poller.request();
    let at = cluster.http;
    let waits = tokio::spawn(async move {
        let mut connection = Connection::open(at).await.unwrap();
        connection.ask(&request).await
    });
    replaced(&cluster, 1).await;
    let answer = waits.await.unwrap();
    assert_eq!((answer.status, &answer.json()["messages"]), (200, &json!([])));
    publish(&cluster, 7).await;
    let heard = poller.until("message").await;
    assert!(heard.iter().any(|message| message["data"] == 7), "{heard:?}");
    assert_eq!(cluster.stats().await["totals"]["sessions"], 1);
}

#[tokio::test]
async fn the_other_endpoints_move_in_silence() {
    let _alone = alone().await;
    let config = format!("{OPEN}[command]\nping_delay = \"3s\"\n[provider.mock]\ntick = \"200ms\"\n");
    let cluster = cluster().workers(1).config(&config).start().await;
    let mut one = cluster.open("/broadcast?user_id=one").await.unwrap().greeted().await;
    let mut two = cluster.open("/broadcast?user_id=two").await.unwrap().greeted().await;
    let mut chat = cluster.open("/chat").await.unwrap();
    let mut command = cluster.open("/command").await.unwrap();
    command.text().await;
    let mut stream = cluster.open("/stream1").await.unwrap();
    command.say_text(r#"{"action":"PING"}"#).await;
    command.say_text(r#"{"action":"ECHO","data":"first"}"#).await;
    command.text().await;
    stream.message().await;
    // News of comings is over.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    one.say_text("before").await;
    while two.message().await["data"] != "before" {}
    while one.message().await["data"] != "before" {}
    replaced(&cluster, 1).await;
    two.say_text("after").await;
    for tab in [&mut one, &mut two] {
        loop {
            let heard = tab.message().await;
            if heard["data"] == "after" {
                break;
            }
            assert!(
                heard["event"] == "heartbeat" || heard["type"] == "broadcast" || heard["type"] == "echo",
                "{heard}"
            );
            assert_ne!(heard["type"], "client_connected");
        }
    }
    chat.say_text(r#"{"name":"a","message":"hello"}"#).await;
    chat.text().await;
    assert_eq!(command.text().await, "PONG");
    for _ in 0..3 {
        assert_eq!(stream.message().await["type"], "price");
    }
}

#[tokio::test]
async fn a_slow_reader_gets_all_that_waits_for_it() {
    let _alone = alone().await;
    let cluster = cluster().workers(1).config(&format!("{OPEN}[ws]\noutbox = \"2MiB\"\n")).start().await;
    let mut slow = Raw::narrow(cluster.ws, "/ws?user_id=slow&channels=news").await;
    let long = "x".repeat(8_000);
    // More than the kernel takes, less than an outbox.
    for n in 0..100 {
        let request = post("/api/v1/channels/news/messages", json!({ "data": [n, long] }).to_string());
        assert_eq!(cluster.administer(&request).await.status, 202);
    }
    replaced(&cluster, 1).await;
    publish(&cluster, 100).await;
    let mut next = 0;
    while next <= 100 {
        let heard = slow.next().await.expect("no close");
        assert_ne!(heard.opcode, 8, "{:?}", heard.close());
        let heard = heard.json();
        if heard["type"] == "message" {
            let n = if next < 100 { &heard["data"][0] } else { &heard["data"] };
            assert_eq!(*n, next);
            next += 1;
        }
    }
}

#[tokio::test]
async fn a_suspended_session_is_resumed_after() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut tokens = vec![];
    for n in 0..8 {
        let tab = cluster.tab_with(&format!("user_id=u{n}&channels=news")).await;
        tokens.push(tab.welcome["resume"].as_str().unwrap().to_owned());
    }
    eventually("all are suspended", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    publish(&cluster, 1).await;
    replaced(&cluster, 2).await;
    publish(&cluster, 2).await;
    for (n, token) in tokens.iter().enumerate() {
        let mut tab = cluster.tab_with(&format!("user_id=u{n}&channels=none&resume={token}")).await;
        assert_eq!((&tab.welcome["resumed"], &tab.welcome["moves"]), (&json!(true), &json!(1)), "{n}");
        for expected in [1, 2] {
            assert_eq!(tab.next("message").await["data"], expected);
        }
    }
    assert!(!cluster.log().contains("directory-resynchronised"));
}

#[tokio::test]
async fn posts_during_a_replacement_are_answered_once_and_truthfully() {
    let _alone = alone().await;
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let users: Vec<_> = (0..12).map(|n| format!("u{n}")).collect();
    let mut own = vec![];
    for user in &users {
        own.push(Recorder::of(cluster.tab_with(&format!("user_id={user}&channels=news")).await));
    }
    let before = pids(&cluster).await;
    cluster.signal(Signal::USR2);
    let (mut accepted, mut published) = (vec![], 0usize);
    loop {
        let rounds = users.iter().enumerate().map(|(n, user)| {
            let http = cluster.http;
            async move {
                let mut connection = Connection::open(http).await.expect("no connection is refused");
                (n, connection.ask(&quote_for(user)).await)
            }
        });
        for (n, answer) in join_all(rounds).await {
            assert_eq!(answer.status, 202, "{answer:?}");
            accepted.push((n, answer.json()["request_id"].to_string()));
        }
        publish(&cluster, published).await;
        published += 1;
        let rows = cluster.ctl(&["workers"]).await.json();
        let rows = rows.as_array().unwrap();
        let is_new = |row: &Value| {
            row["state"] == "ready" && !before.iter().any(|old| Some(u64::from(*old)) == row["pid"].as_u64())
        };
        if published > 20 && rows.len() == 3 && rows.iter().all(is_new) {
            break;
        }
        assert!(published < 2000, "not replaced: {rows:?}");
    }
    eventually("all has come", async || {
        for (n, recorder) in own.iter().enumerate() {
            let story = recorder.story();
            assert_eq!(story.closed, None);
            let mut got: Vec<_> = story.of("quote").map(|quote| quote["request_id"].to_string()).collect();
            let mut wanted: Vec<_> =
                accepted.iter().filter(|(of, _)| *of == n).map(|(_, id)| id.clone()).collect();
            got.sort();
            wanted.sort();
            let news: Vec<_> = story.of("message").map(|message| message["data"].as_u64().unwrap()).collect();
            if got != wanted || news != (0..published as u64).collect::<Vec<_>>() {
                return Err(format!(
                    "{n}: {} of {} quotes, {} of {published}",
                    got.len(),
                    wanted.len(),
                    news.len()
                ));
            }
        }
        Ok(())
    })
    .await;
    assert!(accepted.len() > 100, "{}", accepted.len());
}

#[tokio::test]
async fn a_thousand_sessions_move_and_none_is_closed() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut tabs = vec![];
    for chunk in 0..20 {
        let each = (0..50).map(|n| {
            let path = format!("/ws?user_id=u{}&channels=news", chunk * 50 + n);
            let ws = cluster.ws;
            async move { Tab::open(ws, &path).await.expect("a session").greeted().await }
        });
        tabs.extend(join_all(each).await);
    }
    let watch = Stopwatch::start();
    replaced(&cluster, 2).await;
    let took = watch.elapsed();
    publish(&cluster, 1).await;
    let heard = join_all(tabs.iter_mut().map(async |tab| {
        let told = moved(tab).await;
        assert_eq!(tab.next("message").await["data"], 1);
        told["silence_ms"].as_u64().unwrap()
    }))
    .await;
    let longest = heard.iter().max().unwrap();
    eprintln!("1000 sessions moved in {took:?}, longest silence {longest} ms");
    assert_eq!(cluster.stats().await["totals"]["sessions"], 1000);
    let log = cluster.log();
    assert!(!log.contains("directory-resynchronised"), "{log}");
}

/// The sessions of each worker, as the master knows them.
async fn sessions_at(cluster: &Cluster, worker: u64) -> usize {
    let listed = cluster.ctl(&["sessions"]).await.json();
    listed.as_array().unwrap().iter().filter(|session| session["worker"] == worker).count()
}

/// Two workers with sessions at both; the first does not run, and the master has given it what the second had.
async fn stuck(cluster: &Cluster) -> (Vec<(String, Tab)>, u32, u32) {
    let mut tabs = cluster.users_on_all("user", 2).await;
    for n in 0..20 {
        let user = format!("other-{n}");
        tabs.push((user.clone(), cluster.quiet_tab(&user).await));
    }
    let (target, source) = (cluster.worker(1).await.pid.unwrap(), cluster.worker(2).await.pid.unwrap());
    kill(target, Signal::STOP);
    cluster.configure(&format!("[cluster]\nworkers = 1\n{OPEN}"));
    cluster.signal(Signal::HUP);
    eventually("the sessions belong to the first worker", async || match sessions_at(cluster, 2).await {
        0 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    (tabs, target, source)
}

#[tokio::test]
async fn sessions_on_their_way_to_a_worker_that_dies_go_on_and_move_to_the_next() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config(&format!("[cluster]\nworkers = 2\n{OPEN}")).start().await;
    let (tabs, target, source) = stuck(&cluster).await;
    kill(target, Signal::KILL);
    settled(&cluster, 1, &[target, source].into()).await;
    // Those of the dead worker are adopted, the others go back to where they came from.
    let mut stay = tabs;
    for (user, tab) in &mut stay {
        tab.until_pong().await;
        assert_eq!(cluster.quote(user).await.json()["sessions"], 1, "{user}");
        tab.quote().await;
        tab.until_pong().await;
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], stay.len());
}

#[tokio::test]
async fn sessions_on_their_way_from_a_worker_that_dies_have_one_owner_or_none() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config(&format!("[cluster]\nworkers = 2\n{OPEN}")).start().await;
    let (mut tabs, target, source) = stuck(&cluster).await;
    kill(source, Signal::KILL);
    kill(target, Signal::CONT);
    settled(&cluster, 1, &[source].into()).await;
    let mut stay = 0;
    for (user, tab) in &mut tabs {
        tab.say(&json!({"type": "ping", "id": 1})).await;
        let lives = loop {
            match tab.hear().await {
                Heard::Message(message) if message["type"] == "pong" => break true,
                Heard::Closed(..) => break false,
                _ => {}
            }
        };
        assert!(lives || tab.worker() == 2, "{user}");
        let (receipt, expected) = (cluster.quote(user).await, if lives { 202 } else { 404 });
        assert_eq!(
            receipt.status,
            expected,
            "{user} of {}: {}\n{}",
            tab.worker(),
            receipt.text(),
            cluster.log()
        );
        stay += u32::from(lives);
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], stay);
}
