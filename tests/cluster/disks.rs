//! File systems that do not answer.

use crate::harness::{cluster, eventually, get, in_time, skipped};
use std::process::Command;
use std::time::Duration;

/// Mounts a file system at `hung` that nobody serves, for a process in a namespace of its own. Whoever holds descriptor 9
/// holds the file system.
const MOUNT: &str =
    "exec 9<>/dev/fuse && mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 hung hung";

fn able() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("mkdir hung && {MOUNT}");
    let able =
        Command::new("unshare").args(["-Urm", "sh", "-c", &script]).current_dir(folder.path()).status();
    let able = able.is_ok_and(|status| status.success());
    if !able {
        skipped("disks", "unshare -Urm, or /dev/fuse, is not allowed here");
    }
    able
}

#[tokio::test]
async fn a_page_on_a_file_system_that_hangs_is_503_and_holds_nobody_up() {
    if !able() {
        return;
    }
    // The file system hangs from some moment on; the one that makes it so ends with the daemon's group.
    let hang = format!("until [ -e go ]; do sleep 0.05; done; {MOUNT} && touch hangs && sleep 300");
    let start = format!("mkdir hung; ({hang}) & exec \"$0\" \"$@\"");
    let cluster = cluster()
        .config("[http]\nstatic_dir = \"{dir}/hung\"\n")
        .through(&["unshare", "-Urm", "sh", "-c", &start])
        .start()
        .await;
    std::fs::write(cluster.folder().join("go"), "").unwrap();
    eventually("the file system hangs", async || {
        if cluster.folder().join("hangs").exists() { Ok(()) } else { Err(cluster.log()) }
    })
    .await;
    let reload = cluster.ctl(&["reload"]);
    // More than may read at one time.
    let asked: Vec<_> = (0..12).map(|_| cluster.http).collect();
    let answers = asked.into_iter().map(async |port| crate::harness::send_to(port, &get("/")).await);
    let (reload, answers) = futures_util::future::join(
        tokio::time::timeout(Duration::from_secs(60), reload),
        in_time("each is answered", futures_util::future::join_all(answers)),
    )
    .await;
    let reload = reload.unwrap();
    assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
    assert_eq!(cluster.get("/healthz").await.status, 200);
    assert_eq!(cluster.get("/api/v1/price").await.status, 200);
    assert_eq!(cluster.get("/no/such/page").await.status, 404);
    assert!(reload.code == Some(1) && reload.out.contains("a file system does not answer"), "{reload:?}");
    assert_eq!(cluster.ctl(&["status"]).await.code, Some(0));
}
