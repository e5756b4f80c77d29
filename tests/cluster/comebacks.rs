//! Coming back when something else happens at the same moment.

use crate::harness::{
    Cluster, Listener, Poller, Raw, Tab, cluster, eventually, get, in_time, kill, post, send_to, upgrade,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const NEWS: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\n\
                    [limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\n";

async fn publish(cluster: &Cluster, n: usize) -> u64 {
    let request = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
    cluster.administer(&request).await.json()["sessions"].as_u64().unwrap()
}

async fn sessions(cluster: &Cluster, wanted: u64) {
    eventually("so many sessions", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(count) if count == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

fn token(tab: &Tab) -> String {
    tab.welcome["resume"].as_str().expect("a token").to_owned()
}

async fn back(cluster: &Cluster, user: &str, resume: &str) -> Tab {
    cluster.tab_with(&format!("user_id={user}&channels=none&resume={resume}")).await
}

#[tokio::test]
async fn a_reload_of_the_heartbeat_leaves_suspended_sessions_alone() {
    let cluster = cluster().workers(1).config(NEWS).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news,stats").await;
    let resume = token(&tab);
    drop(tab);
    sessions(&cluster, 0).await;
    let pid = cluster.worker(1).await.pid;
    let quick = format!("{NEWS}[heartbeat]\ninterval = \"200ms\"\ntimeout = \"400ms\"\n");
    cluster.reconfigure(&quick).await;
    // A session that comes after it lives through several heartbeats of the new length.
    let mut other = Listener::open(cluster.http, "user_id=bob&channels=none").await;
    other.until_comments(4).await;
    publish(&cluster, 7).await;
    let mut tab = back(&cluster, "alice", &resume).await;
    assert_eq!(tab.welcome["resumed"], true);
    assert_eq!(tab.welcome["channels"].as_array().unwrap().len(), 2);
    assert_eq!(tab.next("message").await["data"], 7);
    assert_eq!(publish(&cluster, 8).await, 1);
    assert_eq!(cluster.worker(1).await.pid, pid, "no process died of it");
}

#[tokio::test]
async fn whoever_is_refused_now_has_its_session_later() {
    let cluster = cluster().workers(2).config(&format!("{NEWS}sessions_per_user = 1\n")).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    let resume = token(&tab);
    drop(tab);
    sessions(&cluster, 0).await;
    let other = cluster.quiet_tab("alice").await;
    publish(&cluster, 1).await;
    for _ in 0..4 {
        let refused = cluster.open(&format!("/ws?user_id=alice&resume={resume}")).await;
        assert_eq!(refused.err().map(|response| response.status), Some(429));
    }
    publish(&cluster, 2).await;
    other.leave().await;
    sessions(&cluster, 0).await;
    let mut tab = back(&cluster, "alice", &resume).await;
    assert_eq!(tab.welcome["resumed"], true);
    for n in 1..=2 {
        assert_eq!(tab.next("message").await["data"], n);
    }
}

#[tokio::test]
async fn a_welcome_that_was_lost_costs_nothing() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let query = "user_id=alice&channels=news";
    let tab = cluster.tab_with(query).await;
    let resume = format!("{}.0", token(&tab));
    drop(tab);
    sessions(&cluster, 0).await;
    // It asks again and again, and hears none of the answers.
    for n in 0..8 {
        publish(&cluster, n).await;
        let mut lost = tokio::net::TcpStream::connect(cluster.http).await.unwrap();
        let request = get(&format!("/api/v1/events?{query}")).header("Last-Event-ID", &resume);
        tokio::io::AsyncWriteExt::write_all(&mut lost, &request.bytes("localhost")).await.unwrap();
        // Until the answer is there, which is not read: so its end is a reset.
        in_time("an answer", lost.readable()).await.unwrap();
        drop(lost);
        sessions(&cluster, 0).await;
    }
    let mut listener = Listener::again(cluster.http, query, &resume).await;
    assert_eq!(listener.next("welcome").await.data["resumed"], true);
    for n in 0..8 {
        assert_eq!(listener.next("message").await.data["data"], n);
    }
}

#[tokio::test]
async fn a_poll_whose_answer_was_lost_is_asked_again_also_where_it_took_a_session_over() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    let resume = format!("{}.0", token(&tab));
    let mut sure = vec![];
    for n in 0..6 {
        publish(&cluster, n).await;
        sure.push(json!(n));
        // The tab lives and is told to go; the answer of each poll is lost, whichever worker gives it.
        let mut poller = Poller::new(cluster.http, "user_id=alice&channels=news");
        poller.cursor = Some(resume.clone());
        let all = poller.poll().await;
        assert_eq!((&all[0]["type"], &all[0]["resumed"]), (&json!("welcome"), &json!(true)), "{all:?}");
        assert_eq!(all[1..].iter().map(|message| message["data"].clone()).collect::<Vec<_>>(), sure);
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], 1);
}

#[tokio::test]
async fn a_token_is_good_once() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    for n in 0..6 {
        let user = format!("u{n}");
        let tab = cluster.quiet_tab(&user).await;
        let resume = token(&tab);
        let first = back(&cluster, &user, &resume).await;
        let second = back(&cluster, &user, &resume).await;
        assert_eq!((&first.welcome["resumed"], &second.welcome["resumed"]), (&json!(true), &json!(false)));
        assert_eq!(cluster.quote(&user).await.json()["sessions"], 2, "and the first lives on");
    }
}

