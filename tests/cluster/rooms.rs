//! Chat rooms: channels `chat:ROOM` of the main session, with their last messages and who is there.

use crate::harness::{Cluster, Listener, Tab, cluster, eventually, get, kill, post};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

const OPEN: &str = "[limits]\nmessages_per_session = \"0\"\nquotes_per_user = \"0\"\n";

async fn enter(tab: &mut Tab, room: &str) {
    let ack = tab.ask(&json!({"type": "subscribe", "channels": [room], "id": 1}), "ack").await;
    assert_eq!(ack["id"], 1);
}

async fn speak(tab: &mut Tab, room: &str, data: Value) {
    tab.say(&json!({"type": "publish", "channel": room, "data": data, "id": "s"})).await;
}

/// A tab of a user of its own on each worker.
async fn on_all(cluster: &Cluster, workers: usize) -> Vec<(String, Tab)> {
    cluster.users_on_all("u", workers).await
}

#[tokio::test]
async fn what_one_says_in_a_room_everybody_there_hears_on_every_worker() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut all = on_all(&cluster, 3).await;
    let mut outside = cluster.quiet_tab("outside").await;
    for (_, tab) in &mut all {
        enter(tab, "chat:lobby").await;
    }
    for n in 0..5 {
        let (user, tab) = &mut all[n % 3];
        let user = user.clone();
        speak(tab, "chat:lobby", json!({"text": "<b>hi</b>", "n": n})).await;
        for (_, tab) in &mut all {
            let message = tab.next("message").await;
            assert_eq!((&message["channel"], &message["from"]), (&json!("chat:lobby"), &json!(user)));
            assert_eq!(message["data"], json!({"text": "<b>hi</b>", "n": n}));
        }
        all[n % 3].1.next("ack").await;
    }
    assert_eq!(outside.until_pong().await, [Value::Null; 0]);
    speak(&mut outside, "chat:lobby", json!("me, too")).await;
    assert_eq!(outside.next("error").await["code"], "forbidden");
    // An operator may.
    let request = post("/api/v1/channels/chat:lobby/messages", r#"{"data":"from above"}"#);
    assert_eq!(cluster.administer(&request).await.json()["sessions"], all.len());
    for (_, tab) in &mut all {
        let message = tab.next("message").await;
        assert_eq!((&message["data"], message.get("from")), (&json!("from above"), None));
    }
}

#[tokio::test]
async fn a_newcomer_hears_the_last_messages_and_then_what_is_said_with_no_gap_between() {
    let cluster = cluster().workers(3).config(&format!("{OPEN}[chat]\nhistory = 20\n")).start().await;
    let mut speaker = cluster.quiet_tab("speaker").await;
    enter(&mut speaker, "chat:a").await;
    // The history, the ack, the rest. One that comes late enough has all in its history.
    let newcomers = (0..20).map(async |me| {
        let mut tab = cluster.quiet_tab(&format!("n{me}")).await;
        tab.say(&subscribe(&["chat:a"], 1)).await;
        let (mut last, mut is_in) = (None, false);
        while !is_in || last != Some(199) {
            let message = tab.message().await;
            is_in |= message["type"] == "ack";
            if message["type"] == "message" {
                let n = message["data"].as_u64().unwrap();
                assert!(last.is_none_or(|last| n == last + 1), "{last:?}, then {n}");
                last = Some(n);
            }
        }
    });
    let speaks = async {
        for n in 0..200 {
            speak(&mut speaker, "chat:a", n.into()).await;
            if n % 8 == 0 {
                speaker.until_pong().await;
            }
        }
    };
    tokio::join!(join_all(newcomers), speaks);
    let mut late = cluster.quiet_tab("late").await;
    late.say(&json!({"type": "subscribe", "channels": ["chat:a"], "id": 1})).await;
    for n in 180..200 {
        assert_eq!(late.next("message").await["data"], n);
    }
    late.next("ack").await;
}

