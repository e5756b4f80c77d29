//! The log never stops the daemon, wherever its lines go.

use crate::harness::{Cluster, Setup, cluster, eventually, kill};
use rustix::process::Signal;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// `cat` with the daemon's log on its standard input. Killed when dropped.
struct Reader(Child);

impl Reader {
    /// Gives the end of the pipe to write to.
    fn start(into: &Path) -> (Self, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let file = File::create(into).unwrap();
        let cat = Command::new("cat").stdin(reader).stdout(file).spawn().expect("cat");
        (Self(cat), writer)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fills a pipe with bytes that the reader takes for an unfinished line.
fn fill(pipe: &std::io::PipeWriter) {
    // An open file of its own: the daemon's must wait, as a shell's would.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(pipe));
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
    let mut own: File = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap().into();
    for size in [4096, 1] {
        while own.write(&vec![b'.'; size]).is_ok() {}
    }
}

/// A cluster each of whose sessions is cut, with a line in the log, when it says two things at once.
fn strict() -> Setup {
    cluster().config("[limits]\nmessages_per_session = \"1/m\"\nmessages_burst = 1\n")
}

/// Has a session cut on every worker, with a line in the log.
async fn cut_some(cluster: &Cluster) {
    for (_, mut tab) in cluster.users_on_all("loud", 2).await {
        for _ in 0..3 {
            tab.say(&json!({ "type": "ping" })).await;
        }
        assert_eq!(tab.closed().await, (4101, "message-rate".into()));
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, pipe) = Reader::start(&folder.path().join("read"));
    let mut cluster = strict().stderr(pipe.try_clone().unwrap()).start().await;
    kill(reader.0.id(), Signal::STOP);
    fill(&pipe);
    // Each of them logs: workers, master, feeder.
    cut_some(&cluster).await;
    cluster.signal(Signal::HUP);
    let feeder = cluster.stats().await["feeder"]["pid"].as_u64().unwrap();
    kill(feeder.try_into().unwrap(), Signal::KILL);
    let reload = cluster.ctl(&["reload"]).await;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    cut_some(&cluster).await;
    assert_eq!(cluster.connections_to_all(2).await.len(), 2);
    // What waited is written when the reader goes on.
    kill(reader.0.id(), Signal::CONT);
    eventually("the log has all lines", async || {
        let text = std::fs::read_to_string(folder.path().join("read")).unwrap();
        let cuts = text.matches("message-rate").count();
        if cuts >= 4 && text.contains("child-died") { Ok(()) } else { Err(text) }
    })
    .await;
    kill(reader.0.id(), Signal::STOP);
    fill(&pipe);
    cut_some(&cluster).await;
    cluster.signal(Signal::TERM);
    let status = cluster.ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
}

/// A fifo that nobody reads.
fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, mknodat};
    mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap();
}

#[tokio::test]
async fn a_log_file_that_cannot_be_is_refused_by_the_reload_that_brings_it() {
    let cluster = cluster().start().await;
    fifo(&cluster.folder().join("fifo"));
    std::os::unix::fs::symlink("fifo", cluster.folder().join("link")).unwrap();
    for (path, why) in [
        ("{dir}/fifo", "is a fifo, not a regular file"),
        ("{dir}/link", "is a fifo, not a regular file"),
        ("{dir}", "is a folder, not a regular file"),
        ("/dev/full", "is a device, not a regular file"),
        ("{dir}/none/x.log", "no such folder"),
        ("/proc/x.log", "cannot be written"),
    ] {
        cluster.configure(&format!("[log]\nfile = \"{path}\"\n"));
        let reload = cluster.ctl(&["reload"]).await;
        assert_eq!(reload.code, Some(1), "{path}: {reload:?}");
        let faults = reload.json()["faults"].to_string();
        assert!(faults.contains("50-test.toml:2: log.file: ") && faults.contains(why), "{faults}");
        assert_eq!(cluster.stats().await["workers"].as_array().unwrap().len(), 2);
    }
    assert!(!cluster.log().is_empty());
    cluster.reconfigure("[log]\nfile = \"{dir}/x.log\"\n").await;
    eventually("lines go to the file", async || {
        let text = std::fs::read_to_string(cluster.folder().join("x.log")).unwrap_or_default();
        if text.contains("reloaded") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn a_level_that_names_nothing_is_refused() {
    let cluster = cluster().start().await;
    for level in ["verbose", "", "inf", "debug,foo=bar=baz", "btc_cluster=verbose", "nosuchtarget=debug"] {
        cluster.configure(&format!("[log]\nlevel = \"{level}\"\n"));
        let reload = cluster.ctl(&["reload"]).await;
        assert_eq!(reload.code, Some(1), "{level}: {reload:?}");
        let faults = reload.json()["faults"].to_string();
        assert!(faults.contains("50-test.toml:2: log.level: "), "{faults}");
        let check = cluster.run(&["--config", "btc-cluster.toml", "check"]).await;
        assert_eq!(check.code, Some(78), "{level}: {check:?}");
    }
    cluster.reconfigure("[log]\nlevel = \"debug,btc_cluster::feeder=warn\"\n").await;
}
