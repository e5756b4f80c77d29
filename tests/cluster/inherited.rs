//! What the daemon has from whoever started it is none of its own, nor of the programs that it starts.

use crate::harness::{Setup, cluster, eventually, get, kill, skipped, zombies_of};
use rustix::process::Signal;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A source that is a shell script.
fn with_program(script: &str) -> Setup {
    let text = "[price]\nproviders = [\"command\"]\n[provider.command]\nprogram = [\"{dir}/x.sh\"]\n";
    let setup = cluster().config(text).file("x.sh", script);
    std::fs::set_permissions(setup.folder().join("x.sh"), Permissions::from_mode(0o755)).unwrap();
    setup
}

/// A line of `/proc/PID/status`, as a number.
fn mask(status: &str, name: &str) -> u64 {
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {status}"));
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

fn told(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[tokio::test]
async fn blocked_and_ignored_signals_do_what_they_mean() {
    let script = "#!/bin/sh\ncat /proc/self/status > {dir}/status.new; mv {dir}/status.new {dir}/status\n\
                  while sleep 0.1; do echo 64000.00; done\n";
    let all = "HUP,INT,QUIT,USR1,USR2,TERM,CHLD,ALRM,WINCH";
    let mut cluster = with_program(script)
        .through(&["env", &format!("--ignore-signal={all},PIPE"), &format!("--block-signal={all}")])
        .start()
        .await;
    let status = told(cluster.folder(), "status");
    // posix_spawn(3) of glibc ignores two signals of its own.
    let glibc = 3 << 31;
    assert_eq!((mask(&status, "SigBlk"), mask(&status, "SigIgn") & !glibc), (0, 0), "{status}");
    let reloads = || async { cluster.ctl(&["status"]).await.json()["reloads"].as_u64().unwrap() };
    let before = reloads().await;
    cluster.signal(Signal::HUP);
    eventually("it reloads", async || {
        let now = reloads().await;
        if now > before { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let first = cluster.worker(1).await.pid.unwrap();
    kill(first, Signal::KILL);
    eventually("the worker is replaced", async || {
        let worker = cluster.worker(1).await;
        if worker.state == "ready" && worker.pid != Some(first) { Ok(()) } else { Err(format!("{worker:?}")) }
    })
    .await;
    assert_eq!(zombies_of(cluster.pid), [] as [u32; 0]);
    cluster.signal(Signal::TERM);
    assert!(cluster.ended(Duration::from_secs(15)).await.success());
}

#[tokio::test]
async fn programs_get_neither_descriptors_nor_the_raised_limit() {
    let script = "#!/bin/sh\nls -l /proc/$$/fd > {dir}/fds; ulimit -n > {dir}/limit; umask > {dir}/umask\n\
                  while sleep 0.1; do echo 64000.00; done\n";
    let start = "ulimit -S -n 256; umask 0; exec 7</etc/passwd; exec \"$0\" \"$@\"";
    let cluster = with_program(script).through(&["sh", "-c", start]).start().await;
    let fds = told(cluster.folder(), "fds");
    assert!(!fds.is_empty() && !fds.contains("/etc/passwd"), "{fds}");
    assert_eq!(told(cluster.folder(), "limit").trim(), "256");
    assert_eq!(told(cluster.folder(), "umask").trim(), "0022");
    for pid in cluster.children().await {
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .collect();
        assert!(!open.contains(&"/etc/passwd".into()), "{open:?}");
    }
}

#[tokio::test]
async fn a_limit_of_the_size_of_files_loses_lines_and_ends_nobody() {
    // In blocks of 512 bytes. The shell's own output, and the daemon's standard error, are below.
    let start = "ulimit -f 40; exec \"$0\" \"$@\"";
    let cluster = cluster()
        .config("[log]\nfile = \"{dir}/x.log\"\nlevel = \"trace\"\n")
        .through(&["sh", "-c", start])
        .start()
        .await;
    eventually("the log is full", async || {
        assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
        let size = std::fs::metadata(cluster.folder().join("x.log")).map_or(0, |meta| meta.len());
        let told = cluster.log();
        if size == 40 * 512 && told.contains("lines are lost") {
            Ok(())
        } else {
            Err(format!("{size}: {told}"))
        }
    })
    .await;
    assert!(cluster.workers().await.iter().all(|worker| worker.restarts == 0));
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
}

/// Whether this system lets the user make a PID namespace.
fn namespaces() -> bool {
    let able = Command::new("unshare").args(["-Urpf", "true"]).status().is_ok_and(|status| status.success());
    if !able {
        skipped("orphans", "unshare -Urpf is not allowed here");
    }
    able
}

#[tokio::test]
async fn the_first_process_of_a_container_asks_after_orphans() {
    if !namespaces() {
        return;
    }
    // Each second an orphan that ends at once.
    let script =
        "#!/bin/sh\nwhile sleep 0.1; do (sleep 0.05 & echo x >> {dir}/orphans); echo 64000.00; done\n";
    let cluster =
        with_program(script).through(&["unshare", "-Urpf", "--mount-proc", "--kill-child"]).start().await;
    assert_eq!(cluster.ctl(&["status"]).await.json()["pid"], 1);
    let keeper = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", cluster.pid)).unwrap();
    let keeper: u32 = keeper.trim().parse().unwrap();
    eventually("there were orphans", async || {
        let orphans = told(cluster.folder(), "orphans").lines().count();
        if orphans >= 40 { Ok(()) } else { Err(orphans.to_string()) }
    })
    .await;
    eventually("none of them is left", async || {
        let zombies = zombies_of(keeper);
        if zombies.len() <= 2 { Ok(()) } else { Err(format!("{zombies:?}")) }
    })
    .await;
    let restarts = cluster.worker(1).await.restarts;
    kill(keeper, Signal::HUP);
    assert_eq!(restarts, 0, "no worker was taken for an orphan");
    kill(keeper, Signal::TERM);
}

#[tokio::test]
async fn a_watchdog_that_is_none_is_none() {
    for (usec, pid) in [("0", ""), ("", ""), ("soon", ""), ("1", "garbage"), ("1000000", "1"), ("1", "")] {
        let mut setup = cluster().variable("WATCHDOG_USEC", usec);
        if !pid.is_empty() {
            setup = setup.variable("WATCHDOG_PID", pid);
        }
        let cluster = setup.start().await;
        assert!(!cluster.log().contains("panic"), "{usec} {pid}: {}", cluster.log());
    }
}

#[tokio::test]
async fn closed_descriptors_and_a_folder_that_is_gone_are_no_trouble() {
    let script = "mkdir gone; cd gone; rmdir ../gone; exec \"$0\" \"$@\" <&- >&- 2>&-";
    let cluster = cluster().through(&["sh", "-c", script]).start().await;
    assert_eq!(cluster.quote("nobody").await.status, 404);
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
}

#[tokio::test]
async fn without_inotify_the_files_are_read_and_everybody_is_told() {
    if !namespaces() {
        return;
    }
    let both = [("instances", "no inotify instance is left"), ("watches", "no inotify watch is left")];
    // Each takes the five seconds between two looks at the files.
    futures_util::future::join_all(both.map(async |(limit, words)| {
        let none = format!("echo 0 > /proc/sys/user/max_inotify_{limit} && exec \"$0\" \"$@\"");
        let cluster = cluster().through(&["unshare", "-Ur", "sh", "-c", &none]).start().await;
        let status = cluster.ctl(&["status"]).await.json();
        let trouble = status["watch_trouble"].as_str().unwrap_or_default();
        assert!(trouble.contains(words) && trouble.contains("read every 5s instead"), "{status}");
        let shown = cluster.ctl_plain(&["status"]).await.out;
        assert!(shown.lines().any(|line| line.starts_with("not watched") && line.contains(words)), "{shown}");
        let metrics = cluster.administer(&get("/metrics")).await.text().to_owned();
        for line in ["btc_cluster_configuration_watched 0", "btc_cluster_configuration_poll_seconds 5"] {
            assert!(metrics.lines().any(|said| said.starts_with(line)), "{line}: {metrics}");
        }
        cluster.configure("[stats]\ninterval = \"3s\"\n");
        eventually("the change is found", async || {
            let revision = cluster.revision().await;
            if revision == 2 { Ok(()) } else { Err(revision.to_string()) }
        })
        .await;
        assert_eq!(cluster.log().matches("watch-lost").count(), 1, "{}", cluster.log());
    }))
    .await;
}
