//! `/{stream}` of a file's or a program's lines: read once for the whole cluster, each line to every session.

use crate::harness::{Cluster, Heard, Tab, cluster, eventually, is_gone, kill};
use rustix::process::Signal;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;
use tokio::time::Instant;

const LOG: &str = "[[streams]]\nname = \"log\"\nfile = \"{dir}/app.log\"\n";
const TICKS: &str = "[[streams]]\nname = \"ticks\"\ncommand = [\"/bin/sh\", \"{dir}/ticks.sh\"]\n";
const SCRIPT: &str =
    "echo $$ >> {dir}/pids\nn=0\nwhile :; do n=$((n+1)); echo \"tick $n of $$\"; sleep 0.05; done\n";

async fn on(cluster: &Cluster, stream: &str, user: &str) -> Tab {
    let path = format!("/{stream}?user_id={user}");
    cluster.open(&path).await.unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"))
}

async fn line(tab: &mut Tab) -> String {
    match tab.hear().await {
        Heard::Text(text) => text,
        other => panic!("no line but {other:?}"),
    }
}

async fn lines(tab: &mut Tab, expected: &[&str]) {
    for expected in expected {
        assert_eq!(line(tab).await, *expected);
    }
}

/// Number and program of a tick.
async fn tick(tab: &mut Tab) -> (u32, u32) {
    let text = line(tab).await;
    let words: Vec<_> = text.split(' ').collect();
    match words[..] {
        ["tick", n, "of", pid] => (n.parse().unwrap(), pid.parse().unwrap()),
        _ => panic!("no tick: {text}"),
    }
}

fn append(cluster: &Cluster, name: &str, text: impl AsRef<[u8]>) {
    let path = cluster.folder().join(name);
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}

