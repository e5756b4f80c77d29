//! Real processes: this test program starts itself as a child.

use super::*;
use crate::os::process;
use crate::protocol::cluster::{Hello, ToMaster, ToWorker};
use crate::protocol::link::{Batch, attach};
use rustix::process::Signal;
use std::time::Duration;

/// Not a test but the child that the tests below start.
#[tokio::test]
#[ignore = "the child of other tests"]
async fn act_as_child() {
    let (sender, mut receiver, writer) = attach().unwrap();
    tokio::spawn(writer.run());
    sender
        .send(&ToMaster::Hello(Hello { version: 1, program: "test".into(), pid: std::process::id() }))
        .unwrap();
    while let Ok(mut batch) = receiver.receive().await {
        while let Some(message) = batch.next::<ToWorker<'_>>() {
            match message.unwrap() {
                ToWorker::Resync => sender.send(&ToMaster::Drained).unwrap(),
                _ => panic!("a death"),
            }
        }
    }
}

fn start_myself() -> Spawned {
    let name = "supervisor::child::tests::act_as_child";
    let arguments = ["--exact", name, "--ignored", "--quiet", "--test-threads=1"].map(OsString::from);
    spawn_program(Role::Worker(3), OsStr::new(PROGRAM), &arguments).unwrap()
}

fn shell(script: &str) -> Spawned {
    spawn_program(Role::Feeder, OsStr::new("/bin/sh"), &["-c".into(), script.into()]).unwrap()
}

async fn patience<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap()
}

async fn hears(receiver: &mut LinkReceiver) -> Batch {
    patience(receiver.receive()).await.unwrap()
}

#[tokio::test]
async fn a_child_speaks_over_its_link_and_minds_no_signals() {
    let mut child = start_myself();
    tokio::spawn(child.writer.run());
    let mut batch = hears(&mut child.receiver).await;
    let Some(Ok(ToMaster::Hello(hello))) = batch.next() else { panic!("no hello") };
    let pid = child.pid;
    assert_eq!(hello.pid, pid);
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.starts_with("btc-cluster: worker 3\0"), "{line:?}");

    for signal in [Signal::INT, Signal::HUP, Signal::USR1, Signal::USR2, Signal::TERM] {
        process::kill(pid, signal);
    }
    child.sender.send(&ToWorker::Resync).unwrap();
    let mut batch = hears(&mut child.receiver).await;
    assert_eq!(batch.next::<ToMaster<'_>>().unwrap().unwrap(), ToMaster::Drained);

    process::kill(pid, Signal::KILL);
    assert_eq!(patience(async { child.exit.await }).await.to_string(), "SIGKILL");
}

#[tokio::test]
async fn a_child_sees_the_end_of_its_link() {
    let mut child = start_myself();
    let writer = tokio::spawn(child.writer.run());
    hears(&mut child.receiver).await;
    writer.abort();
    drop((writer.await, child.receiver, child.sender));
    assert_eq!(patience(async { child.exit.await }).await, End::Status(0));
}

#[tokio::test]
async fn a_child_dies_with_the_thread_that_started_it() {
    let starter = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut child = start_myself();
            hears(&mut child.receiver).await;
            // The link stays open: only the kernel's signal can end the child.
            (child.pid, child.receiver)
        })
    });
    let (pid, _receiver) = tokio::task::spawn_blocking(|| starter.join().unwrap()).await.unwrap();
    let gone =
        || !std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    patience(async {
        while !gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn ends_are_told_in_words() {
    for (script, words) in [
        ("exit 3", "status 3"),
        ("kill -9 $$", "SIGKILL"),
        ("exit 0", "status 0"),
        ("kill -40 $$", "signal 40"),
    ] {
        assert_eq!(patience(async { shell(script).exit.await }).await.to_string(), words);
    }
    let core = End::Signal { signal: 11, core: true };
    assert_eq!(core.to_string(), "SIGSEGV (core dumped)");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let error = spawn_program(Role::Feeder, OsStr::new("/nowhere/at/all"), &[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_systemd_says_is_for_the_master_alone() {
    let command = command(Role::Feeder, OsStr::new("x"), &[]);
    let changes: Vec<_> = command.as_std().get_envs().collect();
    for name in
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
    {
        assert!(changes.contains(&(OsStr::new(name), None)), "{name}");
    }
    let parent = std::process::id().to_string();
    assert!(changes.contains(&(OsStr::new(PARENT), Some(OsStr::new(&parent)))));
}
