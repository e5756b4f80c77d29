//! The keeper, and masters that die under it.

use crate::harness::{
    Cluster, Connection, Stopwatch, cluster, eventually, get, is_gone, kill, masters_of, promised, resident,
    within, zombies_of,
};
use crate::notify::Systemd;
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Waits for another master with all its workers.
async fn succeeded(cluster: &Cluster, old: u32, patience: Duration) -> u32 {
    within(promised(patience), "another master leads", async || {
        let status = cluster.ctl(&["status"]).await;
        if status.code != Some(0) {
            return Err(status.err);
        }
        let status = status.json();
        let master = status["master"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap();
        let ready = status["state"] == "ready";
        if ready && master != old { Ok(master) } else { Err(status.to_string()) }
    })
    .await
}

#[tokio::test]
async fn a_killed_master_is_replaced_and_the_ports_stay() {
    let cluster = cluster().workers(2).start().await;
    let (master, listening) =
        (cluster.master().await, cluster.ctl(&["status"]).await.json()["listening"].clone());
    assert_ne!(master, cluster.pid);
    kill(master, Signal::KILL);
    // Whoever comes meanwhile waits, and is not refused.
    let mut waiting = Connection::open(cluster.http).await.expect("the port stays open");
    let begin = Stopwatch::start();
    let next = succeeded(&cluster, master, SECOND * 2).await;
    assert!(begin.net() < promised(SECOND * 2), "{:?}", begin.elapsed());
    // A worker of before may have accepted it and died since.
    if waiting.send(&get("/healthz")).await.is_err() {
        assert_eq!(cluster.get("/healthz").await.status, 200);
    }
    let status = cluster.ctl(&["status"]).await.json();
    assert_eq!((&status["listening"], &status["keeper"]), (&listening, &cluster.pid.into()));
    let _tab = cluster.quiet_tab("alice").await;
    assert_eq!(cluster.quote("alice").await.status, 202);
    let died = cluster.logged(&["master-died"]).await;
    for words in [format!("pid={master}"), "SIGKILL".into(), "deaths=1".into()] {
        assert!(died.contains(&words), "{words}: {died}");
    }
    assert_eq!(zombies_of(cluster.pid), [] as [u32; 0]);
    assert!(is_gone(master) && !is_gone(next));
}

#[tokio::test]
async fn a_master_that_stands_still_is_replaced_after_worker_timeout() {
    let cluster = cluster().workers(1).config("[cluster]\nworker_timeout = \"2s\"").start().await;
    let master = cluster.master().await;
    kill(master, Signal::STOP);
    let begin = Instant::now();
    within(
        promised(SECOND * 4),
        "it is killed",
        async || if is_gone(master) { Ok(()) } else { Err(String::new()) },
    )
    .await;
    assert!(begin.elapsed() > SECOND, "a moment is no hang: {:?}", begin.elapsed());
    succeeded(&cluster, master, SECOND * 3).await;
    cluster.logged(&["master-died", "no sign of life"]).await;
    assert_eq!(cluster.quote("nobody").await.status, 404);
}

#[tokio::test]
async fn masters_that_die_again_and_again_get_pauses() {
    let cluster = cluster().workers(1).start().await;
    let mut master = cluster.master().await;
    for _ in 0..4 {
        kill(master, Signal::KILL);
        master = succeeded(&cluster, master, SECOND * 3).await;
    }
    let pauses = |log: &str| {
        let lines = log.lines().filter(|line| line.contains("master-died"));
        lines
            .map(|line| line.split("pause=").nth(1).unwrap().split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let told = pauses(&cluster.log());
    let long = |pause: &String| {
        pause.ends_with("ms") && pause.trim_end_matches("ms").parse::<f64>().unwrap() >= 100.0
    };
    assert_eq!(told.iter().map(long).collect::<Vec<_>>(), [false, true, true, true], "{told:?}");
}

#[tokio::test]
async fn masters_that_die_before_they_serve_end_the_daemon_and_nobody_is_left() {
    let mut cluster = cluster().workers(1).start().await;
    let children = cluster.children().await;
    let end = tokio::spawn({
        let keeper = cluster.pid;
        async move {
            // One that gets through all the same, on a machine that is busy, begins a new count.
            while !is_gone(keeper) {
                masters_of(keeper).into_iter().for_each(|master| kill(master, Signal::KILL));
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let status = cluster.ended(promised(SECOND * 60)).await;
    end.abort();
    assert_eq!(status.code(), Some(1), "{}", cluster.log());
    assert!(children.iter().all(|pid| is_gone(*pid)));
    let log = cluster.log();
    assert!(log.contains("masters end before they serve, the last one: SIGKILL"), "{log}");
}

#[tokio::test]
async fn a_stop_is_obeyed_whatever_becomes_of_the_master() {
    // While none lives, and while it stands still.
    let mut dead = cluster().workers(2).start().await;
    kill(dead.master().await, Signal::KILL);
    dead.signal(Signal::TERM);
    assert_eq!(dead.ended(promised(SECOND * 5)).await.code(), Some(0), "{}", dead.log());

    let mut still = cluster().workers(2).config("[cluster]\nworker_timeout = \"2s\"").start().await;
    let mut tab = still.quiet_tab("alice").await;
    kill(still.master().await, Signal::STOP);
    still.signal(Signal::TERM);
    assert_eq!(still.ended(promised(SECOND * 8)).await.code(), Some(0), "{}", still.log());
    tab.closed().await;
}

#[tokio::test]
async fn signals_that_came_while_there_was_no_master_are_heard_by_the_next_one() {
    let cluster = cluster().workers(1).start().await;
    let master = cluster.master().await;
    cluster.configure("[heartbeat]\ninterval = \"11s\"");
    kill(master, Signal::KILL);
    cluster.signal(Signal::HUP);
    succeeded(&cluster, master, SECOND * 3).await;
    eventually("it has heard the signal", async || {
        let heard = cluster.log().lines().any(|line| line.contains("signal=Reload"));
        if heard { Ok(()) } else { Err(cluster.log()) }
    })
    .await;
}

#[tokio::test]
async fn systemd_hears_of_a_master_that_answers_and_of_no_other() {
    let systemd = Systemd::new();
    let cluster = cluster()
        .workers(1)
        .variable("NOTIFY_SOCKET", systemd.path.to_str().unwrap())
        .variable("WATCHDOG_USEC", "8000000")
        .config("[cluster]\nworker_timeout = \"3s\"")
        .start()
        .await;
    assert_eq!(systemd.next_state().await, "READY=1");
    let mut fed = 0;
    while fed < 2 {
        fed += usize::from(systemd.next().await == "WATCHDOG=1");
    }
    let master = cluster.master().await;
    kill(master, Signal::STOP);
    // What it said before.
    while tokio::time::timeout(SECOND, systemd.next()).await.is_ok() {}
    let quiet = tokio::time::timeout(SECOND, systemd.next()).await;
    assert!(quiet.is_err() && !is_gone(master), "nobody answers: {quiet:?}");
    succeeded(&cluster, master, SECOND * 5).await;
    assert_eq!(systemd.next().await, "WATCHDOG=1", "the next master has time");
    assert_eq!(systemd.next_state().await, "READY=1", "the end of a reload that was under way");
    // The sockets lie with systemd, and no process of the daemon but the keeper could have put them there.
    let environment = std::fs::read(format!("/proc/{}/environ", cluster.master().await)).unwrap();
    assert!(
        !String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"),
        "the keeper alone speaks to systemd"
    );
}

#[tokio::test]
async fn the_keeper_is_small_and_sleeps() {
    let cluster = cluster().workers(2).start().await;
    let _tab = cluster.tab("alice").await;
    let wakes = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u32>().unwrap()
    };
    let own = || {
        let smaps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", cluster.pid)).unwrap();
        let line = smaps.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u32>().unwrap()
    };
    let before = wakes();
    sleep(SECOND * 5).await;
    let woken = wakes() - before;
    assert!(woken <= 15, "{woken} wakes in five seconds: a beat each second is what it needs");
    assert!(own() < 2_048, "{} KiB of its own", own());
    assert!(resident(cluster.pid) < 32 << 20);
    assert_eq!(
        std::fs::read_dir(format!("/proc/{}/task", cluster.pid)).unwrap().count(),
        1,
        "no other thread"
    );
}