#[tokio::test]
async fn who_counts_nothing_and_missed_too_much_is_told() {
    let cluster = cluster().workers(1).config(&format!("{NEWS}[resume]\nmessages = 4\n")).start().await;
    // It reads nothing, and its kernel's buffer is small.
    let mut raw = Raw::narrow(cluster.ws, "/ws?user_id=alice&channels=news").await;
    let welcome = raw.next().await.unwrap().json();
    let text = "x".repeat(2000);
    for _ in 0..20 {
        let request = post("/api/v1/channels/news/messages", json!({ "data": text }).to_string());
        cluster.administer(&request).await;
    }
    let resume = welcome["resume"].as_str().unwrap();
    let mut tab = back(&cluster, "alice", resume).await;
    let resumed = tab.welcome["resumed"].as_bool().unwrap();
    let heard = tab.until_pong().await.iter().filter(|m| m["type"] == "message").count();
    assert!(!resumed, "it has {heard} of those that it did not acknowledge");
}

#[tokio::test]
async fn who_leaves_a_room_while_it_enters_is_not_there() {
    let cluster =
        cluster().workers(2).config(&format!("{NEWS}[chat]\nrooms = 3\nhistory = 0\n")).start().await;
    for n in 0..6 {
        let mut tab = cluster.quiet_tab(&format!("u{n}")).await;
        let rooms: Vec<_> = (0..3).map(|k| format!("chat:{n}-{k}")).collect();
        tab.say(&json!({"type": "subscribe", "channels": rooms})).await;
        tab.leave().await;
    }
    // All rooms are free again.
    let mut tab = cluster.quiet_tab("last").await;
    eventually("there is room", async || {
        tab.say(&json!({"type": "subscribe", "channels": ["chat:x", "chat:y", "chat:z"], "id": 1})).await;
        loop {
            let message = tab.message().await;
            match message["type"].as_str() {
                Some("ack") => return Ok(()),
                Some("error") => return Err(message.to_string()),
                _ => {}
            }
        }
    })
    .await;
    // Entered and left in one breath: it hears nothing of it.
    tab.say(&json!({"type": "unsubscribe", "channels": ["chat:x"], "id": 2})).await;
    tab.next("ack").await;
    tab.say(&json!({"type": "subscribe", "channels": ["chat:x"], "id": 3})).await;
    tab.say(&json!({"type": "unsubscribe", "channels": ["chat:x"], "id": 4})).await;
    tab.until_pong().await;
    let request = post("/api/v1/channels/chat:x/messages", r#"{"data":1}"#);
    eventually("nobody is in it", async || {
        let sessions = cluster.administer(&request).await.json()["sessions"].clone();
        if sessions == 0 { Ok(()) } else { Err(sessions.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn rooms_that_are_left_in_any_way_are_no_channels_any_more() {
    // More rooms than a worker has numbers for channels, all in all.
    let config = format!("{NEWS}channels_per_session = 0\n[chat]\nrooms = 10000\nhistory = 0\n");
    let config = config.replace("channels_per_session = 0", "channels_per_session = 4000");
    let cluster = cluster().workers(1).config(&config).start().await;
    for n in 0..10 {
        let mut tab = cluster.quiet_tab(&format!("u{n}")).await;
        let rooms: Vec<_> = (0..4000).map(|k| format!("chat:{n}-{k}")).collect();
        for some in rooms.chunks(1000) {
            let ack = tab.ask(&json!({"type": "subscribe", "channels": some, "id": 1}), "ack").await;
            assert_eq!(ack["id"], 1);
        }
        tab.leave().await;
    }
}

#[tokio::test]
async fn a_quote_that_waits_for_a_poll_goes_along_with_the_session() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let mut poller = Poller::new(cluster.http, "user_id=alice&channels=none");
    poller.poll().await;
    let to = cluster.http;
    let post = tokio::spawn(async move { send_to(to, &crate::harness::quote_for("alice")).await });
    let cursor = poller.cursor.clone().unwrap();
    eventually("the quote waits", async || {
        // The second POST is refused only by the state of the first; so look at the list of who is there.
        if post.is_finished() { Err("it has an answer".to_owned()) } else { Ok(()) }
    })
    .await;
    let mut tab = back(&cluster, "alice", &cursor).await;
    assert_eq!(tab.welcome["resumed"], true);
    let receipt = post.await.unwrap();
    let heard = tab.until_pong().await.iter().filter(|m| m["type"] == "quote").count();
    match receipt.status {
        404 => assert_eq!(heard, 0, "not there, and so it did not come"),
        status => assert!([202, 504].contains(&status), "{receipt:?}"),
    }
}

#[tokio::test]
async fn who_is_cut_during_a_planned_replacement_loses_nothing() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let mut tabs = vec![];
    for n in 0..6 {
        tabs.push((format!("u{n}"), cluster.tab_with(&format!("user_id=u{n}&channels=news")).await));
    }
    let mut poller = Poller::new(cluster.http, "user_id=poller&channels=news");
    poller.poll().await;
    publish(&cluster, 0).await;
    cluster.signal(Signal::USR2);
    let come_back = tabs.into_iter().map(async |(user, mut tab)| {
        // Before, at or after its move.
        let heard = usize::from(user.as_str() < "u3");
        if heard > 0 {
            tab.next("message").await;
        }
        let tab = back(&cluster, &user, &format!("{}.{heard}", token(&tab))).await;
        (tab.welcome["resumed"] == true, heard, tab)
    });
    let all = futures_util::future::join_all(come_back).await;
    assert!(all.iter().all(|(resumed, ..)| *resumed), "each token holds, wherever the session is");
    let heard: Vec<Value> = poller.until("message").await;
    assert!(heard.iter().all(|message| message["type"] != "welcome"), "its session goes on: {heard:?}");
}

#[tokio::test]
async fn a_head_request_opens_nothing() {
    let cluster = cluster().workers(1).start().await;
    for path in ["/api/v1/events?user_id=a", "/api/v1/poll?user_id=a"] {
        let response = cluster.send(&get(path).method("HEAD")).await;
        assert_eq!(response.status, 405, "{path}");
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], 0);
}

/// Asks for a session over a connection of its own that is reset once its worker, the only one that runs, has passed
/// the question on.
async fn ask_and_be_cut(cluster: &Cluster, path: &str) {
    let request = upgrade(path);
    let mut asker = in_time("connect", tokio::net::TcpStream::connect(cluster.ws)).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut asker, &request.bytes("localhost")).await.unwrap();
    served_twice(cluster).await;
    socket2::SockRef::from(&asker).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(asker);
    served_twice(cluster).await;
}

/// A worker that has answered twice has done what came before.
async fn served_twice(cluster: &Cluster) {
    for _ in 0..2 {
        assert_eq!(cluster.get("/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn a_session_that_came_for_nobody_is_given_back() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    for round in 0..3 {
        let user = format!("u{round}");
        let tab = cluster.tab_with(&format!("user_id={user}&channels=news")).await;
        let (home, resume) = (tab.pid(), token(&tab));
        drop(tab);
        sessions(&cluster, 0).await;
        publish(&cluster, round).await;
        kill(home, Signal::STOP);
        ask_and_be_cut(&cluster, &format!("/ws?user_id={user}&resume={resume}")).await;
        kill(home, Signal::CONT);
        let mut tab = back(&cluster, &user, &resume).await;
        assert_eq!(tab.welcome["resumed"], true, "round {round}: {}", tab.welcome);
        assert_eq!(tab.next("message").await["data"], round);
        tab.leave().await;
        sessions(&cluster, 0).await;
    }
}

#[tokio::test]
async fn a_home_that_dies_while_it_is_asked_keeps_nobody_waiting() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let tab = cluster.quiet_tab("alice").await;
    let (home, resume) = (tab.pid(), token(&tab));
    drop(tab);
    sessions(&cluster, 0).await;
    kill(home, Signal::STOP);
    let asked = back(&cluster, "alice", &resume);
    let dies = async {
        served_twice(&cluster).await;
        kill(home, Signal::KILL);
    };
    let (tab, ()) = tokio::join!(asked, dies);
    assert_eq!(tab.welcome["resumed"], false, "its session is gone");
    assert_eq!(cluster.quote("alice").await.json()["sessions"], 1);
}
