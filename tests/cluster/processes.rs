//! Processes that die or stand still: only those who were there notice, and not for long.

use crate::harness::{
    Cluster, Connection, Raw, Recorder, Stopwatch, Tab, Worker, cluster, eventually, get, is_gone, kill,
    limit_files, promised, quote_for, within, zombies_of,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const UNCOVERED: &str = "[handover]\ncrash_cover = false\n";

/// Waits until a place has another process that serves.
async fn replaced(cluster: &Cluster, id: u64, old: u32, patience: Duration) -> Worker {
    within(promised(patience), "another process serves there", async || {
        let all = cluster.try_workers().await?;
        let worker = all.iter().find(|worker| worker.id == id).ok_or("the place is gone")?;
        let is_new = worker.pid.is_some_and(|pid| pid != old) && worker.state == "ready";
        if is_new { Ok(worker.clone()) } else { Err(format!("{all:?}")) }
    })
    .await
}

/// Users and a tab of each.
type Users = Vec<(String, Tab)>;

/// The tabs of one worker, and the others.
fn divide(tabs: Users, worker: u64) -> (Users, Users) {
    tabs.into_iter().partition(|(_, tab)| tab.worker() == worker)
}

/// Each session is there, heard nothing that it must not, and gets its quote, once.
async fn all_go_on(cluster: &Cluster, tabs: &mut Users) {
    for (user, tab) in tabs {
        let heard = tab.until_pong().await;
        assert!(heard.iter().all(|message| message["event"] == "moved"), "{user} goes on: {heard:?}");
        let receipt = cluster.quote(user).await;
        assert_eq!((receipt.status, receipt.json()["sessions"].clone()), (202, json!(1)), "{user}");
        let heard = tab.until_pong().await;
        assert_eq!(heard.len(), 1, "{user}: {heard:?}");
        assert_eq!(heard[0]["request_id"], receipt.json()["request_id"], "{user}");
    }
}

#[tokio::test]
async fn a_killed_worker_takes_no_session_along_and_is_back_within_a_second() {
    let cluster = cluster().workers(3).start().await;
    let mut tabs = cluster.users_on_all("user", 3).await;
    cluster.until_covered(tabs.len()).await;
    let (victim, pid) = (tabs[0].1.worker(), tabs[0].1.pid());
    kill(pid, Signal::KILL);
    let new = replaced(&cluster, victim, pid, SECOND).await;
    assert_eq!(new.restarts, 1);
    cluster.until_settled(1).await;
    all_go_on(&cluster, &mut tabs).await;
    assert_eq!(cluster.stats().await["totals"]["sessions"], tabs.len());
    let others: u64 = cluster.workers().await.iter().filter(|w| w.id != victim).map(|w| w.restarts).sum();
    assert_eq!(others, 0);
    assert_eq!(zombies_of(cluster.pid), [] as [u32; 0], "the keeper asks after its dead");
}

#[tokio::test]
async fn without_cover_a_killed_worker_takes_only_its_own_sessions() {
    let cluster = cluster().workers(3).config(UNCOVERED).start().await;
    let tabs = cluster.users_on_all("user", 3).await;
    let (victim, pid) = (tabs[0].1.worker(), tabs[0].1.pid());
    let (dead, mut alive) = divide(tabs, victim);
    kill(pid, Signal::KILL);
    let new = replaced(&cluster, victim, pid, SECOND).await;
    assert_eq!(new.restarts, 1);
    for (user, mut tab) in dead {
        assert_eq!(tab.closed().await.0, 1006, "{user} was there");
        assert_eq!(cluster.quote(&user).await.problem(), (404, "user-not-connected".into()));
        let mut back = cluster.quiet_tab(&user).await;
        let receipt = cluster.quote(&user).await;
        assert_eq!((receipt.status, receipt.json()["sessions"].clone()), (202, json!(1)));
        assert_eq!(back.quote().await["request_id"], receipt.json()["request_id"]);
    }
    for (user, tab) in &mut alive {
        assert_eq!(tab.until_pong().await, [] as [Value; 0], "{user} was elsewhere");
        assert_eq!(cluster.quote(user).await.status, 202);
        tab.quote().await;
    }
}

#[tokio::test]
async fn the_statistics_tell_of_a_death_within_a_second() {
    let cluster = cluster().workers(3).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=stats").await;
    let victim = cluster.workers().await.into_iter().find(|worker| worker.id != tab.worker()).unwrap();
    tab.until_pong().await;
    let begin = Stopwatch::start();
    kill(victim.pid.unwrap(), Signal::KILL);
    loop {
        let stats = tab.next("stats").await;
        let row =
            stats["workers"].as_array().unwrap().iter().find(|row| row["id"] == victim.id).unwrap().clone();
        if row["pid"] != json!(victim.pid) {
            assert_eq!(row["restarts"], 1, "{row}");
            break;
        }
    }
    let (time, net) = (begin.elapsed(), begin.net());
    assert!(net < promised(Duration::from_millis(1_500)), "{time:?}, {net:?} of it without load");
}

#[tokio::test]
async fn all_workers_killed_at_once_are_back_within_two_seconds() {
    let cluster = cluster().workers(3).start().await;
    let mut tabs = cluster.users_on_all("user", 3).await;
    cluster.until_covered(tabs.len()).await;
    let before = cluster.workers().await;
    for worker in &before {
        kill(worker.pid.unwrap(), Signal::KILL);
    }
    // Nobody accepts now, but keeper and master hold the sockets: whoever comes, waits.
    let waiting = Connection::open(cluster.http).await;
    let mut waiting = waiting.expect("the ports stay open");
    assert_eq!(waiting.ask(&get("/healthz")).await.status, 200);
    let begin = Stopwatch::start();
    for worker in &before {
        let left = (SECOND * 2).saturating_sub(begin.net());
        replaced(&cluster, worker.id, worker.pid.unwrap(), left).await;
    }
    cluster.until_settled(3).await;
    all_go_on(&cluster, &mut tabs).await;
    let totals = cluster.stats().await["totals"].clone();
    assert_eq!((&totals["sessions"], &totals["users"]), (&json!(tabs.len()), &json!(tabs.len())));
    assert_eq!(cluster.get("/api/v1/price").await.status, 200, "the newborn know the price");
}

#[tokio::test]
async fn a_worker_that_stands_still_is_replaced_and_the_others_do_not_wait() {
    let config = "[cluster]\nworker_timeout = \"2s\"\n[quotes]\ntimeout = \"500ms\"\n[limits]\nquotes_per_user = \"0\"";
    let cluster = cluster().workers(3).config(config).start().await;
    let tabs = cluster.users_on_all("user", 3).await;
    let (victim, pid) = (tabs[0].1.worker(), tabs[0].1.pid());
    cluster.until_covered(tabs.len()).await;
    let (mut frozen, mut alive) = divide(tabs, victim);
    // Over connections of the others: one to the frozen worker would be as frozen.
    let mut posters = vec![];
    for mut connection in cluster.connections_to_all(3).await {
        if connection.ask(&get("/healthz")).await.json()["worker"] != victim {
            posters.push(connection);
        }
    }
    kill(pid, Signal::STOP);
    let begin = Stopwatch::start();
    let answer = posters[0].ask(&quote_for(&frozen[0].0)).await;
    let waited = begin.net();
    assert_eq!(answer.problem(), (504, "worker-timeout".into()));
    assert!(waited < promised(Duration::from_millis(1_000)), "quotes.timeout is half a second: {waited:?}");
    for (user, tab) in &mut alive {
        let begin = Stopwatch::start();
        assert_eq!(posters[1].ask(&quote_for(user)).await.status, 202);
        tab.quote().await;
        assert!(begin.net() < promised(Duration::from_millis(300)), "{user}: {:?}", begin.elapsed());
    }
    replaced(&cluster, victim, pid, SECOND * 3).await;
    assert!(is_gone(pid));
    cluster.until_settled(1).await;
    all_go_on(&cluster, &mut frozen).await;
    for (_, tab) in &mut alive {
        tab.until_pong().await;
    }
}

#[tokio::test]
async fn a_receipt_says_of_how_many_sessions_nothing_was_heard() {
    let config = "[cluster]\nworker_timeout = \"4s\"\n[quotes]\ntimeout = \"500ms\"";
    let cluster = cluster().workers(2).config(config).start().await;
    let tabs = cluster.tabs_on_all("alice", 2).await;
    let victim = tabs[0].pid();
    let mut on: BTreeMap<bool, Vec<Tab>> = BTreeMap::new();
    tabs.into_iter().for_each(|tab| on.entry(tab.pid() == victim).or_default().push(tab));
    let (mut frozen, mut alive) = (on.remove(&true).unwrap(), on.remove(&false).unwrap());
    let mut posters = vec![];
    for mut connection in cluster.connections_to_all(2).await {
        if connection.ask(&get("/healthz")).await.json()["worker"] == alive[0].worker() {
            posters.push(connection);
        }
    }
    kill(victim, Signal::STOP);
    let receipt = posters[0].ask(&quote_for("alice")).await;
    assert_eq!(receipt.status, 202, "{receipt:?}");
    let receipt = receipt.json();
    assert_eq!((&receipt["sessions"], &receipt["unconfirmed"]), (&json!(alive.len()), &json!(frozen.len())));
    for tab in &mut alive {
        assert_eq!(tab.quote().await["request_id"], receipt["request_id"]);
    }
    kill(victim, Signal::CONT);
    for tab in &mut frozen {
        assert_eq!(tab.until_pong().await, [] as [Value; 0], "an order that is read too late is dropped");
    }
}

#[tokio::test]
async fn a_dead_feeder_costs_nobody_a_session() {
    let cluster = cluster().workers(2).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=price:BTC-USD").await;
    let before = tab.next("price").await["seq"].as_u64().unwrap();
    let feeder = cluster.stats().await["feeder"].clone();
    assert_eq!((&feeder["state"], &feeder["restarts"]), (&json!("ready"), &json!(0)));
    kill(u32::try_from(feeder["pid"].as_u64().unwrap()).unwrap(), Signal::KILL);
    assert_eq!(cluster.quote("alice").await.status, 202, "the last price is known");
    eventually("another feeder serves", async || {
        let now = cluster.stats().await["feeder"].clone();
        let is_new = now["pid"] != feeder["pid"] && now["state"] == "ready" && now["restarts"] == 1;
        if is_new { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    tab.until_pong().await;
    let mut last = before;
    for _ in 0..5 {
        let seq = tab.next("price").await["seq"].as_u64().unwrap();
        assert!(seq > last, "numbers grow over the death of a feeder: {seq} after {last}");
        last = seq;
    }
    assert!(cluster.workers().await.iter().all(|worker| worker.restarts == 0));
}

#[tokio::test]
async fn a_killed_keeper_leaves_nobody_behind() {
    let cluster = cluster().workers(3).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let mut children = cluster.children().await;
    assert_eq!(children.len(), 4, "three workers and the feeder");
    children.push(cluster.master().await);
    cluster.signal(Signal::KILL);
    within(promised(SECOND), "no process outlives the keeper", async || {
        let left: Vec<_> = children.iter().filter(|pid| !is_gone(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert_eq!(tab.closed().await.0, 1006);
    within(promised(SECOND), "no port is left held", async || match Connection::open(cluster.http).await {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody listens".to_owned()),
    })
    .await;
}

#[tokio::test]
async fn a_daemon_starts_again_over_what_a_killed_one_left() {
    let mut cluster = cluster().workers(2).start().await;
    cluster.signal(Signal::KILL);
    cluster.ended(SECOND).await;
    assert!(cluster.folder().join("control.sock").exists(), "a stale socket is there");
    let cluster = cluster.start_again(2).await;
    let _tab = cluster.quiet_tab("alice").await;
    assert_eq!(cluster.quote("alice").await.status, 202);
}

#[tokio::test]
async fn while_the_master_stands_still_quotes_are_refused_and_none_comes_late() {
    let config = "[quotes]\ntimeout = \"500ms\"\n[ws]\nhandshake_timeout = \"1s\"\n\
                  [cluster]\nworker_timeout = \"60s\"";
    let cluster = cluster().workers(2).config(config).start().await;
    let tab = cluster.quiet_tab("alice").await;
    let (recorder, master) = (Recorder::of(tab), cluster.master().await);
    kill(master, Signal::STOP);
    for _ in 0..3 {
        let begin = Stopwatch::start();
        let answer = cluster.quote("alice").await;
        assert_eq!(answer.problem(), (503, "cluster-busy".into()));
        assert!(begin.net() < promised(Duration::from_millis(1_200)), "{:?}", begin.elapsed());
    }
    assert_eq!(cluster.get("/healthz").await.status, 200, "workers answer what they can");
    assert_eq!(cluster.get("/api/v1/price").await.status, 200);
    assert_eq!(cluster.get("/api/v1/stats").await.problem(), (503, "cluster-busy".into()));
    let newcomer = cluster.open("/ws?user_id=bob").await;
    assert_eq!(newcomer.unwrap_err().problem(), (503, "cluster-busy".into()));
    kill(master, Signal::CONT);
    let receipt = eventually("the master works again", async || match cluster.quote("alice").await {
        receipt if receipt.status == 202 => Ok(receipt.json()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let heard = eventually("the new quote arrives", async || {
        let heard: Vec<_> = recorder.story().of("quote").map(|quote| quote["request_id"].clone()).collect();
        if heard.contains(&receipt["request_id"]) { Ok(heard) } else { Err(format!("{heard:?}")) }
    })
    .await;
    assert_eq!(heard, [receipt["request_id"].clone()], "those that were refused never come");
    assert_eq!(recorder.closed(), None);
    eventually("newcomers are welcome and the refused one is forgotten", async || {
        let _tab = cluster.open("/ws?user_id=bob").await.map_err(|refusal| format!("{refusal:?}"))?;
        let totals = cluster.stats().await["totals"].clone();
        if totals["sessions"] == 2 { Ok(()) } else { Err(totals.to_string()) }
    })
    .await;
    assert!(cluster.workers().await.iter().all(|worker| worker.restarts == 0), "nobody was killed for it");
}

#[tokio::test]
async fn totals_never_fall_when_a_worker_dies() {
    let cluster = cluster().workers(2).start().await;
    let tabs = cluster.tabs_on_all("alice", 2).await;
    cluster.quote("alice").await;
    let totals = async || -> BTreeMap<String, f64> {
        let text = cluster.administer(&get("/metrics")).await.text().to_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| line.rsplit_once(' '));
        let counters = samples.filter(|(name, _)| name.split('{').next().unwrap().ends_with("_total"));
        counters.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
    };
    // Workers count for themselves and tell once a second.
    let before = eventually("the quote is counted", async || {
        let all = totals().await;
        let counted = all.iter().any(|(name, value)| name.contains("delivered") && *value >= 1.0);
        if counted { Ok(all) } else { Err(format!("{all:?}")) }
    })
    .await;
    assert!(before.len() > 5, "{before:?}");
    let (id, pid) = (tabs[0].worker(), tabs[0].pid());
    kill(pid, Signal::KILL);
    replaced(&cluster, id, pid, SECOND * 3).await;
    let after = totals().await;
    for (name, value) in before {
        assert!(
            after.get(&name).is_some_and(|now| *now >= value),
            "{name}: {value}, then {:?}",
            after.get(&name)
        );
    }
}

#[tokio::test]
async fn a_worker_whose_descriptors_are_cut_answers_everybody_with_those_it_has() {
    let cluster = cluster().workers(1).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let worker = cluster.worker(1).await.pid.unwrap();
    let open = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count() as u64;
    limit_files(worker, open + 10);
    let mut crowd = vec![];
    for n in 0..30 {
        let mut one = Raw::connect(cluster.http).await;
        one.write(&get("/healthz").bytes("localhost")).await;
        assert_eq!(one.response().await.unwrap().status, 200, "{n}");
        crowd.push(one);
    }
    for _ in 0..5 {
        assert_eq!(tab.until_pong().await, [] as [Value; 0], "who is there notices nothing");
    }
    assert_eq!(crowd.swap_remove(0).rest().await, b"", "the one that was idle longest has ended");
    assert_eq!((cluster.worker(1).await.pid, cluster.worker(1).await.restarts), (Some(worker), 0));
    assert_eq!(cluster.quote("alice").await.status, 202);
}

#[tokio::test]
async fn a_worker_that_dies_again_and_again_is_given_pauses() {
    let config = "[cluster]\nrestart_min = \"200ms\"\nrestart_max = \"5s\"";
    let cluster = cluster().workers(2).config(config).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let victim = cluster.workers().await.into_iter().find(|worker| worker.id != tab.worker()).unwrap();
    let mut pid = victim.pid.unwrap();
    for deaths in 1..=3 {
        kill(pid, Signal::KILL);
        let new = replaced(&cluster, victim.id, pid, SECOND * 4).await;
        assert_eq!(new.restarts, deaths);
        pid = new.pid.unwrap();
    }
    tab.until_pong().await;
    assert_eq!(cluster.log().matches("child-restart").count(), 3, "{}", cluster.log());
}

#[tokio::test]
async fn a_place_that_is_given_up_is_told_and_can_be_revived() {
    let config = "[cluster]\ngive_up_after = 2\nrestart_min = \"10ms\"\nrestart_max = \"10ms\"";
    let cluster = cluster().workers(2).config(config).start().await;
    let tab = cluster.quiet_tab("alice").await;
    let id = if tab.worker() == 1 { 2 } else { 1 };
    eventually("the place is given up", async || {
        let worker = cluster.worker(id).await;
        // One that was killed a moment ago may still be told.
        if let (Some(pid), "ready") = (worker.pid.filter(|pid| !is_gone(*pid)), worker.state.as_str()) {
            kill(pid, Signal::KILL);
        }
        if worker.state == "failed" { Ok(()) } else { Err(format!("{worker:?}")) }
    })
    .await;
    assert_eq!(cluster.worker(id).await.pid, None);
    assert_eq!(cluster.get("/readyz").await.status, 200, "the other serves on");
    assert_eq!(cluster.quote("alice").await.status, 202);
    assert_eq!(cluster.ctl(&["restart-worker", &id.to_string()]).await.code, Some(0));
    eventually("the place is revived", async || {
        let worker = cluster.worker(id).await;
        if worker.state == "ready" { Ok(()) } else { Err(format!("{worker:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_whose_workers_are_all_given_up_ends() {
    let config = "[cluster]\ngive_up_after = 1\nrestart_min = \"10ms\"";
    let mut cluster = cluster().workers(2).config(config).start().await;
    for worker in cluster.workers().await {
        kill(worker.pid.unwrap(), Signal::KILL);
    }
    let status = cluster.ended(promised(SECOND * 3)).await;
    assert_eq!(status.code(), Some(1), "{}", cluster.log());
    assert!(cluster.log().contains("given up"), "{}", cluster.log());
}
