//! A new configuration while sessions live: what is good is taken, what is bad changes nothing.

use crate::harness::{
    Cluster, Connection, Recorder, Stopwatch, Tab, cluster, eventually, get, promised, timely, within,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// What a newcomer is told of the heartbeat: shows which configuration its worker has.
async fn heartbeat(cluster: &Cluster) -> u64 {
    let tab = cluster.quiet_tab("newcomer").await;
    tab.welcome["heartbeat_ms"].as_u64().unwrap()
}

async fn heartbeat_becomes(cluster: &Cluster, ms: u64, how: &str) {
    eventually(how, async || {
        let now = heartbeat(cluster).await;
        if now == ms { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

/// An address that nobody listens on now.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn pids(cluster: &Cluster) -> Vec<Option<u32>> {
    cluster.workers().await.iter().map(|worker| worker.pid).collect()
}

#[tokio::test]
async fn a_changed_file_a_signal_and_ctl_all_reload_and_no_session_notices() {
    let cluster = cluster().workers(2).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let before = pids(&cluster).await;
    cluster.configure("[heartbeat]\ninterval = \"11s\"");
    heartbeat_becomes(&cluster, 11_000, "a changed file is taken by itself").await;
    let outcome = cluster.reconfigure("[heartbeat]\ninterval = \"12s\"").await;
    assert_eq!(heartbeat(&cluster).await, 12_000, "ctl waits until it is in force");
    assert_eq!((&outcome["ok"], &outcome["changed"]), (&json!(true), &json!(["heartbeat.interval"])));
    assert_eq!(outcome["revision"], cluster.revision().await);
    cluster.configure("[heartbeat]\ninterval = \"13s\"");
    cluster.signal(Signal::HUP);
    heartbeat_becomes(&cluster, 13_000, "HUP").await;
    assert_eq!(tab.until_pong().await, [] as [Value; 0]);
    assert_eq!(pids(&cluster).await, before, "live keys need no new process");
}

#[tokio::test]
async fn a_reload_without_a_change_changes_nothing() {
    let cluster = cluster().workers(2).start().await;
    let (revision, before) = (cluster.revision().await, pids(&cluster).await);
    let outcome = cluster.ctl(&["reload"]).await.json();
    assert_eq!((&outcome["changed"], outcome["revision"].as_u64()), (&json!([]), Some(revision)));
    assert_eq!(pids(&cluster).await, before);
}

#[tokio::test]
async fn every_live_key_is_taken_while_sessions_live() {
    let cluster = cluster().workers(2).start().await;
    let mut tab = cluster.tab_with("user_id=alice&channels=stats").await;
    let subscribe = json!({"type": "subscribe", "channels": ["extra"], "id": 1});
    assert_eq!(tab.ask(&subscribe, "error").await["code"], "unknown-channel");
    let text = "[limits]\nsessions_per_user = 1\nquotes_per_user = \"1/h\"\n[stats]\nusers = false\n\
                [price]\nfresh_for = \"20ms\"\n[http]\nmax_body = \"1KiB\"\n[[channels]]\nname = \"extra\"";
    cluster.reconfigure(text).await;
    assert_eq!(tab.ask(&subscribe, "ack").await["id"], 1, "channels");
    let refused = cluster.open("/ws?user_id=alice").await.unwrap_err();
    assert_eq!(refused.problem().1, "user-session-limit", "limits.sessions_per_user");
    assert_eq!(cluster.quote("alice").await.status, 202);
    assert_eq!(cluster.quote("alice").await.status, 429, "limits.quotes_per_user");
    assert!(!cluster.stats().await.to_string().contains("alice"), "stats.users");
    assert_eq!(cluster.get("/api/v1/info").await.json()["limits"]["max_body"], 1024, "http.max_body");
    assert_eq!(cluster.ctl(&["publish", "extra", "1"]).await.json()["sessions"], 1);
    assert_eq!(tab.next("message").await["data"], 1);
    cluster.reconfigure("[quotes]\ntimeout = \"2s\"").await;
    assert_eq!(tab.ask(&subscribe, "error").await["code"], "unknown-channel", "a channel can go again");
    eventually("a wider limit counts from now on", async || match cluster.quote("alice").await.status {
        202 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
}

#[tokio::test]
async fn a_changed_interval_slows_the_statistics_down() {
    let cluster = cluster().workers(1).config("[stats]\ninterval = \"100ms\"").start().await;
    let recorder = Recorder::of(cluster.tab_with("user_id=alice&channels=stats").await);
    let count = || recorder.story().of("stats").count();
    // All stay: there is something new to tell at each moment.
    let mut guests = vec![];
    let mut come = async || {
        guests.push(cluster.quiet_tab("guest").await);
        sleep(Duration::from_millis(20)).await;
    };
    let (begin, mut came) = (Stopwatch::start(), 0_u32);
    while count() < 6 {
        come().await;
        came += 1;
    }
    let (time, net) = (begin.elapsed(), begin.net());
    assert!(net < promised(SECOND * 2), "6 of 100 ms took {time:?}");
    cluster.reconfigure("[stats]\ninterval = \"1h\"").await;
    // One may be on its way.
    come().await;
    let (before, end) = (count(), Instant::now() + time);
    while came > 0 || Instant::now() < end {
        come().await;
        came = came.saturating_sub(1);
    }
    let rarely = count() - before;
    assert!(rarely <= 1, "{rarely} in {time:?}, though one an hour is enough");
    assert_eq!(recorder.closed(), None);
}

#[tokio::test]
async fn a_bad_file_is_refused_with_every_fault_and_the_old_stays() {
    let cluster = cluster().workers(2).config("[heartbeat]\ninterval = \"11s\"").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let revision = cluster.revision().await;
    cluster.configure(
        "[heartbeat]\ninterval = \"12s\"\nintervall = \"1s\"\n[stats]\ninterval = \"soon\"\n[htp]\n",
    );
    let reload = cluster.ctl(&["reload"]).await;
    assert_eq!((reload.code, reload.json()["ok"].as_bool()), (Some(1), Some(false)), "{reload:?}");
    let faults = reload.json()["faults"].to_string();
    for word in
        ["50-test.toml:3", "heartbeat.intervall", "50-test.toml:5", "stats.interval", "50-test.toml:6", "htp"]
    {
        assert!(faults.contains(word), "{word}: {faults}");
    }
    let people = cluster.ctl_plain(&["reload"]).await;
    assert!(people.code == Some(1) && people.err.lines().count() == 3, "{people:?}");
    assert_eq!(
        (heartbeat(&cluster).await, cluster.revision().await),
        (11_000, revision),
        "nothing of it is taken"
    );
    assert_eq!(cluster.get("/readyz").await.status, 200, "a refused reload never makes it unready");
    assert!(cluster.ctl_plain(&["status"]).await.out.contains("reload failed"));
    cluster.logged(&["heartbeat.intervall"]).await;
    cluster.configure("[heartbeat]\ninterval = \"13s\"");
    heartbeat_becomes(&cluster, 13_000, "a good one is taken again").await;
    assert!(!cluster.ctl_plain(&["status"]).await.out.contains("reload failed"));
    tab.until_pong().await;
}

#[tokio::test]
async fn strange_files_hurt_nobody() {
    let cluster = cluster().workers(1).config("[heartbeat]\ninterval = \"11s\"").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let path = cluster.folder().join("conf.d/50-test.toml");
    let refused = async |what: &str| {
        let reload = cluster.ctl(&["reload"]).await;
        assert_eq!(reload.code, Some(1), "{what}: {reload:?}");
        assert!(reload.json()["faults"].to_string().contains("50-test.toml"), "{what}: {reload:?}");
        assert_eq!(heartbeat(&cluster).await, 11_000, "{what}");
    };
    std::fs::write(&path, b"[heartbeat]\ninterval = \"\xff\"").unwrap();
    refused("not UTF-8").await;
    std::fs::write(&path, "x".repeat(10_000_000)).unwrap();
    refused("10 MB").await;
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused("a folder").await;
    std::fs::remove_dir(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    refused("a fifo").await;
    cluster.configure("[heartbeat]\ninterval = \"12s\"");
    heartbeat_becomes(&cluster, 12_000, "a good one is taken again").await;
    tab.until_pong().await;
}

#[tokio::test]
async fn a_file_may_be_a_link_that_is_turned_to_another() {
    let cluster = cluster().workers(1).start().await;
    let folder = cluster.folder();
    for (name, interval) in [("blue", "11s"), ("green", "12s")] {
        std::fs::create_dir(folder.join(name)).unwrap();
        let text = format!("[heartbeat]\ninterval = \"{interval}\"");
        std::fs::write(folder.join(name).join("50-test.toml"), text).unwrap();
    }
    let turn = |to: &str| {
        std::os::unix::fs::symlink(folder.join(to).join("50-test.toml"), folder.join("beside")).unwrap();
        std::fs::rename(folder.join("beside"), folder.join("conf.d/50-test.toml")).unwrap();
    };
    turn("blue");
    heartbeat_becomes(&cluster, 11_000, "a link is followed").await;
    turn("green");
    heartbeat_becomes(&cluster, 12_000, "wherever it leads").await;
}

#[tokio::test]
async fn a_main_file_that_is_gone_is_a_fault_and_no_wish_for_the_defaults() {
    let cluster = cluster().workers(1).start().await;
    let main = cluster.folder().join("btc-cluster.toml");
    let text = std::fs::read_to_string(&main).unwrap();
    let mut tab = cluster.quiet_tab("alice").await;
    std::fs::remove_file(&main).unwrap();
    let reload = cluster.ctl(&["reload"]).await;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    assert!(reload.json()["faults"].to_string().contains("btc-cluster.toml"), "{reload:?}");
    assert_eq!(cluster.get("/healthz").await.status, 200);
    // Deleted and made again, as some editors do.
    std::fs::write(&main, text + "\n[heartbeat]\ninterval = \"11s\"\n").unwrap();
    heartbeat_becomes(&cluster, 11_000, "it is back").await;
    tab.until_pong().await;
}

#[tokio::test]
async fn a_file_that_loses_all_its_keys_is_refused_whoever_asks() {
    let cluster = cluster().workers(1).file("test.toml", "[quotes]\ntimeout = \"1s\"\n");
    let cluster = cluster.config("[heartbeat]\ninterval = \"11s\"").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let (revision, before) = (cluster.revision().await, pids(&cluster).await);
    for (nth, name) in ["btc-cluster.toml", "test.toml", "conf.d/50-test.toml"].into_iter().enumerate() {
        let path = cluster.folder().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let refused = async |how: &str, times: usize| {
            eventually(how, async || {
                let status = cluster.ctl(&["status"]).await.json();
                let enough = status["reloads_refused"].as_u64() >= Some((3 * nth + times) as u64);
                let said = status["last_reload"]["faults"].to_string();
                if enough && said.contains(name) && said.contains("holds no key") {
                    Ok(())
                } else {
                    Err(said)
                }
            })
            .await;
            let now = (cluster.revision().await, pids(&cluster).await);
            assert_eq!(now, (revision + nth as u64, before.clone()), "{name}: {how}");
        };
        std::fs::write(&path, "").unwrap();
        refused("the watcher", 1).await;
        cluster.signal(Signal::HUP);
        refused("HUP", 2).await;
        std::fs::write(&path, "# nothing\n[cluster]\n").unwrap();
        let reload = cluster.ctl(&["reload"]).await;
        assert_eq!(reload.code, Some(1), "{reload:?}");
        refused("ctl", 3).await;
        assert_eq!(cluster.get("/healthz").await.status, 200, "the ports are where they were");
        // The good one, with one change more.
        std::fs::write(&path, format!("{text}\n[shutdown]\ndelay = \"{}ms\"\n", nth + 1)).unwrap();
        eventually("the good one is taken by itself", async || match cluster.revision().await {
            now if now == revision + 1 + nth as u64 => Ok(()),
            now => Err(now.to_string()),
        })
        .await;
    }
    tab.until_pong().await;
}

#[tokio::test]
async fn half_a_file_is_not_taken() {
    let cluster = cluster().workers(1).config("[heartbeat]\ninterval = \"11s\"").start().await;
    let path = cluster.folder().join("conf.d/50-test.toml");
    let mut seconds = 11;
    // The daemon waits until a file is quiet for 300 ms, so no pause of ours may be longer.
    let reloads = timely(Duration::from_millis(280), async || {
        seconds += 1;
        let (before, mut longest) = (cluster.revision().await, Duration::ZERO);
        // Every state in between is valid, and wrong.
        let text = format!(
            "[stats]\nusers = true\n[heartbeat]\ninterval = \"{seconds}s\"\n[quotes]\ntimeout = \"1s\"\n"
        );
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        for upto in 1..=lines.len() {
            let begin = Instant::now();
            std::fs::write(&path, lines[..upto].concat()).unwrap();
            sleep(Duration::from_millis(120)).await;
            longest = longest.max(begin.elapsed());
        }
        heartbeat_becomes(&cluster, seconds * 1_000, "the whole is taken").await;
        (longest, cluster.revision().await - before)
    })
    .await;
    assert_eq!(reloads, 1, "the whole and nothing before it: {}", cluster.log());
}

#[tokio::test]
async fn a_changed_port_moves_everybody_and_is_open_from_then_on() {
    let cluster = cluster().workers(2).config("[cluster]\ndrain = \"2s\"").start().await;
    let mut tabs = vec![];
    for n in 0..10 {
        tabs.push(cluster.tab(&format!("user-{n}")).await);
    }
    let (new, old) = (free_address().await, cluster.http);
    let before = pids(&cluster).await;
    let text = format!("[cluster]\ndrain = \"2s\"\n[http]\nlisten = \"{new}\"");
    let outcome = cluster.reconfigure(&text).await;
    assert_eq!(outcome["changed"], json!(["http.listen"]));
    let mut connection = Connection::open(new).await.expect("the new port is open");
    assert_eq!(connection.ask(&get("/healthz")).await.status, 200);
    let status = cluster.ctl(&["status"]).await.json();
    assert_eq!(status["listening"]["http"], json!([new.to_string()]));
    assert_eq!(
        status["listening"]["ws"],
        json!([cluster.ws.to_string()]),
        "the other port stays what it was"
    );
    for tab in &mut tabs {
        assert_eq!(tab.next("system").await["event"], "moved");
    }
    within(promised(SECOND * 4), "the old port is closed and all processes are new", async || {
        if Connection::open(old).await.is_ok() {
            return Err("the old port is open".to_owned());
        }
        let rows = cluster.ctl(&["workers"]).await.json();
        let new = rows.as_array().unwrap().iter().all(|row| {
            row["state"] == "ready"
                && row["restarts"] == 0
                && !before.iter().any(|old| json!(old) == row["pid"])
        });
        if new { Ok(()) } else { Err(rows.to_string()) }
    })
    .await;
    let mut back = Tab::open(cluster.ws, "/ws?user_id=user-0&channels=none").await.unwrap().greeted().await;
    back.until_pong().await;
}

#[tokio::test]
async fn a_port_that_is_taken_refuses_the_whole_reload() {
    let cluster = cluster().workers(2).config("[heartbeat]\ninterval = \"11s\"").start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let (before, revision) = (pids(&cluster).await, cluster.revision().await);
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    cluster.configure(&format!("[heartbeat]\ninterval = \"12s\"\n[http]\nlisten = \"{address}\""));
    let reload = cluster.ctl(&["reload"]).await;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    assert!(reload.json()["faults"].to_string().contains(&address.to_string()), "{reload:?}");
    assert_eq!((heartbeat(&cluster).await, cluster.revision().await), (11_000, revision));
    assert_eq!(pids(&cluster).await, before);
    tab.until_pong().await;
    assert_eq!(cluster.quote("alice").await.status, 202);
    drop(taken);
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0), "it can be had now");
    let mut connection = Connection::open(address).await.expect("the new port is open");
    connection.ask(&get("/healthz")).await;
}

#[tokio::test]
async fn a_key_that_needs_a_restart_says_so() {
    let cluster = cluster().workers(1).start().await;
    let outcome = cluster.reconfigure("[control]\nsocket = \"{dir}/other.sock\"").await;
    assert_eq!(outcome["restart"], json!(["control.socket"]));
    assert_eq!(cluster.ctl(&["status"]).await.code, Some(0), "until then the old one is served");
}

#[tokio::test]
async fn what_the_environment_fixes_no_reload_changes() {
    let cluster = cluster().workers(1).variable("BTC_CLUSTER__HEARTBEAT__INTERVAL", "11s").start().await;
    assert_eq!(heartbeat(&cluster).await, 11_000);
    let outcome = cluster.reconfigure("[heartbeat]\ninterval = \"12s\"\n[stats]\nusers = false").await;
    assert_eq!(outcome["changed"], json!(["stats.users"]));
    assert_eq!(heartbeat(&cluster).await, 11_000);
}

#[tokio::test]
async fn a_hundred_signals_in_a_second_are_few_reloads() {
    let cluster = cluster().workers(2).start().await;
    let mut tab = cluster.quiet_tab("alice").await;
    let before = pids(&cluster).await;
    cluster.configure("[heartbeat]\ninterval = \"12s\"");
    let begin = Instant::now();
    for _ in 0..100 {
        cluster.signal(Signal::HUP);
        sleep(Duration::from_millis(5)).await;
    }
    let seconds = begin.elapsed().as_secs_f64().ceil();
    heartbeat_becomes(&cluster, 12_000, "the change is taken").await;
    assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
    let reloads = cluster.log().lines().filter(|line| line.contains("\"reloaded\"")).count();
    assert!(reloads >= 1 && reloads as f64 <= 20.0 * seconds, "{reloads} of 100 in {seconds} s");
    assert_eq!(pids(&cluster).await, before);
    tab.until_pong().await;
}

#[tokio::test]
async fn the_end_comes_before_a_reload() {
    let mut cluster = cluster().workers(2).start().await;
    let address = free_address().await;
    cluster.configure(&format!("[http]\nlisten = \"{address}\""));
    cluster.signal(Signal::HUP);
    cluster.signal(Signal::TERM);
    cluster.signal(Signal::HUP);
    let status = cluster.ended(promised(SECOND * 5)).await;
    assert_eq!(status.code(), Some(0), "{}", cluster.log());
}

/// The soft and the hard limit of a process's core dumps (proc(5)).
fn core_limit(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[tokio::test]
async fn a_worker_leaves_a_core_only_where_the_operator_wants_it() {
    let cluster = cluster().workers(2).start().await;
    let all: Vec<u32> = pids(&cluster).await.into_iter().flatten().collect();
    let limits = || all.iter().map(|pid| core_limit(*pid)).collect::<Vec<_>>();
    let none =
        |limits: &[(String, String)]| limits.iter().all(|(soft, _)| ["0", "1"].contains(&soft.as_str()));
    assert!(none(&limits()), "{:?}", limits());
    cluster.reconfigure("[cluster]\ncore_dumps = true").await;
    eventually("the workers may leave a core", async || {
        let now = limits();
        if now.iter().all(|(soft, hard)| soft == hard) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    cluster.reconfigure("[cluster]\ncore_dumps = false").await;
    eventually("and no more", async || if none(&limits()) { Ok(()) } else { Err(format!("{:?}", limits())) })
        .await;
}
