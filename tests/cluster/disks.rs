//! File systems that do not answer or are full, and processes that hang in them.

use crate::harness::{cluster, eventually, get, in_time, kill, skipped};
use rustix::process::Signal;
use std::io::Read;
use std::process::{Child, Command, Stdio};
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

/// A process that holds another one as a debugger does: if that is killed, its parent hears of it only when the holder
/// ends.
struct Holder(Child);

impl Holder {
    /// `None`: the system does not allow it.
    fn start(pid: u32) -> Option<Self> {
        // PTRACE_SEIZE.
        let number = if cfg!(target_arch = "x86_64") { 101 } else { 117 };
        let script =
            format!("syscall({number}, 0x4206, {pid}, 0, 0) == 0 or exit 1; syswrite STDOUT, 1; sleep");
        let child = Command::new("perl").args(["-e", &script]).stdout(Stdio::piped()).spawn().ok()?;
        let mut holder = Self(child);
        let held = holder.0.stdout.take()?.read_exact(&mut [0]);
        if held.is_err() {
            skipped("disks", "perl, or tracing a process of one's own, is not allowed here");
        }
        held.is_ok().then_some(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_process_that_kill_does_not_end_holds_up_neither_its_slot_nor_the_end() {
    let text = "[cluster]\nworker_timeout = \"2s\"\nkill_timeout = \"500ms\"\n[shutdown]\ngrace = \"1s\"\n";
    let mut cluster = cluster().config(text).start().await;
    let [first, second] = [cluster.worker(1).await.pid.unwrap(), cluster.worker(2).await.pid.unwrap()];
    let Some(holder) = Holder::start(first) else { return };
    kill(first, Signal::KILL);
    eventually("the slot has another process", async || {
        let worker = cluster.worker(1).await;
        if worker.state == "ready" && worker.pid != Some(first) { Ok(()) } else { Err(format!("{worker:?}")) }
    })
    .await;
    cluster.logged(&["child-left-behind"]).await;
    assert_eq!(cluster.stats().await["workers"].as_array().unwrap().len(), 2);
    drop(holder);
    cluster.logged(&["it was left behind"]).await;
    let Some(_holder) = Holder::start(second) else { return };
    kill(second, Signal::KILL);
    cluster.signal(Signal::TERM);
    assert!(cluster.ended(Duration::from_secs(10)).await.success(), "{}", cluster.log());
}

#[tokio::test]
async fn a_full_disk_is_told_on_standard_error_and_what_was_lost_when_there_is_room_again() {
    let mount = "mkdir small && mount -t tmpfs -o size=128k small small";
    let folder = tempfile::tempdir().unwrap();
    let able = Command::new("unshare").args(["-Urm", "sh", "-c", mount]).current_dir(folder.path()).status();
    if !able.is_ok_and(|status| status.success()) {
        return skipped("disks", "unshare -Urm is not allowed here");
    }
    // Only in the namespace the file system is seen.
    let steps = "wait() { until [ -e $1 ]; do sleep 0.05; done; }
                 wait fill; head -c 1M /dev/zero > small/fill; touch full; wait free; rm small/fill; touch freed
                 for n in $(seq 1000); do cp small/x.log copy.new && mv copy.new copy; sleep 0.1; done";
    let start = format!("{mount}; ({steps}) 2> steps & exec \"$0\" \"$@\"");
    let cluster = cluster()
        .config("[log]\nfile = \"{dir}/small/x.log\"\n")
        .through(&["unshare", "-Urm", "sh", "-c", &start])
        .start()
        .await;
    let step = async |tell: &str, done: &str| {
        cluster.write(tell, "");
        eventually(
            done,
            async || if cluster.folder().join(done).exists() { Ok(()) } else { Err(cluster.log()) },
        )
        .await;
    };
    step("fill", "full").await;
    eventually("standard error says it", async || {
        assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
        let log = cluster.log();
        if log.contains("small/x.log: lines are lost: the disk is full") { Ok(()) } else { Err(log) }
    })
    .await;
    step("free", "freed").await;
    eventually("the log says what was lost", async || {
        assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
        let log = std::fs::read_to_string(cluster.folder().join("copy")).unwrap_or_default();
        if log.contains("log-lost") { Ok(()) } else { Err(log) }
    })
    .await;
}
