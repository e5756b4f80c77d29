//! What an administrator may do: tell all, look, disconnect; over the admin port and with `ctl`.

use crate::harness::{Tab, cluster, delete, get, in_time, is_time, keys, post};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NEWS: &str = "[[channels]]\nname = \"news\"\n[[channels]]\nname = \"other\"";
const MESSAGES: &str = "/api/v1/channels/news/messages";

#[tokio::test]
async fn a_message_reaches_every_subscriber_on_every_worker_and_they_are_counted() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let (mut inside, mut outside): (Vec<Tab>, Vec<Tab>) = (vec![], vec![]);
    for n in 0..12 {
        inside.push(cluster.tab_with(&format!("user_id=in-{n}&channels=news")).await);
        outside.push(cluster.tab_with(&format!("user_id=out-{n}&channels=other")).await);
    }
    let data = r#"{"n":1.50,"big":123456789012345678901234567890,"html":"<b>","null":null}"#;
    let answer = cluster.administer(&post(MESSAGES, format!(r#"{{"data":{data},"more":1}}"#))).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"channel": "news", "sessions": 12})));
    for tab in &mut inside {
        let message = tab.message().await;
        assert_eq!(keys(&message), ["channel", "data", "time", "type"], "nobody in particular says it");
        assert_eq!((&message["type"], &message["channel"]), (&json!("message"), &json!("news")));
        assert_eq!(message["data"], serde_json::from_str::<Value>(data).unwrap());
        assert!(is_time(message["time"].as_str().unwrap()));
    }
    for tab in &mut outside {
        assert_eq!(tab.until_pong().await, [] as [Value; 0]);
    }
    let answer = cluster.administer(&post(MESSAGES, r#"{"data":null}"#)).await;
    assert_eq!(answer.json()["sessions"], 12);
    assert_eq!(inside[0].message().await["data"], Value::Null);
}

#[tokio::test]
async fn nobody_may_be_listening() {
    let cluster = cluster().config(NEWS).start().await;
    let answer = cluster.administer(&post(MESSAGES, r#"{"data":1}"#)).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"channel": "news", "sessions": 0})));
}

#[tokio::test]
async fn a_message_that_makes_no_sense_is_refused() {
    let cluster = cluster().config(NEWS).start().await;
    let told = async |path: &str, body: &str| cluster.administer(&post(path, body)).await.problem();
    for body in ["", "{", r#"{"data":}"#, &format!(r#"{{"data":{}{}}}"#, "[".repeat(500), "]".repeat(500))] {
        assert_eq!(told(MESSAGES, body).await, (400, "invalid-json".into()), "{body:.40}");
    }
    for body in ["{}", "[]", "null", r#"{"text":1}"#] {
        assert_eq!(told(MESSAGES, body).await, (422, "invalid-body".into()), "{body}");
    }
    for channel in ["nowhere", "stats", "price:BTC-USD", "a%2fb", "%00"] {
        let path = format!("/api/v1/channels/{channel}/messages");
        assert_eq!(told(&path, r#"{"data":1}"#).await, (404, "unknown-channel".into()), "{channel}");
    }
    assert_eq!(told(MESSAGES, &format!(r#"{{"data":"{}"}}"#, "x".repeat(20_000))).await.0, 413);
    let plain = post(MESSAGES, r#"{"data":1}"#).header("Content-Type", "text/plain");
    assert_eq!(cluster.administer(&plain).await.problem().0, 415);
    assert_eq!(cluster.administer(&get(MESSAGES)).await.problem().0, 405);
}

#[tokio::test]
async fn sessions_are_listed_and_disconnected() {
    let cluster = cluster().workers(2).start().await;
    let mut first = cluster.tab_with("user_id=alice&device=phone&channels=none").await;
    let mut second = cluster.quiet_tab("alice").await;
    let mut third = cluster.quiet_tab("bob").await;
    let list = async |query: &str| {
        let answer = cluster.administer(&get(&format!("/api/v1/sessions{query}"))).await;
        answer.json().as_array().expect("a list").clone()
    };
    assert_eq!((list("").await.len(), list("?user_id=nobody").await.len()), (3, 0));
    let of_alice = list("?user_id=alice").await;
    assert_eq!(of_alice.len(), 2);
    let row = of_alice.iter().find(|row| row["session_id"] == first.session()).expect("the first session");
    assert_eq!((&row["user_id"], &row["device"]), (&json!("alice"), &json!("phone")));
    assert_eq!((&row["endpoint"], &row["worker"]), (&json!("ws"), &json!(first.worker())));
    assert_eq!((&row["address"], &row["transport"]), (&json!("127.0.0.1"), &json!("websocket")));
    assert!(is_time(row["since"].as_str().unwrap()), "{row}");

    let path = format!("/api/v1/sessions/{}", first.session());
    let answer = cluster.administer(&delete(&path)).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let (said, close) = first.farewell().await;
    assert_eq!(
        (said.last().unwrap()["type"].as_str(), close),
        (Some("system"), (4006, "disconnected".into()))
    );
    assert_eq!(said.last().unwrap()["event"], "disconnected");
    crate::harness::eventually("it is gone from the list", async || {
        let left = list("?user_id=alice").await.len();
        if left == 1 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    for gone in [&path, "/api/v1/sessions/nonsense", "/api/v1/sessions/00000000-0000-7000-8000-000000000000"]
    {
        assert_eq!(cluster.administer(&delete(gone)).await.problem(), (404, "session-not-found".into()));
    }
    second.until_pong().await;
    third.until_pong().await;
    let bad = cluster.administer(&get("/api/v1/sessions?user_id=a%20b")).await;
    assert_eq!(bad.problem(), (400, "invalid-user-id".into()));
}

/// The body of an answer that comes in chunks.
async fn in_chunks(to: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut text = String::new();
    in_time("a list", stream.read_to_string(&mut text)).await.unwrap();
    let (head, mut rest) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let mut body = String::new();
    while let Some((size, chunks)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &chunks[..size];
        rest = &chunks[size + 2..];
    }
    body
}

#[tokio::test]
async fn a_list_of_more_than_a_page_is_one_list() {
    let cluster = cluster().workers(2).start().await;
    let mut tabs = Vec::new();
    while tabs.len() < 1100 {
        tabs.extend(join_all((0..100).map(|_| cluster.open("/echo"))).await.into_iter().map(Result::unwrap));
    }
    let _alice = cluster.quiet_tab("alice").await;
    let ids = |list: &Value| -> BTreeSet<String> {
        let sessions = list.as_array().unwrap();
        let ids = sessions.iter().map(|session| session["session_id"].as_str().unwrap().to_owned());
        let ids: BTreeSet<_> = ids.collect();
        assert_eq!(ids.len(), sessions.len(), "no session twice");
        ids
    };
    let text = in_chunks(cluster.admin, "/api/v1/sessions").await;
    let all = ids(&serde_json::from_str(&text).unwrap());
    assert_eq!(all.len(), 1101);
    assert_eq!(ids(&cluster.ctl(&["sessions"]).await.json()), all);
    let own = cluster.administer(&get("/api/v1/sessions?user_id=alice")).await.json();
    assert_eq!(ids(&own).len(), 1);
    assert_eq!(cluster.ctl(&["sessions", "--user", "nobody"]).await.json(), json!([]));
}

#[tokio::test]
async fn ctl_does_the_same() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    let _other = cluster.quiet_tab("bob").await;
    let sent = cluster.ctl_plain(&["publish", "news", r#"{"a":1}"#]).await;
    assert_eq!((sent.code, sent.out.as_str()), (Some(0), "1 sessions\n"));
    assert_eq!(tab.message().await["data"], json!({"a": 1}));
    cluster.ctl(&["publish", "news", "plain words"]).await;
    assert_eq!(tab.message().await["data"], "plain words");
    assert_eq!(cluster.ctl(&["publish", "nowhere", "1"]).await.code, Some(1));

    let sessions = cluster.ctl(&["sessions"]).await.json();
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    let own = cluster.ctl(&["sessions", "--user", "alice"]).await.json();
    assert_eq!((own.as_array().unwrap().len(), &own[0]["session_id"]), (1, &json!(tab.session())));
    assert_eq!(cluster.ctl(&["kick", tab.session()]).await.code, Some(0));
    assert_eq!(tab.closed().await.0, 4006);
    assert_eq!(cluster.ctl(&["kick", "nonsense"]).await.code, Some(1));

    let workers = cluster.ctl(&["workers"]).await.json();
    let stats = cluster.stats().await;
    let pids =
        |rows: &Value| rows.as_array().unwrap().iter().map(|row| row["pid"].clone()).collect::<Vec<_>>();
    assert_eq!(pids(&workers), pids(&stats["workers"]));
    let sources = cluster.ctl(&["sources"]).await.json();
    assert_eq!(sources[0]["name"], "mock", "{sources}");
}

#[tokio::test]
async fn ctl_speaks_to_people_as_well() {
    let cluster = cluster().workers(2).start().await;
    let _tab = cluster.quiet_tab("alice").await;
    let status = cluster.ctl_plain(&["status"]).await;
    assert_eq!((status.code, status.err.as_str()), (Some(0), ""));
    for word in [
        "version",
        "sessions",
        "1 of 1 users",
        "64000.00",
        &cluster.http.to_string(),
        &cluster.pid.to_string(),
    ] {
        assert!(status.out.contains(word), "{word}: {}", status.out);
    }
    let all = cluster.ctl(&["status"]).await.json();
    for (role, pid) in
        [("keeper", &all["keeper"]), ("master", &all["master"]), ("feeder", &all["feeder"]["pid"])]
    {
        let row = status.out.lines().find(|line| line.starts_with(role)).unwrap_or_default();
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells.get(1), Some(&pid.to_string().as_str()), "{}", status.out);
        assert_eq!((cells.get(2), cells.last()), (Some(&"ready"), Some(&all["version"].as_str().unwrap())));
    }
    let roles = all["processes"].as_array().unwrap().iter().map(|row| row["role"].as_str().unwrap());
    assert_eq!(roles.collect::<Vec<_>>(), ["keeper", "master", "feeder", "worker 1", "worker 2"]);
    let workers = cluster.ctl_plain(&["workers"]).await;
    assert_eq!(workers.out.lines().count(), 3, "headings and two rows: {}", workers.out);
    assert!(!workers.out.contains('\x1b'), "no colours where there is no terminal");
    let sessions = cluster.ctl_plain(&["sessions"]).await;
    assert!(sessions.out.contains("alice"), "{}", sessions.out);
    assert_eq!(cluster.ctl_plain(&["dance"]).await.code, Some(2), "usage");
}
