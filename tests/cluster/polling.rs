//! Sessions over long polling are sessions like all others, whichever worker a poll lands on.

use crate::harness::{
    Connection, Poller, Stopwatch, cluster, delete, eventually, in_time, kill, post, promised, promptly,
};
use futures_util::future::{Either, select};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Messages of the channel `news`, and polls that are quick.
const NEWS: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\n[limits]\nquotes_per_user = \"0\"\n";

fn kinds(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_poller_is_welcomed_at_once_hears_prices_and_gets_its_quotes() {
    let cluster = cluster().workers(3).start().await;
    let mut poller = Poller::new(cluster.http, "user_id=alice");
    let first = poller.poll().await;
    assert_eq!((kinds(&first)[0], &first[0]["resumed"]), ("welcome", &json!(false)));
    let all = poller.until("price").await;
    assert!(kinds(&all).contains(&"stats") || !all.is_empty());
    for _ in 0..10 {
        // Nobody waits now: the answer is there before the next poll, or just after it.
        let post = tokio::spawn({
            let request = crate::harness::quote_for("alice");
            let to = cluster.http;
            async move { crate::harness::send_to(to, &request).await }
        });
        let all = poller.until("quote").await;
        let quotes: Vec<_> = all.iter().filter(|message| message["type"] == "quote").collect();
        let receipt = post.await.unwrap();
        assert_eq!((receipt.status, &receipt.json()["sessions"]), (202, &json!(1)));
        assert_eq!(quotes.len(), 1);
        assert_eq!(quotes[0]["request_id"], receipt.json()["request_id"]);
    }
    let totals = cluster.stats().await["totals"].clone();
    assert_eq!(totals["by_transport"], json!({"websocket": 0, "sse": 0, "poll": 1}));
}

#[tokio::test]
async fn an_answer_that_was_lost_comes_again_until_its_cursor_is_said() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let mut poller = Poller::new(cluster.http, "user_id=alice&channels=news");
    poller.poll().await;
    let publish = async |n: usize| {
        let request = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
        assert_eq!(cluster.administer(&request).await.json()["sessions"], 1);
    };
    let mut heard = vec![];
    for n in 0..12 {
        publish(n).await;
        let before = poller.cursor.clone();
        let first = poller.poll().await;
        if n % 3 == 0 {
            // As if the answer had been lost on its way.
            poller.cursor = before;
            assert_eq!(poller.poll().await, first);
        }
        heard.extend(first);
    }
    assert_eq!(
        heard.iter().map(|message| message["data"].clone()).collect::<Vec<_>>(),
        (0..12).map(Value::from).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_poll_waits_for_as_long_as_it_may_and_a_second_one_ends_the_first() {
    let cluster = cluster().workers(2).config("[poll]\nwait = \"1s\"\n").start().await;
    let mut poller = Poller::new(cluster.http, "user_id=alice&channels=none");
    poller.poll().await;
    let start = Instant::now();
    assert_eq!(poller.poll().await, [Value::Null; 0]);
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    for _ in 0..4 {
        let (request, to) = (poller.request(), cluster.http);
        let mut first = Connection::open(to).await.unwrap();
        let first = tokio::spawn(async move { first.ask(&request).await });
        eventually("the first waits", async || {
            // Only a poll that waits makes a quote come at once, on whichever worker it is.
            if first.is_finished() { Err("it has ended".to_owned()) } else { Ok(()) }
        })
        .await;
        let second = poller.poll().await;
        let ended = in_time("the first has ended", first).await.unwrap().json();
        assert_eq!((&ended["messages"], second.len()), (&json!([]), 0));
    }
}

#[tokio::test]
async fn a_poll_is_held_no_longer_than_its_client_wants() {
    let cluster = cluster().workers(3).start().await;
    let mut poller = Poller::new(cluster.http, "user_id=alice&channels=none&wait_ms=0");
    assert_eq!(kinds(&poller.poll().await), ["welcome"]);
    // Whichever worker they land on.
    promptly(Duration::from_secs(5), "eight polls that wait for nothing", async {
        for _ in 0..8 {
            assert_eq!(poller.poll().await, [Value::Null; 0]);
        }
    })
    .await;
    let query = format!("/api/v1/poll?user_id=alice&cursor={}&wait_ms=", poller.cursor.unwrap());
    let watch = Stopwatch::start();
    let answer = cluster.get(&format!("{query}1500")).await;
    assert_eq!((answer.status, &answer.json()["messages"]), (200, &json!([])));
    let (took, net) = (watch.elapsed(), watch.net());
    assert!(took >= Duration::from_millis(1_400) && net < Duration::from_secs(10), "{took:?}, {net:?}");
    for wrong in ["", "-1", "1.5", "x"] {
        assert_eq!(
            cluster.get(&format!("{query}{wrong}")).await.problem(),
            (400, "invalid-query".to_owned()),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_poller_that_stays_away_is_pruned_and_comes_back_to_what_it_missed() {
    let times = format!("{NEWS}[poll]\nwait = \"5s\"\ngap = \"1s\"\n");
    let cluster = cluster().workers(3).config(&times).start().await;
    let mut poller = Poller::new(cluster.http, "user_id=alice&channels=news");
    let first = poller.poll().await;
    eventually("it is pruned", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(cluster.quote("alice").await.problem(), (404, "user-not-connected".to_owned()));
    for n in 0..5 {
        let request = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
        assert_eq!(cluster.administer(&request).await.json()["sessions"], 0, "nobody is there");
    }
    let again = poller.poll().await;
    assert_eq!((kinds(&again)[0], &again[0]["resumed"]), ("welcome", &json!(true)));
    assert_eq!(again[0]["session_id"], first[0]["session_id"]);
    assert_eq!(again[1..].iter().map(|m| m["data"].clone()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(cluster.stats().await["totals"]["by_transport"]["poll"], 1);
}

#[tokio::test]
async fn who_is_disconnected_does_not_come_back_and_whose_worker_died_begins_anew() {
    let cluster = cluster().workers(2).start().await;
    let mut kicked = Poller::new(cluster.http, "user_id=alice&channels=none");
    let welcome = kicked.poll().await.remove(0);
    let path = format!("/api/v1/sessions/{}", welcome["session_id"].as_str().unwrap());
    assert_eq!(cluster.administer(&delete(&path)).await.status, 204);
    for _ in 0..6 {
        let again = crate::harness::send_to(cluster.http, &kicked.request()).await;
        assert_eq!(again.problem(), (410, "disconnected".to_owned()));
    }
    let mut orphan = Poller::new(cluster.http, "user_id=bob&channels=none");
    let welcome = orphan.poll().await.remove(0);
    kill(u32::try_from(welcome["worker"]["pid"].as_u64().unwrap()).unwrap(), Signal::KILL);
    let again = in_time("a new session", async {
        loop {
            let mut connection = Connection::open(cluster.http).await.unwrap();
            if let Ok(response) = connection.send(&orphan.request()).await {
                return response;
            }
        }
    })
    .await;
    assert_eq!(again.json()["messages"][0]["resumed"], false);
    assert_ne!(again.json()["messages"][0]["session_id"], welcome["session_id"]);
}

#[tokio::test]
async fn at_the_end_a_poll_that_waits_is_told() {
    let mut cluster = cluster().workers(2).start().await;
    let mut all = vec![];
    for n in 0..4 {
        let mut poller = Poller::new(cluster.http, &format!("user_id=u{n}&channels=none"));
        poller.poll().await;
        all.push(tokio::spawn(async move { poller.poll().await }));
    }
    // Each of them waits when its quote has come and the next poll is there; a quote finds no poll otherwise.
    for n in 0..4 {
        assert_eq!(cluster.quote(&format!("u{n}")).await.status, 202);
    }
    for task in all {
        assert_eq!(kinds(&task.await.unwrap()), ["quote"]);
    }
    let mut poller = Poller::new(cluster.http, "user_id=last&channels=none");
    poller.poll().await;
    // Two at once: when one is ended by the other, the other waits.
    let (one, other) = [(); 2]
        .map(|()| {
            let (request, to) = (poller.request(), cluster.http);
            tokio::spawn(async move { Connection::open(to).await.unwrap().ask(&request).await.json() })
        })
        .into();
    let (ended, waits) = match in_time("one is ended", select(one, other)).await {
        Either::Left((ended, waits)) | Either::Right((ended, waits)) => (ended.unwrap(), waits),
    };
    assert_eq!(ended["messages"], json!([]));
    cluster.signal(Signal::TERM);
    let said = waits.await.unwrap()["messages"].as_array().unwrap().clone();
    assert_eq!(kinds(&said), ["system", "close"]);
    assert_eq!((&said[1]["code"], said[1]["reconnect_in_ms"].is_u64()), (&json!(1001), true));
    assert!(cluster.ended(promised(Duration::from_secs(5))).await.success());
}
