//! Receipts are true: workers are killed at random under traffic, and every promise is counted.

use crate::harness::{
    Cluster, Connection, Recorder, alone, cluster, eventually, in_time, kill, quiet_tab_of, quote_for,
};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const USERS: usize = 12;
const KILLS: usize = 8;

/// What posters were told, by request id: sessions, and of how many nothing was heard.
#[derive(Debug, Default)]
struct Told {
    receipts: BTreeMap<String, (String, u64, u64)>,
    not_connected: usize,
    /// 503, 504, or a connection that died: delivery is unknown.
    unknown: usize,
}

/// Posts for all users in turn until it is over.
async fn poster(cluster: Arc<Cluster>, over: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    // Enough to say something, on a slow machine as well.
    while !over.load(Ordering::Relaxed) || told.receipts.len() < 200 {
        let Ok(mut connection) = Connection::open(cluster.http).await else {
            panic!("the ports stay open");
        };
        for _ in 0..5 {
            let user = format!("user-{}", fastrand::usize(..USERS));
            let Ok(answer) = connection.send(&quote_for(&user)).await else {
                told.unknown += 1;
                break;
            };
            match answer.status {
                202 => {
                    let receipt = answer.json();
                    let number = |key: &str| receipt[key].as_u64().unwrap_or(0);
                    let id = receipt["request_id"].as_str().unwrap().to_owned();
                    let known = told.receipts.insert(id, (user, number("sessions"), number("unconfirmed")));
                    assert_eq!(known, None, "no id twice");
                }
                404 => told.not_connected += 1,
                503 | 504 => told.unknown += 1,
                _ => panic!("{answer:?}"),
            }
        }
    }
    told
}

/// A user with two tabs who always comes back.
async fn user(cluster: Arc<Cluster>, name: String, over: Arc<AtomicBool>) -> Vec<Recorder> {
    let mut all: Vec<Recorder> = vec![];
    while !over.load(Ordering::Relaxed) {
        let open = all.iter().filter(|tab| tab.closed().is_none()).count();
        for _ in open..2 {
            all.extend(quiet_tab_of(&cluster, &name).await.map(Recorder::of));
        }
        sleep(Duration::from_millis(5)).await;
    }
    all
}

#[tokio::test]
async fn every_202_was_delivered_to_exactly_so_many_sessions() {
    let _alone = alone().await;
    let config = "[limits]\nquotes_per_user = \"0\"\n[cluster]\ngive_up_after = 100\nstable_after = \"50ms\"";
    let cluster = Arc::new(cluster().workers(3).config(config).start().await);
    let over = Arc::new(AtomicBool::new(false));
    let users: Vec<_> =
        (0..USERS).map(|n| tokio::spawn(user(cluster.clone(), format!("user-{n}"), over.clone()))).collect();
    let posters: Vec<_> = (0..3).map(|_| tokio::spawn(poster(cluster.clone(), over.clone()))).collect();
    for _ in 0..KILLS {
        sleep(Duration::from_millis(fastrand::u64(300..700))).await;
        let ready = eventually("somebody serves", async || {
            let workers = cluster.try_workers().await?;
            let pids: Vec<_> = workers.iter().filter(|w| w.state == "ready").filter_map(|w| w.pid).collect();
            if pids.is_empty() { Err(format!("{workers:?}")) } else { Ok(pids) }
        })
        .await;
        kill(ready[fastrand::usize(..ready.len())], Signal::KILL);
    }
    sleep(Duration::from_millis(500)).await;
    let mut told = vec![];
    over.store(true, Ordering::Relaxed);
    for poster in posters {
        told.push(in_time("enough receipts", poster).await.unwrap());
    }
    let mut tabs = vec![];
    for user in users {
        tabs.push(user.await.unwrap());
    }
    count(&cluster, &told, &tabs).await;
}

/// Compares what was told with what was heard, exactly.
async fn count(cluster: &Cluster, told: &[Told], tabs: &[Vec<Recorder>]) {
    // What was sent before this is read before its answer.
    for (n, tabs) in tabs.iter().enumerate() {
        let open = tabs.iter().filter(|tab| tab.closed().is_none()).count();
        let last = eventually("everybody is served at the end", async || {
            let answer = cluster.quote(&format!("user-{n}")).await;
            let all = answer.status == 202 && answer.json()["sessions"] == open;
            if all { Ok(answer.json()["request_id"].clone()) } else { Err(format!("{open}: {answer:?}")) }
        })
        .await;
        eventually("the last quote has come", async || {
            let got =
                tabs.iter().filter(|tab| tab.story().of("quote").any(|q| q["request_id"] == last)).count();
            if got == open { Ok(()) } else { Err(format!("{got} of {open}")) }
        })
        .await;
    }
    let mut heard: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for (n, tabs) in tabs.iter().enumerate() {
        for story in tabs.iter().map(Recorder::story) {
            for quote in story.of("quote") {
                let id = quote["request_id"].as_str().unwrap().to_owned();
                let entry = heard.entry(id).or_insert_with(|| (format!("user-{n}"), 0));
                assert_eq!(entry.0, format!("user-{n}"), "a quote of somebody else");
                entry.1 += 1;
            }
        }
    }
    let (mut receipts, mut wrong) = (0, vec![]);
    for (id, (user, sessions, unconfirmed)) in told.iter().flat_map(|told| &told.receipts) {
        receipts += 1;
        let (whose, count) = heard.remove(id).unwrap_or_default();
        let fits = (*sessions..=*sessions + *unconfirmed).contains(&count) && whose == *user && *sessions > 0;
        if !fits {
            wrong.push(format!(
                "{id} for {user}: told {sessions} (+{unconfirmed}), heard by {count} of {whose}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {receipts} receipts: {wrong:#?}", wrong.len());
    let unknown: usize = told.iter().map(|told| told.unknown).sum();
    let missing: usize = told.iter().map(|told| told.not_connected).sum();
    let unexplained = heard.len().saturating_sub(tabs.len());
    println!(
        "{receipts} receipts, {unknown} unknown, {missing} not connected, {unexplained} heard without a receipt"
    );
    assert!(receipts > 500, "too few to say anything: {receipts}");
    assert!(
        unexplained <= unknown,
        "{unexplained} quotes came that nobody was told of; {unknown} were unknown"
    );
}
