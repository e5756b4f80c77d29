//! The price from its source to the tab: in order, with its true age, and honest when there is none.

use crate::harness::{Cluster, Recorder, Stopwatch, Tab, cluster, eventually, promised};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// A price that comes again and again; the base configuration makes it stand still.
const STEADY: &str = "set 64000.00\nwalk 1h";
const SILENCE: &str = "silent";

/// Short lives for prices.
const SHORT: &str = "[price]\nfresh_for = \"500ms\"\nmax_age = \"1500ms\"\nforget_after = \"2500ms\"\n";

fn mock(file: &str, config: &str) -> String {
    format!("{config}\n[provider.mock]\nscript = \"{{dir}}/{file}\"\ntick = \"50ms\"\n")
}

/// A cluster whose source says nothing until the tabs are there.
async fn silent(config: &str) -> Cluster {
    let setup = cluster().workers(2).config(&mock("silence", config)).file("silence", SILENCE);
    setup.without_price().start().await
}

/// From now on the source says this.
async fn speak(cluster: &Cluster, script: &str, config: &str) {
    let file = format!("script-{}", fastrand::u64(..));
    cluster.write(&file, script);
    cluster.reconfigure(&mock(&file, config)).await;
}

/// The next message of the price channel that shows this.
async fn until(tab: &mut Tab, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
    let begin = Stopwatch::start();
    loop {
        let message = tab.next("price").await;
        if shows(&message) {
            return message;
        }
        assert!(begin.net() < promised(Duration::from_secs(10)), "{what}: {message}");
    }
}

async fn subscriber(cluster: &Cluster) -> Tab {
    cluster.tab_with("user_id=alice&channels=price:BTC-USD").await
}

#[tokio::test]
async fn a_price_grows_stale_and_then_there_is_none() {
    let kept = "[price]\nfresh_for = \"500ms\"\nforget_after = \"1h\"\nmax_age = \"1h\"\n";
    let cluster = silent(kept).await;
    let mut tab = subscriber(&cluster).await;
    speak(&cluster, STEADY, kept).await;
    let fresh = until(&mut tab, "fresh", |m| m["stale"] == false).await;
    speak(&cluster, SILENCE, kept).await;
    let stale = until(&mut tab, "stale without a tick", |m| m["stale"] == true).await;
    assert!(stale["seq"].as_u64() >= fresh["seq"].as_u64(), "{stale}");
    assert_eq!(stale["price"], "64000.00", "the same price, older");
    assert!(stale["age_ms"].as_u64().unwrap() >= 500, "{stale}");
    let receipt = cluster.quote("alice").await;
    assert_eq!(receipt.status, 202, "on_stale = \"serve\"");
    assert_eq!(tab.quote().await["stale"], true);
    assert_eq!(cluster.get("/readyz").await.status, 200);
    let text = std::fs::read_to_string(cluster.folder().join("conf.d/50-test.toml")).unwrap();
    cluster.reconfigure(&text.replace(kept, SHORT)).await;
    let none = until(&mut tab, "none", |m| m["price"].is_null()).await;
    assert_eq!((&none["channel"], &none["symbol"]), (&json!("price:BTC-USD"), &json!("BTC-USD")));
    assert_eq!(cluster.quote("alice").await.problem(), (503, "price-unavailable".into()));
    assert_eq!(cluster.get("/api/v1/price").await.problem(), (503, "price-unavailable".into()));
    assert_eq!(cluster.get("/readyz").await.status, 503);
    assert_eq!(tab.ask(&json!({"type": "quote"}), "error").await["code"], "price-unavailable");
    assert_eq!(cluster.quiet_tab("bob").await.welcome["price"], Value::Null);
    assert_eq!(cluster.stats().await["price"], Value::Null);
}

