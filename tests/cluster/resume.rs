//! A client that comes back has its session again: over any transport, at any worker, with all that it missed.

use crate::harness::{Cluster, Listener, Poller, Tab, cluster, eventually, in_time, kill, post};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NEWS: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\n[[channels]]\nname = \"other\"\n\
                    [limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\n";

/// Publishes a number and says to how many.
async fn publish(cluster: &Cluster, channel: &str, n: usize) -> u64 {
    let request = post(&format!("/api/v1/channels/{channel}/messages"), json!({ "data": n }).to_string());
    cluster.administer(&request).await.json()["sessions"].as_u64().unwrap()
}

fn token(welcome: &Value) -> &str {
    welcome["resume"].as_str().expect("a token")
}

async fn nobody(cluster: &Cluster) {
    eventually("nobody is connected", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Comes back and says where it landed.
async fn back(cluster: &Cluster, user: &str, resume: &str) -> Tab {
    cluster.tab_with(&format!("user_id={user}&channels=none&resume={resume}")).await
}

#[tokio::test]
async fn what_was_published_meanwhile_comes_once_and_in_order_on_whichever_worker() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let (mut n, mut workers, mut since) = (0, BTreeSet::new(), 0);
    let mut tab = cluster.tab_with("user_id=alice&channels=news,stats").await;
    let session = tab.session().to_owned();
    for round in 0..12 {
        workers.insert(tab.worker());
        let resume = token(&tab.welcome).to_owned();
        // Of three it has heard two, or counts none of them.
        for _ in 0..3 {
            assert_eq!(publish(&cluster, "news", n).await, 1);
            n += 1;
        }
        let counts = round % 2 == 0;
        for k in 0..if counts { 2 } else { 3 } {
            assert_eq!(tab.next("message").await["data"], n - 3 + k);
        }
        drop(tab);
        nobody(&cluster).await;
        for _ in 0..3 {
            assert_eq!(publish(&cluster, "news", n).await, 0);
            n += 1;
        }
        assert_eq!(cluster.quote("alice").await.status, 404);
        let resume = if counts { format!("{resume}.{}", since + 2) } else { resume };
        tab = back(&cluster, "alice", &resume).await;
        assert_eq!(tab.welcome["resumed"], true, "{}", tab.welcome);
        assert_eq!(tab.session(), session);
        let channels: BTreeSet<_> =
            tab.welcome["channels"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(channels, BTreeSet::from(["news", "stats"]));
        let missed = if counts { n - 4..n } else { n - 3..n };
        // A pong is numbered, too.
        since = missed.len() + 1;
        for k in missed {
            assert_eq!(tab.next("message").await["data"], k, "round {round}");
        }
        assert_eq!(tab.until_pong().await.iter().filter(|m| m["type"] == "message").count(), 0);
    }
    assert!(workers.len() > 1, "the test wants it to land on several workers");
}

#[tokio::test]
async fn it_may_come_back_before_the_server_knows_that_it_was_cut() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let mut old = cluster.tab_with("user_id=alice&channels=news").await;
    for round in 0..10 {
        publish(&cluster, "news", round).await;
        // Since its welcome it has heard the last message and the quote, but not this message.
        let resume = format!("{}.{}", token(&old.welcome), if round == 0 { 0 } else { 2 });
        let mut new = back(&cluster, "alice", &resume).await;
        assert_eq!((&new.welcome["resumed"], new.session()), (&json!(true), old.session()));
        assert_eq!(new.next("message").await["data"], round);
        let (said, (code, reason)) = old.farewell().await;
        assert_eq!((code, reason.as_str()), (4005, "replaced"));
        assert!(said.iter().any(|m| m["event"] == "replaced"));
        assert_eq!(cluster.quote("alice").await.json()["sessions"], 1, "one session, not two");
        new.quote().await;
        old = new;
    }
}

#[tokio::test]
async fn the_transport_may_change() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let query = "user_id=alice&channels=news";
    let tab = cluster.tab_with(query).await;
    let (session, mut resume) = (tab.session().to_owned(), format!("{}.0", token(&tab.welcome)));
    drop(tab);
    let mut n = 0;
    for _ in 0..4 {
        nobody(&cluster).await;
        publish(&cluster, "news", n).await;
        let mut listener = Listener::again(cluster.http, query, &resume).await;
        let welcome = listener.next("welcome").await.data;
        assert_eq!((&welcome["resumed"], welcome["session_id"].as_str()), (&json!(true), Some(&*session)));
        assert_eq!(listener.next("message").await.data["data"], n);
        // It is lost with a message on its way.
        publish(&cluster, "news", n + 1).await;
        resume = listener.cut();
        let mut poller = Poller::new(cluster.http, query);
        poller.cursor = Some(resume.clone());
        let all = poller.until("message").await;
        assert_eq!((&all[0]["resumed"], &all[1]["data"]), (&json!(true), &json!(n + 1)), "{all:?}");
        publish(&cluster, "news", n + 2).await;
        let mut tab = back(&cluster, "alice", poller.cursor.as_deref().unwrap()).await;
        assert_eq!((&tab.welcome["resumed"], tab.session()), (&json!(true), &*session));
        assert_eq!(tab.next("message").await["data"], n + 2);
        resume = format!("{}.1", token(&tab.welcome));
        drop(tab);
        n += 3;
    }
}

