//! `/command`: a greeting, ECHO and PING, answered in plain text.

use crate::harness::{Cluster, Heard, Stopwatch, Tab, cluster, eventually, promised};
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

async fn greeted(cluster: &Cluster, path: &str, greeting: &str) -> Tab {
    let mut tab = cluster.open(path).await.expect("a session");
    assert_eq!(tab.hear().await, Heard::Text(greeting.into()));
    tab
}

async fn answer(tab: &mut Tab, command: &str) -> String {
    tab.say_text(command).await;
    match tab.hear().await {
        Heard::Text(text) => text,
        other => panic!("no text but {other:?}"),
    }
}

#[tokio::test]
async fn commands_are_answered_and_nonsense_is_told_and_logged() {
    let cluster = cluster().start().await;
    let mut tab = greeted(&cluster, "/command", "Вы подключились").await;
    assert_eq!(answer(&mut tab, r#"{"action":"ECHO","data":"привет"}"#).await, "Сервер услышал: привет");
    assert_eq!(
        answer(&mut tab, r#"{"action":"ECHO","data":{"a":[1.50]}}"#).await,
        r#"Сервер услышал: {"a":[1.50]}"#
    );
    assert_eq!(answer(&mut tab, r#"{"action":"ECHO"}"#).await, "Сервер услышал: ");
    assert_eq!(answer(&mut tab, r#"{"action":"PING"}"#).await, "PONG");
    let error = answer(&mut tab, r#"{"action":"DANCE"}"#).await;
    assert!(error.starts_with("Error: "), "{error}");
    for nonsense in ["PING", "{", "[]", r#"{"action":"ping"}"#] {
        assert_eq!(answer(&mut tab, nonsense).await, error, "{nonsense}");
    }
    assert_eq!(answer(&mut tab, r#"{"action":"PING"}"#).await, "PONG", "the session stays");
    cluster.logged(&["DANCE"]).await;
    let stats = cluster.stats().await;
    assert_eq!(stats["totals"]["by_endpoint"]["command"], 1, "{stats}");
    assert_eq!(cluster.quote("nobody").await.status, 404);
    tab.send(Message::binary(vec![1])).await;
    assert_eq!(tab.closed().await, (1003, "binary-not-accepted".into()));
}

#[tokio::test]
async fn the_words_and_the_delay_are_the_configurations_own_and_live() {
    let words = |delay: &str| {
        format!(
            "[ws]\nroot = \"command\"\n[command]\ngreeting = \"hello\"\nprefix = \"heard \"\nping_delay = \"{delay}\""
        )
    };
    let cluster = cluster().config(&words("500ms")).start().await;
    let mut tab = greeted(&cluster, "/", "hello").await;
    let begin = Stopwatch::start();
    tab.say(&json!({"action": "PING"})).await;
    assert_eq!(
        answer(&mut tab, r#"{"action":"ECHO","data":"x"}"#).await,
        "heard x",
        "nothing waits for a PONG"
    );
    assert_eq!(tab.hear().await, Heard::Text("PONG".into()));
    assert!(begin.elapsed() >= Duration::from_millis(450), "{:?}", begin.elapsed());
    assert!(begin.net() < promised(Duration::from_secs(2)), "{:?}", begin.elapsed());
    // One that leaves meanwhile is missed by nobody.
    tab.say(&json!({"action": "PING"})).await;
    tab.leave().await;
    cluster.reconfigure("[command]\ngreeting = \"\"\n[ws]\nroot = \"ws\"").await;
    let mut tab = cluster.open("/command").await.expect("a session");
    assert_eq!(answer(&mut tab, r#"{"action":"PING"}"#).await, "PONG", "no greeting and no delay");
}

#[tokio::test]
async fn a_session_that_says_too_much_ends_and_a_stopping_daemon_says_so() {
    let mut cluster = cluster().start().await;
    let mut loud = cluster.open("/command").await.expect("a session");
    for _ in 0..40 {
        loud.say_text(r#"{"action":"PING"}"#).await;
    }
    let end = loop {
        if let Heard::Closed(code, reason) = loud.hear().await {
            break (code, reason);
        }
    };
    assert_eq!(end, (4101, "message-rate".into()));
    let mut tab = greeted(&cluster, "/command", "Вы подключились").await;
    eventually("one session is left", async || {
        let sessions = cluster.stats().await["totals"]["sessions"].clone();
        if sessions == 1 { Ok(()) } else { Err(sessions.to_string()) }
    })
    .await;
    cluster.signal(rustix::process::Signal::TERM);
    let (said, end) = tab.farewell().await;
    assert_eq!((said[0]["event"].as_str(), end), (Some("shutdown"), (1001, "shutdown".into())));
    assert!(cluster.ended(Duration::from_secs(10)).await.success());
}