/// The programs that have begun so far.
fn pids(cluster: &Cluster) -> Vec<u32> {
    let text = std::fs::read_to_string(cluster.folder().join("pids")).unwrap_or_default();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

async fn until_gone(pid: u32) {
    eventually("the program is gone", async || if is_gone(pid) { Ok(()) } else { Err(pid.to_string()) })
        .await;
}

async fn kill_feeder(cluster: &Cluster) {
    let feeder = cluster.stats().await["feeder"]["pid"].as_u64().unwrap();
    kill(u32::try_from(feeder).unwrap(), Signal::KILL);
}

/// How its session ends, whatever lines come before.
async fn end(tab: &mut Tab) -> (u16, String) {
    loop {
        if let Heard::Closed(code, reason) = tab.hear().await {
            return (code, reason);
        }
    }
}

#[tokio::test]
async fn a_newcomer_hears_the_last_line_of_a_file_at_once_and_then_each_new_one() {
    let config = format!("[ws]\nmax_message = \"1KiB\"\n{LOG}");
    let cluster = cluster().workers(2).config(&config).file("app.log", "old\nlast one\nha").start().await;
    let mut first = on(&cluster, "log", "first").await;
    lines(&mut first, &["last one"]).await;
    append(&cluster, "app.log", "lf\n");
    lines(&mut first, &["half"]).await;
    // On the other worker, too: the master has told it before it let this one in.
    let mut second = on(&cluster, "log", "second").await;
    lines(&mut second, &["half"]).await;
    append(&cluster, "app.log", b"raw \xff {}\r\n\n");
    append(&cluster, "app.log", "y".repeat(5000) + "\n");
    let many: Vec<String> = (0..300).map(|n| format!("line {n}")).collect();
    append(&cluster, "app.log", many.join("\n") + "\n");
    for tab in [&mut first, &mut second] {
        lines(tab, &["raw \u{fffd} {}\r", "", &"y".repeat(1024)]).await;
        for expected in &many {
            assert_eq!(line(tab).await, *expected);
        }
    }
    let list = cluster.get("/api/v1/streams").await.json();
    assert_eq!(list["streams"], json!([{"name": "log", "path": "/log", "lines": true}]));
    let mut tab = cluster.quiet_tab("curious").await;
    let channel = format!("lines:file:{}/app.log", cluster.folder().display());
    tab.say(&json!({"type": "subscribe", "channels": [channel], "id": 1})).await;
    assert_eq!(tab.next("error").await["code"], "unknown-channel");
}

#[tokio::test]
async fn a_file_may_come_late_be_rotated_cut_and_deleted() {
    let cluster = cluster().workers(2).config(LOG).start().await;
    let mut tab = on(&cluster, "log", "a").await;
    let missing = async |count: usize| {
        eventually("the log says that there is no file", async || {
            let log = cluster.log();
            if log.matches("no such file: waited for").count() == count { Ok(()) } else { Err(log) }
        })
        .await;
    };
    missing(1).await;
    append(&cluster, "app.log", "first\nsecond\n");
    lines(&mut tab, &["first", "second"]).await;
    append(&cluster, "app.log", "no end");
    cluster.write("app.log", "rotated, and longer than before\n");
    lines(&mut tab, &["no end", "rotated, and longer than before"]).await;
    File::create(cluster.folder().join("app.log")).unwrap().write_all(b"cut\n").unwrap();
    lines(&mut tab, &["cut"]).await;
    std::fs::remove_file(cluster.folder().join("app.log")).unwrap();
    append(&cluster, "app.log", "anew\n");
    lines(&mut tab, &["anew"]).await;
    missing(1).await;
    assert_eq!(cluster.log().matches("it is there").count(), 1);
}

#[tokio::test]
async fn a_feeder_that_is_killed_loses_no_line_of_a_file_and_doubles_none() {
    let cluster = cluster().workers(2).config(LOG).file("app.log", "first\n").start().await;
    let mut tab = on(&cluster, "log", "a").await;
    lines(&mut tab, &["first"]).await;
    for round in 0..3 {
        kill_feeder(&cluster).await;
        let texts = ["while", "nobody", "reads"].map(|word| format!("{word} {round}"));
        append(&cluster, "app.log", texts.join("\n") + "\n");
        for text in &texts {
            assert_eq!(line(&mut tab).await, *text);
        }
    }
    let mut late = on(&cluster, "log", "b").await;
    append(&cluster, "app.log", "end\n");
    lines(&mut tab, &["end"]).await;
    lines(&mut late, &["reads 2", "end"]).await;
}

#[tokio::test]
async fn a_program_runs_once_for_the_whole_cluster_and_comes_back_with_the_feeder() {
    let cluster = cluster().workers(3).config(TICKS).file("ticks.sh", SCRIPT).start().await;
    let mut tabs = vec![];
    eventually("each worker has a session of the stream", async || {
        tabs.push(on(&cluster, "ticks", &format!("u{}", tabs.len())).await);
        let sessions: Vec<_> = cluster.workers().await.iter().map(|worker| worker.sessions).collect();
        if sessions.iter().all(|&count| count > 0) { Ok(()) } else { Err(format!("{sessions:?}")) }
    })
    .await;
    let first =
        eventually("it has begun", async || pids(&cluster).first().copied().ok_or_else(String::new)).await;
    for tab in &mut tabs {
        let (begin, pid) = tick(tab).await;
        assert_eq!(pid, first);
        for n in 1..5 {
            assert_eq!(tick(tab).await, (begin + n, first), "each line once");
        }
    }
    assert_eq!(pids(&cluster), [first]);
    kill_feeder(&cluster).await;
    until_gone(first).await;
    for tab in &mut tabs {
        let second = loop {
            match tick(tab).await {
                (1, pid) if pid != first => break pid,
                (_, pid) => assert_eq!(pid, first, "its first line is heard"),
            }
        };
        assert_eq!(pids(&cluster), [first, second]);
    }
}

#[tokio::test]
async fn a_reload_adds_changes_and_removes_what_is_read_and_disturbs_nothing_else() {
    let cluster = cluster().workers(2).config(&format!("{TICKS}{LOG}")).file("ticks.sh", SCRIPT);
    let cluster = cluster.file("app.log", "of app\n").file("other.log", "of other\n").start().await;
    let (mut ticks, mut log) = (on(&cluster, "ticks", "a").await, on(&cluster, "log", "b").await);
    lines(&mut log, &["of app"]).await;
    let (_, pid) = tick(&mut ticks).await;
    let same = TICKS.replace("\"ticks\"", "\"same\"");
    let other = LOG.replace("app.log", "other.log");
    cluster.reconfigure(&format!("{same}{TICKS}{other}")).await;
    assert_eq!(tick(&mut on(&cluster, "same", "c").await).await.1, pid, "two streams, one program");
    lines(&mut log, &["of other"]).await;
    append(&cluster, "app.log", "nobody hears this\n");
    append(&cluster, "other.log", "more of other\n");
    lines(&mut log, &["more of other"]).await;
    let mut before = tick(&mut ticks).await.0;
    for _ in 0..10 {
        let now = tick(&mut ticks).await;
        assert_eq!(now, (before + 1, pid));
        before = now.0;
    }
    assert_eq!(pids(&cluster), [pid]);
    cluster.reconfigure(&other).await;
    assert_eq!(end(&mut ticks).await, (4006, "stream-removed".into()));
    until_gone(pid).await;
    append(&cluster, "other.log", "still there\n");
    lines(&mut log, &["still there"]).await;
    assert_eq!(pids(&cluster), [pid]);
}

#[tokio::test]
async fn a_program_that_floods_is_read_slowly_and_one_that_ends_is_started_again() {
    let stream = |name: &str, command: &str| format!("[[streams]]\nname = \"{name}\"\ncommand = {command}\n");
    let sleeps = stream("ends", "[\"/bin/sleep\", \"600\"]");
    let setup = cluster().workers(2).config(&sleeps).file("flood", "#!/bin/sh\nexec yes flood\n");
    let cluster = setup.start().await;
    let mut tab = on(&cluster, "ends", "a").await;
    // Begun only now, so that the pauses between its lives are still short.
    let ends = stream("ends", "[\"/bin/sh\", \"-c\", \"echo said >&2; echo once $$\"]");
    cluster.reconfigure(&format!("{ends}{}", stream("flood", "\"{dir}/flood\""))).await;
    let (first, second) = (line(&mut tab).await, line(&mut tab).await);
    assert!(first.starts_with("once ") && second.starts_with("once ") && first != second);
    for word in ["stream-program", "exit status: 0", "said", "cannot be started"] {
        let told = async || if cluster.log().contains(word) { Ok(()) } else { Err(cluster.log()) };
        eventually(&format!("{word} is in the log"), told).await;
    }
    let path = cluster.folder().join("flood");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    cluster.reconfigure(&stream("flood", "[\"{dir}/flood\", \"now\"]")).await;
    let begin = Instant::now();
    let mut tab = on(&cluster, "flood", "a").await;
    for _ in 0..800 {
        assert_eq!(line(&mut tab).await, "flood");
    }
    assert!(begin.elapsed() > Duration::from_millis(600), "{:?}", begin.elapsed());
    assert_eq!(cluster.get("/api/v1/price").await.json()["stale"], false);
}

/// Ends differently each time: killed, failed, well, and with a child that holds its output.
const HALVES: &str = "run=$(cat {dir}/run 2>/dev/null || echo 0); run=$((run+1)); echo $run > {dir}/run\n\
                      while [ ! -e {dir}/go ]; do sleep 0.05; done\n\
                      case $run in\n\
                      1) printf 'one\\nhal'; kill -KILL $$;;\n\
                      2) printf 'two\\nhal'; exit 3;;\n\
                      3) printf 'three\\nfour';;\n\
                      4) printf 'five\\nhal'; sleep 30 &;;\n\
                      *) echo end; exec sleep 1000;;\n\
                      esac\n";

#[tokio::test]
async fn half_a_line_of_a_program_is_none_unless_it_ended_well() {
    let cluster = cluster().config(TICKS).file("ticks.sh", HALVES).start().await;
    let mut tab = on(&cluster, "ticks", "u").await;
    append(&cluster, "go", "");
    lines(&mut tab, &["one", "two", "three", "four", "five", "end"]).await;
}
