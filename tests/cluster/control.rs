//! The control socket, who may be behind it, and what commands print.

use crate::harness::{Cluster, cluster, eventually, kill, skipped};
use rustix::process::Signal;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_btc-cluster");

/// Runs the binary with standard output into that file.
async fn into(stdout: impl Into<Stdio>, folder: &Path, words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["--env", "test", "--config", "btc-cluster.toml"]).args(words).current_dir(folder);
    command.stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().await.unwrap()
}

/// The writing end of a pipe whose reader has gone.
fn closed() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_closed_pipe_is_a_quiet_end_and_a_full_disk_a_failure() {
    let cluster = cluster().start().await;
    let commands: &[&[&str]] = &[
        &["ctl", "status"],
        &["ctl", "status", "--json"],
        &["ctl", "workers"],
        &["ctl", "workers", "--json"],
        &["ctl", "sessions"],
        &["ctl", "sources"],
        &["ctl", "reload"],
        &["ctl", "publish", "chat:x", "1"],
        &["ctl", "restart-worker", "1"],
        &["ctl", "watch"],
        &["ctl", "watch", "--json"],
        &["check"],
        &["price"],
        &["price", "--json"],
        &["probe"],
        &["probe", "--json"],
        &["completions", "bash"],
        &["reference", "markdown"],
        &["--help"],
        &["--version"],
        &["ctl", "--help"],
    ];
    for words in commands {
        let output = into(closed(), cluster.folder(), words).await;
        assert_eq!(said(&output), (Some(0), String::new()), "{words:?}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, text) = said(&into(full, cluster.folder(), words).await);
        assert_eq!(code, Some(1), "{words:?}: {text}");
        assert!(
            text.contains("standard output: No space left on device") && text.lines().count() == 1,
            "{text}"
        );
    }
    // What cannot be said at all changes no code.
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for words in [&["ctl", "--socket", "none", "status"][..], &["--nonsense"], &["check", "--set", "x.y=1"]] {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(words).stdout(full()).stderr(full()).current_dir(cluster.folder());
        let code = command.status().await.unwrap().code();
        assert!(matches!(code, Some(1 | 2 | 78)), "{words:?}: {code:?}");
    }
}

#[tokio::test]
async fn ctl_says_what_else_is_at_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    File::create(at("file")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    drop(UnixListener::bind(at("leftover")).unwrap());
    for (name, why) in [
        ("file", "file is no socket\n"),
        ("fifo", "fifo is no socket\n"),
        (".", ". is no socket\n"),
        ("leftover", "not running at leftover\n"),
        ("none", "not running at none\n"),
    ] {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(["ctl", "--socket", name, "status"]).current_dir(folder.path());
        assert_eq!(said(&command.output().await.unwrap()), (Some(1), why.to_owned()));
    }
}

#[tokio::test]
async fn output_that_somebody_made_not_wait_is_written_whole() {
    use rustix::fs::{OFlags, fcntl_setfl};
    let folder = tempfile::tempdir().unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let mut full = 0;
    while let Ok(written) = writer.write(&[b'.'; 4096]) {
        full += written;
    }
    reader.read_exact(&mut [0; 4096]).unwrap();
    let mut command = tokio::process::Command::new(BINARY);
    let child = command.args(["reference", "markdown"]).current_dir(folder.path()).stdout(writer);
    let child = child.stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    eventually("the pipe is full", async || {
        let waits = rustix::io::ioctl_fionread(&reader).unwrap();
        if waits == full as u64 { Ok(()) } else { Err(waits.to_string()) }
    })
    .await;
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    assert_eq!(said(&child.wait_with_output().await.unwrap()), (Some(0), String::new()));
    let text = text.await.unwrap().unwrap();
    let whole = include_str!("../../docs/configuration.md");
    assert!(text.trim_start_matches('.') == whole, "{} of {} bytes", text.len() + 4096 - full, whole.len());
}

#[tokio::test]
async fn a_socket_that_is_swept_away_comes_back() {
    let mut cluster = cluster().start().await;
    let path = cluster.folder().join("control.sock");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    // While the daemon cannot make it again, it serves all the same.
    let master = cluster.master().await;
    kill(master, Signal::STOP);
    std::fs::remove_file(&path).unwrap();
    let gone = cluster.ctl(&["status"]).await;
    assert!(gone.code == Some(1) && gone.err.starts_with("serving, but its socket "), "{gone:?}");
    kill(master, Signal::CONT);
    eventually("the socket is back", async || {
        let status = cluster.ctl(&["status"]).await;
        if status.code == Some(0) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(mode(&path), 0o600);
    cluster.logged(&["control-restored"]).await;
    // A socket that took its place is another's, and stays.
    let other = UnixListener::bind(cluster.folder().join("other.sock")).unwrap();
    std::fs::rename(cluster.folder().join("other.sock"), &path).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    eventually("the daemon says so", async || {
        if cluster.log().contains("control-lost") { Ok(()) } else { Err(cluster.log()) }
    })
    .await;
    cluster.signal(Signal::TERM);
    assert!(cluster.ended(Duration::from_secs(15)).await.success());
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    std::fs::remove_file(&path).unwrap();
    drop(other);
    let down = cluster.ctl(&["status"]).await;
    assert!(down.code == Some(1) && down.err.starts_with("not running at "), "{down:?}");
}

/// Somebody else on this machine.
const STRANGER: u32 = 12_345;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("the control socket", "only root can act as another user");
    }
    root
}

/// `ctl status` without `--socket`, with that `TMPDIR`.
async fn ctl_in(temporary: &Path) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(["--env", "test", "--config", "/nowhere/x.toml", "ctl", "status"]).env("TMPDIR", temporary);
    said(&command.env_remove("XDG_RUNTIME_DIR").output().await.unwrap())
}

