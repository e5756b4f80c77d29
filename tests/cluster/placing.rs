//! Operators say where sessions are, and workers share them evenly: no client is closed by that.

use crate::harness::{Cluster, Listener, Poller, Tab, cluster, eventually, post, promised, within};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const NEWS: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\n\
                    [limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\n";

async fn publish(cluster: &Cluster, n: usize) -> u64 {
    let request = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
    cluster.administer(&request).await.json()["sessions"].as_u64().unwrap()
}

/// Sessions of each worker.
async fn loads(cluster: &Cluster) -> BTreeMap<u64, u64> {
    let rows = cluster.ctl(&["workers"]).await.json();
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
    rows.as_array().unwrap().iter().map(|row| (number(row, "id"), number(row, "sessions"))).collect()
}

/// The worker that has the one session of a user.
async fn place(cluster: &Cluster, user: &str) -> u64 {
    let sessions = cluster.ctl(&["sessions", "--user", user]).await.json();
    sessions[0]["worker"].as_u64().unwrap_or_else(|| panic!("{sessions}"))
}

fn token(welcome: &Value) -> &str {
    welcome["resume"].as_str().expect("a token")
}

async fn open(cluster: &Cluster, user: &str) -> Tab {
    cluster.tab_with(&format!("user_id={user}&channels=news")).await
}

#[tokio::test]
async fn a_moved_session_goes_on_and_its_token_of_before_holds() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let mut tab = open(&cluster, "alice").await;
    let (session, mut at) = (tab.session().to_owned(), tab.worker());
    let mut heard = 0;
    for n in 0..6 {
        assert_eq!(publish(&cluster, n).await, 1);
        at = at % 3 + 1;
        let moved = cluster.ctl(&["move", &session, &at.to_string()]).await;
        assert_eq!(moved.json()["held"], 1, "{moved:?}");
        assert_eq!(place(&cluster, "alice").await, at);
        assert_eq!(cluster.quote("alice").await.json()["sessions"], 1);
        assert_eq!(tab.next("message").await["data"], n);
        tab.quote().await;
        heard += 2;
    }
    // A message of its own, and one that it does not hear any more.
    tab.until_pong().await;
    heard += 1;
    let resume = format!("{}.{heard}", token(&tab.welcome));
    drop(tab);
    eventually("it is suspended", async || match publish(&cluster, 7).await {
        0 => Ok(()),
        n => Err(format!("{n}")),
    })
    .await;
    let mut back = cluster.tab_with(&format!("user_id=alice&channels=none&resume={resume}")).await;
    assert_eq!((&back.welcome["resumed"], back.session()), (&json!(true), &*session), "{}", back.welcome);
    assert_eq!(back.next("message").await["data"], 7);
}

#[tokio::test]
async fn events_and_polls_move_as_well() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let query = "user_id=erin&channels=news";
    let mut listener = Listener::open(cluster.http, query).await;
    let welcome = listener.next("welcome").await.data;
    let mut poller = Poller::new(cluster.http, "user_id=pat&channels=news");
    let first = poller.until("welcome").await;
    let sessions = [&welcome, first.last().unwrap()].map(|w| w["session_id"].as_str().unwrap().to_owned());
    for n in 0..4 {
        for (user, session) in ["erin", "pat"].iter().zip(&sessions) {
            let to = 3 - place(&cluster, user).await;
            let moved = cluster.ctl(&["move", session, &to.to_string()]).await;
            assert_eq!(moved.json()["held"], 1, "{user} {moved:?}");
            assert_eq!(place(&cluster, user).await, to);
        }
        assert_eq!(publish(&cluster, n).await, 2);
        assert_eq!(listener.next("message").await.data["data"], n);
        assert_eq!(poller.until("message").await.last().unwrap()["data"], n);
    }
    let resume = listener.cut();
    let mut again = Listener::again(cluster.http, query, &resume).await;
    assert_eq!(again.next("welcome").await.data["resumed"], true);
}

#[tokio::test]
async fn what_cannot_move_is_said() {
    let cluster = cluster().workers(2).config(NEWS).start().await;
    let tab = open(&cluster, "alice").await;
    let session = tab.session().to_owned();
    let there = tab.worker().to_string();
    for (words, error) in [
        (vec!["move", "nonsense", "1"], "there is no such session"),
        (vec!["move", "01890a5d-ac96-774b-bcce-b302099a8057", "1"], "there is no such session"),
        (vec!["move", &session, "7"], "there is no worker 7"),
        (vec!["move", &session, &there], "the session is at worker"),
        (vec!["drain", "7"], "there is no worker 7"),
    ] {
        let answer = cluster.ctl(&words).await;
        assert_eq!(answer.code, Some(1), "{words:?}: {answer:?}");
        let said = answer.json();
        assert!(said["error"].as_str().unwrap().contains(error), "{words:?}: {said}");
    }
    let other = 3 - tab.worker();
    assert_eq!(cluster.ctl(&["drain", &other.to_string()]).await.code, Some(0));
    let said = cluster.ctl(&["move", &session, &other.to_string()]).await.json();
    assert!(said["error"].as_str().unwrap().contains("is drained"), "{said}");
    let said = cluster.ctl(&["drain", &there]).await.json();
    assert!(said["error"].as_str().unwrap().contains("no other worker is ready"), "{said}");
}

