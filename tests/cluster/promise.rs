//! Sessions that do not die: short runs of the load tool's chaos mode. Each run begins with calm; events that leave
//! nothing behind share one. What each client must notice of it, and what it must not, is in
//! `benches/load/src/chaos/verdict.rs`. Longer runs: CONTRIBUTING.md.

use crate::harness::BINARY;
use std::time::Instant;

/// A run with these events, many clients of all kinds beside them.
fn kept(events: &str, more: &[&str]) {
    let begun = Instant::now();
    let words = ["chaos", "--quiet", "--binary", BINARY, "--clients", "150", "--workers", "2"];
    let load = ["--quotes", "40", "--news", "8", "--settle", "2s", "--events", events];
    let result = btc_cluster_load::run_words(&[&words, &load, more].concat());
    let (table, good) = result.unwrap_or_else(|error| panic!("{error}"));
    assert!(good, "in {:?}:\n{table}", begun.elapsed());
}

#[test]
fn usr2_and_a_restarted_worker_keep_every_promise() {
    kept("usr2,restart-worker", &[]);
}

#[test]
fn usr2_twice_keeps_every_promise() {
    kept("usr2*2", &["--settle", "500ms"]);
}

#[test]
fn fewer_and_more_workers_keep_every_promise() {
    kept("reload-workers*2", &[]);
}

#[test]
fn moves_a_drain_and_a_rebalance_keep_every_promise() {
    kept("move*2,drain,rebalance", &[]);
}

#[test]
fn an_upgrade_keeps_every_promise() {
    kept("upgrade", &[]);
}

#[test]
fn a_killed_worker_keeps_every_promise() {
    kept("kill-worker", &[]);
}

#[test]
fn a_worker_that_crashes_keeps_every_promise() {
    kept("segv-worker", &[]);
}

#[test]
fn a_worker_that_hangs_keeps_every_promise() {
    kept("stop-worker", &[]);
}

#[test]
fn a_killed_master_keeps_every_promise() {
    kept("kill-master", &[]);
}

#[test]
fn a_master_that_hangs_keeps_every_promise() {
    kept("stop-master", &[]);
}

#[test]
fn feeders_that_die_and_hang_and_calm_keep_every_promise() {
    kept("calm,kill-feeder,stop-feeder", &[]);
}

#[test]
fn a_worker_and_then_the_master_killed_keep_every_promise() {
    kept("kill-worker-master", &["--news", "60"]);
}

#[test]
fn the_master_and_then_a_worker_killed_keep_every_promise() {
    kept("kill-master-worker", &["--news", "60"]);
}

#[test]
fn master_and_feeder_killed_together_keep_every_promise() {
    kept("kill-both", &[]);
}

/// All kinds in one run, in any order.
#[test]
#[ignore = "takes minutes: cargo test --test cluster promise -- --ignored"]
fn all_events_keep_every_promise() {
    let planned = "usr2*3,reload-workers*4,restart-worker*3,move*5,drain*2,rebalance*2,upgrade*3";
    let deaths = "kill-worker*5,segv-worker,stop-worker*2,oom-worker,kill-master*4,stop-master,kill-feeder*2,kill-both";
    kept(&format!("{planned},{deaths}"), &["--clients", "500", "--workers", "4", "--shuffle"]);
}
