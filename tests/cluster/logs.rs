//! The log never stops the daemon, wherever its lines go.

use crate::harness::{Cluster, Setup, Tab, cluster, eventually, kill, post, quiet, quote_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
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

/// All lines of a log file and of those moved aside, as JSON; a torn one is an error.
fn all_lines(folder: &Path) -> Result<Vec<Value>, String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let files = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with("x.log"));
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let text: String = texts.collect();
    let read = |line: &str| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"));
    text.lines().map(read).collect()
}

#[tokio::test]
async fn a_full_file_is_moved_aside_under_four_writers_and_no_line_is_lost_or_torn() {
    let file = "[log]\nfile = \"{dir}/x.log\"\nformat = \"json\"\nlevel = \"debug\"\nmax_size = \"4KiB\"\nkeep = 1000\n";
    let cluster = cluster().workers(4).config(file).start().await;
    let mut sessions = BTreeSet::new();
    for rotation in 1..=4 {
        for _ in 0..80 {
            let tab = cluster.quiet_tab(&format!("user-{}", sessions.len())).await;
            sessions.insert(tab.session().to_owned());
            tab.leave().await;
        }
        let next = cluster.folder().join(format!("x.log.{rotation}"));
        eventually("the full file is moved aside", async || {
            if next.exists() { Ok(()) } else { Err(format!("no {}", next.display())) }
        })
        .await;
    }
    eventually("each session is opened and closed in one line", async || {
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in all_lines(cluster.folder())? {
            let (event, session) = (line["event"].as_str(), line["session"].as_str());
            if let (Some(event @ ("session-opened" | "session-closed")), Some(session)) = (event, session) {
                told.entry(session.to_owned()).or_default().push(event.to_owned());
            }
        }
        let full = |session: &String| {
            let mut events = told.get(session).cloned().unwrap_or_default();
            events.sort();
            events == ["session-closed", "session-opened"]
        };
        match sessions.iter().find(|session| !full(session)) {
            None => Ok(()),
            Some(session) => Err(format!("{session}: {:?} of {}", told.get(session), sessions.len())),
        }
    })
    .await;
    let lines = all_lines(cluster.folder()).unwrap();
    assert!(lines.iter().any(|line| line["event"] == "log-rotated"), "{lines:?}");
}

/// A session of each kind that is named in lines, and the ids that no line may have.
async fn busy(cluster: &Cluster) -> Vec<String> {
    const USER: &str = "alice.the.user";
    let mut tabs = cluster.tabs_on_all(USER, 2).await;
    let mut ids: Vec<_> = tabs.iter().map(|tab| tab.session().to_owned()).collect();
    ids.extend([USER, "nobody.at.all", "her-device", "cut.one"].map(str::to_owned));
    let device = cluster.tab_with(&format!("user_id={USER}&device=her-device")).await;
    ids.push(device.session().to_owned());
    assert_eq!(cluster.send(&quote_for(USER)).await.status, 202);
    assert_eq!(cluster.send(&quote_for("nobody.at.all")).await.status, 404);
    assert_eq!(cluster.send(&post("/api/v1/quotes", r#"{"user_id":"alice.the.user"#)).await.status, 400);
    let mut command = cluster.open(&format!("/command?user_id={USER}")).await.unwrap();
    command.say_text(format!("I am {USER}")).await;
    for tab in &mut tabs {
        tab.say(&json!({ "type": "publish", "channel": format!("chat:{USER}"), "data": USER })).await;
        tab.say_text(format!("{{\"type\":\"{USER}\"")).await;
        tab.until_pong().await;
    }
    let mut cut = Tab::open_as(cluster.http, &quiet("cut.one")).await.unwrap().greeted().await;
    ids.push(cut.session().to_owned());
    let kicked = cluster.ctl(&["kick", cut.session()]).await;
    assert_eq!(kicked.code, Some(0), "{kicked:?}");
    cut.closed().await;
    device.leave().await;
    let worker = cluster.worker(1).await.pid.unwrap();
    kill(worker, Signal::KILL);
    cluster.until_settled(1).await;
    for tab in &mut tabs {
        tab.until_pong().await;
    }
    tabs.pop().unwrap().leave().await;
    ids
}

#[tokio::test]
async fn no_line_has_an_id_where_ids_are_hashed() {
    let hashing = "[log]\nlevel = \"trace\"\nhash_ids = true\nformat = \"json\"\n";
    let cluster = cluster().config(hashing).start().await;
    let ids = busy(&cluster).await;
    let of = |text: &str, event: &str| {
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.into_iter().filter(|line| line["event"] == event).collect::<Vec<_>>()
    };
    let text = eventually("the log has its lines", async || {
        let text = cluster.log();
        let events = [
            "session-opened",
            "session-closed",
            "quote-delivered",
            "quote-refused",
            "message-in",
            "message-out",
            "command-unknown",
            "disconnected",
            "child-died",
        ];
        match events.iter().find(|event| of(&text, event).is_empty()) {
            None => Ok(text),
            Some(event) => Err(format!("no {event} in {text}")),
        }
    })
    .await;
    for id in &ids {
        let line = text.lines().find(|line| line.contains(id.as_str()));
        assert_eq!(line, None, "{id}");
    }
    let opened = of(&text, "session-opened");
    let mut users: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for line in &opened {
        users.entry(line["user"].as_str().unwrap()).or_default().insert(line["worker"].as_u64().unwrap());
    }
    assert!(users.keys().all(|user| user.len() == 17 && user.starts_with('#')), "{users:?}");
    assert!(users.values().any(|workers| workers.len() == 2), "one hash on all workers: {users:?}");
    let delivered = of(&text, "quote-delivered");
    assert!(users.contains_key(delivered[0]["user"].as_str().unwrap()), "{delivered:?}");
    // The same run and the same ids, in the open.
    cluster.reconfigure(&hashing.replace("true", "false")).await;
    let tab = cluster.quiet_tab("alice.the.user").await;
    eventually("ids are as they are", async || {
        let text = cluster.log();
        if text.contains(tab.session()) && text.contains("alice.the.user") { Ok(()) } else { Err(text) }
    })
    .await;
}