#[tokio::test]
async fn a_folder_that_another_user_made_first_is_not_believed() {
    if !is_root() {
        return;
    }
    let shared = tempfile::tempdir().unwrap();
    std::fs::set_permissions(shared.path(), Permissions::from_mode(0o1777)).unwrap();
    let folder = shared.path().join("btc-cluster-0");
    std::fs::create_dir(&folder).unwrap();
    let fake = UnixListener::bind(folder.join("control.sock")).unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    chown(&folder, Some(STRANGER), None).unwrap();
    fake.set_nonblocking(true).unwrap();
    let (code, text) = ctl_in(shared.path()).await;
    assert!(code == Some(1) && text.contains("was made by user 12345"), "{text}");
    if let Ok((mut stream, _)) = fake.accept() {
        let mut heard = String::new();
        let _ = std::io::Read::read_to_string(&mut stream, &mut heard);
        assert_eq!(heard, "", "the stranger hears nothing");
    }
    // Nor does a daemon make its socket there, or follow a link of the stranger's.
    let start = |name: &str| {
        let socket = format!("[control]\nsocket = \"{}/{name}/control.sock\"\n", shared.path().display());
        cluster().config(&socket).ended()
    };
    let ended = start("btc-cluster-0").await;
    assert!(ended.code == Some(1) && ended.log.contains("was made by user 12345"), "{}", ended.log);
    let own = tempfile::tempdir().unwrap();
    symlink(own.path(), shared.path().join("link")).unwrap();
    std::os::unix::fs::lchown(shared.path().join("link"), Some(STRANGER), None).unwrap();
    let ended = start("link").await;
    assert!(ended.code == Some(1) && ended.log.contains("was made by user 12345"), "{}", ended.log);
    assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn candles_are_not_kept_where_a_stranger_s_link_leads() {
    if !is_root() {
        return;
    }
    let own = tempfile::tempdir().unwrap();
    let setup = cluster()
        .config("[price]\nproviders = [\"command\"]\n[provider.command]\nprogram = [\"{dir}/x.sh\"]\n");
    let setup = setup.file("x.sh", "#!/bin/sh\nwhile sleep 0.1; do echo 64000.00; done\n");
    let folder = setup.folder().to_owned();
    std::fs::set_permissions(folder.join("x.sh"), Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o1777)).unwrap();
    let link = folder.join("control.state");
    symlink(own.path(), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
    let cluster = setup.start().await;
    eventually("the log says that candles are not kept", async || {
        if cluster.log().contains("history-not-kept") { Ok(()) } else { Err(cluster.log()) }
    })
    .await;
    assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 0, "root was made to write elsewhere");
}

/// Publishes, and returns the bytes that a member hears.
async fn published(cluster: &Cluster, data: &str) -> String {
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    let out = cluster.ctl(&["publish", "news", data]).await;
    assert_eq!(out.code, Some(0), "{out:?}");
    loop {
        let text = tab.text().await;
        if text.contains(r#""type":"message""#) {
            let data = text.split_once(r#""data":"#).unwrap().1.strip_suffix('}').unwrap();
            return data.to_owned();
        }
    }
}

#[tokio::test]
async fn ctl_publish_keeps_the_bytes_of_its_json() {
    let cluster = cluster().config("[[channels]]\nname = \"news\"\n").start().await;
    for data in [
        "1.10",
        "123456789012345678901234567890",
        "1e400",
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{"z":1.0,"a":[ 1 , 2 ]}"#,
        r#""\u0041\u20ac\/ü""#,
        "-0.0",
    ] {
        assert_eq!(published(&cluster, data).await, data);
    }
    assert_eq!(published(&cluster, "{\n  \"a\": 1\n}").await, "{   \"a\": 1 }");
    assert_eq!(published(&cluster, "not json").await, "\"not json\"");
}
