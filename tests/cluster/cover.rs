//! Sessions survive the death of their worker: those with nothing under way go on, with nothing lost and nothing doubled.

use crate::harness::{Cluster, Listener, Raw, Recorder, Tab, cluster, eventually, kill, masked, post};
use rustix::process::Signal;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sessions may be adopted twice within a moment here.
const CONFIG: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\n\
                      [limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\n\
                      sessions_per_address = 0\nconnections_per_address = 0\n\
                      [cluster]\nstable_after = \"1ms\"\ngive_up_after = 1000\nrestart_max = \"100ms\"\n";

async fn publish(cluster: &Cluster, n: usize) -> u16 {
    let request = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
    cluster.administer(&request).await.status
}

/// Kills a worker and waits until its slot serves again and what it left is settled.
async fn death(cluster: &Cluster, id: u64, signal: Signal) {
    let (before, settled) = (cluster.worker(id).await, settled(cluster));
    kill(before.pid.unwrap(), signal);
    eventually("another process serves", async || {
        let worker = cluster.worker(id).await;
        if worker.state == "ready" && worker.pid != before.pid { Ok(()) } else { Err(format!("{worker:?}")) }
    })
    .await;
    eventually("its sessions are settled", async || {
        let now = self::settled(cluster);
        if before.sessions == 0 || now > settled { Ok(()) } else { Err(format!("{now} deaths")) }
    })
    .await;
}

/// How many deaths are settled.
fn settled(cluster: &Cluster) -> usize {
    let log = cluster.log();
    log.matches("sessions-adopted").count() + log.matches("sessions-lost").count()
}

/// Waits until nothing is on its way to the keeper or the master.
async fn calm() {
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

async fn tabs(cluster: &Cluster, count: usize) -> Vec<(String, Tab)> {
    let mut all = vec![];
    for n in 0..count {
        let user = format!("u{n}");
        all.push((
            user.clone(),
            cluster.tab_with(&format!("user_id={user}&channels=news,price:BTC-USD")).await,
        ));
    }
    all
}

/// Descriptors of the daemon's main process.
fn descriptors(cluster: &Cluster) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", cluster.pid)).unwrap().count()
}

#[tokio::test]
async fn idle_sessions_of_a_killed_worker_go_on() {
    let cluster = cluster().workers(2).config(CONFIG).start().await;
    let mut all = tabs(&cluster, 200).await;
    calm().await;
    let before = descriptors(&cluster);
    for id in [1, 2] {
        death(&cluster, id, Signal::KILL).await;
        for (n, (user, tab)) in all.iter_mut().enumerate() {
            tab.next("price").await;
            if n % 20 == 0 {
                assert_eq!(cluster.quote(user).await.status, 202);
                tab.quote().await;
            }
        }
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], 200);
    assert_eq!(publish(&cluster, 7).await, 202);
    for (_, tab) in &mut all {
        assert_eq!(tab.next("message").await["data"], 7, "channels go with a session");
    }
    assert_eq!(descriptors(&cluster), before, "spares are not left behind");
    assert!(!cluster.log().contains("directory-resynchronised"), "the master knows each session's place");
}

