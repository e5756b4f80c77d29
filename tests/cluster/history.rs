//! Candles: the route, the channels, and what survives whose death.

use crate::harness::{Cluster, Setup, Tab, alone, cluster, eventually, get, is_gone, is_time, keys, kill};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// A price every 20 ms.
const QUICK: &str = "[provider.mock]\ntick = \"20ms\"\nvolatility = 0.001\nseed = 7\n";

fn quick() -> Setup {
    cluster().config(QUICK)
}

async fn candles(cluster: &Cluster, query: &str) -> Vec<Value> {
    let answer = cluster.get(&format!("/api/v1/history?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let known = keys(&answer).into_iter().filter(|key| *key != "mock");
    assert_eq!(known.collect::<Vec<_>>(), ["candles", "interval", "symbol"]);
    answer["candles"].as_array().expect("candles").clone()
}

/// Waits until there are so many seconds.
async fn seconds(cluster: &Cluster, at_least: usize) -> Vec<Value> {
    eventually("seconds have passed", async || {
        let answer = cluster.get("/api/v1/history?interval=1s&limit=3600").await;
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
        let all = answer.json()["candles"].as_array().expect("candles").clone();
        if all.len() >= at_least { Ok(all) } else { Err(format!("{all:?}")) }
    })
    .await
}

fn number(candle: &Value, key: &str) -> f64 {
    candle[key].as_str().unwrap_or_else(|| panic!("{key}: {candle}")).parse().unwrap()
}

fn is_sound(candle: &Value) {
    assert!(is_time(candle["time"].as_str().unwrap()), "{candle}");
    let [open, high, low, close] = ["open", "high", "low", "close"].map(|key| number(candle, key));
    assert!(low <= open.min(close) && open.max(close) <= high, "{candle}");
    assert!(candle["ticks"].as_u64().unwrap() > 0, "{candle}");
    assert!(candle["partial"].is_null() || candle["partial"] == true, "{candle}");
}

fn times(all: &[Value]) -> Vec<&str> {
    all.iter().map(|candle| candle["time"].as_str().unwrap()).collect()
}

async fn feeder(cluster: &Cluster) -> u32 {
    eventually("there is a feeder", async || {
        let stats = cluster.stats().await;
        stats["feeder"]["pid"].as_u64().ok_or_else(|| stats["feeder"].to_string())
    })
    .await
    .try_into()
    .unwrap()
}

async fn kill_feeder(cluster: &Cluster) {
    let old = feeder(cluster).await;
    kill(old, Signal::KILL);
    eventually("the feeder has died", async || if is_gone(old) { Ok(()) } else { Err(old.to_string()) })
        .await;
}

#[tokio::test]
async fn the_route_has_candles_of_three_lengths() {
    let cluster = quick().start().await;
    let all = seconds(&cluster, 3).await;
    all.iter().for_each(is_sound);
    assert!(times(&all).windows(2).all(|two| two[0] < two[1]), "oldest first: {all:?}");
    assert!(all.iter().all(|candle| candle["time"].as_str().unwrap().ends_with(".000Z")), "{all:?}");
    assert_eq!(all[0]["partial"], true, "begun within it");
    assert_eq!(all[1]["partial"], Value::Null, "{all:?}");
    assert!(all[1]["ticks"].as_u64().unwrap() > 10, "every price counts, not the published ones: {all:?}");
    for (interval, ending) in [("1m", ":00.000Z"), ("1h", ":00:00.000Z")] {
        let all = candles(&cluster, &format!("symbol=BTC-USD&interval={interval}")).await;
        let last = all.last().unwrap();
        is_sound(last);
        assert!(last["time"].as_str().unwrap().ends_with(ending), "{last}");
    }
    assert_eq!(candles(&cluster, "interval=1s&limit=1").await.len(), 1);
    let short = cluster.get("/api/v1/history").await.json();
    assert_eq!((&short["symbol"], &short["interval"]), (&json!("BTC-USD"), &json!("1m")));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let cluster = cluster().start().await;
    for (query, status, slug) in [
        ("limit=many", 400, "invalid-limit"),
        ("limit=1&limit=2", 400, "invalid-query"),
        ("limit=", 400, "invalid-limit"),
        ("limit=-1", 400, "invalid-limit"),
        ("limit=0", 422, "invalid-limit"),
        ("limit=3601", 422, "invalid-limit"),
        ("limit=99999999999999999999", 422, "invalid-limit"),
        ("interval=5m", 422, "invalid-interval"),
        ("interval=", 422, "invalid-interval"),
        ("symbol=BTC-EUR", 422, "unknown-symbol"),
        ("symbol=bitcoin", 422, "unknown-symbol"),
        ("symbol=BTC-EUR&interval=5m", 422, "invalid-interval"),
        ("symbol=BTC-EUR&interval=5m&limit=x", 400, "invalid-limit"),
    ] {
        let answer = cluster.get(&format!("/api/v1/history?{query}")).await;
        assert_eq!(answer.problem(), (status, slug.to_owned()), "{query}");
    }
    assert_eq!(cluster.send(&get("/api/v1/history").method("POST")).await.status, 405);
}

#[tokio::test]
async fn channels_have_the_newest_at_once_and_then_one_a_second() {
    let cluster = quick().start().await;
    seconds(&cluster, 3).await;
    let channels = ["1s", "1m", "1h"].map(|interval| format!("candle:BTC-USD@{interval}"));
    let mut tab = cluster.quiet_tab("alice").await;
    tab.say(&json!({"type": "subscribe", "channels": channels, "id": 1})).await;
    let mut at_once = vec![];
    loop {
        let message = tab.message().await;
        if message["type"] == "ack" {
            break;
        }
        at_once.push(message);
    }
    assert_eq!(at_once.len(), 3, "{at_once:?}");
    for (message, channel) in at_once.iter().zip(&channels) {
        is_sound(message);
        assert_eq!((&message["type"], &message["channel"]), (&json!("candle"), &json!(channel)));
        assert_eq!(message["symbol"], "BTC-USD");
        assert!(channel.ends_with(message["interval"].as_str().unwrap()), "{message}");
    }
    let mut tab = cluster.tab_with(&format!("user_id=bob&channels={}", channels[0])).await;
    assert_eq!(tab.message().await["type"], "candle", "with the welcome");
    let (mut last, mut heard) = (String::new(), vec![]);
    while heard.len() < 3 {
        let candle = tab.next("candle").await;
        let time = candle["time"].as_str().unwrap().to_owned();
        assert!(time >= last, "{candle} after {last}");
        if time > last {
            heard.push(candle);
        }
        last = time;
    }
    let asked = candles(&cluster, "interval=1s").await;
    let same = asked.iter().find(|candle| candle["time"] == heard[1]["time"]).unwrap();
    for key in ["open", "high", "low", "close", "ticks", "partial"] {
        assert_eq!(same[key], heard[1][key], "{key}: {same} and {}", heard[1]);
    }
    let unknown = json!({"type": "subscribe", "channels": ["candle:BTC-USD@5m"]});
    assert_eq!(tab.ask(&unknown, "error").await["code"], "unknown-channel");
}

#[tokio::test]
async fn a_workers_death_costs_nothing() {
    let cluster = quick().workers(1).start().await;
    let before = seconds(&cluster, 3).await;
    let pid = cluster.workers().await[0].pid.unwrap();
    kill(pid, Signal::KILL);
    let after = eventually("a worker answers again", async || {
        let all = cluster.try_workers().await?;
        if all[0].pid.is_none_or(|now| now == pid) || all[0].state != "ready" {
            return Err(format!("{all:?}"));
        }
        Ok(candles(&cluster, "interval=1s&limit=3600").await)
    })
    .await;
    assert_eq!(&after[..2], &before[..2]);
    assert!(after[1..].iter().all(|candle| candle["partial"].is_null()), "the feeder saw it all: {after:?}");
    let mut tab = cluster.tab_with("user_id=a&channels=candle:BTC-USD@1m").await;
    is_sound(&tab.next("candle").await);
}

#[tokio::test]
async fn a_killed_feeder_leaves_its_candles() {
    let cluster = quick().start().await;
    let mut tab = cluster.tab_with("user_id=a&channels=candle:BTC-USD@1h").await;
    let before = seconds(&cluster, 4).await;
    let hour = candles(&cluster, "interval=1h").await;
    kill_feeder(&cluster).await;
    let after = seconds(&cluster, before.len() + 1).await;
    // All but the one that was open.
    let closed = before.len() - 1;
    assert_eq!(&after[..closed], &before[..closed]);
    assert!(times(&after).windows(2).all(|two| two[0] < two[1]), "{after:?}");
    let begun = after[closed..].iter().filter(|candle| candle["partial"] == true).count();
    assert!(begun >= 1, "the new one began within a second: {after:?}");
    let now = candles(&cluster, "interval=1h").await;
    assert_eq!((&now[0]["open"], &now[0]["time"]), (&hour[0]["open"], &hour[0]["time"]));
    assert!(now.iter().all(|hour| hour["partial"] == true), "{now:?}");
    is_sound(&tab.next("candle").await);
}

#[tokio::test]
async fn while_there_is_no_feeder_history_is_refused_for_a_moment() {
    let paused = "[cluster]\nrestart_min = \"3s\"\nrestart_max = \"3s\"\n";
    let cluster = cluster().config(&format!("{QUICK}{paused}")).start().await;
    seconds(&cluster, 2).await;
    kill_feeder(&cluster).await;
    let refusal = eventually("nobody knows candles", async || {
        let answer = cluster.get("/api/v1/history?limit=7").await;
        if answer.status == 200 { Err(format!("{answer:?}")) } else { Ok(answer) }
    })
    .await;
    assert_eq!(refusal.problem(), (503, "history-unavailable".to_owned()));
    assert_eq!(refusal.header("Retry-After"), Some("1"));
    // The feeder is there before the price is, but its candles come with it.
    crate::harness::within(Duration::from_secs(10), "it is back", async || {
        match cluster.get("/api/v1/history?interval=1s").await.status {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

/// A clean stop and a new start in the same folder.
async fn restart(mut cluster: Cluster) -> Cluster {
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.ended(Duration::from_secs(15)).await.code(), Some(0));
    cluster.start_again(2).await
}

fn journal(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("control.state/history.journal")
}

#[tokio::test]
async fn a_restart_of_the_daemon_keeps_the_candles() {
    let cluster = quick().start().await;
    let before = seconds(&cluster, 3).await;
    let cluster = restart(cluster).await;
    keeps(&cluster, &before).await;
}

#[tokio::test]
async fn an_upgrade_keeps_the_candles() {
    let _alone = alone().await;
    let cluster = quick().start().await;
    let before = seconds(&cluster, 3).await;
    let done = cluster.ctl(&["upgrade"]).await;
    assert_eq!(done.json()["upgrade"]["outcome"], "upgraded", "{} {}", done.out, done.err);
    keeps(&cluster, &before).await;
}

async fn keeps(cluster: &Cluster, before: &[Value]) {
    let after = seconds(cluster, before.len() + 1).await;
    let closed = before.len() - 1;
    assert_eq!(&after[..closed], &before[..closed]);
    assert_eq!(after[closed]["time"], before[closed]["time"], "the open second was written, too");
    assert!(after[closed]["ticks"].as_u64() >= before[closed]["ticks"].as_u64(), "{after:?} {before:?}");
    let hours = candles(cluster, "interval=1h").await;
    assert_eq!(hours[0]["open"], before[0]["open"]);
    let ticks = |all: &[Value]| all.iter().map(|candle| candle["ticks"].as_u64().unwrap()).sum::<u64>();
    assert!(ticks(&hours) >= ticks(before), "{hours:?}");
}

#[tokio::test]
async fn a_damaged_journal_is_said_once_and_costs_itself() {
    let cluster = quick().start().await;
    let before = seconds(&cluster, 3).await;
    let path = journal(&cluster);
    let mut cluster = cluster;
    cluster.signal(Signal::TERM);
    cluster.ended(Duration::from_secs(15)).await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"\xff\0 not a line\ns BTC-USD m 17636");
    std::fs::write(&path, bytes).unwrap();
    let cluster = cluster.start_again(2).await;
    let after = seconds(&cluster, before.len()).await;
    assert_eq!(after[0], before[0]);
    assert_eq!(cluster.log().matches("history-damaged").count(), 1, "{}", cluster.log());

    let mut cluster = cluster;
    cluster.signal(Signal::TERM);
    cluster.ended(Duration::from_secs(15)).await;
    std::fs::write(&path, b"\x7fELF nobody's history").unwrap();
    let cluster = cluster.start_again(2).await;
    seconds(&cluster, 2).await;
    assert_eq!(cluster.log().matches("history-foreign").count(), 1, "{}", cluster.log());
    assert!(path.with_extension("unreadable").exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_had_costs_only_the_memory_of_the_dead() {
    let cluster = quick().file("control.state", "a file where the folder should be").start().await;
    seconds(&cluster, 2).await;
    let before = seconds(&cluster, 2).await;
    kill_feeder(&cluster).await;
    let after = eventually("a feeder that knows nothing", async || {
        let answer = cluster.get("/api/v1/history?interval=1s&limit=3600").await;
        let all = if answer.status == 200 { answer.json()["candles"].clone() } else { json!([]) };
        if all[0].is_null() || all[0] == before[0] { Err(format!("{answer:?}")) } else { Ok(all) }
    })
    .await;
    assert_eq!(after[0]["partial"], true, "{after:?}");
    assert_eq!(cluster.log().matches("history-not-kept").count(), 2, "once a feeder: {}", cluster.log());
}

#[tokio::test]
async fn a_recording_makes_the_same_candles_each_time() {
    let lines: String = (0..300)
        .map(|n| {
            let time = 1_763_640_000_000_i64 + n * 450;
            format!("{{\"symbol\":\"BTC-USD\",\"price\":\"{}.50\",\"ts\":{time}}}\n", 64_000 + n % 17)
        })
        .collect();
    let mut all = vec![];
    for speed in ["1000", "400"] {
        let config = format!(
            "[price]\nproviders = [\"replay\"]\n[provider.replay]\nfile = \"{{dir}}/ticks\"\nspeed = {speed}.0"
        );
        let cluster = cluster().config(&config).file("ticks", &lines).start().await;
        let whole = eventually("it is played", async || {
            let minutes = candles(&cluster, "interval=1m&limit=10").await;
            let ticks: u64 = minutes.iter().map(|minute| minute["ticks"].as_u64().unwrap()).sum();
            if ticks == 300 { Ok(minutes) } else { Err(format!("{minutes:?}")) }
        })
        .await;
        let times = times(&whole).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            times,
            ["2025-11-20T12:00:00.000Z", "2025-11-20T12:01:00.000Z", "2025-11-20T12:02:00.000Z"]
        );
        all.push((whole, candles(&cluster, "interval=1s&limit=3600").await));
    }
    assert_eq!(all[0], all[1]);
}

#[tokio::test]
async fn a_new_symbol_has_candles_and_one_that_went_has_none() {
    let cluster = quick().start().await;
    seconds(&cluster, 2).await;
    cluster.reconfigure(&format!("{QUICK}[price]\nsymbol = \"ETH-USD\"\nsymbols = [\"ETH-USD\"]")).await;
    eventually("the new symbol", async || {
        let answer = cluster.get("/api/v1/history?symbol=ETH-USD&interval=1s&limit=9").await;
        let some = answer.status == 200 && !answer.json()["candles"].as_array().unwrap().is_empty();
        if some { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let refusal = cluster.get("/api/v1/history?symbol=BTC-USD").await;
    assert_eq!(refusal.problem(), (422, "unknown-symbol".to_owned()));
    let mut tab: Tab = cluster.tab_with("user_id=a&channels=candle:ETH-USD@1s").await;
    assert_eq!(tab.next("candle").await["symbol"], "ETH-USD");
}
