//! Masters that die or hang: no session, listening port or number ends with them.

use crate::harness::{Cluster, Heard, Listener, Poller, Tab, cluster, eventually, kill, promised, within};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
const FAST: &str = "[limits]\nquotes_per_user = \"0\"\nmessages_per_session = \"0\"\n\
    [cluster]\nworker_timeout = \"2s\"\n";

/// Kills the master, or stops it; waits until another one leads and knows all sessions.
async fn renew(cluster: &Cluster, signal: Signal) -> u32 {
    let old = cluster.master().await;
    let renewals = cluster.log().matches("master-renewed").count();
    kill(old, signal);
    succeeded(cluster, old, renewals).await
}

async fn succeeded(cluster: &Cluster, old: u32, renewals: usize) -> u32 {
    within(promised(SECOND * 10), "another master knows all sessions", async || {
        let status = cluster.ctl(&["status"]).await;
        if status.code != Some(0) {
            return Err(status.err);
        }
        let status = status.json();
        let master = status["master"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap();
        let renewed = cluster.log().matches("master-renewed").count() > renewals;
        if renewed && master != old { Ok(master) } else { Err(format!("{status}\n{}", cluster.log())) }
    })
    .await
}

fn append(cluster: &Cluster, text: &str) {
    let mut file = OpenOptions::new().append(true).open(cluster.folder().join("app.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Descriptors that a process has.
fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

async fn enter(tab: &mut Tab, room: &str) {
    tab.ask(&json!({"type": "subscribe", "channels": [room], "id": 1}), "ack").await;
}

async fn speak(tab: &mut Tab, room: &str, data: Value) {
    tab.say(&json!({"type": "publish", "channel": room, "data": data, "id": "s"})).await;
}

/// The status, without what changes by itself.
async fn status(cluster: &Cluster) -> Value {
    let all = cluster.ctl(&["status"]).await.json();
    let workers: Vec<_> =
        all["workers"].as_array().unwrap().iter().map(|w| json!([w["pid"], w["restarts"]])).collect();
    json!([
        all["pid"],
        all["revision"],
        all["started"],
        all["listening"],
        all["state"],
        workers,
        all["feeder"]["pid"]
    ])
}

#[tokio::test]
async fn sessions_of_all_kinds_go_on_after_the_death_and_the_hang_of_a_master() {
    let config = format!("{FAST}[[streams]]\nname = \"log\"\nfile = \"{{dir}}/app.log\"\n");
    let cluster = cluster().workers(2).config(&config).file("app.log", "first\n").start().await;
    let mut tabs = cluster.users_on_all("u", 2).await;
    for (_, tab) in &mut tabs {
        enter(tab, "price:BTC-USD").await;
    }
    let count = tabs.len() + 3;
    let mut listener = Listener::open(cluster.http, "user_id=ears").await;
    listener.next("welcome").await;
    let mut poller = Poller::new(cluster.http, "user_id=poller");
    poller.poll().await;
    let mut stream = cluster.open("/log?user_id=lines").await.unwrap();
    let before = status(&cluster).await;
    let mut seq = 0;
    for signal in [Signal::KILL, Signal::STOP, Signal::KILL] {
        renew(&cluster, signal).await;
        for (user, tab) in &mut tabs {
            let receipt = cluster.quote(user).await;
            assert_eq!((receipt.status, &receipt.json()["sessions"]), (202, &json!(1)), "{user}");
            tab.next("quote").await;
            let price = loop {
                let price = tab.next("price").await;
                if price["seq"].as_u64().unwrap() > seq {
                    break price["seq"].as_u64().unwrap();
                }
            };
            seq = seq.max(price.saturating_sub(1));
        }
        assert_eq!(cluster.quote("ears").await.status, 202);
        listener.next("quote").await;
        let quote = tokio::spawn({
            let to = cluster.http;
            async move { crate::harness::send_to(to, &crate::harness::quote_for("poller")).await }
        });
        poller.until("quote").await;
        assert_eq!(quote.await.unwrap().status, 202);
        append(&cluster, "more\n");
        while !matches!(stream.hear().await, Heard::Text(text) if text == "more") {}
        assert_eq!(status(&cluster).await, before);
    }
    assert_eq!(cluster.stats().await["totals"]["sessions"], count);
    for quiet in ["child-died", "sessions-lost", "directory-resynchronised", "child-killed"] {
        assert!(!cluster.log().contains(quiet), "{quiet}: {}", cluster.log());
    }
}

#[tokio::test]
async fn a_room_keeps_its_messages_and_its_members_and_each_message_comes_once() {
    let cluster = cluster().workers(2).config(FAST).start().await;
    let mut all = cluster.users_on_all("u", 2).await;
    for (_, tab) in &mut all {
        enter(tab, "chat:a").await;
    }
    for n in 0..40 {
        let speaker = &mut all[n % 2].1;
        speak(speaker, "chat:a", json!(n)).await;
        if n % 10 == 5 {
            // Some of what was said is under way.
            let (old, renewals) = (cluster.master().await, cluster.log().matches("master-renewed").count());
            speak(&mut all[0].1, "chat:a", json!("meanwhile")).await;
            kill(old, Signal::KILL);
            speak(&mut all[1].1, "chat:a", json!("meanwhile, too")).await;
            succeeded(&cluster, old, renewals).await;
        }
    }
    let mut heard = Vec::new();
    for (_, tab) in &mut all {
        let mut own = Vec::new();
        while own.len() < 48 {
            own.push(tab.next("message").await["data"].clone());
        }
        let numbers: Vec<_> = own.iter().filter_map(Value::as_u64).collect();
        let said = |parity: u64| numbers.iter().copied().filter(move |n| n % 2 == parity).collect::<Vec<_>>();
        for parity in 0..2 {
            assert_eq!(
                said(parity),
                (0..40).filter(|n| n % 2 == parity).collect::<Vec<_>>(),
                "once, in order"
            );
        }
        assert!(tab.until_pong().await.iter().all(|message| message["type"] != "message"), "none twice");
        heard.push(own);
    }
    let mut newcomer = cluster.quiet_tab("newcomer").await;
    newcomer.say(&json!({"type": "subscribe", "channels": ["chat:a"], "id": 9})).await;
    let mut history = Vec::new();
    while history.len() < 48 {
        history.push(newcomer.next("message").await["data"].clone());
    }
    history.sort_by_key(Value::to_string);
    heard[0].sort_by_key(Value::to_string);
    assert_eq!(history, heard[0], "the room has each message once");
}

#[tokio::test]
async fn limits_revision_totals_and_restarts_hold() {
    let stream = "[[streams]]\nname = \"log\"\nfile = \"{dir}/app.log\"\n";
    let config = FAST.replace("[cluster]", "connections_per_user = 3\n[cluster]") + stream;
    let cluster = cluster().workers(2).config(&config).file("app.log", "first\n").start().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(cluster.open("/log?user_id=alice").await.unwrap());
    }
    assert_eq!(cluster.open("/log?user_id=alice").await.unwrap_err().status, 429);
    kill(cluster.worker(2).await.pid.unwrap(), Signal::KILL);
    eventually("worker 2 is back", async || {
        let worker = cluster.worker(2).await;
        if worker.restarts == 1 && worker.state == "ready" { Ok(()) } else { Err(format!("{worker:?}")) }
    })
    .await;
    let mut streams_there = 0;
    while streams_there < 3 {
        match cluster.open("/log?user_id=alice").await {
            Ok(stream) => streams.push(stream),
            Err(_) => break,
        }
        streams_there += 1;
    }
    cluster.reconfigure(&format!("{config}[heartbeat]\ninterval = \"9s\"\n")).await;
    cluster.quote("alice").await;
    sleep(SECOND * 2).await;
    let totals = async || {
        let text = cluster.get("/metrics").await.body.clone();
        let mut all = std::collections::BTreeMap::new();
        for line in String::from_utf8_lossy(&text).lines().filter(|line| line.contains("_total")) {
            if let Some((name, count)) = line.rsplit_once(' ')
                && !line.starts_with('#')
            {
                all.insert(name.to_owned(), count.parse::<f64>().unwrap());
            }
        }
        all
    };
    let (before, known) = (totals().await, status(&cluster).await);
    assert_eq!(known[1], 2, "the revision");
    renew(&cluster, Signal::KILL).await;
    assert_eq!(cluster.open("/log?user_id=alice").await.unwrap_err().status, 429, "three are there");
    assert_eq!(status(&cluster).await, known);
    let after = totals().await;
    for (name, count) in &before {
        let now = after.get(name).copied().unwrap_or(-1.0);
        assert!(now >= *count, "{name} falls from {count} to {now}");
    }
}

#[tokio::test]
async fn a_bad_edit_does_not_break_the_next_master_and_a_good_one_is_taken() {
    let cluster = cluster().workers(1).config(FAST).start().await;
    let _tab = cluster.quiet_tab("alice").await;
    cluster.configure("[nonsense]\nx = 1\n");
    renew(&cluster, Signal::KILL).await;
    assert_eq!(cluster.quote("alice").await.status, 202);
    assert_eq!(cluster.revision().await, 1);
    let master = cluster.master().await;
    let renewals = cluster.log().matches("master-renewed").count();
    kill(master, Signal::KILL);
    cluster.configure("[heartbeat]\ninterval = \"9s\"");
    succeeded(&cluster, master, renewals).await;
    eventually("the good one is in force", async || match cluster.revision().await {
        2 => Ok(()),
        other => Err(format!("{other}: {}", cluster.log())),
    })
    .await;
    assert_eq!(cluster.quote("alice").await.status, 202);
}

#[tokio::test]
async fn a_master_and_the_feeder_killed_at_once_and_a_master_killed_twice() {
    let cluster = cluster().workers(2).config(FAST).start().await;
    let mut tab = cluster.tab("alice").await;
    for _ in 0..2 {
        let feeder = u32::try_from(cluster.stats().await["feeder"]["pid"].as_u64().unwrap()).unwrap();
        let (old, renewals) = (cluster.master().await, cluster.log().matches("master-renewed").count());
        kill(feeder, Signal::KILL);
        kill(old, Signal::KILL);
        let next = succeeded(&cluster, old, renewals).await;
        kill(next, Signal::KILL);
        succeeded(&cluster, next, renewals + 1).await;
        eventually("there is another feeder", async || {
            let now = cluster.stats().await["feeder"].clone();
            let new = now["pid"] != json!(feeder) && now["state"] == "ready";
            if new { Ok(()) } else { Err(format!("{now}\n{}", cluster.log())) }
        })
        .await;
        tab.until_pong().await;
        tab.next("price").await;
        assert_eq!(cluster.quote("alice").await.status, 202);
    }
}

#[tokio::test]
async fn a_rolling_replacement_and_a_reload_go_on_under_another_master() {
    let cluster = cluster().workers(3).config(FAST).start().await;
    let before: Vec<_> = cluster.workers().await.iter().map(|worker| worker.pid).collect();
    let (old, renewals) = (cluster.master().await, cluster.log().matches("master-renewed").count());
    cluster.signal(Signal::USR2);
    sleep(Duration::from_millis(30)).await;
    kill(old, Signal::KILL);
    succeeded(&cluster, old, renewals).await;
    within(promised(SECOND * 30), "all are replaced", async || {
        let workers = cluster.try_workers().await?;
        let new = workers.len() == 3
            && workers.iter().all(|worker| worker.state == "ready" && !before.contains(&worker.pid));
        if new { Ok(()) } else { Err(format!("{workers:?}\n{}", cluster.log())) }
    })
    .await;
    // A key that workers are born with: the trial is withdrawn or begins again, and in the end it is in force.
    let (old, renewals) = (cluster.master().await, cluster.log().matches("master-renewed").count());
    cluster.configure("[http]\nlisten = \"127.0.0.2:0\"\n[cluster]\nworkers = 2\n");
    cluster.signal(Signal::HUP);
    sleep(Duration::from_millis(400)).await;
    kill(old, Signal::KILL);
    succeeded(&cluster, old, renewals).await;
    within(promised(SECOND * 30), "the reload is over", async || {
        let status = cluster.ctl(&["status"]).await.json();
        let workers = status["workers"].as_array().unwrap();
        let ready = workers.len() == 2 && workers.iter().all(|worker| worker["state"] == "ready");
        if ready && status["revision"] == 2 { Ok(()) } else { Err(format!("{status}\n{}", cluster.log())) }
    })
    .await;
}

#[tokio::test]
async fn sessions_that_are_on_their_way_between_workers_are_held_when_the_master_dies() {
    let cluster = cluster().workers(2).config(FAST).start().await;
    let mut tabs = Vec::new();
    for n in 0..60 {
        tabs.push(cluster.quiet_tab(&format!("u{n}")).await);
    }
    for round in 0..4u64 {
        let before: Vec<_> = cluster.workers().await.iter().map(|worker| worker.pid).collect();
        let (old, renewals) = (cluster.master().await, cluster.log().matches("master-renewed").count());
        let ready = cluster.log().matches("child-ready").count();
        cluster.signal(Signal::USR2);
        within(promised(SECOND * 10), "a new worker is ready", async || {
            let now = cluster.log().matches("child-ready").count();
            if now > ready { Ok(()) } else { Err(cluster.log()) }
        })
        .await;
        sleep(Duration::from_millis(round * 3)).await;
        kill(old, Signal::KILL);
        succeeded(&cluster, old, renewals).await;
        within(promised(SECOND * 30), "all are replaced", async || {
            let workers = cluster.try_workers().await?;
            let new = workers.len() == 2
                && workers.iter().all(|worker| worker.state == "ready" && !before.contains(&worker.pid));
            if new { Ok(()) } else { Err(format!("{workers:?}\n{}", cluster.log())) }
        })
        .await;
        for (n, tab) in tabs.iter_mut().enumerate() {
            let receipt = cluster.quote(&format!("u{n}")).await;
            assert_eq!((receipt.status, n), (202, n), "{}", cluster.log());
            tab.next("quote").await;
        }
        assert_eq!(cluster.stats().await["totals"]["sessions"], tabs.len());
    }
}

#[tokio::test]
async fn a_stop_goes_on_under_another_master() {
    let mut cluster = cluster().workers(2).config(FAST).start().await;
    let mut tab = cluster.tab("alice").await;
    let old = cluster.master().await;
    cluster.signal(Signal::TERM);
    sleep(Duration::from_millis(5)).await;
    kill(old, Signal::KILL);
    assert_eq!(cluster.ended(promised(SECOND * 15)).await.code(), Some(0), "{}", cluster.log());
    assert_eq!(tab.closed().await.0, 1001);
}

#[tokio::test]
async fn many_kills_under_load_leak_nothing_and_close_nothing() {
    let cluster = cluster().workers(2).config(FAST).start().await;
    let mut tabs = cluster.users_on_all("u", 2).await;
    let users: Vec<_> = tabs.iter().map(|(user, _)| user.clone()).collect();
    let reading: Vec<_> = tabs
        .drain(..)
        .map(|(_, mut tab)| {
            tokio::spawn(async move {
                loop {
                    if let Heard::Closed(code, reason) = tab.hear_ever().await {
                        return (code, reason);
                    }
                }
            })
        })
        .collect();
    renew(&cluster, Signal::KILL).await;
    let files = async || {
        let mut all = vec![open_files(cluster.pid), open_files(cluster.master().await)];
        all.extend(cluster.children().await.into_iter().map(open_files));
        all
    };
    sleep(SECOND).await;
    let before = files().await;
    let answers = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::<u16, u32>::new()));
    let load = tokio::spawn({
        let (answers, to) = (answers.clone(), cluster.http);
        async move {
            for n in 0.. {
                let answer =
                    crate::harness::send_to(to, &crate::harness::quote_for(&users[n % users.len()])).await;
                *answers.lock().unwrap().entry(answer.status).or_default() += 1;
            }
        }
    });
    for _ in 0..20 {
        renew(&cluster, Signal::KILL).await;
        let begin = Instant::now();
        eventually("POSTs are answered again", async || match cluster.quote("u-0").await.status {
            202 => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
        assert!(begin.elapsed() < promised(SECOND * 2));
    }
    load.abort();
    let answers = answers.lock().unwrap().clone();
    assert!(answers.keys().all(|status| [202, 503].contains(status)), "{answers:?}");
    assert!(reading.iter().all(|tab| !tab.is_finished()), "nobody is closed");
    eventually("no descriptor is left open", async || {
        let now = files().await;
        let fits = now.iter().zip(&before).all(|(now, before)| *now <= before + 2);
        if fits { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    })
    .await;
    assert!(!cluster.log().contains("child-died"), "{}", cluster.log());
}
