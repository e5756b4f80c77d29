//! What a session on `/ws` says and understands: `btc-cluster.v1.json`.

use crate::harness::{Heard, Stopwatch, Tab, cluster, is_time, is_uuid_v7, keys, promised};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

/// No limit of messages, and a few channels.
const OPEN: &str = r#"
[limits]
messages_per_session = "0"
[[channels]]
name = "lobby"
publish = "anyone"
[[channels]]
name = "news"
"#;

/// What `/echo` says is no JSON with a type; this tab is not greeted.
async fn echo_tab(cluster: &crate::harness::Cluster) -> Tab {
    cluster.open("/echo").await.expect("an echo session")
}

#[tokio::test]
async fn the_welcome_comes_first_and_says_everything() {
    let cluster = cluster().start().await;
    let mut tab = cluster.tab_with("user_id=alice&device=phone.1").await;
    let welcome = tab.welcome.clone();
    let expected = [
        "channels",
        "device",
        "fresh_for_ms",
        "gone_after_ms",
        "heartbeat_ms",
        "max_age_ms",
        "price",
        "resume",
        "resumed",
        "server",
        "session_id",
        "time",
        "type",
        "user_id",
        "worker",
    ];
    assert_eq!(keys(&welcome), expected, "{welcome}");
    assert!(is_uuid_v7(tab.session()) && is_time(welcome["time"].as_str().unwrap()), "{welcome}");
    assert_eq!((&welcome["user_id"], &welcome["device"]), (&json!("alice"), &json!("phone.1")));
    assert_eq!((&welcome["heartbeat_ms"], &welcome["resumed"]), (&json!(25_000), &json!(false)));
    let rules = ["fresh_for_ms", "max_age_ms", "gone_after_ms"].map(|key| &welcome[key]);
    assert_eq!(rules, [&json!(10_000), &json!(120_000), &json!(600_000)]);
    assert_eq!(welcome["channels"], json!(["stats", "price:BTC-USD"]));
    assert_eq!(welcome["server"], json!({ "name": "btc-cluster", "version": env!("CARGO_PKG_VERSION") }));
    assert_eq!(keys(&welcome["worker"]), ["id", "pid"]);
    assert_eq!(cluster.worker(tab.worker()).await.pid, Some(tab.pid()));
    let price = &welcome["price"];
    let quoted =
        ["age_ms", "mock", "pair", "price", "received_at", "seq", "source", "stale", "symbol", "time"];
    assert_eq!((keys(price), &price["price"]), (quoted.to_vec(), &json!("64000.00")));
    tab.next("stats").await;
    tab.next("price").await;
    let without = cluster.quiet_tab("alice").await;
    assert!(!keys(&without.welcome).contains(&"device"), "{}", without.welcome);
}

#[tokio::test]
async fn prices_come_as_long_as_their_channel_is_subscribed() {
    let cluster = cluster().start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    assert_eq!(tab.welcome["channels"], json!([]));
    assert_eq!(tab.until_pong().await, [] as [Value; 0]);
    tab.say(&json!({"type": "subscribe", "channels": ["price:BTC-USD"], "id": 1})).await;
    let first = tab.next("price").await;
    let quoted = [
        "age_ms",
        "channel",
        "mock",
        "pair",
        "price",
        "received_at",
        "seq",
        "source",
        "stale",
        "symbol",
        "time",
        "type",
    ];
    assert_eq!((keys(&first), &first["channel"]), (quoted.to_vec(), &json!("price:BTC-USD")));
    let mut last = first["seq"].as_u64().unwrap();
    for _ in 0..5 {
        let seq = tab.next("price").await["seq"].as_u64().unwrap();
        assert!(seq > last, "no tab goes back in time: {seq} after {last}");
        last = seq;
    }
    let ack = tab.ask(&json!({"type": "unsubscribe", "channels": ["price:BTC-USD"], "id": "x"}), "ack").await;
    assert_eq!(ack, json!({"type": "ack", "id": "x"}));
    // Ticks go on: another tab gets three more of them, this one none.
    let mut other = cluster.tab_with("user_id=bob&channels=price:BTC-USD").await;
    for _ in 0..3 {
        other.next("price").await;
    }
    assert_eq!(tab.until_pong().await, [] as [Value; 0]);
}

