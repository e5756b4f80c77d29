//! Recordings: what a cluster records is what another one plays, and a recording plays the same each time.

use crate::harness::{Cluster, Recorder, Stopwatch, cluster, eventually, within};
use crate::standin::exchange::Exchange;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A source that says nothing, so that the tabs are there before the recording begins.
const SILENT: &str = "[price]\npublish_interval = \"0s\"\nproviders = [\"quiet\"]\n\
                      [provider.quiet]\nkind = \"mock\"\nscript = \"{dir}/silence\"\n";

/// What is compared of a price: all that is not of this run.
const COMPARED: [&str; 6] = ["price", "bid", "ask", "time", "source", "pair"];

/// Plays a file to tabs on two workers and tells the published prices, each with its place before the last one, whose
/// price is `last`. A worker that gets no turn for a while leaves out what is old by then, so it is not all of them.
async fn played(file: &Path, replay: &str, last: &str) -> BTreeMap<u64, Value> {
    let cluster = cluster().workers(2).config(SILENT).file("silence", "silent").without_price().start().await;
    let mut recorders = vec![];
    for user in ["a", "b", "c", "d"] {
        recorders.push(Recorder::of(subscriber(&cluster, user).await));
    }
    let config = format!(
        "[price]\npublish_interval = \"0s\"\nproviders = [\"played\"]\n\
         [provider.played]\nkind = \"replay\"\nfile = \"{}\"\n{replay}",
        file.display()
    );
    cluster.reconfigure(&config).await;
    let mut all = BTreeMap::new();
    for recorder in &recorders {
        // A recording lasts as long as it took.
        let patience = Duration::from_secs(60);
        let heard = within(patience, "the last price has come", async || heard(recorder, last)).await;
        for (seq, price) in heard {
            let known = all.entry(seq).or_insert_with(|| price.clone());
            assert_eq!(*known, price, "all tabs hear the same");
        }
    }
    // The last price may come more than once, and tabs are asked at different moments.
    let end = all.keys().last().copied().unwrap();
    all.into_iter().map(|(seq, price)| (end - seq, price)).collect()
}

