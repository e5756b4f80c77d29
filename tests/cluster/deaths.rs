//! Several processes that die within a moment: no session is closed that would live if one of them died alone.

use crate::harness::{Cluster, Tab, cluster, eventually, kill, promised, within};
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::sleep;

/// Sessions may be adopted twice within a moment here.
const CONFIG: &str = "[limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\n\
                      [cluster]\nstable_after = \"1ms\"\ngive_up_after = 1000\nrestart_max = \"100ms\"\n\
                      worker_timeout = \"2s\"\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Master,
    Feeder,
    Worker(u64),
}

use Who::{Feeder, Master, Worker};

async fn pid(cluster: &Cluster, who: Who) -> u32 {
    match who {
        Master => cluster.master().await,
        Feeder => {
            let pid = cluster.stats().await["feeder"]["pid"].as_u64();
            pid.and_then(|pid| u32::try_from(pid).ok()).expect("a feeder")
        }
        Worker(id) => cluster.worker(id).await.pid.expect("a process"),
    }
}

/// All processes of the daemon but the keeper.
async fn processes(cluster: &Cluster) -> Result<BTreeSet<u32>, String> {
    let status = cluster.ctl(&["status"]).await;
    if status.code != Some(0) {
        return Err(status.err);
    }
    let status = status.json();
    let workers = status["workers"].as_array().ok_or("no workers")?;
    let ready = workers.iter().chain([&status["feeder"]]).all(|child| child["state"] == "ready");
    let all = workers.iter().chain([&status["feeder"]]).map(|child| &child["pid"]).chain([&status["master"]]);
    let all = all.filter_map(|pid| u32::try_from(pid.as_u64()?).ok()).collect();
    if ready { Ok(all) } else { Err(status.to_string()) }
}

/// Lets them die, with these pauses before each, and waits until all are ready again.
async fn die(cluster: &Cluster, deaths: &[(u64, Who, Signal)]) {
    let mut victims = Vec::new();
    for (pause, who, signal) in deaths {
        victims.push((*pause, pid(cluster, *who).await, *signal));
    }
    for (pause, pid, signal) in &victims {
        sleep(Duration::from_millis(*pause)).await;
        kill(*pid, *signal);
    }
    within(promised(Duration::from_secs(20)), "all are ready again", async || {
        let all = processes(cluster).await.map_err(|error| format!("{error}\n{}", cluster.log()))?;
        let left = victims.iter().any(|(_, pid, _)| all.contains(pid));
        if left { Err(format!("{all:?} {victims:?}")) } else { Ok(()) }
    })
    .await;
}

/// Each session answers, and has its quote.
async fn all_serve(cluster: &Cluster, tabs: &mut [(String, Tab)], what: &str) {
    for (user, tab) in tabs.iter_mut() {
        tab.ask(&json!({ "type": "ping" }), "pong").await;
        eventually("its quote is accepted", async || {
            let receipt = cluster.quote(user).await;
            let one = receipt.status == 202 && receipt.json()["sessions"] == 1;
            if one { Ok(()) } else { Err(format!("{what}: {user}: {receipt:?}\n{}", cluster.log())) }
        })
        .await;
        tab.next("quote").await;
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], tabs.len(), "{what}: {}", cluster.log());
    // What was said last is on its way, and nothing is under way with anybody.
    sleep(Duration::from_millis(300)).await;
}

async fn tabs(cluster: &Cluster, workers: usize) -> Vec<(String, Tab)> {
    let mut tabs = cluster.users_on_all("u", workers).await;
    while tabs.len() < 20 {
        let user = format!("{}-{}", "long-name".repeat(9), tabs.len());
        let tab = cluster.quiet_tab(&user).await;
        tabs.push((user, tab));
    }
    tabs
}

async fn hold(workers: u16, rounds: &[&[(u64, Who, Signal)]]) {
    let cluster = cluster().workers(workers).config(CONFIG).start().await;
    let mut tabs = tabs(&cluster, workers.into()).await;
    all_serve(&cluster, &mut tabs, "at first").await;
    for deaths in rounds {
        die(&cluster, deaths).await;
        all_serve(&cluster, &mut tabs, &format!("{deaths:?}")).await;
    }
}

const KILL: Signal = Signal::KILL;
const STOP: Signal = Signal::STOP;

#[tokio::test]
async fn a_worker_and_then_the_master() {
    hold(
        2,
        &[
            &[(0, Worker(1), KILL), (0, Master, KILL)],
            &[(0, Worker(2), KILL), (10, Master, KILL)],
            &[(0, Worker(1), KILL), (60, Master, KILL)],
            &[(0, Worker(2), KILL), (200, Master, KILL)],
            &[(0, Worker(1), KILL), (300, Master, KILL)],
        ],
    )
    .await;
}

#[tokio::test]
async fn the_master_and_then_a_worker() {
    hold(
        2,
        &[
            &[(0, Master, KILL), (0, Worker(1), KILL)],
            &[(0, Master, KILL), (10, Worker(2), KILL)],
            &[(0, Master, KILL), (40, Worker(1), KILL)],
            &[(0, Master, KILL), (100, Worker(2), KILL)],
            &[(0, Master, KILL), (300, Worker(1), KILL)],
        ],
    )
    .await;
}

#[tokio::test]
async fn the_only_worker_and_the_master_while_its_sessions_have_nobody() {
    hold(
        1,
        &[
            &[(0, Worker(1), KILL), (30, Master, KILL)],
            &[(0, Worker(1), KILL), (100, Master, KILL)],
            &[(0, Worker(1), KILL), (20, Master, KILL), (200, Feeder, KILL)],
            &[(0, Master, KILL), (0, Worker(1), KILL), (0, Feeder, KILL)],
        ],
    )
    .await;
}

#[tokio::test]
async fn a_worker_and_a_master_that_hang() {
    hold(
        2,
        &[
            &[(0, Master, STOP), (0, Worker(1), KILL)],
            &[(0, Worker(2), STOP), (0, Master, KILL)],
            &[(0, Worker(1), STOP), (0, Master, STOP)],
            &[(0, Master, STOP), (0, Feeder, STOP)],
        ],
    )
    .await;
}
