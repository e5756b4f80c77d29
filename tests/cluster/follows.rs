//! What must follow a reload beyond the workers: ceilings, the evenness of accepting, symbols.

use crate::harness::{Connection, Stopwatch, Tab, alone, cluster, eventually, get, quiet};
use serde_json::json;
use std::time::Duration;
use tokio::time::interval;

#[tokio::test]
async fn more_workers_have_room_for_more_sessions() {
    let cluster = cluster().workers(1).files(100).start().await;
    let open = async |n: usize| Tab::open_as(cluster.ws, &quiet(&format!("user-{n}"))).await;
    let mut tabs = vec![];
    for n in 0..64 {
        tabs.push(open(n).await.unwrap_or_else(|refusal| panic!("{n}: {refusal:?}")));
    }
    assert_eq!(open(64).await.unwrap_err().problem(), (503, "full".into()), "95 % of the descriptors");
    cluster.reconfigure("[cluster]\nworkers = 4").await;
    eventually("four workers serve", async || {
        let ready = cluster.workers().await.iter().filter(|worker| worker.state == "ready").count();
        if ready == 4 { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
    for n in 64..120 {
        tabs.push(open(n).await.unwrap_or_else(|refusal| panic!("{n}: {refusal:?}")));
    }
}

#[tokio::test]
async fn slots_that_are_no_more_delay_nobody() {
    let _alone = alone().await;
    let cluster = cluster().workers(4).config("[cluster]\nworkers = 4\ndrain = \"500ms\"").start().await;
    let mut tabs = vec![];
    for n in 0..8 {
        tabs.push(cluster.quiet_tab(&format!("user-{n}")).await);
    }
    cluster.reconfigure("[cluster]\nworkers = 2\ndrain = \"500ms\"").await;
    eventually("two workers are left", async || {
        let all = cluster.workers().await;
        if all.len() == 2 { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    for n in 8..40 {
        tabs.push(cluster.quiet_tab(&format!("user-{n}")).await);
    }
    // Apart, since a worker that has waited in vain takes all that comes in the next 10 ms.
    let mut pace = interval(Duration::from_millis(20));
    let mut times = vec![];
    for _ in 0..21 {
        pace.tick().await;
        let begin = Stopwatch::start();
        let mut connection = Connection::open(cluster.http).await.unwrap();
        assert_eq!(connection.ask(&get("/healthz")).await.status, 200);
        times.push(begin.net());
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    assert!(median < Duration::from_millis(6), "a connection waits {median:?}");
}

#[tokio::test]
async fn ages_that_change_are_told_to_those_who_watch_a_price() {
    let cluster = cluster().workers(2).start().await;
    let (mut tab, mut quiet) = (cluster.tab("alice").await, cluster.quiet_tab("bob").await);
    cluster.reconfigure("[price]\nfresh_for = \"3s\"\nmax_age = \"7s\"\non_stale = \"refuse\"").await;
    let told = tab.next("system").await;
    let expected = json!({
        "type": "system", "event": "price-rules", "fresh_for_ms": 3000, "max_age_ms": 7000, "gone_after_ms": 7000,
    });
    assert_eq!(told, expected);
    assert_eq!(quiet.until_pong().await, [] as [serde_json::Value; 0]);
    let newcomer = cluster.tab("carol").await.welcome;
    assert_eq!((&newcomer["fresh_for_ms"], &newcomer["gone_after_ms"]), (&json!(3000), &json!(7000)));
}

#[tokio::test]
async fn a_symbol_that_is_no_more_is_not_missed() {
    let rules = "[price]\nfresh_for = \"1s\"\nmax_age = \"2s\"\nforget_after = \"3s\"\n";
    let both = format!("{rules}symbols = [\"BTC-USD\", \"ETH-USD\"]\n");
    let mock = "[provider.mock]\nscript = \"{dir}/script\"\ntick = \"50ms\"";
    let script = "stall 500ms\nset 64000.00\nstall 1h";
    let cluster = cluster().workers(1).config(&format!("{both}{mock}")).file("script", script);
    let cluster = cluster.without_price().start().await;
    eventually("both have a price", async || {
        let eth = cluster.get("/api/v1/price?symbol=ETH-USD").await;
        if eth.status == 200 { Ok(()) } else { Err(format!("{eth:?}")) }
    })
    .await;
    cluster.reconfigure(&format!("{rules}{mock}")).await;
    let gone = |symbol: &str| {
        let log = cluster.log();
        log.lines().any(|line| line.contains("price-gone") && line.contains(symbol))
    };
    eventually("the price is too old", async || if gone("BTC-USD") { Ok(()) } else { Err(cluster.log()) })
        .await;
    assert!(!gone("ETH-USD"), "nobody wants it any more: {}", cluster.log());
}
