//! Workers come and go as planned, and nobody who connects meanwhile is refused.

use crate::harness::{
    Cluster, Connection, Recorder, Tab, alone, cluster, eventually, get, is_gone, kill, promised, quiet,
    quote_for, within,
};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// People who come all the time, one after another, over both ports.
struct Crowd {
    over: Arc<AtomicBool>,
    came: Arc<AtomicUsize>,
    task: JoinHandle<Vec<String>>,
}

impl Crowd {
    fn comes_to(cluster: &Cluster) -> Self {
        let (over, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ends, counts, http, ws) = (over.clone(), came.clone(), cluster.http, cluster.ws);
        let task = tokio::spawn(async move {
            let mut refused = vec![];
            while !ends.load(Ordering::Relaxed) {
                let number = counts.fetch_add(1, Ordering::Relaxed);
                let at = if number.is_multiple_of(2) { ws } else { http };
                let result = async {
                    let mut connection = Connection::open(at).await?;
                    connection.send(&quiet(&format!("crowd-{number}"))).await
                };
                match result.await {
                    Ok(answer) if answer.status == 101 => {}
                    Ok(answer) => refused.push(format!("{number}: {answer:?}")),
                    Err(error) => refused.push(format!("{number}: {error}")),
                }
            }
            refused
        });
        Self { over, came, task }
    }

    /// Ends the coming: how many came, and those who were refused.
    async fn leaves(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        (self.came.load(Ordering::Relaxed), self.task.await.unwrap())
    }
}

