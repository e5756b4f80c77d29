//! Programs as price sources: the shipped examples, and what becomes of a program when the feeder is killed.

use crate::harness::{Cluster, cluster, eventually, is_gone, kill, skipped};
use rustix::process::Signal;
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).to_str().unwrap().to_owned()
}

async fn shows(cluster: &Cluster, price: &str) {
    eventually("the price is there", async || {
        let quote = cluster.get("/api/v1/price").await.json();
        if quote["price"] == price { Ok(()) } else { Err(quote.to_string()) }
    })
    .await;
}

/// Numbers of processes, one a line.
async fn pids(cluster: &Cluster, name: &str, count: usize) -> Vec<u32> {
    let file = cluster.folder().join(name);
    eventually("the program has told its number", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if pids.len() >= count { Ok(pids) } else { Err(text) }
    })
    .await
}

#[tokio::test]
async fn the_example_in_sh_tells_what_its_file_holds() {
    let config = format!(
        "[price]\nproviders = [\"mine\"]\n[provider.mine]\nkind = \"command\"\nprogram = [\"{}\", \"{{dir}}/price\"]",
        example("price-plugin.sh")
    );
    let cluster = cluster().workers(1).config(&config).file("price", "61000.20\n").start().await;
    shows(&cluster, "61000.20").await;
    cluster.write("price", "61000.30\n");
    shows(&cluster, "61000.30").await;
    let sources = cluster.ctl(&["sources"]).await.json();
    let told = [&sources[0]["name"], &sources[0]["state"], &sources[0]["pair"], &sources[0]["serving"]];
    assert_eq!(told, [&json!("mine"), &json!("live"), &json!("BTC-USD"), &json!(true)]);
}

#[tokio::test]
async fn the_example_in_python_walks() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("the_example_in_python_walks", "python3 is not installed");
    }
    let config = format!(
        "[price]\nproviders = [\"mine\"]\n[provider.mine]\nkind = \"command\"\nprogram = [\"{}\", \"64000.00\"]",
        example("price-plugin.py")
    );
    let cluster = cluster().workers(1).config(&config).start().await;
    let quote = cluster.get("/api/v1/price").await.json();
    assert_eq!((&quote["source"], &quote["pair"]), (&json!("mine"), &json!("BTC-USD")));
    assert!(quote["bid"].is_string() && quote["time"].is_string(), "{quote}");
}

/// Who configured a source wrongly finds it in the log, once.
#[tokio::test]
async fn what_is_no_price_is_logged_once() {
    let script = "while :; do echo nonsense; sleep 0.02; done";
    let config = format!(
        "[price]\nproviders = [\"mine\"]\n[provider.mine]\nkind = \"command\"\n\
         program = [\"/bin/sh\", \"-c\", \"{script}\"]"
    );
    let cluster = cluster().workers(1).config(&config).without_price().start().await;
    eventually("many lines were rejected", async || {
        let sources = cluster.ctl(&["sources"]).await.json();
        if sources[0]["rejected"].as_u64() > Some(20) { Ok(()) } else { Err(sources.to_string()) }
    })
    .await;
    cluster.logged(&["source-rejected"]).await;
    let log = cluster.log();
    assert_eq!(log.matches("source-rejected").count(), 1, "{log}");
}

#[tokio::test]
async fn a_program_does_not_outlive_a_feeder_that_is_killed() {
    // It would go on for ever: it says nothing more, and so would never learn that nobody listens.
    let script = "echo $$ >> {dir}/pids; echo 61000.20; while :; do sleep 0.1; done";
    let config = format!(
        "[price]\nproviders = [\"mine\"]\n[provider.mine]\nkind = \"command\"\nno_tick = \"1h\"\n\
         program = [\"/bin/sh\", \"-c\", \"{script}\"]"
    );
    let cluster = cluster().workers(1).config(&config).start().await;
    shows(&cluster, "61000.20").await;
    let first = pids(&cluster, "pids", 1).await[0];
    let feeder = cluster.stats().await["feeder"]["pid"].as_u64().unwrap();
    kill(u32::try_from(feeder).unwrap(), Signal::KILL);
    let second = pids(&cluster, "pids", 2).await[1];
    eventually(
        "the first one is gone",
        async || if is_gone(first) { Ok(()) } else { Err(first.to_string()) },
    )
    .await;
    assert!(!is_gone(second));
}

#[tokio::test]
async fn a_program_ends_with_the_daemon() {
    let script =
        "echo $$ >> {dir}/pids; sleep 600 & echo $! >> {dir}/pids; trap '' TERM; echo 61000.20; wait";
    let config = format!(
        "[price]\nproviders = [\"mine\"]\n[provider.mine]\nkind = \"command\"\nno_tick = \"1h\"\n\
         program = [\"/bin/sh\", \"-c\", \"{script}\"]"
    );
    let mut cluster = cluster().workers(1).config(&config).start().await;
    let pids = pids(&cluster, "pids", 2).await;
    cluster.signal(Signal::TERM);
    cluster.ended(std::time::Duration::from_secs(20)).await;
    eventually("all of it is gone", async || {
        if pids.iter().all(|pid| is_gone(*pid)) { Ok(()) } else { Err(format!("{pids:?}")) }
    })
    .await;
}