#[tokio::test]
async fn a_gap_is_said_and_never_hidden() {
    let small = format!("{NEWS}[resume]\nmessages = 3\nwindow = \"30s\"\n");
    let cluster = cluster().workers(2).config(&small).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    let (session, resume) = (tab.session().to_owned(), token(&tab.welcome).to_owned());
    drop(tab);
    nobody(&cluster).await;
    for n in 0..4 {
        publish(&cluster, "news", n).await;
    }
    let fresh = async |user: &str, resume: &str| {
        let tab = cluster.tab_with(&format!("user_id={user}&resume={resume}")).await;
        assert_eq!(tab.welcome["resumed"], false, "{}", tab.welcome);
        assert_eq!(tab.welcome["channels"], json!(["stats", "price:BTC-USD"]));
        assert_ne!(tab.session(), session);
        tab
    };
    fresh("alice", &resume).await;
    fresh("alice", &resume).await;
    fresh("alice", "nonsense").await;
    // Somebody else's token is nobody's.
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    let stolen = token(&tab.welcome).to_owned();
    fresh("mallory", &stolen).await;
    assert_eq!(cluster.quote("alice").await.status, 202, "it has lost nothing");
    // One that has left has left.
    let left = cluster.tab_with("user_id=carol&channels=news").await;
    let resume = token(&left.welcome).to_owned();
    left.leave().await;
    fresh("carol", &resume).await;
    // A number that was never said.
    let tab = cluster.tab_with("user_id=dora&channels=news").await;
    fresh("dora", &format!("{}.7", token(&tab.welcome))).await;
}

#[tokio::test]
async fn the_window_closes_and_can_be_shut() {
    let cluster = cluster().workers(1).config(&format!("{NEWS}[resume]\nwindow = \"1s\"\n")).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    let resume = token(&tab.welcome).to_owned();
    drop(tab);
    nobody(&cluster).await;
    let back_later = async || {
        // Each try takes the token; so wait until the log of the worker can only have forgotten it.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        back(&cluster, "alice", &resume).await
    };
    assert_eq!(back_later().await.welcome["resumed"], false);
    cluster.reconfigure(&format!("{NEWS}[resume]\nwindow = \"0s\"\n")).await;
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    assert_eq!(tab.welcome.get("resume"), None, "{}", tab.welcome);
}

#[tokio::test]
async fn a_client_that_goes_away_may_come_back_to_its_quotes() {
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    assert_eq!(cluster.quote("alice").await.status, 202);
    tab.quote().await;
    let resume = format!("{}.0", token(&tab.welcome));
    tab.send(Message::Close(Some(CloseFrame { code: 1001.into(), reason: "".into() }))).await;
    assert_eq!(tab.closed().await.0, 1001);
    // As if the page had not seen the quote before it was reloaded: it comes again, with its age of now.
    let mut tab = back(&cluster, "alice", &resume).await;
    assert_eq!(tab.welcome["resumed"], true);
    assert!(tab.quote().await["age_ms"].is_u64());
}

#[tokio::test]
async fn subscriptions_end_with_their_channel_while_a_session_is_suspended() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news,other").await;
    let resume = token(&tab.welcome).to_owned();
    drop(tab);
    nobody(&cluster).await;
    publish(&cluster, "other", 1).await;
    publish(&cluster, "news", 2).await;
    cluster.reconfigure(&NEWS.replace("[[channels]]\nname = \"other\"\n", "")).await;
    publish(&cluster, "news", 3).await;
    let mut tab = back(&cluster, "alice", &resume).await;
    assert_eq!((&tab.welcome["resumed"], &tab.welcome["channels"]), (&json!(true), &json!(["news"])));
    for n in 1..=3 {
        assert_eq!(tab.next("message").await["data"], n);
    }
    assert_eq!(publish(&cluster, "news", 4).await, 1);
}

#[tokio::test]
async fn the_death_of_the_worker_that_holds_it_is_a_gap() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    let (resume, pid) = (token(&tab.welcome).to_owned(), tab.pid());
    kill(pid, Signal::KILL);
    drop(tab);
    let tab = in_time("it is served", back(&cluster, "alice", &resume)).await;
    assert_eq!(tab.welcome["resumed"], false);
}

#[tokio::test]
async fn nothing_is_lost_while_many_move_between_workers_under_a_stream_of_messages() {
    const CLIENTS: usize = 24;
    const MESSAGES: usize = 150;
    let cluster = cluster().workers(3).config(NEWS).start().await;
    // A session counts as there before it is on its channels: its welcome says that it is.
    let all_there = tokio::sync::Barrier::new(CLIENTS + 1);
    let clients = (0..CLIENTS).map(async |me| {
        let user = format!("u{me}");
        let mut tab = cluster.tab_with(&format!("user_id={user}&channels=news")).await;
        all_there.wait().await;
        let (mut heard, mut since, mut moves) = (0, 0, 0);
        while heard < MESSAGES {
            let message = tab.next("message").await;
            assert_eq!(message["data"], heard, "{user}: neither lost nor twice, after {moves} moves");
            (heard, since) = (heard + 1, since + 1);
            if fastrand::usize(..12) == 0 {
                // Some are cut with what is on its way unread, some are taken over while they live.
                let resume = format!("{}.{since}", token(&tab.welcome));
                let old = (fastrand::bool()).then_some(tab);
                tab = back(&cluster, &user, &resume).await;
                drop(old);
                assert_eq!(tab.welcome["resumed"], true, "{user}");
                (since, moves) = (0, moves + 1);
            }
        }
        moves
    });
    let speaks = async {
        in_time("all are there", all_there.wait()).await;
        for n in 0..MESSAGES {
            publish(&cluster, "news", n).await;
        }
    };
    let (moves, ()) = tokio::join!(futures_util::future::join_all(clients), speaks);
    assert!(moves.iter().sum::<usize>() > CLIENTS, "{moves:?}");
    eventually("all have gone", async || {
        let there = cluster.stats().await["totals"].clone();
        if there["sessions"] == 0 { Ok(()) } else { Err(there.to_string()) }
    })
    .await;
}