#[tokio::test]
async fn under_quotes_and_messages_nothing_is_lost_and_nothing_comes_twice() {
    let cluster = cluster().workers(2).config(CONFIG).start().await;
    let all = tabs(&cluster, 60).await;
    calm().await;
    let all: Vec<_> = all.into_iter().map(|(user, tab)| (user, Recorder::of(tab))).collect();
    let (mut said, mut acked, mut absent) = (vec![], BTreeMap::new(), BTreeSet::new());
    let mut n = 0;
    for round in 0..6 {
        let dies = death(&cluster, 1 + round % 2, Signal::KILL);
        let talks = async {
            for _ in 0..80 {
                n += 1;
                let user = &all[n % all.len()].0;
                let quote = crate::harness::quote_for(user);
                // What the dying worker serves itself is cut.
                if let Ok(mut to) = crate::harness::Connection::open(cluster.http).await
                    && let Ok(answer) = to.send(&quote).await
                {
                    assert!([202, 404, 503, 504].contains(&answer.status), "{}", answer.text());
                    if answer.status == 202 {
                        acked.insert(answer.json()["request_id"].as_str().unwrap().to_owned(), user.clone());
                    } else if answer.status == 404 {
                        absent.insert(user.clone());
                    }
                }
                let message = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
                if let Ok(mut to) = crate::harness::Connection::open(cluster.admin).await
                    && let Ok(answer) = to.send(&message).await
                    && answer.status == 202
                {
                    said.push(n);
                }
            }
        };
        tokio::join!(dies, talks);
    }
    calm().await;
    let mut got = BTreeMap::<String, usize>::new();
    let mut open = 0;
    for (user, tab) in &all {
        let story = tab.story();
        for quote in story.of("quote") {
            *got.entry(quote["request_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        if story.closed.is_some() {
            acked.retain(|_, of| of != user);
            absent.remove(user);
            continue;
        }
        open += 1;
        let messages: Vec<_> = story.of("message").map(|m| m["data"].as_u64().unwrap() as usize).collect();
        assert!(messages.windows(2).all(|two| two[0] < two[1]), "{user}: once and in order");
        let missing: Vec<_> = said.iter().filter(|n| messages.binary_search(n).is_err()).collect();
        assert_eq!(missing, Vec::<&usize>::new(), "{user}");
    }
    assert!(open + 6 >= all.len(), "a death closes at most the one that was being written to: {open}");
    assert_eq!(absent, BTreeSet::new(), "only who was closed is not connected");
    assert!(got.values().all(|times| *times == 1), "no quote comes twice");
    let lost: Vec<_> = acked.keys().filter(|id| !got.contains_key(*id)).collect();
    assert_eq!(lost, Vec::<&String>::new());
}

#[tokio::test]
async fn a_session_with_half_a_frame_is_closed_and_no_other() {
    let cluster = cluster().workers(1).config(CONFIG).start().await;
    let mut half = Raw::session(cluster.ws, "/ws?user_id=half&channels=none").await;
    let mut whole = cluster.tab_with("user_id=whole&channels=none").await;
    calm().await;
    let frame = masked(0x81, br#"{"type":"ping","id":1}"#);
    half.write(&frame[..9]).await;
    calm().await;
    death(&cluster, 1, Signal::KILL).await;
    half.rest().await;
    assert_eq!(whole.ask(&json!({ "type": "ping", "id": 2 }), "pong").await["id"], 2);
    assert_eq!(cluster.stats().await["totals"]["sessions"], 1);
}

#[tokio::test]
async fn what_a_client_says_while_nobody_reads_is_heard_by_the_next_process() {
    let cluster = cluster().workers(1).config(CONFIG).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=none").await;
    calm().await;
    let worker = cluster.worker(1).await;
    kill(worker.pid.unwrap(), Signal::STOP);
    tab.say(&json!({ "type": "ping", "id": 5 })).await;
    kill(worker.pid.unwrap(), Signal::KILL);
    assert_eq!(tab.next("pong").await["id"], 5);
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_and_its_sessions_go_on() {
    let config = format!("{CONFIG}worker_timeout = \"2s\"\n");
    let cluster = cluster().workers(2).config(&config).start().await;
    let mut all = tabs(&cluster, 20).await;
    calm().await;
    death(&cluster, 1, Signal::STOP).await;
    for (_, tab) in &mut all {
        tab.next("price").await;
    }
}

#[tokio::test]
async fn a_frame_that_kills_closes_its_own_session_and_kills_once() {
    const POISON: &str = "kill yourself";
    let cluster =
        cluster().workers(1).config(CONFIG).variable("BTC_CLUSTER_TEST_POISON", POISON).start().await;
    let mut all = tabs(&cluster, 30).await;
    let mut killer = cluster.tab_with("user_id=killer&channels=none").await;
    calm().await;
    killer.say_text(POISON).await;
    assert_eq!(killer.closed().await.0, 1006);
    for (_, tab) in &mut all {
        assert_eq!(tab.ask(&json!({ "type": "ping" }), "pong").await["type"], "pong");
    }
    assert_eq!(cluster.worker(1).await.restarts, 1);
}

#[tokio::test]
async fn a_message_that_kills_whoever_hands_it_on_does_not_kill_for_ever() {
    const POISON: &str = "kill all of you";
    let config = CONFIG.replace("1ms", "30s").replace("1000", "5");
    let cluster =
        cluster().workers(2).config(&config).variable("BTC_CLUSTER_TEST_POISON", POISON).start().await;
    let all = tabs(&cluster, 30).await;
    let mut other = cluster.tab_with("user_id=other&channels=none").await;
    calm().await;
    let poison = post("/api/v1/channels/news/messages", json!({ "data": POISON }).to_string());
    // The worker that is asked dies, too.
    let mut asked = crate::harness::Connection::open(cluster.admin).await.unwrap();
    let _ = asked.send(&poison).await;
    for (_, mut tab) in all {
        let (code, _) = tab.closed().await;
        assert!([1006, 1011].contains(&code), "{code}");
    }
    eventually("the workers serve", async || {
        let all = [cluster.worker(1).await, cluster.worker(2).await];
        let serve = all.iter().all(|worker| worker.state == "ready" && worker.restarts > 0);
        if serve { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    for id in [1, 2] {
        let deaths = cluster.worker(id).await.restarts;
        assert!((1..=2).contains(&deaths), "{deaths} deaths of worker {id}");
    }
    let code = other.closed().await.0;
    assert!([1006, 1011].contains(&code), "its worker died twice within a moment: {code}");
    let mut tab = cluster.tab_with("user_id=new&channels=news").await;
    assert_eq!(publish(&cluster, 1).await, 202);
    assert_eq!(tab.next("message").await["data"], 1);
}

#[tokio::test]
async fn a_session_that_its_worker_has_just_adopted_is_closed_when_that_dies_too() {
    let config = CONFIG.replace("1ms", "30s");
    let cluster = cluster().workers(1).config(&config).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=none").await;
    let token = tab.welcome["resume"].as_str().unwrap().to_owned();
    calm().await;
    death(&cluster, 1, Signal::KILL).await;
    assert_eq!(tab.ask(&json!({ "type": "ping" }), "pong").await["type"], "pong");
    calm().await;
    death(&cluster, 1, Signal::KILL).await;
    assert_eq!(tab.closed().await, (1011, "suspect-session".to_owned()));
    assert!(cluster.log().contains("sessions-adopted"), "{}", cluster.log());
    let tab = cluster.tab_with(&format!("user_id=alice&channels=none&resume={token}")).await;
    assert_eq!(tab.welcome["resumed"], false, "what may kill does not come back");
}

#[tokio::test]
async fn a_listener_to_events_and_a_room_go_on() {
    let cluster = cluster().workers(1).config(CONFIG).start().await;
    let mut listener = Listener::open(cluster.http, "user_id=bob&channels=news").await;
    listener.next("welcome").await;
    let mut alice = cluster.tab_with("user_id=alice&channels=none").await;
    let mut carol = cluster.tab_with("user_id=carol&channels=none").await;
    for tab in [&mut alice, &mut carol] {
        tab.ask(&json!({ "type": "subscribe", "channels": ["chat:lobby"], "id": 1 }), "ack").await;
    }
    calm().await;
    death(&cluster, 1, Signal::KILL).await;
    assert_eq!(publish(&cluster, 3).await, 202);
    assert_eq!(listener.next("message").await.data["data"], 3);
    let said = json!({ "type": "publish", "channel": "chat:lobby", "data": "still here", "id": 2 });
    alice.ask(&said, "ack").await;
    assert_eq!(carol.next("message").await["data"], "still here");
}

#[tokio::test]
async fn killed_adopted_cut_and_back_is_the_truth() {
    let cluster = cluster().workers(2).config(CONFIG).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    let token = tab.welcome["resume"].as_str().unwrap().to_owned();
    let (other, session) = (3 - tab.worker(), tab.session().to_owned());
    let to = cluster.ctl(&["move", &session, &other.to_string()]).await;
    assert_eq!(to.json()["held"], 1, "{to:?}");
    assert_eq!(publish(&cluster, 1).await, 202);
    tab.next("message").await;
    calm().await;
    death(&cluster, other, Signal::KILL).await;
    assert_eq!(publish(&cluster, 2).await, 202);
    tab.next("message").await;
    calm().await;
    drop(tab);
    eventually("it is suspended", async || match cluster.stats().await["totals"]["sessions"].as_u64() {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(publish(&cluster, 3).await, 202);
    let mut tab = cluster.tab_with(&format!("user_id=alice&channels=none&resume={token}")).await;
    assert_eq!((&tab.welcome["resumed"], tab.session()), (&json!(true), session.as_str()));
    assert_eq!(tab.welcome["moves"], 2, "a move and a death");
    assert_eq!(tab.next("message").await["data"], 3, "it has the others");
}

#[tokio::test]
async fn without_cover_sessions_end_with_their_worker() {
    let config = format!("{CONFIG}[handover]\ncrash_cover = false\n");
    let cluster = cluster().workers(1).config(&config).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=none").await;
    calm().await;
    death(&cluster, 1, Signal::KILL).await;
    assert_eq!(tab.closed().await.0, 1006);
}

#[tokio::test]
async fn fifty_deaths_leave_nothing_behind() {
    let cluster = cluster().workers(2).config(CONFIG).start().await;
    // Nothing is under way with those that hear nothing: none may be closed.
    let mut all = Vec::new();
    for n in 0..20 {
        let user = format!("user-{n}");
        let tab = cluster.tab_with(&format!("user_id={user}&channels=none")).await;
        all.push((user, tab));
    }
    calm().await;
    let before = descriptors(&cluster);
    for round in 0..50 {
        death(&cluster, 1 + round % 2, Signal::KILL).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    for (user, tab) in &mut all {
        assert_eq!(cluster.quote(user).await.status, 202);
        tab.quote().await;
    }
    assert_eq!(descriptors(&cluster), before);
}
