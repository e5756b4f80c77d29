//! `/{stream}`: the newest of one channel, pushed to whoever connects; so many for each user in the whole cluster.

use crate::harness::{
    Cluster, Response, Stopwatch, Tab, Worker, cluster, eventually, get, kill, promised, send_to, upgrade,
};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

async fn on(cluster: &Cluster, path: &str) -> Tab {
    cluster.open(path).await.unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"))
}

fn what(message: &Value) -> (Option<&str>, Option<&str>) {
    (message["type"].as_str(), message["channel"].as_str())
}

/// Opens as many streams of a user at once as there are paths.
async fn storm(cluster: &Cluster, paths: &[String]) -> (Vec<Tab>, Vec<Response>) {
    let (mut inside, mut outside) = (vec![], vec![]);
    for one in join_all(paths.iter().map(|path| cluster.open(path))).await {
        match one {
            Ok(tab) => inside.push(tab),
            Err(refusal) => outside.push(refusal),
        }
    }
    (inside, outside)
}

/// Streams of alice's, one after another.
fn paths(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("/stream{}?user_id=alice", n % 4 + 1)).collect()
}

async fn on_streams(cluster: &Cluster) -> u64 {
    cluster.stats().await["totals"]["by_endpoint"]["stream"].as_u64().unwrap()
}