#[tokio::test]
async fn a_price_past_its_age_can_be_refused() {
    let refuse = format!("{SHORT}on_stale = \"refuse\"");
    let cluster = silent(&refuse).await;
    let mut tab = subscriber(&cluster).await;
    let spoken = Instant::now();
    speak(&cluster, STEADY, &refuse).await;
    until(&mut tab, "fresh", |m| m["stale"] == false).await;
    speak(&cluster, SILENCE, &refuse).await;
    let begin = Stopwatch::start();
    until(&mut tab, "stale", |m| m["stale"] == true).await;
    let (status, age) = (cluster.quote("alice").await.status, spoken.elapsed());
    assert!(status == 202 || age >= Duration::from_millis(1_500), "stale is not too old: {status}, {age:?}");
    until(&mut tab, "none", |m| m["price"].is_null()).await;
    let time = begin.net();
    assert!(time < promised(Duration::from_millis(2_200)), "at max_age, not at forget_after: {time:?}");
    assert_eq!(cluster.quote("alice").await.problem(), (503, "price-unavailable".into()));
    assert_eq!(cluster.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn the_rules_of_age_can_change_while_tabs_watch() {
    let script = "[provider.mock]\nscript = \"{dir}/script\"\ntick = \"50ms\"\n";
    let long = format!("{script}[price]\nfresh_for = \"1h\"\nmax_age = \"1h\"\nforget_after = \"1h\"");
    let setup = cluster().workers(1).config(&long).file("script", "set 64000.00\nstall 1h");
    let cluster = setup.start().await;
    let mut tab = subscriber(&cluster).await;
    assert_eq!(tab.welcome["price"]["stale"], false, "{}", tab.welcome);
    cluster.reconfigure(&format!("{script}[price]\nfresh_for = \"10ms\"")).await;
    until(&mut tab, "stale under the new rule", |m| m["stale"] == true).await;
    let refuse = "fresh_for = \"10ms\"\nmax_age = \"20ms\"\non_stale = \"refuse\"";
    cluster.reconfigure(&format!("{script}[price]\n{refuse}")).await;
    until(&mut tab, "none under the new rule", |m| m["price"].is_null()).await;
    assert_eq!(cluster.quote("alice").await.problem(), (503, "price-unavailable".into()));
    cluster.reconfigure(&long).await;
    let again = until(&mut tab, "fresh under the newest", |m| m["price"].is_string()).await;
    assert_eq!((&again["price"], &again["stale"]), (&json!("64000.00"), &json!(false)));
}

#[tokio::test]
async fn a_price_that_comes_back_is_fresh_again() {
    let cluster = silent(SHORT).await;
    let mut tab = subscriber(&cluster).await;
    speak(&cluster, STEADY, SHORT).await;
    let first = until(&mut tab, "fresh", |m| m["stale"] == false).await;
    speak(&cluster, SILENCE, SHORT).await;
    until(&mut tab, "none", |m| m["price"].is_null()).await;
    speak(&cluster, "set 64001.00\nset 64002.00\nwalk 1h", SHORT).await;
    let back = until(&mut tab, "fresh again", |m| m["stale"] == false).await;
    assert_ne!(back["price"], "64000.00");
    assert!(back["seq"].as_u64() > first["seq"].as_u64(), "{back}");
    // The other worker may hear of it a moment later.
    eventually("all workers have it", async || {
        let (receipt, ready) = (cluster.quote("alice").await, cluster.get("/readyz").await);
        if (receipt.status, ready.status) == (202, 200) { Ok(()) } else { Err(receipt.text().to_owned()) }
    })
    .await;
}

#[tokio::test]
async fn what_the_source_says_is_what_tabs_hear_in_order() {
    let steps: Vec<_> = (0..25).map(|n| format!("{}.{:02}", 64_000 + n, n)).collect();
    let script: String = steps.iter().map(|price| format!("set {price}\nstall 60ms\n")).collect();
    let config = "[price]\npublish_interval = \"0s\"";
    let cluster = silent(config).await;
    let tabs = [subscriber(&cluster).await, subscriber(&cluster).await, subscriber(&cluster).await];
    let (recorders, watch) = (tabs.map(Recorder::of), Stopwatch::start());
    speak(&cluster, &format!("{script}stall 1h"), config).await;
    let last = steps.last().unwrap();
    for recorder in &recorders {
        let heard = eventually("the last price has come", async || {
            let story = recorder.story();
            let heard: Vec<_> =
                story.of("price").filter_map(|m| Some((m["seq"].as_u64()?, m["price"].clone()))).collect();
            if heard.last().is_some_and(|(_, price)| price == last) {
                Ok(heard)
            } else {
                Err(format!("{heard:?}"))
            }
        })
        .await;
        assert!(heard.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{heard:?}");
        let mut prices: Vec<_> = heard.iter().filter_map(|(_, price)| price.as_str()).collect();
        prices.dedup();
        // A process that gets no turn for a while leaves out what is old by then; nothing is out of order.
        let places: Vec<_> = prices.iter().map(|price| steps.iter().position(|step| step == price)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{prices:?}");
        let least = steps.len() as f64 * 0.75 * watch.share();
        assert!(prices.len() as f64 > least, "{} of {}: {prices:?}", prices.len(), steps.len());
    }
}

#[tokio::test]
async fn a_burst_of_ticks_is_published_at_a_steady_pace_and_ends_with_the_newest() {
    let script: String = (0..200).map(|n| format!("set {}\n", 64_000 + n)).collect();
    let config =
        "[price]\npublish_interval = \"200ms\"\n[provider.mock]\nscript = \"{dir}/script\"\ntick = \"5ms\"";
    let cluster = cluster().workers(1).config(config).file("script", &format!("{script}stall 1h"));
    let cluster = cluster.without_price().start().await;
    let begin = Instant::now();
    let recorder = Recorder::of(subscriber(&cluster).await);
    let story = eventually("the newest has come", async || {
        let story = recorder.story();
        let last = story.of("price").last().map(|m| m["price"].clone());
        if last == Some(json!("64199")) { Ok(story) } else { Err(format!("{last:?}")) }
    })
    .await;
    // The first is the newest one at once; on a busy machine the ticks come slower.
    let (heard, time) = (story.of("price").count() as u128, begin.elapsed());
    assert!(heard <= 2 + time.as_millis() / 200, "one publication in 200 ms: {heard} in {time:?}");
}

#[tokio::test]
async fn a_changed_price_of_the_mock_is_told_at_once() {
    let cluster = cluster().workers(2).start().await;
    let mut tab = subscriber(&cluster).await;
    until(&mut tab, "the old price", |m| m["price"] == "64000.00").await;
    cluster.reconfigure("[provider.mock]\nprice = \"70000.50\"").await;
    until(&mut tab, "the new price", |m| m["price"] == "70000.50").await;
    // The other worker may hear of it a moment later.
    eventually("all workers have it", async || {
        cluster.quote("alice").await;
        let quote = tab.quote().await;
        if quote["price"] == "70000.50" { Ok(()) } else { Err(quote.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_next_source_takes_over_where_the_first_fails() {
    let config = "[price]\nproviders = [\"first\", \"second\"]\nfresh_for = \"500ms\"\n\
                  [provider.first]\nkind = \"mock\"\nscript = \"{dir}/script\"\ntick = \"50ms\"\n\
                  [provider.second]\nkind = \"mock\"\nprice = \"64100.00\"\nvolatility = 0.0\ntick = \"50ms\"";
    let script = "set 64000.00\n".repeat(20) + "fault refused";
    let cluster = cluster().workers(1).config(config).file("script", &script).without_price().start().await;
    let mut tab = subscriber(&cluster).await;
    until(&mut tab, "the first", |m| m["source"] == "first").await;
    let second = until(&mut tab, "the second", |m| m["source"] == "second").await;
    assert_eq!(second["price"], "64100.00");
    let sources = cluster.ctl(&["sources"]).await.json();
    assert_eq!(sources.as_array().unwrap().len(), 2, "{sources}");
}

#[tokio::test]
async fn garbage_from_a_source_is_never_shown() {
    let script = "set 64000.00\ngarbage\nmove +900%\ngarbage\nset 64000.01\nset 64000.02\nstall 1h";
    let config = "[price]\npublish_interval = \"0s\"";
    let cluster = silent(config).await;
    let recorder = Recorder::of(subscriber(&cluster).await);
    speak(&cluster, script, config).await;
    let story = eventually("the last price has come", async || {
        let story = recorder.story();
        let last = story.of("price").last().map(|m| m["price"].clone());
        if last == Some(json!("64000.02")) { Ok(story) } else { Err(format!("{last:?}")) }
    })
    .await;
    for message in story.of("price").filter(|message| message["price"].is_string()) {
        let price = message["price"].as_str().unwrap();
        assert!(price.starts_with("64000."), "a jump to the tenfold was shown: {message}");
    }
}

#[tokio::test]
async fn a_recording_is_played_to_the_tabs() {
    let lines: String = (0..30)
        .map(|n| {
            format!(
                "{{\"price\":\"61000.{n:02}\",\"recv_ns\":{}}}\n",
                1_763_640_000_000_000_000_u64 + n * 150_000_000
            )
        })
        .collect();
    let config = "[price]\nproviders = [\"replay\"]\n[provider.replay]\nfile = \"{dir}/ticks.ndjson\"";
    let cluster = cluster().workers(2).config(config).file("ticks.ndjson", &lines).start().await;
    let (mut tab, watch) = (subscriber(&cluster).await, Stopwatch::start());
    let mut prices = vec![];
    while prices.last().is_none_or(|last| last != "61000.29") {
        let message = tab.next("price").await;
        assert_eq!(message["source"], "replay", "{message}");
        prices.push(message["price"].as_str().unwrap().to_owned());
    }
    prices.dedup();
    assert!(prices.len() as f64 > 15.0 * watch.share() && prices.is_sorted(), "{prices:?}");
}

/// The recordings that come with the machine, where they do.
pub(crate) fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("BTC_CLUSTER_SHARED").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    folder.join("feeds/series").canonicalize().ok()
}

#[tokio::test]
async fn a_real_recording_is_played_to_the_tabs() {
    let Some(folder) = shared() else {
        let why = "no ../shared/feeds/series, and BTC_CLUSTER_SHARED names none";
        crate::harness::skipped("a_real_recording_is_played_to_the_tabs", why);
        return;
    };
    let file = folder.join("binance-btcusdt-ticks-120s.ndjson");
    let config = format!(
        "[price]\nproviders = [\"binance-recorded\"]\n\
         [provider.binance-recorded]\nkind = \"replay\"\nspeed = 20.0\nfile = \"{}\"",
        file.display()
    );
    let cluster = cluster().workers(2).config(&config).start().await;
    let mut tab = subscriber(&cluster).await;
    let recorded = std::fs::read_to_string(&file).unwrap();
    let (mut last, mut different) = (0, std::collections::BTreeSet::new());
    for _ in 0..30 {
        let message = tab.next("price").await;
        let (seq, price) = (message["seq"].as_u64().unwrap(), message["price"].as_str().unwrap().to_owned());
        assert!(seq > last, "{message}");
        last = seq;
        assert!(
            recorded.contains(price.trim_end_matches('0').trim_end_matches('.')),
            "{price} was never recorded"
        );
        different.insert(price);
    }
    assert!(different.len() > 5, "{different:?}");
    assert_eq!(cluster.get("/api/v1/info").await.json()["mock"], false);
}