/// Waits until exactly so many workers serve, and no other process is left.
async fn settled(cluster: &Cluster, workers: usize) {
    within(promised(Duration::from_secs(15)), &format!("{workers} workers serve"), async || {
        let rows = cluster.ctl(&["workers"]).await.json();
        let rows = rows.as_array().unwrap();
        let ready = rows.iter().filter(|row| row["state"] == "ready").count();
        if (ready, rows.len()) == (workers, workers) { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
}

#[tokio::test]
async fn workers_are_added_and_taken_away_without_refusing_anybody() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config("[cluster]\nworkers = 2\ndrain = \"500ms\"").start().await;
    let crowd = Crowd::comes_to(&cluster);
    cluster.reconfigure("[cluster]\nworkers = 4\ndrain = \"500ms\"").await;
    settled(&cluster, 4).await;
    let tabs = cluster.users_on_all("user", 4).await;
    cluster.reconfigure("[cluster]\nworkers = 1\ndrain = \"500ms\"").await;
    settled(&cluster, 1).await;
    for (_, mut tab) in tabs {
        tab.until_pong().await;
    }
    eventually("a crowd has come", async || match crowd.came.load(Ordering::Relaxed) {
        ..=100 => Err("too few to say anything".to_owned()),
        _ => Ok(()),
    })
    .await;
    let (came, refused) = crowd.leaves().await;
    assert!(refused.is_empty(), "{} of {came}: {:?}", refused.len(), &refused[..refused.len().min(5)]);
}

#[tokio::test]
async fn all_workers_are_replaced_under_traffic_and_no_quote_is_lost() {
    let _alone = alone().await;
    let config = "[cluster]\ndrain = \"500ms\"\n[limits]\nquotes_per_user = \"0\"";
    let cluster = cluster().workers(3).config(config).start().await;
    let before: BTreeSet<_> = cluster.workers().await.iter().filter_map(|worker| worker.pid).collect();
    let crowd = Crowd::comes_to(&cluster);
    let own = Recorder::of(cluster.quiet_tab("alice").await);
    cluster.signal(Signal::USR2);
    let (mut accepted, mut posted) = (vec![], 0);
    let mut replaced = false;
    while !replaced || posted < 300 {
        let mut connection = Connection::open(cluster.http).await.expect("no connection is refused");
        let answer = connection.ask(&quote_for("alice")).await;
        posted += 1;
        assert_eq!(answer.status, 202, "{answer:?}");
        accepted.push(answer.json()["request_id"].clone());
        let rows = cluster.ctl(&["workers"]).await.json();
        let rows = rows.as_array().unwrap();
        replaced = rows.len() == 3
            && rows.iter().all(|row| {
                row["state"] == "ready"
                    && !before.iter().any(|old| Some(u64::from(*old)) == row["pid"].as_u64())
            });
        assert!(posted < 3_000, "not replaced: {rows:?}");
    }
    let (came, refused) = crowd.leaves().await;
    assert!(refused.is_empty(), "{} of {came}: {:?}", refused.len(), &refused[..refused.len().min(5)]);
    assert!(cluster.workers().await.iter().all(|worker| worker.restarts == 0), "planned is no death");
    eventually("all that was accepted has come", async || {
        let story = own.story();
        let got: BTreeSet<_> = story.of("quote").map(|q| q["request_id"].to_string()).collect();
        let lost = accepted.iter().filter(|id| !got.contains(&id.to_string())).count();
        if lost == 0 { Ok(()) } else { Err(format!("{lost} of {} are lost", accepted.len())) }
    })
    .await;
    assert!(accepted.len() > 100, "{} of {posted}", accepted.len());
    assert_eq!(own.closed(), None);
}

#[tokio::test]
async fn one_worker_is_replaced_on_request() {
    let cluster = cluster().workers(2).config("[cluster]\ndrain = \"500ms\"").start().await;
    let tabs = cluster.users_on_all("user", 2).await;
    let before = cluster.worker(1).await;
    assert_eq!(cluster.ctl(&["restart-worker", "1"]).await.code, Some(0));
    let after = eventually("another process serves there", async || {
        let worker = cluster.worker(1).await;
        if worker.pid != before.pid && worker.state == "ready" {
            Ok(worker)
        } else {
            Err(format!("{worker:?}"))
        }
    })
    .await;
    assert_eq!(after.restarts, 0, "a planned replacement is no death");
    for (_, mut tab) in tabs {
        tab.until_pong().await;
    }
    assert_eq!(cluster.ctl(&["restart-worker", "7"]).await.code, Some(1));
}

#[tokio::test]
async fn a_worker_that_leaves_and_has_ended_unheard_is_asked_for_nothing() {
    let config = "[cluster]\nworker_timeout = \"30s\"\ndrain = \"30s\"";
    let cluster = cluster().workers(2).config(config).start().await;
    let mut tabs = cluster.users_on_all("user", 2).await;
    cluster.until_covered(tabs.len()).await;
    let (master, old) = (cluster.master().await, cluster.worker(1).await.pid.unwrap());
    let left =
        tabs.iter().find(|(_, tab)| tab.worker() == 1).map(|(_, tab)| tab.session().to_owned()).unwrap();
    kill(old, Signal::STOP);
    cluster.signal(Signal::USR2);
    cluster.logged(&["workers-replaced"]).await;
    // The keeper stands still, so the master does not hear of the exit; that the link is closed it sees as it writes.
    kill(cluster.pid, Signal::STOP);
    kill(old, Signal::KILL);
    eventually("it has ended", async || if is_gone(old) { Ok(()) } else { Err(String::new()) }).await;
    let mut witness = cluster.tab("witness").await;
    for _ in 0..5 {
        witness.next("price").await;
    }
    let told = cluster.ctl(&["move", &left, "2"]).await;
    kill(cluster.pid, Signal::CONT);
    assert_eq!(told.code, Some(1), "{told:?}");
    cluster.until_settled(1).await;
    for (_, tab) in &mut tabs {
        tab.until_pong().await;
    }
    assert_eq!(cluster.master().await, master, "{}", cluster.log());
}

#[tokio::test]
async fn a_request_on_its_way_is_answered_by_a_worker_that_leaves() {
    let cluster = cluster().workers(1).config("[cluster]\ndrain = \"2s\"").start().await;
    let pid = cluster.worker(1).await.pid;
    let mut tab = cluster.quiet_tab("alice").await;
    let mut raw = crate::harness::Raw::connect(cluster.http).await;
    let request = quote_for("nobody").bytes(&cluster.http.to_string());
    let (head, tail) = request.split_at(request.len() - 5);
    raw.write(head).await;
    // Whoever answers on this port has accepted what came before.
    cluster.get("/healthz").await;
    cluster.signal(Signal::USR2);
    assert_eq!(tab.next("system").await["event"], "moved");
    raw.write(tail).await;
    assert_eq!(raw.response().await.unwrap().status, 404, "half a request is still served");
    eventually("the old process is gone", async || {
        if pid.is_some_and(crate::harness::is_gone) { Ok(()) } else { Err(format!("{pid:?}")) }
    })
    .await;
    let back = Tab::open(cluster.ws, "/ws?user_id=alice").await;
    assert!(back.is_ok(), "{back:?}");
    assert_eq!(cluster.send(&get("/readyz")).await.status, 200);
}
