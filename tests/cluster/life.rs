//! The daemon's own life: how it starts, why it does not, how it ends.

use crate::harness::{
    Cluster, Raw, Recorder, Stopwatch, Tab, cluster, eventually, get, promised, quiet, send_to, within,
};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Checks that a session was told of the end, and when to come back.
fn told_of_the_end(said: &[Value]) -> u64 {
    let last = said.last().expect("a last message");
    assert_eq!((last["type"].as_str(), last["event"].as_str()), (Some("system"), Some("shutdown")), "{last}");
    assert!(last["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{last}");
    last["reconnect_in_ms"].as_u64().expect("when to come back")
}

async fn stopped_by(mut cluster: Cluster, stop: impl AsyncFnOnce(&Cluster)) {
    let mut tabs = vec![];
    for n in 0..20 {
        tabs.push(cluster.tab(&format!("user-{n}")).await);
    }
    let children = cluster.children().await;
    let begin = Stopwatch::start();
    stop(&cluster).await;
    let mut slots = BTreeSet::new();
    // Each closes its connection, as clients do: the daemon waits some seconds for one that does not.
    for mut tab in tabs {
        let (said, close) = tab.farewell().await;
        assert_eq!(close, (1001, "shutdown".into()));
        slots.insert(told_of_the_end(&said));
    }
    assert!(slots.len() > 5, "they shall not all come back at once: {slots:?}");
    let status = cluster.ended(promised(SECOND * 5)).await;
    assert_eq!(status.code(), Some(0), "{}", cluster.log());
    assert!(begin.net() < promised(SECOND * 5), "nothing to wait for: {:?}", begin.elapsed());
    assert!(children.iter().all(|pid| crate::harness::is_gone(*pid)));
    assert!(!cluster.folder().join("control.sock").exists(), "the socket is taken away");
}

#[tokio::test]
async fn term_ends_it_and_every_session_is_told() {
    let cluster = cluster().workers(3).start().await;
    stopped_by(cluster, async |cluster| cluster.signal(Signal::TERM)).await;
}

#[tokio::test]
async fn int_ends_it_in_the_same_way() {
    let cluster = cluster().workers(1).start().await;
    stopped_by(cluster, async |cluster| cluster.signal(Signal::INT)).await;
}

#[tokio::test]
async fn ctl_stop_ends_it_in_the_same_way() {
    let cluster = cluster().workers(2).start().await;
    let stop = async |cluster: &Cluster| {
        let stop = cluster.ctl(&["stop"]).await;
        assert_eq!(stop.code, Some(0), "{stop:?}");
    };
    stopped_by(cluster, stop).await;
}

#[tokio::test]
async fn ctrl_c_on_a_terminal_reaches_all_processes_and_is_graceful_still() {
    let cluster = cluster().workers(2).start().await;
    let ctrl_c = async |cluster: &Cluster| {
        let group = rustix::process::Pid::from_raw(i32::try_from(cluster.pid).unwrap()).unwrap();
        rustix::process::kill_process_group(group, Signal::INT).unwrap();
    };
    stopped_by(cluster, ctrl_c).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_hold_up_the_end() {
    let mut cluster = cluster().workers(2).config("[shutdown]\ngrace = \"3s\"").start().await;
    let _deaf = Raw::narrow(cluster.ws, "/ws?user_id=deaf").await;
    let mut half = Raw::connect(cluster.http).await;
    half.write(b"GET / HTTP/1.1\r\n").await;
    cluster.signal(Signal::TERM);
    let status = cluster.ended(promised(Duration::from_millis(3_500))).await;
    assert_eq!(status.code(), Some(0), "{}", cluster.log());
}

#[tokio::test]
async fn before_the_end_balancers_get_time() {
    let mut cluster = cluster().workers(2).config("[shutdown]\ndelay = \"1500ms\"").start().await;
    let tab = cluster.quiet_tab("alice").await;
    let recorder = Recorder::of(tab);
    let begin = Instant::now();
    cluster.signal(Signal::TERM);
    within(promised(SECOND), "it says that it is not ready", async || match cluster.get("/readyz").await {
        answer if answer.status == 503 && answer.text().contains("draining") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(cluster.get("/healthz").await.status, 200);
    let late = cluster.tab("late").await;
    assert_eq!(cluster.quote("alice").await.status, 202, "it serves on");
    assert_eq!(recorder.closed(), None, "nobody is sent away yet");
    let late = Recorder::of(late);
    eventually("then all are sent away", async || match (recorder.closed(), late.closed()) {
        (Some((1001, _)), Some((1001, _))) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(begin.elapsed() > Duration::from_millis(1_400), "{:?}", begin.elapsed());
    assert_eq!(cluster.ended(promised(SECOND * 4)).await.code(), Some(0));
}

#[tokio::test]
async fn it_listens_wherever_it_is_told_to() {
    if TcpListener::bind("[::1]:0").await.is_err() {
        crate::harness::skipped("it_listens_wherever_it_is_told_to", "there is no IPv6 here");
        return;
    }
    let config =
        "[http]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\n[ws]\nlisten = [\"[::1]:0\", \"127.0.0.1:0\"]";
    let cluster = cluster().workers(2).config(config).start().await;
    let listening = cluster.ctl(&["status"]).await.json()["listening"].clone();
    let mut tabs = vec![];
    for port in ["http", "ws"] {
        let addresses = listening[port].as_array().unwrap();
        assert_eq!(addresses.len(), 2, "{listening}");
        for address in addresses {
            let address = address.as_str().unwrap();
            cluster.logged(&[&format!("address=\"{address}\"")]).await;
            let address = address.parse().unwrap();
            assert_eq!(send_to(address, &get("/healthz")).await.status, 200);
            tabs.push(Tab::open_as(address, &quiet("alice")).await.unwrap().greeted().await);
        }
    }
    assert_eq!(cluster.quote("alice").await.json()["sessions"], 4);
    for tab in &mut tabs {
        tab.quote().await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let ended = cluster().config(&format!("[http]\nlisten = \"{address}\"")).ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains(&address.to_string()), "{}", ended.log);
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[tokio::test]
async fn a_second_daemon_on_the_same_control_socket_is_refused() {
    let running = cluster().workers(1).start().await;
    let socket = running.folder().join("control.sock");
    let second = cluster().config(&format!("[control]\nsocket = \"{}\"", socket.display())).ended().await;
    assert_eq!(second.code, Some(1), "{}", second.log);
    assert!(second.log.contains("another btc-cluster is running"), "{}", second.log);
    assert_eq!(running.ctl(&["status"]).await.code, Some(0), "the first still has it");
}

#[tokio::test]
async fn every_fault_of_a_configuration_is_told_with_its_place() {
    let text = "[http]\nlisen = \"127.0.0.1:0\"\n\n[heartbeat]\ninterval = \"soon\"\n[limts]\n";
    let ended = cluster().config(text).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.log);
    let about = |line: &str, words: &[&str]| {
        let place = format!("conf.d/50-test.toml:{line}: ");
        let found = ended.log.lines().find(|text| text.contains(&place));
        let found = found.unwrap_or_else(|| panic!("nothing about line {line}: {}", ended.log));
        words.iter().for_each(|word| assert!(found.contains(word), "{word}: {found}"));
    };
    about("2", &["http.lisen", "listen"]);
    about("5", &["heartbeat.interval"]);
    about("6", &["limts", "limits"]);
}

#[tokio::test]
async fn check_shows_the_configuration_or_its_faults_and_starts_nothing() {
    let cluster = cluster().workers(2).variable("BTC_CLUSTER__STATS__INTERVAL", "2s").start().await;
    let words = ["check", "--env", "test", "--config", "btc-cluster.toml", "--set", "ws.echo=false"];
    let check = cluster.run(&words).await;
    assert_eq!((check.code, check.err.as_str()), (Some(0), ""), "{check:?}");
    let line =
        |start: &str| check.out.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("cluster.workers = 2").contains("btc-cluster.toml:3"), "{}", check.out);
    assert!(line("ws.echo = false").contains("command line"), "{}", check.out);
    assert!(line("heartbeat.interval = \"25s\"").contains("default"), "{}", check.out);
    cluster.write("bad.toml", "[http]\nx = 1\n[ws]\ny = 2");
    let check = cluster.run(&["check", "--config", "bad.toml"]).await;
    assert_eq!((check.code, check.out.as_str()), (Some(78), ""), "{check:?}");
    assert!(check.err.contains("bad.toml:2: ") && check.err.contains("bad.toml:4: "), "{check:?}");
}

#[tokio::test]
async fn ctl_without_a_daemon_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = cluster().workers(1).start().await;
    let nowhere = folder.path().join("nobody.sock");
    let ctl = cluster.run(&["ctl", "--socket", nowhere.to_str().unwrap(), "status"]).await;
    assert_eq!((ctl.code, ctl.out.as_str()), (Some(1), ""));
    assert_eq!(ctl.err, format!("not running at {}\n", nowhere.display()));
    // Without --socket it is the configuration's, read leniently: other faults are no matter.
    cluster.write("odd.toml", "[control]\nsocket = \"{dir}/control.sock\"\n[nonsense]\nx = 1");
    let ctl = cluster.run(&["ctl", "--config", "odd.toml", "status"]).await;
    assert_eq!(ctl.code, Some(0), "{ctl:?}");
    cluster.signal(Signal::TERM);
    cluster.ended(promised(SECOND * 5)).await;
    let ctl = cluster.run(&["ctl", "--config", "odd.toml", "status"]).await;
    assert_eq!(ctl.code, Some(1), "{ctl:?}");
    assert!(ctl.err.starts_with("not running at "), "{ctl:?}");
}

#[tokio::test]
async fn the_log_can_be_moved_away() {
    let cluster =
        cluster().workers(1).config("[log]\nfile = \"{dir}/own.log\"\nformat = \"json\"").start().await;
    let (own, moved) = (cluster.folder().join("own.log"), cluster.folder().join("moved.log"));
    let text = std::fs::read_to_string(&own).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().any(|line| line["event"] == "listening"), "{text}");
    std::fs::rename(&own, &moved).unwrap();
    cluster.signal(Signal::USR1);
    eventually("there is a new file", async || {
        cluster.ctl(&["reload"]).await;
        let text = std::fs::read_to_string(&own).map_err(|error| error.to_string())?;
        if text.contains("reloaded") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_whose_output_nobody_reads_serves_on() {
    let cluster = cluster().workers(2).config("[log]\nlevel = \"trace\"").without_output().start().await;
    let _tab = cluster.quiet_tab("alice").await;
    for _ in 0..5 {
        assert_eq!(cluster.quote("alice").await.status, 202);
        assert_eq!(cluster.ctl(&["reload"]).await.code, Some(0));
    }
    assert!(cluster.workers().await.iter().all(|worker| worker.restarts == 0));
}