/// What a tab has heard by number, once the last price is among it.
fn heard(recorder: &Recorder, last: &str) -> Result<BTreeMap<u64, Value>, String> {
    let story = recorder.story();
    let prices = story.of("price").filter(|message| message["price"].is_string());
    let of = |message: &Value| COMPARED.iter().map(|key| ((*key).into(), message[key].clone())).collect();
    let heard: Vec<_> =
        prices.map(|m| (m["seq"].as_u64().unwrap(), Value::Object(of(m)), m["price"] == last)).collect();
    assert!(heard.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{heard:?}");
    match heard.last() {
        Some((_, _, true)) => Ok(heard.into_iter().map(|(seq, price, _)| (seq, price)).collect()),
        _ => Err(format!("{heard:?}")),
    }
}

async fn subscriber(cluster: &Cluster, user: &str) -> crate::harness::Tab {
    cluster.tab_with(&format!("user_id={user}&channels=price:BTC-USD")).await
}

/// A recording of a stream that is cut and comes back, of REST beside it, of another source, and of odd lines. The
/// shapes are Binance's; the steps are 40 ms.
fn recording() -> (String, Vec<(u64, Value)>) {
    let begin = 1_763_640_000_000_000_000_u64;
    let (mut text, mut prices) = ("# btc-cluster recording 1\n".to_owned(), vec![]);
    let mut line = |step: u64, rest: String| text += &format!("{} {rest}\n", begin + step * 40_000_000);
    line(0, "binance/stream !begin".to_owned());
    line(0, "kraken/stream !begin".to_owned());
    for n in 1..=24_u64 {
        let (price, at) = (format!("640{n:02}.10000000"), 1_763_640_000_000 + n * 40);
        let time = format!("2025-11-20T12:00:0{}.{:03}Z", n * 40 / 1000, n * 40 % 1000);
        let (mut bid, mut ask) = (Value::Null, Value::Null);
        if n == 13 {
            line(n, "binance/stream !end the stream ended".to_owned());
            line(n, "binance/rest !begin".to_owned());
            line(n, "# lost 2".to_owned());
        }
        if (13..16).contains(&n) {
            let closed = format!(r#""openTime":1,"closeTime":{at},"firstId":1,"lastId":{}"#, 900 + n);
            let sides = r#""bidPrice":"63990.00000000","askPrice":"64990.00000000""#;
            line(
                n,
                format!(r#"binance/rest:200 {{"symbol":"BTCUSDT","lastPrice":"{price}",{sides},{closed}}}"#),
            );
            (bid, ask) = (json!("63990.00000000"), json!("64990.00000000"));
        } else {
            if n == 16 {
                line(n, "binance/rest !end cut off".to_owned());
                line(n, "binance/stream !begin".to_owned());
            }
            if n != 16 && n != 17 {
                let book = format!(
                    r#""u":{n},"s":"BTCUSDT","b":"639{n:02}.1","B":"1.0","a":"641{n:02}.1","A":"2.0""#
                );
                line(n, format!(r#"binance/stream {{"stream":"btcusdt@bookTicker","data":{{{book}}}}}"#));
                (bid, ask) = (json!(format!("639{n:02}.1")), json!(format!("641{n:02}.1")));
            }
            let trade = format!(
                r#""e":"trade","E":{at},"s":"BTCUSDT","t":{n},"p":"{price}","q":"0.1","T":{at},"m":true,"M":true"#
            );
            line(n, format!(r#"binance/stream {{"stream":"btcusdt@trade","data":{{{trade}}}}}"#));
            line(n, "kraken/stream {\"channel\":\"heartbeat\"}".to_owned());
            line(n, "binance/stream <html>".to_owned());
        }
        let price = json!({ "price": price, "bid": bid, "ask": ask, "time": time, "source": "played", "pair": "BTC-USDT" });
        prices.push((24 - n, price));
    }
    (text, prices)
}

#[tokio::test]
async fn a_recording_plays_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (text, expected) = recording();
    let file = folder.path().join("raw");
    std::fs::write(&file, text).unwrap();
    let last = "64024.10000000";
    for speed in ["1.0", "0"] {
        let replay =
            format!("source = \"binance\"\nsymbol_map = {{ BTC-USD = \"BTC-USDT\" }}\nspeed = {speed}");
        let watch = Stopwatch::start();
        let (one, two) = (played(&file, &replay, last).await, played(&file, &replay, last).await);
        for run in [&one, &two] {
            for (place, price) in run {
                let (_, meant) = expected.iter().find(|(at, _)| at == place).expect("no other prices");
                assert_eq!(price, meant, "speed {speed}, {place} before the last");
            }
        }
        // As fast as it can be, a tab hears as many as its worker has turns.
        if speed != "0" {
            let least = expected.len() as f64 / 2.0 * watch.share();
            for run in [&one, &two] {
                assert!(run.len() as f64 >= least, "{} of {}", run.len(), expected.len());
            }
        }
    }
}

/// The prices that are recorded; each is traded for some time.
const TRADED: [&str; 12] = [
    "64000.10", "64001.20", "64000.90", "64002.30", "64010.00", "64009.99", "64009.98", "64020.50",
    "64019.00", "64030.10", "64031.00", "64040.00",
];

#[tokio::test]
async fn what_one_cluster_records_another_plays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("raw");
    let exchange = Exchange::start("BTCUSDT", "63999.00").await.unwrap();
    let config = format!(
        "[price]\npublish_interval = \"0s\"\nproviders = [\"binance\"]\nrecord = \"{}\"\n\
         [provider.binance]\nrest_url = \"{}\"\nstream_url = \"{}\"\nrenew_after = \"0s\"",
        file.display(),
        exchange.server.http(),
        exchange.server.ws()
    );
    let recorded = cluster().workers(1).config(&config).start().await;
    let mut tab = subscriber(&recorded, "alice").await;
    for price in TRADED {
        exchange.set_price(price);
        // Some more of the same, so that a slow worker hears one of them.
        for _ in 0..8 {
            while tab.next("price").await["price"] != price {}
        }
    }
    let written = eventually("all of it is in the file", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let last = format!("\"p\":\"{}\"", TRADED[TRADED.len() - 1]);
        if text.contains(&last) { Ok(text) } else { Err(format!("{} bytes", text.len())) }
    })
    .await;
    assert!(
        written.starts_with("# btc-cluster recording 1\n") && written.contains(" binance/stream !begin\n")
    );
    // The feeder dies, and its successor goes on in the same file.
    let feeder = recorded.stats().await["feeder"]["pid"].as_u64().unwrap();
    crate::harness::kill(u32::try_from(feeder).unwrap(), rustix::process::Signal::KILL);
    eventually("the next feeder records", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let sessions = text.matches(" binance/stream !begin\n").count();
        if sessions == 2 && text.starts_with(&written) { Ok(()) } else { Err(format!("{sessions} sessions")) }
    })
    .await;
    drop(recorded);

    // What came before the first feeder died.
    let played_file = folder.path().join("played");
    std::fs::write(&played_file, &written).unwrap();
    let replay = "symbol_map = { BTC-USD = \"BTC-USDT\" }";
    let all = played(&played_file, replay, TRADED[TRADED.len() - 1]).await;
    let mut prices: Vec<_> = all.into_values().rev().map(|message| message["price"].clone()).collect();
    prices.dedup();
    prices.retain(|price| *price != "63999.00");
    // Where a process gets no turn for a while a price is left out; `feeder::core::replay_tests` compares all of them.
    let places: Vec<_> =
        prices.iter().map(|price| TRADED.iter().position(|traded| price == traded)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "not in their order: {prices:?}");
    assert!(places.len() >= TRADED.len() / 2, "{prices:?}");
}

#[tokio::test]
async fn a_recording_of_several_sources_without_a_choice_is_refused_with_its_reason() {
    let (text, _) = recording();
    let config = "[price]\nproviders = [\"replay\"]\n[provider.replay]\nfile = \"{dir}/raw\"";
    let cluster = cluster().workers(1).config(config).file("raw", &text).without_price().start().await;
    eventually("the source says why", async || {
        let sources = cluster.ctl(&["sources"]).await.json();
        let error = sources[0]["error"].as_str().unwrap_or_default().to_owned();
        if error.contains("lines of binance and of kraken") { Ok(()) } else { Err(sources.to_string()) }
    })
    .await;
    assert_eq!(cluster.get("/api/v1/price").await.status, 503);
}

#[tokio::test]
async fn a_recording_that_cannot_be_written_harms_nobody() {
    let exchange = Exchange::start("BTCUSDT", "64000.10").await.unwrap();
    let config = |record: &str| {
        format!(
            "[price]\nproviders = [\"binance\"]\nrecord = \"{record}\"\n\
             [provider.binance]\nrest_url = \"{}\"\nstream_url = \"{}\"",
            exchange.server.http(),
            exchange.server.ws()
        )
    };
    let cluster = cluster().workers(1).config(&config("{dir}/no/such/folder")).start().await;
    eventually("the log says it", async || {
        let log = cluster.log();
        if log.contains("recording pauses") { Ok(()) } else { Err(log) }
    })
    .await;
    let mut tab = subscriber(&cluster, "alice").await;
    exchange.set_price("64001.20");
    while tab.next("price").await["price"] != "64001.20" {}
    // A better path is taken while the stream goes on.
    cluster.reconfigure(&config("{dir}/raw")).await;
    eventually("it is recorded now", async || {
        let text = std::fs::read_to_string(cluster.folder().join("raw")).unwrap_or_default();
        if text.contains("64001.20") { Ok(()) } else { Err(text) }
    })
    .await;
    let streams = exchange.server.requests().iter().filter(|seen| seen.wants_stream()).count();
    assert_eq!(streams, 1, "the connection was not touched");
    assert_eq!(cluster.log().matches("recording pauses").count(), 1, "said once");
}

#[tokio::test]
async fn another_program_s_capture_of_a_burst_is_played_whole_and_published_at_a_steady_pace() {
    let Some(folder) = crate::prices::shared() else {
        let why = "no ../shared/feeds/series, and BTC_CLUSTER_SHARED names none";
        crate::harness::skipped("another_program_s_capture_of_a_burst_is_played_whole", why);
        return;
    };
    let file = folder.join("binance-btcusdt-raw-burst-12s.ndjson");
    let trades = std::fs::read_to_string(&file).unwrap().matches("@trade\"").count();
    let quiet = SILENT.replace("\"0s\"", "\"100ms\"");
    let cluster = cluster().workers(1).config(&quiet).file("silence", "silent").without_price().start().await;
    let recorder = Recorder::of(subscriber(&cluster, "alice").await);
    let begin = tokio::time::Instant::now();
    let config = format!(
        "[price]\nproviders = [\"burst\"]\n[provider.burst]\nkind = \"replay\"\nfile = \"{}\"\n\
         source = \"binance\"\nspeed = 4.0\nsymbol_map = {{ BTC-USD = \"BTC-USDT\" }}",
        file.display()
    );
    cluster.reconfigure(&config).await;
    eventually("all of it is played", async || {
        let sources = cluster.ctl(&["sources"]).await.json();
        let played = (sources[0]["ticks"] == trades, sources[0]["rejected"] == 0);
        if played == (true, true) { Ok(()) } else { Err(sources.to_string()) }
    })
    .await;
    let heard = recorder.story().of("price").count() as u128;
    let most = begin.elapsed().as_millis() / 100 + 2;
    assert!(heard <= most, "{heard} frames of {trades} trades, {most} at most");
    assert!(heard >= 5, "{heard}");
}
