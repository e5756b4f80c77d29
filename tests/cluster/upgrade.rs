//! Another program takes over: no session notices, and one that is of no use is refused or taken back.

use crate::harness::{
    Cluster, Listener, Poller, Raw, Tab, alone, cluster, kill, masked, post, promised, within,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const OPEN: &str = "[[channels]]\nname = \"news\"\npublish = \"anyone\"\n\
                    [limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\nbytes_per_session = \"0\"\n";

async fn publish(cluster: &Cluster, n: usize) {
    let request = post("/api/v1/channels/news/messages", json!({ "data": n }).to_string());
    assert_eq!(cluster.administer(&request).await.status, 202);
}

async fn moved(tab: &mut Tab) -> Value {
    loop {
        let message = tab.next("system").await;
        if message["event"] == "moved" {
            return message;
        }
    }
}

/// A copy of the program at another path, as another version would be.
fn copy(cluster: &Cluster, name: &str) -> String {
    copy_of(Path::new(env!("CARGO_BIN_EXE_btc-cluster")), cluster, name)
}

/// Another process writes it: a file that this one has open for writing would be so in each child that another thread
/// starts meanwhile, and cannot be executed then (ETXTBSY).
fn copy_of(program: &Path, cluster: &Cluster, name: &str) -> String {
    let path = cluster.folder().join(name);
    assert!(Command::new("cp").arg(program).arg(&path).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

/// The same, as a version whose processes do not understand those of this one.
fn stranger(cluster: &Cluster, name: &str) -> String {
    let (known, other) = (b"link_language", b"link_dialects");
    let mut bytes = std::fs::read(env!("CARGO_BIN_EXE_btc-cluster")).unwrap();
    let all: Vec<_> = (0..bytes.len() - known.len()).filter(|at| bytes[*at..].starts_with(known)).collect();
    assert!(!all.is_empty());
    all.into_iter().for_each(|at| bytes[at..at + other.len()].copy_from_slice(other));
    let changed = cluster.folder().join(format!("{name}.changed"));
    std::fs::write(&changed, bytes).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&changed, mode).unwrap();
    copy_of(&changed, cluster, name)
}

#[tokio::test]
async fn three_upgrades_and_a_downgrade_close_nothing() {
    upgrades(copy).await;
}

#[tokio::test]
async fn three_upgrades_to_versions_of_another_language_close_nothing() {
    let turns = std::sync::atomic::AtomicUsize::new(0);
    upgrades(|cluster, name| {
        let turn = turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if turn.is_multiple_of(2) { stranger(cluster, name) } else { copy(cluster, name) }
    })
    .await;
}

async fn upgrades(make: impl Fn(&Cluster, &str) -> String) {
    let _alone = alone().await;
    let config = format!("{OPEN}[cluster]\nrebalance = \"0\"\n");
    let cluster = cluster().workers(2).config(&config).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    tab.say(&json!({"type": "subscribe", "channels": ["chat:lobby"], "id": 1})).await;
    tab.next("ack").await;
    let mut echo = Raw::session(cluster.ws, "/echo").await;
    let frame = masked(0x81, "x".repeat(1000).as_bytes());
    echo.write(&frame[..500]).await;
    let mut listener =
        Listener::ask(cluster.http, "/api/v1/events?user_id=bob&channels=news", "", "1.1").await;
    listener.next("welcome").await;
    let mut poller = Poller::new(cluster.http, "user_id=carol&channels=news");
    poller.poll().await;
    for n in 0..4usize {
        let path = make(&cluster, if n % 2 == 0 { "next" } else { "before" });
        let done = cluster.ctl(&["upgrade", &path]).await;
        assert_eq!(done.code, Some(0), "{} {}", done.out, done.err);
        let done = &done.json()["upgrade"];
        assert_eq!(
            (&done["outcome"], &done["closed"], &done["held"]),
            (&json!("upgraded"), &json!(0), &json!(4))
        );
        // The file of one that runs may be swapped.
        std::fs::remove_file(&path).unwrap();
        let told = moved(&mut tab).await;
        assert_eq!(told["moves"], n + 1, "{told}");
        publish(&cluster, n).await;
        assert_eq!(tab.next("message").await["data"], n);
        assert_eq!(listener.next("message").await.data["data"], n);
        let heard = poller.until("message").await;
        assert!(heard.iter().any(|message| message["data"] == n), "{heard:?}");
        tab.say(&json!({"type": "publish", "channel": "chat:lobby", "data": n, "id": 2})).await;
        assert_eq!(tab.next("message").await["channel"], "chat:lobby");
        assert_eq!(cluster.quote("alice").await.status, 202);
        tab.quote().await;
        assert_eq!(cluster.stats().await["totals"]["sessions"], 4);
    }
    echo.write(&frame[500..]).await;
    assert_eq!(echo.next().await.unwrap().payload, "x".repeat(1000).as_bytes());
    let token = tab.welcome["resume"].as_str().unwrap().to_owned();
    drop(tab);
    let back = cluster.tab_with(&format!("user_id=alice&channels=none&resume={token}")).await;
    assert_eq!((&back.welcome["resumed"], &back.welcome["moves"]), (&json!(true), &json!(4)));
    let log = cluster.log();
    for word in ["sessions-lost", "child-died", "master-died", "directory-resynchronised"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

/// A program that acts as the real one but for one thing. `None`: there is no compiler here.
fn broken(cluster: &Cluster, name: &str, does: &str) -> Option<PathBuf> {
    let (source, program) = (cluster.folder().join(format!("{name}.rs")), cluster.folder().join(name));
    let text = format!(
        "use std::os::unix::process::CommandExt;\nfn main() {{\n\
         let all: Vec<String> = std::env::args().skip(1).collect();\n\
         let is = |word: &str| all.iter().any(|one| one == word);\n{does}\n\
         panic!(\"{{}}\", std::process::Command::new({:?}).args(&all).exec());\n}}\n",
        env!("CARGO_BIN_EXE_btc-cluster")
    );
    std::fs::write(&source, text).unwrap();
    let compiled = Command::new("rustc").arg("-o").arg(&program).arg(&source).output();
    if compiled.as_ref().is_ok_and(|compiled| compiled.status.success()) {
        return Some(program);
    }
    eprintln!("SKIPPED: no program was compiled: {compiled:?}");
    None
}

async fn refuses(cluster: &Cluster, path: &Path, why: &str) {
    let refused = cluster.ctl_plain(&["upgrade", path.to_str().unwrap()]).await;
    assert_eq!(refused.code, Some(1), "{path:?}: {}", refused.out);
    assert!(refused.err.contains(why), "{path:?}: {}", refused.err);
    let upgrade = cluster.ctl(&["status"]).await.json()["upgrade"].clone();
    assert!(upgrade["why"].as_str().unwrap().contains(why), "{upgrade}");
    assert_eq!(upgrade["outcome"], "refused");
    cluster.logged(&["upgrade-refused", why]).await;
}

#[tokio::test]
async fn a_program_that_is_of_no_use_is_refused_and_the_old_one_serves_on() {
    let _alone = alone().await;
    let config = format!("{OPEN}[cluster]\nstart_timeout = \"2s\"\n");
    let cluster = cluster().workers(1).config(&config).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    let worker = cluster.worker(1).await.pid;
    refuses(&cluster, Path::new("/no/such/program"), "No such file").await;
    refuses(&cluster, Path::new("/bin/true"), "it is not btc-cluster").await;
    refuses(&cluster, Path::new("/etc/passwd"), "ermission denied").await;
    if let Some(program) = broken(&cluster, "crashes", "if is(\"trial\") { std::process::abort() }") {
        refuses(&cluster, &program, "it ended with SIGABRT").await;
    }
    let hangs = "if is(\"trial\") { std::thread::park() }";
    if let Some(program) = broken(&cluster, "hangs", hangs) {
        refuses(&cluster, &program, "does not answer within 2s").await;
    }
    assert_eq!(cluster.worker(1).await.pid, worker, "nothing was touched");
    // These are good on trial, and take over.
    let faults = [
        ("master-crashes", "if is(\"master\") { std::process::abort() }"),
        ("master-hangs", "if is(\"master\") { std::thread::park() }"),
        ("worker-crashes", "if is(\"worker\") { std::process::abort() }"),
        ("worker-hangs", "if is(\"worker\") { std::thread::park() }"),
        ("feeder-crashes", "if is(\"feeder\") { std::process::abort() }"),
    ];
    let other = "if is(\"trial\") { return println!(\"{}\", MANIFEST) }";
    let manifest =
        Command::new(env!("CARGO_BIN_EXE_btc-cluster")).args(["internal", "trial"]).output().unwrap();
    let manifest = String::from_utf8(manifest.stdout).unwrap().replace("link_language", "link_dialects");
    let other = other.replace("MANIFEST", &format!("{:?}", manifest.trim()));
    let living = faults.iter().map(|(name, does)| (format!("living-{name}"), (*does).to_owned()));
    let packed = faults.iter().map(|(name, does)| (format!("packed-{name}"), format!("{other}\n{does}")));
    for (name, does) in living.chain(packed.take(3)) {
        let Some(program) = broken(&cluster, &name, &does) else { return };
        refuses(&cluster, &program, "was started and ended").await;
        within(promised(Duration::from_secs(9)), "the old program serves", async || {
            let status = cluster.ctl(&["status"]).await.json();
            if status["state"] == "ready" { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        publish(&cluster, 1).await;
        assert_eq!(tab.next("message").await["data"], 1);
        assert_eq!(cluster.stats().await["totals"]["sessions"], 1);
    }
    assert!(!cluster.log().contains("sessions-lost"), "{}", cluster.log());
}

#[tokio::test]
async fn without_systemd_sessions_cannot_be_kept_over_a_stop() {
    let cluster = cluster().workers(1).start().await;
    let refused = cluster.ctl_plain(&["stop", "--keep-sessions"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("systemd has not started it"), "{}", refused.err);
    assert_eq!(cluster.quote("nobody").await.status, 404);
}

#[tokio::test]
async fn what_is_started_is_what_was_tried() {
    let _alone = alone().await;
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    let path = copy(&cluster, "next");
    let words = ["upgrade", &path];
    let swapping = async {
        within(promised(Duration::from_secs(4)), "the trial", async || {
            if cluster.log().contains("upgrade-trial") { Ok(()) } else { Err(cluster.log()) }
        })
        .await;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "no program").unwrap();
    };
    let (done, ()) = tokio::join!(cluster.ctl(&words), swapping);
    assert_eq!(done.json()["upgrade"]["outcome"], "upgraded", "{} {}", done.out, done.err);
    moved(&mut tab).await;
}

#[tokio::test]
async fn a_program_that_lacks_a_library_is_refused() {
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let folder = cluster.folder();
    let (library, source) = (folder.join("libgone.so"), folder.join("gone.rs"));
    std::fs::write(&source, "#[unsafe(no_mangle)] pub extern \"C\" fn gone() {}\n").unwrap();
    let made = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
        .arg(&library)
        .arg(&source)
        .output();
    let source = folder.join("needs.rs");
    let needs =
        "#[link(name = \"gone\")] unsafe extern \"C\" { fn gone(); }\nfn main() { unsafe { gone() } }\n";
    std::fs::write(&source, needs).unwrap();
    let program = folder.join("needs");
    let mut compiler = Command::new("rustc");
    compiler.args(["--edition", "2024", "-L"]).arg(folder).arg("-o").arg(&program).arg(&source);
    let compiled = made.and_then(|_| compiler.output());
    if !compiled.as_ref().is_ok_and(|compiled| compiled.status.success()) {
        return eprintln!("SKIPPED: no program was compiled: {compiled:?}");
    }
    std::fs::remove_file(&library).unwrap();
    refuses(&cluster, &program, "libgone.so").await;
}

#[tokio::test]
async fn a_session_whose_client_is_away_is_there_after_an_upgrade() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let tab = cluster.tab_with("user_id=alice&channels=news").await;
    let token = tab.welcome["resume"].as_str().unwrap().to_owned();
    drop(tab);
    publish(&cluster, 7).await;
    let done = cluster.ctl(&["upgrade", &copy(&cluster, "next")]).await;
    assert_eq!(done.json()["upgrade"]["outcome"], "upgraded", "{} {}", done.out, done.err);
    let mut back = cluster.tab_with(&format!("user_id=alice&channels=none&resume={token}")).await;
    assert_eq!(back.welcome["resumed"], true, "{}", back.welcome);
    publish(&cluster, 8).await;
    while back.next("message").await["data"] != 8 {}
}

/// An upgrade in which a worker stands still, and is killed once the log names that event.
async fn upgraded_while_one_dies(cluster: &Cluster, dies: u32, path: &str, event: &str) {
    kill(dies, rustix::process::Signal::STOP);
    let named = format!("{event:?}");
    let dying = async {
        within(promised(Duration::from_secs(4)), event, async || {
            if cluster.log().contains(&named) { Ok(()) } else { Err(cluster.log()) }
        })
        .await;
        kill(dies, rustix::process::Signal::KILL);
    };
    let words = ["upgrade", path];
    let (done, ()) = tokio::join!(cluster.ctl(&words), dying);
    assert_eq!(done.json()["upgrade"]["outcome"], "upgraded", "{} {}", done.out, done.err);
}

#[tokio::test]
async fn a_worker_that_dies_while_all_pack_takes_no_other_session_along() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut tabs = Vec::new();
    for n in 0..8 {
        tabs.push(cluster.tab_with(&format!("user_id=user-{n}&channels=news")).await);
    }
    let dies = cluster.worker(1).await.pid.unwrap();
    upgraded_while_one_dies(&cluster, dies, &stranger(&cluster, "next"), "packing").await;
    publish(&cluster, 1).await;
    let mut heard = 0;
    for tab in &mut tabs {
        if tab.welcome["worker"]["pid"] != json!(dies) {
            moved(tab).await;
            assert_eq!(tab.next("message").await["data"], 1);
            heard += 1;
        }
    }
    assert!(heard > 0, "no session was elsewhere");
    cluster.logged(&["not-packed"]).await;
}

#[tokio::test]
async fn a_worker_that_hangs_is_known_before_anything_is_touched() {
    let _alone = alone().await;
    let config = format!("{OPEN}[cluster]\nworker_timeout = \"60s\"\n");
    let cluster = cluster().workers(2).config(&config).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    let hangs = cluster.worker(1).await.pid.unwrap();
    let master = |status: &Value| status["processes"][1]["pid"].clone();
    let before = master(&cluster.ctl(&["status"]).await.json());
    kill(hangs, rustix::process::Signal::STOP);
    refuses(&cluster, Path::new(&copy(&cluster, "next")), "not all workers answer").await;
    assert_eq!(master(&cluster.ctl(&["status"]).await.json()), before);
    kill(hangs, rustix::process::Signal::CONT);
    publish(&cluster, 1).await;
    assert_eq!(tab.next("message").await["data"], 1);
    assert_eq!(cluster.quote("alice").await.status, 202);
    tab.quote().await;
}

#[tokio::test]
async fn a_worker_that_dies_while_its_master_gives_way_loses_no_quiet_session() {
    let _alone = alone().await;
    let cluster = cluster().workers(2).config(OPEN).start().await;
    let mut tabs = Vec::new();
    for n in 0..8 {
        tabs.push(cluster.tab_with(&format!("user_id=user-{n}&channels=news")).await);
    }
    let dies = cluster.worker(1).await.pid.unwrap();
    upgraded_while_one_dies(&cluster, dies, &copy(&cluster, "next"), "giving-way").await;
    publish(&cluster, 1).await;
    for tab in &mut tabs {
        moved(tab).await;
        assert_eq!(tab.next("message").await["data"], 1);
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], 8);
}

#[tokio::test]
async fn sessions_that_were_with_nobody_for_more_than_ten_seconds_are_told_to_come_again() {
    let _alone = alone().await;
    let cluster = cluster().workers(1).config(OPEN).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=news").await;
    let status = cluster.ctl(&["status"]).await.json();
    let keeper = u32::try_from(status["keeper"].as_u64().unwrap()).unwrap();
    let worker = cluster.worker(1).await.pid.unwrap();
    let path = stranger(&cluster, "next");
    // All is packed while the keeper, which is to start the others, sleeps.
    kill(worker, rustix::process::Signal::STOP);
    let logged = async |event: &str| {
        within(promised(Duration::from_secs(4)), event, async || {
            if cluster.log().contains(&format!("\"{event}\"")) { Ok(()) } else { Err(cluster.log()) }
        })
        .await;
    };
    let sleeping = async {
        logged("packing").await;
        kill(keeper, rustix::process::Signal::STOP);
        kill(worker, rustix::process::Signal::CONT);
        logged("packed").await;
        tokio::time::sleep(Duration::from_millis(10_500)).await;
        kill(keeper, rustix::process::Signal::CONT);
    };
    let words = ["upgrade", &path];
    let (done, ()) = tokio::join!(cluster.ctl(&words), sleeping);
    assert_eq!(done.json()["upgrade"]["closed"], 1, "{} {}", done.out, done.err);
    let token = tab.welcome["resume"].as_str().unwrap().to_owned();
    let (before, (code, _)) = tab.farewell().await;
    assert_eq!(code, 1012);
    assert!(before.iter().any(|message| message["reconnect_in_ms"].is_u64()), "{before:?}");
    let back = cluster.tab_with(&format!("user_id=alice&channels=none&resume={token}")).await;
    assert_eq!(back.welcome["resumed"], true, "{}", back.welcome);
}