async fn until_on_streams(cluster: &Cluster, count: u64) {
    eventually(&format!("{count} sessions are on streams"), async || match on_streams(cluster).await {
        n if n == count => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
}

#[tokio::test]
async fn each_of_the_four_pushes_its_newest_at_once_and_goes_on() {
    let cluster = cluster().config("[provider.mock]\ntick = \"100ms\"").start().await;
    cluster.tab_with("user_id=watcher&channels=candle:BTC-USD@1s").await.next("candle").await;
    let mut more = vec![];
    for (name, kind, channel) in [
        ("stream1", "price", Some("price:BTC-USD")),
        ("stream2", "price", Some("price:BTC-USD@1s")),
        ("stream3", "candle", Some("candle:BTC-USD@1s")),
        ("stream4", "stats", None),
    ] {
        let mut tab = on(&cluster, &format!("/{name}")).await;
        let begin = Stopwatch::start();
        for round in 0..3 {
            let message = tab.message().await;
            assert_eq!(what(&message), (Some(kind), channel), "{name}, {round}");
            if round == 0 {
                assert!(begin.net() < promised(Duration::from_millis(800)), "{name}: {:?}", begin.elapsed());
            }
            if kind == "stats" {
                break;
            }
        }
        // Whatever it says is ignored.
        tab.say(&json!({"type": "subscribe", "channels": ["stats"], "id": 1})).await;
        tab.send(Message::binary(vec![0, 1])).await;
        tab.say_text("{broken").await;
        // More sessions than ever: news for the statistics.
        more.extend([cluster.quiet_tab(name).await, cluster.quiet_tab(name).await]);
        let message = tab.message().await;
        assert_eq!(what(&message), (Some(kind), channel), "{name}");
        tab.leave().await;
    }
}

#[tokio::test]
async fn streams_are_listed_and_their_paths_answer_like_those_of_other_endpoints() {
    let cluster = cluster().start().await;
    let list = cluster.get("/api/v1/streams").await.json();
    assert_eq!((list["streams"].as_array().unwrap().len(), &list["connections_per_user"]), (4, &json!(3)));
    let second = json!({"name": "stream2", "path": "/stream2", "channel": "price:BTC-USD@1s"});
    assert_eq!(list["streams"][1], second);
    for port in [cluster.http, cluster.ws] {
        assert_eq!(send_to(port, &get("/stream1")).await.problem(), (426, "upgrade-required".into()));
        assert_eq!(send_to(port, &upgrade("/stream1?user_id=a%20b")).await.problem().0, 400);
        assert_eq!(send_to(port, &upgrade("/stream5")).await.problem().0, 404);
        assert_eq!(
            send_to(port, &upgrade("/stream1").without("Sec-WebSocket-Version")).await.status / 100,
            4
        );
        assert!(Tab::open(port, "/stream1?user_id=x").await.is_ok());
    }
}

#[tokio::test]
async fn of_thirty_at_once_on_different_workers_exactly_three_come_in() {
    let cluster = cluster().workers(3).start().await;
    let (mut inside, outside) = storm(&cluster, &paths(30)).await;
    assert_eq!((inside.len(), outside.len()), (3, 27));
    for refused in outside {
        assert_eq!(refused.problem(), (429, "user-stream-limit".into()));
    }
    let asked = send_to(cluster.http, &get("/stream1?user_id=alice")).await;
    assert_eq!(asked.problem(), (429, "user-stream-limit".into()), "the page asks why");
    let _other = on(&cluster, "/stream1?user_id=bob").await;
    let _main = cluster.quiet_tab("alice").await;
    let _chat = on(&cluster, "/chat?user_id=alice").await;
    assert_eq!(cluster.quote("alice").await.json()["sessions"], 1, "no quote goes to a stream");
    inside.pop().unwrap().leave().await;
    // The place is free as soon as the client has seen its close.
    let (again, refused) = storm(&cluster, &paths(10)).await;
    assert_eq!((again.len(), refused.len()), (1, 9));
    drop((inside, again));
    until_on_streams(&cluster, 1).await;
    let (anonymous, refused) = storm(&cluster, &vec!["/stream1".to_owned(); 10]).await;
    assert_eq!((anonymous.len(), refused.len()), (3, 7), "by its address");
    cluster.reconfigure("[limits]\nconnections_per_user = 5").await;
    let (more, refused) = storm(&cluster, &vec!["/stream1".to_owned(); 10]).await;
    assert_eq!((more.len(), refused.len()), (2, 8), "live");
}

#[tokio::test]
async fn a_newcomer_may_take_the_place_of_the_oldest_and_hears_of_the_devices() {
    let cluster = cluster().workers(3).start().await;
    let mut tabs = vec![];
    for path in
        ["/stream1?user_id=alice&device=tv", "/stream2?user_id=alice", "/stream1?user_id=alice&device=phone"]
    {
        tabs.push(on(&cluster, path).await);
    }
    let asked = send_to(cluster.http, &get("/stream1?user_id=alice&takeover=1")).await;
    assert_eq!(asked.status, 426, "it would come in: {asked:?}");
    for wrong in ["yes", "", "2"] {
        let refused = cluster.open(&format!("/stream1?user_id=alice&takeover={wrong}")).await.unwrap_err();
        assert_eq!(refused.problem(), (400, "invalid-query".into()), "{wrong}");
    }
    let refused = cluster.open("/stream1?user_id=alice&takeover=0").await.unwrap_err();
    assert_eq!(refused.problem(), (429, "user-stream-limit".into()));
    let mut new = on(&cluster, "/stream1?user_id=alice&device=watch&takeover=1").await;
    let told = json!({ "type": "system", "event": "took-over", "devices": ["tv", null, "phone"] });
    assert_eq!(new.message().await, told, "before anything else");
    assert_eq!(what(&new.message().await), (Some("price"), Some("price:BTC-USD")));
    let (last, close) = tabs.remove(0).farewell().await;
    assert_eq!(close, (4005, "replaced".into()));
    let said = last.last().expect("a word before the close");
    assert_eq!(
        (said["event"].as_str(), said["type"].as_str()),
        (Some("replaced"), Some("system")),
        "{last:?}"
    );
    assert!(said["reason"].as_str().unwrap().contains("newer stream"), "{said}");
    for tab in &mut tabs {
        tab.next("price").await;
    }
    until_on_streams(&cluster, 3).await;
    let mut bob = on(&cluster, "/stream1?user_id=bob&takeover=1").await;
    assert_eq!(bob.message().await["type"], "price", "nobody had to go");
}

#[tokio::test]
async fn of_thirty_that_take_over_at_once_the_last_three_stay() {
    let cluster = cluster().workers(3).start().await;
    let paths: Vec<_> = paths(30).iter().map(|path| format!("{path}&takeover=1")).collect();
    let (inside, outside) = storm(&cluster, &paths).await;
    assert_eq!((inside.len(), outside.len()), (30, 0));
    let ends = join_all(inside.into_iter().map(async |mut tab| {
        tokio::time::timeout(Duration::from_secs(3), tab.closed()).await.ok().map(|close| (close, tab))
    }));
    let ends: Vec<_> = ends.await;
    let replaced =
        ends.iter().flatten().filter(|((code, reason), _)| (*code, &**reason) == (4005, "replaced"));
    assert_eq!(replaced.count(), 27);
    assert_eq!(ends.iter().filter(|end| end.is_none()).count(), 3);
}

#[tokio::test]
async fn a_killed_workers_streams_go_on_and_keep_their_places() {
    let cluster = cluster().workers(3).start().await;
    let (mut inside, _) = storm(&cluster, &paths(12)).await;
    assert_eq!(inside.len(), 3);
    cluster.until_covered(3).await;
    let mine = |worker: &&Worker| worker.sessions > 0;
    let victim = cluster.workers().await.iter().find(mine).cloned().unwrap();
    kill(victim.pid.unwrap(), Signal::KILL);
    // While nobody holds them, and afterwards.
    for settled in [0, 1] {
        cluster.until_settled(settled).await;
        let (more, refused) = storm(&cluster, &paths(12)).await;
        assert_eq!((more.len(), refused.len()), (0, 12), "they have their places");
    }
    let restarted = Stopwatch::start();
    while restarted.elapsed() < Duration::from_millis(500) {
        for tab in &mut inside {
            tab.message().await;
        }
    }
    inside.pop().unwrap().leave().await;
    let (again, _) = storm(&cluster, &paths(12)).await;
    assert_eq!(again.len(), 1, "one is free");
    drop((inside, again));
    until_on_streams(&cluster, 0).await;
}

#[tokio::test]
async fn without_cover_a_killed_workers_places_are_free_at_once() {
    let cluster = cluster().workers(3).config("[handover]\ncrash_cover = false\n").start().await;
    for _ in 0..3 {
        let (mut inside, _) = storm(&cluster, &paths(12)).await;
        assert_eq!(inside.len(), 3);
        let mine = |worker: &&Worker| worker.sessions > 0;
        let victim = cluster.workers().await.iter().find(mine).cloned().unwrap();
        kill(victim.pid.unwrap(), Signal::KILL);
        let lost = usize::try_from(victim.sessions).unwrap();
        until_on_streams(&cluster, 3 - victim.sessions).await;
        let (again, _) = storm(&cluster, &paths(12)).await;
        assert_eq!(again.len(), lost, "so many as it held");
        inside.extend(again);
        drop(inside);
        until_on_streams(&cluster, 0).await;
        eventually("there are three workers again", async || {
            let ready = cluster.workers().await.iter().filter(|worker| worker.state == "ready").count();
            if ready == 3 { Ok(()) } else { Err(ready.to_string()) }
        })
        .await;
    }
}

#[tokio::test]
async fn streams_are_added_changed_and_removed_while_sessions_live() {
    let stream =
        |name: &str, channel: &str| format!("[[streams]]\nname = \"{name}\"\nchannel = \"{channel}\"\n");
    let first =
        stream("kept", "price:BTC-USD") + &stream("changed", "price:BTC-USD") + &stream("gone", "stats");
    let cluster = cluster().workers(2).config(&first).start().await;
    assert_eq!(
        cluster.open("/stream1").await.unwrap_err().problem().0,
        404,
        "what is written takes the place"
    );
    let (mut kept, mut changed, mut gone) = (vec![], vec![], vec![]);
    for n in 0..4 {
        kept.push(on(&cluster, &format!("/kept?user_id=u{n}")).await);
        changed.push(on(&cluster, &format!("/changed?user_id=u{n}")).await);
        gone.push(on(&cluster, &format!("/gone?user_id=u{n}")).await);
    }
    for tab in kept.iter_mut().chain(&mut changed) {
        assert_eq!(what(&tab.message().await), (Some("price"), Some("price:BTC-USD")));
    }
    let second = stream("new", "price:BTC-USD@1s")
        + &stream("changed", "candle:BTC-USD@1s")
        + &stream("kept", "price:BTC-USD");
    cluster.reconfigure(&second).await;
    for mut tab in gone {
        let (said, end) = tab.farewell().await;
        let last = said.last().unwrap();
        assert_eq!((&last["type"], &last["event"]), (&json!("system"), &json!("stream-removed")));
        assert_eq!(end, (4006, "stream-removed".into()));
    }
    for tab in &mut changed {
        tab.next("candle").await;
        for _ in 0..2 {
            assert_eq!(
                what(&tab.message().await),
                (Some("candle"), Some("candle:BTC-USD@1s")),
                "no price any more"
            );
        }
    }
    for tab in &mut kept {
        assert_eq!(what(&tab.message().await), (Some("price"), Some("price:BTC-USD")));
    }
    assert_eq!(cluster.open("/gone").await.unwrap_err().problem().0, 404);
    assert_eq!(what(&on(&cluster, "/new?user_id=u9").await.message().await).1, Some("price:BTC-USD@1s"));
    assert_eq!(cluster.get("/api/v1/streams").await.json()["streams"][0]["name"], "new");
    cluster.configure(&stream("bad", "price:ETH-USD"));
    let refused = cluster.ctl(&["reload"]).await;
    assert!(refused.code == Some(1) && refused.out.contains("price:ETH-USD"), "{refused:?}");
    for tab in &mut kept {
        tab.message().await;
    }
}

#[tokio::test]
async fn one_that_says_too_much_ends_and_a_stop_is_said_to_all() {
    let mut cluster = cluster().start().await;
    let mut loud = on(&cluster, "/stream1?user_id=loud").await;
    for _ in 0..40 {
        loud.say_text("ignored, and counted").await;
    }
    assert_eq!(loud.closed().await, (4101, "message-rate".into()));
    let mut quiet = on(&cluster, "/stream1").await;
    quiet.message().await;
    cluster.signal(Signal::TERM);
    let (said, end) = quiet.farewell().await;
    assert_eq!((said.last().unwrap()["event"].as_str(), end), (Some("shutdown"), (1001, "shutdown".into())));
    assert!(cluster.ended(Duration::from_secs(10)).await.success());
}
