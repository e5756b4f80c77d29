//! What systemd is told, and what it must not be told.

use crate::harness::{Cluster, cluster, eventually};
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

/// Stands in for systemd.
pub(crate) struct Systemd {
    _folder: TempDir,
    pub(crate) path: PathBuf,
    socket: UnixDatagram,
}

impl Systemd {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("systemd-").unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { _folder: folder, path, socket }
    }

    /// The next message, whole.
    pub(crate) async fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// The state that a message begins with: `READY=1`, `RELOADING=1`, `STOPPING=1`.
    pub(crate) async fn next_state(&self) -> String {
        loop {
            let text = self.next().await;
            let first = text.lines().next().unwrap_or_default();
            if matches!(first, "READY=1" | "RELOADING=1" | "STOPPING=1") {
                return first.to_owned();
            }
        }
    }

    /// All that is said until the socket has been silent for half a second.
    async fn rest(&self) -> Vec<String> {
        let mut all = vec![];
        while let Ok(state) = tokio::time::timeout(Duration::from_millis(500), self.next_state()).await {
            all.push(state);
        }
        all
    }
}

async fn reloaded(cluster: &Cluster, times: usize) {
    eventually("it is reloaded", async || {
        let done = cluster.ctl(&["status"]).await.json()["reloads"].as_u64().unwrap();
        if done >= times as u64 { Ok(()) } else { Err(done.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn reloading_and_ready_come_in_pairs() {
    let systemd = Systemd::new();
    let cluster = cluster().variable("NOTIFY_SOCKET", systemd.path.to_str().unwrap()).start().await;
    assert_eq!(systemd.rest().await, ["READY=1"]);
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
    cluster.signal(Signal::HUP);
    reloaded(&cluster, 2).await;
    assert_eq!(systemd.rest().await, ["RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]);
    cluster.configure("[heartbeat]\ninterval = \"11s\"");
    reloaded(&cluster, 3).await;
    assert_eq!(systemd.rest().await, [] as [String; 0], "nobody asked for this one");
}

#[tokio::test]
async fn after_a_stop_nothing_is_ready() {
    let systemd = Systemd::new();
    let mut cluster = cluster()
        .variable("NOTIFY_SOCKET", systemd.path.to_str().unwrap())
        .config("[shutdown]\ndelay = \"1s\"")
        .start()
        .await;
    assert_eq!(systemd.rest().await, ["READY=1"]);
    cluster.signal(Signal::TERM);
    assert_eq!(systemd.next_state().await, "STOPPING=1");
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(1), "the daemon is stopping");
    cluster.signal(Signal::HUP);
    cluster.ended(Duration::from_secs(15)).await;
    let rest = systemd.rest().await;
    assert!(rest.iter().all(|state| state == "STOPPING=1"), "{rest:?}");
}