#[tokio::test]
async fn a_drained_worker_takes_nothing_until_it_is_replaced_or_a_reload() {
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let mut tabs = Vec::new();
    for n in 0..24 {
        tabs.push(open(&cluster, &format!("u{n}")).await);
    }
    let before = loads(&cluster).await;
    let told = cluster.ctl(&["drain", "2"]).await.json();
    assert_eq!(
        (&told["held"], &told["closed"], &told["returned"]),
        (&json!(before[&2]), &json!(0), &json!(0))
    );
    let state = async || cluster.ctl(&["workers"]).await.json()[1]["state"].clone();
    assert_eq!((state().await, loads(&cluster).await[&2]), (json!("draining"), 0));
    for n in 24..36 {
        let tab = open(&cluster, &format!("u{n}")).await;
        assert_ne!(tab.worker(), 2);
        tabs.push(tab);
    }
    let now = loads(&cluster).await;
    assert!(now[&1].abs_diff(now[&3]) <= 4, "{now:?}");
    assert_eq!(publish(&cluster, 1).await, 36);
    for tab in &mut tabs {
        assert_eq!(tab.next("message").await["data"], 1);
    }
    cluster.ctl(&["reload"]).await;
    let is_ready = async || match state().await {
        state if state == "ready" => Ok(()),
        state => Err(state.to_string()),
    };
    eventually("it takes sessions again", is_ready).await;
    assert_eq!(cluster.ctl(&["drain", "2"]).await.code, Some(0));
    assert_eq!(cluster.ctl(&["restart-worker", "2"]).await.code, Some(0));
    within(promised(Duration::from_secs(15)), "its successor takes sessions", is_ready).await;
    for tab in &mut tabs {
        tab.until_pong().await;
    }
}

#[tokio::test]
async fn a_worker_that_is_added_gets_its_share_and_nobody_is_closed() {
    let config =
        |workers: u8, rate: &str| format!("{NEWS}[cluster]\nworkers = {workers}\nrebalance = \"{rate}\"\n");
    let cluster = cluster().workers(3).config(&config(3, "100/s")).start().await;
    let mut tabs = Vec::new();
    for n in 0..60 {
        tabs.push(open(&cluster, &format!("u{n}")).await);
    }
    cluster.reconfigure(&config(4, "100/s")).await;
    let is_even = async || {
        let now = loads(&cluster).await;
        let (least, most) = (now.values().min().unwrap(), now.values().max().unwrap());
        if now.len() == 4 && most - least <= 2 { Ok(()) } else { Err(format!("{now:?}")) }
    };
    within(promised(Duration::from_secs(20)), "all have the same", is_even).await;
    // Sessions on their way are counted where they will be, and hear what is published there.
    cluster.logged(&["rebalanced"]).await;
    assert_eq!(publish(&cluster, 1).await, 60);
    for tab in &mut tabs {
        assert_eq!(tab.next("message").await["data"], 1);
    }
    // Without a rate it waits for an operator.
    cluster.reconfigure(&config(3, "0")).await;
    within(promised(Duration::from_secs(20)), "three are left", async || match loads(&cluster).await.len() {
        3 => Ok(()),
        n => Err(n.to_string()),
    })
    .await;
    cluster.reconfigure(&config(4, "0")).await;
    within(promised(Duration::from_secs(20)), "there are four", async || {
        let rows = cluster.ctl(&["workers"]).await.json();
        if rows[3]["state"] == "ready" { Ok(()) } else { Err(rows.to_string()) }
    })
    .await;
    assert_eq!(loads(&cluster).await[&4], 0);
    let told = cluster.ctl(&["rebalance"]).await.json();
    assert_eq!((&told["closed"], &told["returned"]), (&json!(0), &json!(0)), "{told}");
    assert!(told["held"].as_u64().unwrap() >= 14, "{told}");
    is_even().await.unwrap();
    for tab in &mut tabs {
        tab.until_pong().await;
    }
}

#[tokio::test]
async fn nothing_is_lost_while_sessions_move_and_their_clients_come_back() {
    const CLIENTS: usize = 24;
    const MESSAGES: usize = 200;
    let cluster = cluster().workers(3).config(NEWS).start().await;
    let all_there = tokio::sync::Barrier::new(CLIENTS + 1);
    let clients = (0..CLIENTS).map(async |me| {
        let user = format!("u{me}");
        let mut tab = open(&cluster, &user).await;
        all_there.wait().await;
        let (mut heard, mut since, mut comebacks) = (0, 0, 0);
        while heard < MESSAGES {
            let message = tab.next("message").await;
            assert_eq!(message["data"], heard, "{user}: neither lost nor twice, after {comebacks} comebacks");
            (heard, since) = (heard + 1, since + 1);
            if fastrand::usize(..12) == 0 {
                // Some are cut with what is on its way unread, some are taken over while they live.
                let resume = format!("{}.{since}", token(&tab.welcome));
                let old = (fastrand::bool()).then_some(tab);
                tab = cluster.tab_with(&format!("user_id={user}&channels=none&resume={resume}")).await;
                drop(old);
                assert_eq!(tab.welcome["resumed"], true, "{user}");
                (since, comebacks) = (0, comebacks + 1);
            }
        }
    });
    let (over, speaks) = (std::cell::Cell::new(false), async {
        all_there.wait().await;
        for n in 0..MESSAGES {
            publish(&cluster, n).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let moves = async {
        let mut moved = 0;
        for worker in (1..=3).cycle() {
            let told = cluster.ctl(&["drain", &worker.to_string()]).await.json();
            moved += told["held"].as_u64().unwrap_or_else(|| panic!("{told}"));
            cluster.ctl(&["reload"]).await;
            if over.get() {
                return moved;
            }
        }
        unreachable!()
    };
    let talk = async {
        tokio::join!(futures_util::future::join_all(clients), speaks);
        over.set(true);
    };
    let (moved, ()) = tokio::join!(moves, talk);
    assert!(moved >= 8, "{moved}");
}
