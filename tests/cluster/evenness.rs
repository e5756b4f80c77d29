//! Sessions spread evenly over the workers, however they come.

use crate::harness::{Cluster, Connection, Stopwatch, Tab, alone, cluster, eventually, quiet};
use futures_util::future::join_all;

/// What one worker may take at once when it has waited for the emptiest in vain.
const AT_ONCE: f64 = 16.0;

/// No worker may be further off the mean than a tenth of it, or two sessions. On a busy machine the others get their
/// turns late, and a wait for them may be in vain.
async fn even(cluster: &Cluster, sessions: u64, since: Stopwatch) {
    let busy = 1.0 - since.share();
    let counts = eventually("all sessions are counted", async || {
        let counts: Vec<u64> = cluster.workers().await.iter().map(|worker| worker.sessions).collect();
        if counts.iter().sum::<u64>() == sessions { Ok(counts) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let mean = sessions / counts.len() as u64;
    let off = counts.iter().map(|count| count.abs_diff(mean)).max().unwrap();
    let most = (mean / 10).max(2) + (AT_ONCE * busy) as u64;
    assert!(off <= most, "{counts:?}, {:.0} % busy", busy * 100.0);
}

async fn four_workers() -> Cluster {
    cluster().workers(4).config("[cluster]\nworkers = 4").start().await
}

async fn one_after_another(cluster: &Cluster, sessions: u64) -> Vec<Connection> {
    let mut all = vec![];
    for n in 0..sessions {
        let mut connection = Connection::open(cluster.ws).await.unwrap();
        assert_eq!(connection.ask(&quiet(&format!("user-{n}"))).await.status, 101);
        all.push(connection);
    }
    all
}

async fn in_bursts(cluster: &Cluster, sessions: u64, burst: u64) -> Vec<Tab> {
    let mut all = vec![];
    for first in (0..sessions).step_by(usize::try_from(burst).unwrap()) {
        let open = |n: u64| async move { Tab::open_as(cluster.ws, &quiet(&format!("user-{n}"))).await };
        let tabs = join_all((first..sessions.min(first + burst)).map(open)).await;
        all.extend(tabs.into_iter().map(|tab| tab.unwrap_or_else(|refusal| panic!("{refusal:?}"))));
    }
    all
}

#[tokio::test]
async fn a_few_that_come_one_after_another() {
    let _alone = alone().await;
    let cluster = four_workers().await;
    let since = Stopwatch::start();
    let _sessions = one_after_another(&cluster, 24).await;
    even(&cluster, 24, since).await;
}

#[tokio::test]
async fn a_few_that_come_at_once() {
    let _alone = alone().await;
    let cluster = four_workers().await;
    let since = Stopwatch::start();
    let _sessions = in_bursts(&cluster, 24, 24).await;
    even(&cluster, 24, since).await;
}

#[tokio::test]
async fn a_thousand_that_come_one_after_another() {
    let _alone = alone().await;
    let cluster = four_workers().await;
    let since = Stopwatch::start();
    let _sessions = one_after_another(&cluster, 1_000).await;
    even(&cluster, 1_000, since).await;
}

#[tokio::test]
async fn a_thousand_that_come_in_bursts_of_200() {
    let _alone = alone().await;
    let cluster = four_workers().await;
    let since = Stopwatch::start();
    let _sessions = in_bursts(&cluster, 1_000, 200).await;
    even(&cluster, 1_000, since).await;
}
