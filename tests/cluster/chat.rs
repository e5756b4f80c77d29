//! `/chat`: what one client says goes to all of them, on every worker.

use crate::harness::{Cluster, Heard, Raw, Tab, cluster, kill};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OPEN: &str = "[limits]\nmessages_per_session = \"0\"\n";

fn message(text: &str) -> String {
    format!(r#"{{ "event":"chat-message", "x":[1.50], "payload":{{"userName":"Аня","message":{text}}}}}"#)
}

/// The next text, to the byte.
async fn text(tab: &mut Raw) -> String {
    let frame = tab.next().await.expect("a frame");
    String::from_utf8(frame.payload).unwrap()
}

/// Which workers hold chat's sessions.
async fn spread(cluster: &Cluster) -> BTreeSet<u64> {
    cluster.workers().await.iter().filter(|worker| worker.sessions > 0).map(|worker| worker.id).collect()
}

#[tokio::test]
async fn a_message_goes_to_everybody_on_every_worker_to_the_byte() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut all = vec![];
    for _ in 0..9 {
        all.push(Raw::session(cluster.ws, "/chat").await);
    }
    assert_eq!(spread(&cluster).await.len(), 3, "the test wants a client on each worker");
    let outside = &mut cluster.open("/echo").await.unwrap();
    let long = "ж".repeat(60);
    let cut = message(&format!("\"{}\"", "ж".repeat(50)));
    for (said, heard) in [
        (message(r#""при\u0432ет \"все\"м""#), message(r#""при\u0432ет \"все\"м""#)),
        ("plain 😀 text".to_owned(), "plain 😀 text".to_owned()),
        ("{broken".to_owned(), "{broken".to_owned()),
        (message(&format!("\"{long}\"")), cut),
        (long.clone(), "ж".repeat(50)),
    ] {
        all[4].frame(0x81, said.as_bytes()).await;
        for one in &mut all {
            assert_eq!(text(one).await, heard);
        }
    }
    for other in [r#"{"event":"other"}"#, "{}", r#"{"event":"chat-message","payload":"x"}"#] {
        all[0].frame(0x81, other.as_bytes()).await;
        assert_eq!(text(&mut all[0]).await, "Wrong query", "{other}");
    }
    all[1].frame(0x81, b"last").await;
    for one in &mut all {
        assert_eq!(text(one).await, "last", "nobody else heard of wrong queries");
    }
    outside.say_text("mine").await;
    assert_eq!(outside.hear().await, Heard::Text("mine".into()));
    assert_eq!(cluster.stats().await["totals"]["by_endpoint"]["chat"], 9);
}

#[tokio::test]
async fn who_sees_its_101_misses_nothing_that_is_said_afterwards() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut speaker = cluster.open("/chat").await.unwrap();
    for n in 0..60 {
        let mut listener = cluster.open("/chat").await.unwrap();
        speaker.say_text(format!("said-{n}")).await;
        assert_eq!(listener.hear().await, Heard::Text(format!("said-{n}")));
        assert_eq!(speaker.hear().await, Heard::Text(format!("said-{n}")), "the sender, too, once");
    }
}

#[tokio::test]
async fn each_client_hears_all_messages_of_one_in_their_order() {
    let cluster = cluster().workers(3).config(OPEN).start().await;
    let mut all: Vec<Tab> = vec![];
    for _ in 0..6 {
        all.push(cluster.open("/chat").await.unwrap());
    }
    for n in 0..300 {
        all[n % 3].say_text(format!("{} {}", n % 3, n / 3)).await;
    }
    for tab in &mut all {
        let mut next = [0; 3];
        for _ in 0..300 {
            let Heard::Text(said) = tab.hear().await else { panic!("no text") };
            let (who, n) = said.split_once(' ').unwrap();
            let who: usize = who.parse().unwrap();
            assert_eq!(n, next[who].to_string(), "of {who}");
            next[who] += 1;
        }
    }
}

#[tokio::test]
async fn the_channel_of_the_chat_is_nobody_elses() {
    let cluster = cluster().config(OPEN).start().await;
    let mut chat = cluster.open("/chat").await.unwrap();
    let mut tab = cluster.quiet_tab("alice").await;
    for (kind, field) in
        [("subscribe", json!({"channels": ["/chat"]})), ("publish", json!({"channel": "/chat", "data": 1}))]
    {
        let mut said = field;
        said["type"] = kind.into();
        assert_eq!(tab.ask(&said, "error").await["code"], "unknown-channel");
    }
    assert_eq!(cluster.open("/ws?user_id=a&channels=/chat").await.unwrap_err().status, 400);
    let published = cluster.ctl(&["publish", "/chat", "1"]).await;
    assert_ne!(published.code, Some(0), "{published:?}");
    chat.say_text("mine").await;
    assert_eq!(chat.hear().await, Heard::Text("mine".into()));
    assert_eq!(tab.until_pong().await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_killed_worker_takes_nobody_along_and_one_that_does_not_read_holds_up_nobody() {
    let setup = cluster()
        .workers(2)
        .config(&format!("{OPEN}[ws]\noutbox = \"4KiB\"\nroot = \"chat\"\n[chat]\nmax_length = 65536"));
    let cluster = setup.start().await;
    let slow = Raw::narrow(cluster.ws, "/").await;
    let (mut one, mut two) = (cluster.open("/").await.unwrap(), cluster.open("/").await.unwrap());
    let big = "x".repeat(60_000);
    for n in 0..400 {
        one.say_text(&big).await;
        assert_eq!(one.hear().await, Heard::Text(big.clone()), "{n}");
        assert_eq!(two.hear().await, Heard::Text(big.clone()), "{n}");
        if n % 20 == 0 && cluster.stats().await["totals"]["by_endpoint"]["chat"] == 2 {
            break;
        }
    }
    assert_eq!(cluster.stats().await["totals"]["by_endpoint"]["chat"], 2, "the slow one is gone");
    cluster.logged(&["slow-consumer"]).await;
    drop(slow);
    cluster.until_covered(2).await;
    let victim = cluster.workers().await.into_iter().find(|worker| worker.sessions > 0).unwrap();
    kill(victim.pid.unwrap(), rustix::process::Signal::KILL);
    let mut new = cluster.open("/chat").await.unwrap();
    new.say_text("still here").await;
    assert_eq!(new.hear().await, Heard::Text("still here".into()));
    // That was said before the newborn was there, perhaps.
    for n in 0..2 {
        for tab in [&mut one, &mut two] {
            assert_eq!(tab.hear().await, Heard::Text(["still here", "we, too"][n].into()));
        }
        if n == 0 {
            one.say_text("we, too").await;
            assert_eq!(new.hear().await, Heard::Text("we, too".into()));
        }
    }
    assert_eq!(cluster.stats().await["totals"]["by_endpoint"]["chat"], 3);
}