#[tokio::test]
async fn an_ack_comes_where_an_id_asks_for_one() {
    let cluster = cluster().config(OPEN).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    tab.say(&json!({"type": "subscribe", "channels": ["news"]})).await;
    assert_eq!(tab.until_pong().await, [] as [Value; 0], "no id, no ack");
    for id in [json!(7), json!(-1), json!("a"), json!("x".repeat(64)), json!("\u{1F600}\"\\")] {
        let ack = tab.ask(&json!({"type": "subscribe", "channels": ["news"], "id": id}), "ack").await;
        assert_eq!(ack, json!({"type": "ack", "id": id}), "twice is once, and is acknowledged");
    }
    tab.say_text(r#"{"type":"ping","id":1.50e3}"#).await;
    assert_eq!(tab.message().await, json!({"type": "pong", "id": 1.50e3}));
}

#[tokio::test]
async fn a_subscription_is_all_or_nothing() {
    let cluster = cluster().config("[limits]\nchannels_per_session = 2").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let mixed = json!({"type": "subscribe", "channels": ["price:BTC-USD", "nowhere"], "id": 5});
    let error = tab.ask(&mixed, "error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("unknown-channel"), &json!(5)));
    let three = ["price:BTC-USD", "price:BTC-USD@1s", "stats"];
    let error = tab.ask(&json!({"type": "subscribe", "channels": three, "id": 6}), "error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("too-many-channels"), &json!(6)));
    let mut other = cluster.tab_with("user_id=bob&channels=price:BTC-USD").await;
    for _ in 0..3 {
        other.next("price").await;
    }
    assert_eq!(tab.until_pong().await, [] as [Value; 0], "nothing was subscribed");
}

#[tokio::test]
async fn ping_echo_and_quote_are_answered_with_their_ids() {
    let cluster = cluster().start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    assert_eq!(tab.ask(&json!({"type": "ping"}), "pong").await, json!({"type": "pong"}));
    assert_eq!(tab.ask(&json!({"type": "ping", "id": 3}), "pong").await, json!({"type": "pong", "id": 3}));
    let data = json!({"a": [1, "ü", null, {"b": 1.5}]});
    let echo = tab.ask(&json!({"type": "echo", "id": "e", "data": data, "more": 1}), "echo").await;
    assert_eq!(echo, json!({"type": "echo", "id": "e", "data": data}));
    let quote = tab.ask(&json!({"type": "quote", "id": 9, "symbol": "BTC-USD"}), "quote").await;
    assert_eq!((&quote["id"], &quote["price"]), (&json!(9), &json!("64000.00")));
    assert!(quote.get("request_id").is_none(), "{quote}");
    assert!(tab.ask(&json!({"type": "quote"}), "quote").await.get("id").is_none());
}

#[tokio::test]
async fn what_is_not_understood_is_an_error_and_the_session_stays() {
    let cluster = cluster().config(OPEN).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let deep = format!(r#"{{"type":"echo","id":1,"data":{}{}}}"#, "[".repeat(99), "]".repeat(99));
    let long = format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(65));
    let table = [
        ("", "invalid-json"),
        ("{", "invalid-json"),
        ("hello", "invalid-json"),
        (r#"{"type":"ping"} {"type":"ping"}"#, "invalid-json"),
        (r#"{"type":NaN}"#, "invalid-json"),
        ("null", "invalid-message"),
        ("[]", "invalid-message"),
        (r#"["ping"]"#, "invalid-message"),
        ("7", "invalid-message"),
        ("{}", "invalid-message"),
        (r#"{"type":7}"#, "invalid-message"),
        (r#"{"type":"ping","type":"ping"}"#, "invalid-message"),
        (r#"{"type":"subscribe"}"#, "invalid-message"),
        (r#"{"type":"subscribe","channels":"news"}"#, "invalid-message"),
        (r#"{"type":"subscribe","channels":[7]}"#, "invalid-message"),
        (r#"{"type":"publish","channel":"lobby"}"#, "invalid-message"),
        (r#"{"type":"echo"}"#, "invalid-message"),
        (r#"{"type":"ping","id":[1]}"#, "invalid-message"),
        (r#"{"type":"ping","id":true}"#, "invalid-message"),
        (&long, "invalid-message"),
        (&deep, "too-deep"),
        (r#"{"type":"dance","id":1}"#, "unknown-type"),
        (r#"{"type":"welcome"}"#, "unknown-type"),
        (r#"{"type":"subscribe","channels":["price:ETH-USD"]}"#, "unknown-channel"),
        (r#"{"type":"unsubscribe","channels":["nowhere"]}"#, "unknown-channel"),
        (r#"{"type":"publish","channel":"nowhere","data":1}"#, "unknown-channel"),
        (r#"{"type":"publish","channel":"news","data":1}"#, "forbidden"),
        (r#"{"type":"publish","channel":"stats","data":1}"#, "forbidden"),
        (r#"{"type":"quote","symbol":"ETH-USD"}"#, "unknown-symbol"),
    ];
    for (text, code) in table {
        tab.say_text(text).await;
        let error = tab.message().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{text}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    }
    assert_eq!(tab.until_pong().await, [] as [Value; 0]);
}

#[tokio::test]
async fn anyone_may_publish_where_the_channel_allows_it() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut listeners = vec![];
    for n in 0..9 {
        listeners.push(cluster.tab_with(&format!("user_id=listener-{n}&channels=lobby")).await);
    }
    let mut deaf = cluster.quiet_tab("deaf").await;
    let mut speaker = cluster.tab_with("user_id=speaker&channels=lobby").await;
    speaker.say_text(r#"{"type":"publish","channel":"lobby","data":{"n":1.50,"s":"<b>"},"id":4}"#).await;
    listeners.push(speaker);
    for tab in &mut listeners {
        let message = tab.next("message").await;
        assert_eq!(keys(&message), ["channel", "data", "from", "time", "type"]);
        assert_eq!((&message["channel"], &message["from"]), (&json!("lobby"), &json!("speaker")));
        assert_eq!(message["data"], json!({"n": 1.50, "s": "<b>"}));
        assert!(is_time(message["time"].as_str().unwrap()));
    }
    let mut speaker = listeners.pop().unwrap();
    assert_eq!(speaker.ask(&json!({"type": "ping"}), "pong").await["type"], "pong");
    assert_eq!(deaf.until_pong().await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_one_session_publishes_arrives_in_its_order() {
    let cluster = cluster().config(OPEN).start().await;
    let mut listeners = vec![
        cluster.tab_with("user_id=a&channels=lobby").await,
        cluster.tab_with("user_id=b&channels=lobby").await,
        cluster.tab_with("user_id=c&channels=lobby").await,
    ];
    let mut speaker = cluster.quiet_tab("speaker").await;
    for n in 0..50 {
        speaker.say(&json!({"type": "publish", "channel": "lobby", "data": n})).await;
    }
    for tab in &mut listeners {
        for n in 0..50 {
            assert_eq!(tab.next("message").await["data"], n);
        }
    }
}

#[tokio::test]
async fn the_slow_channel_speaks_at_most_once_a_second() {
    let cluster = cluster().start().await;
    let begin = Stopwatch::start();
    let mut tab = cluster.tab_with("user_id=alice&channels=price:BTC-USD@1s").await;
    let mut last = 0;
    for round in 0..4 {
        let price = tab.next("price").await;
        assert_eq!(price["channel"], "price:BTC-USD@1s");
        let seq = price["seq"].as_u64().unwrap();
        assert!(round < 2 || seq > last + 1, "those between were left out: {last}, {seq}");
        last = seq;
    }
    // The first is the newest price at once, whenever the second began.
    assert!(begin.elapsed() > Duration::from_millis(1_900), "{:?}", begin.elapsed());
    assert!(begin.net() < promised(Duration::from_millis(4_500)), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn channels_are_chosen_with_the_handshake() {
    let cluster = cluster().config(OPEN).start().await;
    let chosen = async |query: &str| {
        let tab = cluster.tab_with(&format!("user_id=alice&{query}")).await;
        tab.welcome["channels"].clone()
    };
    assert_eq!(chosen("channels=none").await, json!([]));
    assert_eq!(chosen("channels=stats").await, json!(["stats"]));
    assert_eq!(chosen("channels=news,price:BTC-USD@1s").await, json!(["news", "price:BTC-USD@1s"]));
    assert_eq!(chosen("channels=price%3ABTC-USD%401s").await, json!(["price:BTC-USD@1s"]));
    assert_eq!(chosen("channels=news,news").await, json!(["news"]), "twice is once");
    for bad in ["nowhere", "news,nowhere", "price:ETH-USD", "price:BTC-USD@2s", "none,news", ",", "*"] {
        let refused = cluster.open(&format!("/ws?user_id=alice&channels={bad}")).await.unwrap_err();
        assert_eq!(refused.problem(), (400, "unknown-channel".into()), "{bad}");
    }
}

#[tokio::test]
async fn statistics_are_told_to_their_subscribers() {
    let cluster = cluster().workers(3).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=stats").await;
    let stats = tab.next("stats").await;
    assert_eq!(stats["workers"].as_array().unwrap().len(), 3);
    let _other = cluster.quiet_tab("bob").await;
    let begin = Stopwatch::start();
    while tab.next("stats").await["totals"]["sessions"] != 2 {}
    assert!(begin.net() < promised(Duration::from_millis(2_000)), "{:?}", begin.elapsed());
}

/// A tab that comes to a cluster at rest is told at once, before its handshake is through at times; one that comes as
/// another goes changes no count.
#[tokio::test]
async fn each_newcomer_hears_statistics_that_count_it() {
    let cluster = cluster().workers(2).config("[stats]\ninterval = \"100ms\"").start().await;
    for round in 0..20 {
        let user = format!("tab-{round}");
        let mut tab = cluster.tab_with(&format!("user_id={user}&channels=stats")).await;
        loop {
            let stats = tab.next("stats").await;
            if stats["users"].as_array().unwrap().iter().any(|row| row["user_id"] == user.as_str()) {
                break;
            }
        }
        if round % 2 == 0 {
            // The interval passes, and the next finds the cluster at rest.
            drop(tab);
            while cluster.stats().await["totals"]["sessions"] != 0 {}
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

#[tokio::test]
async fn an_echo_session_says_everything_back() {
    let cluster = cluster().config("[limits]\nmessages_per_session = \"0\"").start().await;
    let mut tab = echo_tab(&cluster).await;
    for text in ["", "hello", "{\"type\":\"ping\"}", "\u{1F600}ü"] {
        tab.say_text(text).await;
        let heard = tab.hear().await;
        let expected = serde_json::from_str(text).map_or_else(|_| Heard::Text(text.into()), Heard::Message);
        assert_eq!(heard, expected);
    }
    for size in [0, 1, 125, 126, 65_535, 65_536] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
        tab.send(Message::binary(bytes.clone())).await;
        assert!(tab.hear().await == Heard::Binary(bytes), "{size} bytes");
    }
}

#[tokio::test]
async fn a_session_that_leaves_is_answered_and_forgotten() {
    let cluster = cluster().start().await;
    let tab = cluster.tab("alice").await;
    tab.leave().await;
    crate::harness::eventually("nobody is there", async || {
        let stats = cluster.stats().await;
        if stats["totals"]["sessions"] == 0 { Ok(()) } else { Err(stats["totals"].to_string()) }
    })
    .await;
}
