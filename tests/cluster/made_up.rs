//! What a price is stands in each message: whether it is made up, and which pairs made a candle.

use crate::harness::{Cluster, Listener, Poller, cluster, eventually, in_time};
use serde_json::{Value, json};

/// A source whose prices are real, as far as anybody knows.
const REAL: &str = "[price]\nproviders = [\"mine\"]\n[provider.mine]\nkind = \"command\"\n\
                    program = [\"/bin/sh\", \"-c\", \"while :; do echo 64000.10; sleep 0.05; done\"]\n";

/// All that tells a price or a candle, by where it was told.
async fn told(cluster: &Cluster) -> Vec<(&'static str, Value)> {
    let mut all = vec![("price", cluster.get("/api/v1/price").await.json())];
    let history = eventually("there is a candle", async || {
        let history = cluster.get("/api/v1/history?interval=1s").await.json();
        if history["candles"][0].is_object() { Ok(history) } else { Err(history.to_string()) }
    })
    .await;
    all.push(("history's candle", history["candles"][0].clone()));
    all.push(("history", history));
    all.push(("statistics' price", cluster.stats().await["price"].clone()));
    let mut tab = cluster
        .tab_with("user_id=alice&channels=price:BTC-USD,stats,candle:BTC-USD@1s,price:BTC-USD@1s")
        .await;
    all.push(("welcome", tab.welcome["price"].clone()));
    // In any order: statistics come only when something has changed.
    let mut wanted = vec!["price", "candle", "stats"];
    in_time("one of each", async {
        while !wanted.is_empty() {
            let message = tab.message().await;
            if let Some(at) = wanted.iter().position(|kind| message["type"] == *kind) {
                let kind = wanted.remove(at);
                all.push((kind, if kind == "stats" { message["price"].clone() } else { message }));
            }
        }
    })
    .await;
    tab.say(&json!({"type": "quote", "id": 1})).await;
    all.push(("answer", tab.next("quote").await));
    assert_eq!(cluster.quote("alice").await.status, 202);
    all.push(("quote", tab.next("quote").await));
    for (name, path, kind) in [
        ("stream1", "/stream1", "price"),
        ("stream2", "/stream2", "price"),
        ("stream3", "/stream3", "candle"),
    ] {
        let mut stream = cluster.open(path).await.expect(name);
        all.push((name, stream.next(kind).await));
    }
    let mut listener =
        Listener::open(cluster.http, "user_id=bob&channels=price:BTC-USD,candle:BTC-USD@1m").await;
    all.push(("events' welcome", listener.next("welcome").await.data["price"].clone()));
    all.push(("events", listener.next("price").await.data));
    all.push(("events' candle", listener.next("candle").await.data));
    let mut poller = Poller::new(cluster.http, "user_id=carol&channels=price:BTC-USD");
    all.push(("poll's welcome", poller.poll().await[0]["price"].clone()));
    let polled = poller.until("price").await;
    all.push(("poll", polled.into_iter().find(|message| message["type"] == "price").unwrap()));
    all.push((
        "price --json",
        cluster.run(&["--config", "btc-cluster.toml", "price", "--json"]).await.json(),
    ));
    all.push(("ctl status", cluster.ctl(&["status"]).await.json()["price"].clone()));
    all
}

#[tokio::test]
async fn what_is_made_up_says_so_wherever_it_stands() {
    let cluster = cluster().workers(2).start().await;
    for (place, message) in told(&cluster).await {
        assert_eq!(message["mock"], json!(true), "{place}: {message}");
    }
    let words = cluster.run(&["--config", "btc-cluster.toml", "price"]).await;
    assert!(words.out.ends_with(", MADE UP\n"), "{words:?}");
}

#[tokio::test]
async fn what_is_real_does_not() {
    let cluster = cluster().workers(2).config(REAL).start().await;
    for (place, message) in told(&cluster).await {
        assert_eq!(message["mock"], Value::Null, "{place}: {message}");
    }
}

#[tokio::test]
async fn a_candle_in_which_another_pair_stood_in_says_so() {
    let first = r#"while :; do test -e {dir}/usdt && echo '{"pair":"BTC-USDT","price":"64000.10"}'; sleep 0.05; done"#;
    let second = r#"while :; do echo '{"pair":"BTC-USD","price":"64010.10"}'; sleep 0.05; done"#;
    let source = |name: &str, script: &str| {
        format!(
            "[provider.{name}]\nkind = \"command\"\nno_tick = \"1h\"\nprogram = [\"/bin/sh\", \"-c\", '''{script}''']\n"
        )
    };
    let config = format!(
        "[price]\nproviders = [\"first\", \"second\"]\nfresh_for = \"1s\"\n{}{}\
         [provider.first.symbol_map]\nBTC-USD = \"BTC-USDT\"\n",
        source("first", first),
        source("second", second)
    );
    let cluster = cluster().workers(1).config(&config).file("usdt", "").start().await;
    let candles = async |interval: &str| -> Vec<Value> {
        let history = cluster.get(&format!("/api/v1/history?interval={interval}")).await.json();
        history["candles"].as_array().cloned().unwrap_or_default()
    };
    eventually("a second of BTC-USDT", async || {
        let all = candles("1s").await;
        if all.iter().any(|one| one["pair"] == "BTC-USDT") {
            Ok(())
        } else {
            Err(format!("{:?}", all.last()))
        }
    })
    .await;
    std::fs::remove_file(cluster.folder().join("usdt")).unwrap();
    eventually("an hour of both", async || {
        let all = candles("1h").await;
        let both = json!(["BTC-USD", "BTC-USDT"]);
        let mixed = all.iter().any(|one| one["pair"] == "BTC-USD" && one["pairs"] == both);
        if mixed { Ok(()) } else { Err(format!("{:?}", all.last())) }
    })
    .await;
    // In the second of the change there are both, also when the second source was the first to be there.
    eventually("a second of BTC-USD alone", async || {
        let all = candles("1s").await;
        let alone = all.last().is_some_and(|one| one["pair"] == "BTC-USD" && one["pairs"].is_null());
        if alone { Ok(()) } else { Err(format!("{:?}", all.last())) }
    })
    .await;
}
