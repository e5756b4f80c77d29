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