#[tokio::test]
async fn dead_workers_take_neither_history_nor_members_along() {
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    enter(&mut tab, "chat:a").await;
    for n in 0..3 {
        speak(&mut tab, "chat:a", n.into()).await;
        tab.next("ack").await;
    }
    cluster.until_covered(1).await;
    for worker in cluster.workers().await {
        kill(worker.pid.unwrap(), Signal::KILL);
    }
    let mut listener = eventually("a new worker serves", async || {
        let path = "/api/v1/events?user_id=bob&channels=chat:a";
        match tokio::net::TcpStream::connect(cluster.http).await {
            Ok(_) => Ok(Listener::ask(cluster.http, path, "", "1.1").await),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    for n in 0..3 {
        assert_eq!(listener.next("message").await.data["data"], n);
    }
    speak(&mut tab, "chat:a", 3.into()).await;
    assert_eq!(tab.next("message").await["data"], 3, "it is in its room, and heard nothing twice");
    assert_eq!(listener.next("message").await.data["data"], 3);
    let mut newcomer = cluster.quiet_tab("carol").await;
    enter(&mut newcomer, "chat:a").await;
    let there = presence(&mut tab, 3).await;
    assert_eq!((&there["users_total"], &there["users"][0]["user_id"]), (&json!(3), &json!("alice")));
}

async fn presence(tab: &mut Tab, sessions: u64) -> Value {
    loop {
        let message = tab.next("presence").await;
        if message["sessions"] == sessions {
            return message;
        }
    }
}

#[tokio::test]
async fn who_is_in_a_room_is_told_and_who_leaves_or_dies_is_not_there() {
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut first = cluster.quiet_tab("alice").await;
    enter(&mut first, "chat:a").await;
    let alone = presence(&mut first, 1).await;
    assert_eq!((&alone["channel"], &alone["users_total"]), (&json!("chat:a"), &json!(1)));
    assert_eq!(alone["users"], json!([{"user_id": "alice", "sessions": 1}]));
    let mut second = cluster.quiet_tab("bob").await;
    enter(&mut second, "chat:a").await;
    let mut third = cluster.quiet_tab("bob").await;
    enter(&mut third, "chat:a").await;
    let both = presence(&mut first, 3).await;
    assert_eq!(
        (&both["users_total"], &both["users"][1]),
        (&json!(2), &json!({"user_id": "bob", "sessions": 2}))
    );
    second.ask(&json!({"type": "unsubscribe", "channels": ["chat:a"], "id": 2}), "ack").await;
    presence(&mut first, 2).await;
    drop(third);
    presence(&mut first, 1).await;
    assert_eq!(second.until_pong().await.iter().filter(|m| m["type"] == "message").count(), 0);
}

#[tokio::test]
async fn names_are_few_and_of_one_alphabet_and_all_or_nothing_is_entered() {
    let config = format!("{OPEN}channels_per_session = 4\n[chat]\nrooms = 2\nhistory = 0\n");
    let cluster = cluster().workers(2).config(&config).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    for bad in ["chat:", "chat:a b", "chat:a#", "chat:a,b", "lobby", &format!("chat:{}", "x".repeat(65))] {
        let error = tab.ask(&json!({"type": "subscribe", "channels": [bad], "id": 1}), "error").await;
        assert_eq!(error["code"], "unknown-channel", "{bad}");
        let response = cluster
            .open(&format!("/ws?user_id=a&channels={}", bad.replace(' ', "+").replace('#', "%23")))
            .await;
        assert_eq!(response.err().map(|refusal| refusal.status), Some(400), "{bad}");
    }
    enter(&mut tab, "chat:one").await;
    let two_more =
        json!({"type": "subscribe", "channels": ["chat:two", "chat:three", "price:BTC-USD"], "id": 2});
    assert_eq!(tab.ask(&two_more, "error").await["code"], "too-many-rooms");
    // Nothing of it was done: there is room for one.
    let mut other = cluster.quiet_tab("bob").await;
    enter(&mut other, "chat:two").await;
    let ask = json!({"type": "subscribe", "channels": ["chat:three"], "id": 3});
    assert_eq!(other.ask(&ask, "error").await["code"], "too-many-rooms");
    other.leave().await;
    eventually("the room is free again", async || {
        let mut tab = cluster.quiet_tab("carol").await;
        tab.say(&ask).await;
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
    let many = json!({"type": "subscribe", "channels": ["chat:one", "chat:q", "chat:r", "chat:s", "stats"], "id": 4});
    assert_eq!(tab.ask(&many, "error").await["code"], "too-many-channels");
}

#[tokio::test]
async fn who_comes_back_is_in_its_rooms_and_missed_nothing() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut speaker = cluster.quiet_tab("speaker").await;
    enter(&mut speaker, "chat:a").await;
    let mut tab = cluster.tab_with("user_id=alice&channels=chat:a").await;
    presence(&mut speaker, 2).await;
    let mut n = 0;
    // Rounds take two seconds each. Every way follows every other.
    for seen in [true, true, false, false, true] {
        let resume = tab.welcome["resume"].as_str().unwrap().to_owned();
        speak(&mut speaker, "chat:a", n.into()).await;
        speaker.next("ack").await;
        if seen {
            assert_eq!(tab.next("message").await["data"], n);
        }
        drop(tab);
        presence(&mut speaker, 1).await;
        speak(&mut speaker, "chat:a", (n + 1).into()).await;
        speaker.next("ack").await;
        let since = u32::from(seen);
        tab = cluster.tab_with(&format!("user_id=alice&resume={resume}.{since}")).await;
        assert_eq!(tab.welcome["resumed"], true);
        if !seen {
            assert_eq!(tab.next("message").await["data"], n);
        }
        assert_eq!(tab.next("message").await["data"], n + 1);
        presence(&mut speaker, 2).await;
        speak(&mut tab, "chat:a", "here".into()).await;
        assert_eq!(tab.next("message").await["data"], "here");
        tab.next("ack").await;
        let resume = tab.welcome["resume"].as_str().unwrap().to_owned();
        // The next round counts from here.
        let heard = 2 + u32::from(!seen) + 1;
        tab = cluster.tab_with(&format!("user_id=alice&resume={resume}.{heard}")).await;
        assert_eq!(tab.welcome["resumed"], true);
        n += 2;
    }
}

#[tokio::test]
async fn what_is_forgotten_of_a_session_takes_it_out_of_no_room() {
    let config = format!("{OPEN}[resume]\nwindow = \"2s\"\n");
    let cluster = cluster().workers(1).config(&config).start().await;
    let mut watcher = cluster.quiet_tab("watcher").await;
    enter(&mut watcher, "chat:a").await;
    let mut tab = cluster.tab_with("user_id=alice&channels=chat:a").await;
    presence(&mut watcher, 2).await;
    // Within a second each time: what it leaves behind waits beside it for `resume.window`.
    for _ in 0..2 {
        let resume = tab.welcome["resume"].as_str().unwrap().to_owned();
        drop(tab);
        tab = cluster.tab_with(&format!("user_id=alice&resume={resume}")).await;
        assert_eq!((&tab.welcome["resumed"], &tab.welcome["channels"]), (&json!(true), &json!(["chat:a"])));
    }
    for left in [true, false] {
        eventually("something is left behind, and is forgotten", async || {
            let text = cluster.administer(&get("/metrics")).await.text().to_owned();
            let none = text.lines().any(|line| line == "btc_cluster_suspended_sessions 0.0");
            if none == left { Err(format!("left: {left}")) } else { Ok(()) }
        })
        .await;
    }
    let mut newcomer = cluster.quiet_tab("newcomer").await;
    enter(&mut newcomer, "chat:a").await;
    presence(&mut newcomer, 3).await;
    presence(&mut tab, 3).await;
}

#[tokio::test]
async fn who_is_in_the_cluster_is_a_channel_of_its_own() {
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=presence").await;
    presence(&mut tab, 1).await;
    let other = cluster.quiet_tab("bob").await;
    let both = presence(&mut tab, 2).await;
    assert_eq!((&both["channel"], &both["users_total"]), (&json!("presence"), &json!(2)));
    assert_eq!(both["users"][1]["user_id"], "bob");
    drop(other);
    presence(&mut tab, 1).await;
    cluster.reconfigure(&format!("{OPEN}[stats]\nusers = false\n")).await;
    let _other = cluster.quiet_tab("carol").await;
    assert_eq!(presence(&mut tab, 2).await.get("users"), None, "ids are not shown");
}

#[tokio::test]
async fn who_is_cut_while_it_enters_is_in_the_room_when_it_is_back() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut speaker = cluster.quiet_tab("speaker").await;
    enter(&mut speaker, "chat:a").await;
    for n in 0..30 {
        let user = format!("u{n}");
        let tab = cluster.tab_with(&format!("user_id={user}&channels=chat:a")).await;
        let resume = tab.welcome["resume"].as_str().unwrap().to_owned();
        // Right behind its welcome, before the master has let it in.
        drop(tab);
        let mut tab = cluster.tab_with(&format!("user_id={user}&resume={resume}.0")).await;
        assert_eq!(tab.welcome["resumed"], true);
        assert_eq!(tab.welcome["channels"], json!(["chat:a"]));
        speak(&mut speaker, "chat:a", n.into()).await;
        speaker.next("ack").await;
        while tab.next("message").await["data"] != n {}
        tab.leave().await;
    }
}

fn subscribe(channels: &[&str], id: u64) -> Value {
    json!({"type": "subscribe", "channels": channels, "id": id})
}

fn unsubscribe(channels: &[&str], id: u64) -> Value {
    json!({"type": "unsubscribe", "channels": channels, "id": id})
}

/// The next ids that are acknowledged or refused.
async fn answers(tab: &mut Tab, count: usize) -> Vec<(String, u64)> {
    let mut all = vec![];
    while all.len() < count {
        let message = tab.message().await;
        if let (Some(kind @ ("ack" | "error")), Some(id)) = (message["type"].as_str(), message["id"].as_u64())
        {
            all.push((message["code"].as_str().unwrap_or(kind).to_owned(), id));
        }
    }
    all
}

#[tokio::test]
async fn who_leaves_a_room_while_it_enters_and_enters_it_again_is_there() {
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let mut other = cluster.quiet_tab("other").await;
    enter(&mut other, "chat:x").await;
    for n in 0..3 {
        let mut tab = cluster.quiet_tab("alice").await;
        let (on, off) = (subscribe(&["chat:x"], 1), unsubscribe(&["chat:x"], 2));
        tab.say_at_once(&[on, off, subscribe(&["chat:x"], 3)]).await;
        answers(&mut tab, 3).await;
        speak(&mut tab, "chat:x", n.into()).await;
        assert_eq!(tab.next("ack").await["id"], "s");
        // The master counts both, also when all that was on its way has come.
        let message = other.next("message").await;
        assert_eq!((&message["from"], &message["data"]), (&json!("alice"), &json!(n)));
        let mut third = cluster.quiet_tab("third").await;
        enter(&mut third, "chat:x").await;
        presence(&mut third, 3).await;
        third.leave().await;
        tab.leave().await;
        presence(&mut other, 1).await;
    }
}

#[tokio::test]
async fn the_answer_to_a_subscription_waits_until_the_session_is_in_the_room() {
    let cluster = cluster().workers(1).config(OPEN).start().await;
    for n in 0..5 {
        let mut tab = cluster.quiet_tab("alice").await;
        let room = format!("chat:{n}");
        tab.say_at_once(&[subscribe(&[&room], 1), subscribe(&[&room], 2)]).await;
        assert_eq!(answers(&mut tab, 2).await, [("ack".to_owned(), 1), ("ack".to_owned(), 2)]);
    }
}

#[tokio::test]
async fn channels_that_wait_for_a_room_count_like_others() {
    let news = "[[channels]]\nname = \"a\"\n[[channels]]\nname = \"b\"\n[[channels]]\nname = \"c\"\n";
    let cluster =
        cluster().workers(1).config(&format!("{news}{OPEN}channels_per_session = 3\n")).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let wishes = [subscribe(&["chat:x", "a", "b"], 1), subscribe(&["c"], 2), subscribe(&["b", "chat:x"], 3)];
    tab.say_at_once(&wishes).await;
    let mut answered = answers(&mut tab, 3).await;
    answered.sort_by_key(|(_, id)| *id);
    let expected = [("ack", 1), ("too-many-channels", 2), ("ack", 3)];
    assert_eq!(answered, expected.map(|(answer, id)| (answer.to_owned(), id)));
    // A channel that is given up while it waits makes room, and is not subscribed to afterwards.
    let mut tab = cluster.quiet_tab("bob").await;
    let wishes = [subscribe(&["chat:y", "a", "b"], 1), unsubscribe(&["a"], 2), subscribe(&["c"], 3)];
    tab.say_at_once(&wishes).await;
    answers(&mut tab, 3).await.sort();
    let request = post("/api/v1/channels/a/messages", r#"{"data":1}"#);
    assert_eq!(cluster.administer(&request).await.json()["sessions"], 1, "alice's only");
}

#[tokio::test]
async fn a_refused_group_takes_no_room_from_another() {
    let config = format!("{OPEN}[chat]\nrooms = 2\nhistory = 0\n");
    let cluster = cluster().workers(1).config(&config).start().await;
    let mut other = cluster.quiet_tab("other").await;
    enter(&mut other, "chat:mine").await;
    let mut tab = cluster.quiet_tab("alice").await;
    let wishes = [subscribe(&["chat:a", "chat:b"], 1), subscribe(&["chat:a"], 2)];
    tab.say_at_once(&wishes).await;
    let mut answered = answers(&mut tab, 2).await;
    answered.sort_by_key(|(_, id)| *id);
    assert_eq!(answered, [("too-many-rooms".to_owned(), 1), ("ack".to_owned(), 2)]);
    speak(&mut tab, "chat:a", json!("here")).await;
    assert_eq!(tab.next("message").await["data"], "here");
}
