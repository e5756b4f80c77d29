//! Where a price comes from: a median of several exchanges, liars and frozen ones among them, and what is told of it.

use crate::harness::{Cluster, Tab, cluster, eventually, keys};
use crate::standin::exchange::Exchange;
use crate::standin::{Act, Frame, Standin, binance_ticker, binance_trade};
use serde_json::{Value, json};

/// Short lives for prices, and time enough for a machine that is busy.
const LIVES: &str =
    "fresh_for = \"2s\"\nmax_age = \"4s\"\nforget_after = \"5s\"\npublish_interval = \"20ms\"\n";

/// An exchange that says nothing any more and takes every question.
fn freeze(exchange: &Exchange) {
    exchange.quiet(true);
    exchange.rest_does(Some(Act::Hang));
}

fn thaw(exchange: &Exchange) {
    exchange.rest_does(None);
    exchange.quiet(false);
}

/// `[price]` with these exchanges and what else it says, and their sections.
fn config(exchanges: &[(&str, &Exchange, &str)], price: &str) -> String {
    let names: Vec<_> = exchanges.iter().map(|(name, _, _)| format!("\"{name}\"")).collect();
    let sections: String = exchanges
        .iter()
        .map(|(name, exchange, map)| {
            let (rest, stream) = (exchange.server.http(), exchange.server.ws());
            format!(
                "[provider.{name}]\nkind = \"binance\"\nrest_url = \"{rest}\"\nstream_url = \"{stream}\"\nsymbol_map = {map}\n"
            )
        })
        .collect();
    format!("[price]\nproviders = [{}]\n{LIVES}{price}\n{sections}", names.join(", "))
}

async fn three() -> [Exchange; 3] {
    let start = async |price| Exchange::start("BTCUSD", price).await.unwrap();
    [start("64000.00").await, start("64001.00").await, start("90000.00").await]
}

fn median_of([a, b, c]: &[Exchange; 3]) -> String {
    config(&[("a", a, "{}"), ("b", b, "{}"), ("c", c, "{}")], "policy = \"median\"")
}

/// The newest price, once it shows this.
async fn price(cluster: &Cluster, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let price = cluster.get("/api/v1/price").await;
        let value = if price.status == 200 { price.json() } else { Value::Null };
        if shows(&value) { Ok(value) } else { Err(value.to_string()) }
    })
    .await
}

async fn until(tab: &mut Tab, what: &str, shows: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..2_000 {
        last = tab.next("price").await;
        if shows(&last) {
            return last;
        }
    }
    panic!("{what}: {last}");
}

/// Source and verdict of each.
fn verdicts(quote: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = quote["sources"].as_array().into_iter().flatten();
    all.map(|part| (text(&part["source"]), text(&part["verdict"]))).collect()
}

fn said(verdicts: [&str; 3]) -> Vec<(String, String)> {
    ["a", "b", "c"].into_iter().zip(verdicts).map(|(name, word)| (name.to_owned(), word.to_owned())).collect()
}

#[tokio::test]
async fn a_median_tells_of_its_sources_and_believes_no_liar() {
    let exchanges = three().await;
    let cluster = cluster().workers(2).config(&median_of(&exchanges)).start().await;
    let whole = said(["agrees", "agrees", "deviates"]);
    let quote = price(&cluster, "all three were heard", |quote| verdicts(quote) == whole).await;
    assert_eq!(
        (&quote["price"], &quote["source"], &quote["pair"]),
        (&json!("64000.50"), &json!("median"), &json!("BTC-USD"))
    );
    let mut tab = cluster.tab("alice").await;
    assert!(tab.welcome["price"]["price"].is_string() && tab.welcome["price"].get("sources").is_none());
    assert_eq!(cluster.quote("alice").await.status, 202);
    let answer = tab.quote().await;
    assert_eq!(verdicts(&answer), whole, "{answer}");
    let part = &answer["sources"][0];
    assert_eq!(keys(part), ["age_ms", "pair", "price", "source", "verdict"]);
    assert_eq!((&part["pair"], &part["price"]), (&json!("BTC-USD"), &json!("64000.00")));
    assert!(part["age_ms"].as_u64().unwrap() < 2_000, "{part}");
    assert_eq!(verdicts(&tab.ask(&json!({"type": "quote"}), "quote").await), whole);
    let tick = tab.next("price").await;
    assert_eq!((tick.get("sources"), &tick["source"]), (None, &json!("median")), "not in each tick");

    let table = eventually("the table tells of all", async || {
        let table = cluster.get("/api/v1/sources").await.json();
        let full =
            table["sources"].as_array().is_some_and(|rows| rows.iter().all(|row| row["verdict"].is_string()));
        if full { Ok(table) } else { Err(table.to_string()) }
    })
    .await;
    assert_eq!(
        (&table["policy"], &table["symbol"], &table["refused"]),
        (&json!("median"), &json!("BTC-USD"), &Value::Null)
    );
    let row = &table["sources"][2];
    assert_eq!(
        (&row["name"], &row["state"], &row["pair"], &row["price"], &row["verdict"], &row["serving"]),
        (
            &json!("c"),
            &json!("live"),
            &json!("BTC-USD"),
            &json!("90000.00"),
            &json!("deviates"),
            &json!(false)
        )
    );
    assert!(row["ticks"].as_u64() > Some(0) && row["age_ms"].as_u64() < Some(2_000), "{row}");
    assert!(
        row["reconnects"].is_u64() && row.get("error").is_some() && row.get("received").is_none(),
        "{row}"
    );
    assert!(!table.to_string().contains("127.0.0.1"), "no addresses: {table}");
    assert_eq!(cluster.ctl(&["sources"]).await.json().as_array().unwrap().len(), 3);
    let shown = cluster.ctl_plain(&["sources"]).await.out;
    for word in ["name", "verdict", "age_ms", "deviates", "agrees", "90000.00"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[tokio::test]
async fn without_a_majority_the_price_grows_old_and_is_gone_and_comes_back() {
    let exchanges = three().await;
    let cluster = cluster().workers(2).config(&median_of(&exchanges)).start().await;
    let [a, b, c] = &exchanges;
    let mut tab = cluster.tab_with("user_id=alice&channels=price:BTC-USD").await;
    until(&mut tab, "fresh", |tick| tick["price"] == "64000.50" && tick["stale"] == false).await;
    freeze(a);
    // What the one honest source and the liar say from now on is nobody's price.
    b.set_price("64100.00");
    let stale = until(&mut tab, "stale", |tick| {
        let price = tick["price"].as_str().unwrap();
        assert!(price.starts_with("640"), "neither has a majority alone: {tick}");
        tick["stale"] == true
    })
    .await;
    assert!(stale["age_ms"].as_u64() >= Some(2_000), "{stale}");
    let quote = price(&cluster, "the frozen one is named", |quote| verdicts(quote)[0].1 == "stale").await;
    assert_eq!(quote["stale"], true, "{quote}");
    let none = until(&mut tab, "none", |tick| tick["price"].is_null()).await;
    assert_eq!(none["symbol"], "BTC-USD");
    let ready = cluster.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["reasons"]), (503, &json!(["price-unavailable"])));
    let why = ready.json()["detail"].as_str().unwrap().to_owned();
    assert!(why.contains("1 of 2 sources with a fresh price agree, 2 must"), "{why}");
    assert_eq!(cluster.quote("alice").await.problem(), (503, "price-unavailable".into()));
    let table = cluster.get("/api/v1/sources").await.json();
    assert!(table["refused"].as_str().unwrap().contains("1 of 2"), "{table}");
    c.set_price("64100.50");
    let back = until(&mut tab, "fresh again", |tick| tick["stale"] == false).await;
    assert_eq!(back["price"], "64100.25", "{back}");
    thaw(a);
    a.set_price("64100.30");
    price(&cluster, "all three agree", |quote| verdicts(quote) == said(["agrees"; 3])).await;
    assert_eq!(cluster.get("/readyz").await.status, 200);
    let told = cluster.log().matches("price-refused").count();
    assert!(told <= 1, "the log says it once: {told}");
}

#[tokio::test]
async fn a_change_of_pair_is_told_to_whoever_watches() {
    let usdt = Exchange::start("BTCUSDT", "64000.00").await.unwrap();
    let usd = Exchange::start("BTCUSD", "64010.00").await.unwrap();
    let map = "{ \"BTC-USD\" = \"BTC-USDT\" }";
    let config = config(&[("tether", &usdt, map), ("dollar", &usd, "{}")], "");
    let cluster = cluster().workers(2).config(&config).start().await;
    price(&cluster, "the first is served", |quote| quote["pair"] == "BTC-USDT").await;
    let mut quick = cluster.tab_with("user_id=quick&channels=price:BTC-USD").await;
    let mut slow = cluster.tab_with("user_id=slow&channels=price:BTC-USD@1s").await;
    let mut both = cluster.tab_with("user_id=both&channels=price:BTC-USD,price:BTC-USD@1s").await;
    let mut deaf = cluster.quiet_tab("deaf").await;
    freeze(&usdt);
    let expected = json!({
        "type": "system", "event": "pair-changed", "symbol": "BTC-USD",
        "from": "BTC-USDT", "to": "BTC-USD", "source": "dollar"
    });
    for tab in [&mut quick, &mut slow, &mut both] {
        assert_eq!(tab.next("system").await, expected);
    }
    assert_eq!(quick.next("price").await["pair"], "BTC-USD", "the price itself comes after it");
    let more = both.until_pong().await;
    assert!(more.iter().all(|message| message["type"] != "system"), "once: {more:?}");
    assert_eq!(deaf.until_pong().await, Vec::<Value>::new());
    cluster.logged(&["price-source", "dollar"]).await;
}

#[tokio::test]
async fn the_lag_of_a_feed_is_part_of_the_age() {
    let exchange = Exchange::start("BTCUSD", "64000.00").await.unwrap();
    let cluster = cluster().workers(1).config(&config(&[("a", &exchange, "{}")], "")).start().await;
    price(&cluster, "fresh", |quote| quote["stale"] == false).await;
    freeze(&exchange);
    // A trade of three seconds ago comes now.
    let now = binance_trade("BTCUSD", "64001.00", 1 << 40);
    let stamp = now.split("\"E\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
    let late = stamp.parse::<u64>().unwrap() - 3_000;
    exchange.send(Frame::Text(now.replace(&stamp, &late.to_string())));
    let quote = price(&cluster, "the late one", |quote| quote["price"] == "64001.00").await;
    assert!(quote["age_ms"].as_u64() >= Some(2_500) && quote["stale"] == true, "{quote}");
}

#[tokio::test]
async fn the_policy_changes_without_a_new_connection() {
    let exchanges = three().await;
    let cluster = cluster().workers(1).config(&median_of(&exchanges)).start().await;
    price(&cluster, "a median", |quote| quote["source"] == "median" && verdicts(quote).len() == 3).await;
    let streams =
        || exchanges.each_ref().map(|e| e.server.requests().iter().filter(|r| r.wants_stream()).count());
    let before = streams();
    let failover = median_of(&exchanges).replace("median", "failover");
    cluster.reconfigure(&failover).await;
    let quote = price(&cluster, "the first one", |quote| quote["source"] == "a").await;
    assert_eq!((&quote["price"], quote.get("sources")), (&json!("64000.00"), None));
    cluster.reconfigure(&median_of(&exchanges)).await;
    price(&cluster, "a median again", |quote| quote["source"] == "median").await;
    assert_eq!(streams(), before);
}

#[tokio::test]
async fn a_source_that_is_asked_too_seldom_is_named_at_the_start() {
    let config = "[price]\nproviders = [\"mock\", \"coindesk\"]\nrefresh = \"5m\"\n\
                  [provider.coindesk]\nrest_url = \"http://127.0.0.1:9\"\napi_key_file = \"{dir}/key\"";
    let cluster =
        cluster().workers(1).config(config).file("key", "not-a-real-key").without_price().start().await;
    cluster.logged(&["is asked every 5m, its price is stale after 2m"]).await;
    assert!(!cluster.log().contains("not-a-real-key"));
}

/// An exchange whose trades are so many milliseconds old.
async fn late_exchange(price: &'static str, ms: u64) -> Standin {
    let (sender, _) = tokio::sync::broadcast::channel(64);
    let to = sender.clone();
    tokio::spawn(async move {
        for id in 1.. {
            let now = binance_trade("BTCUSD", price, id);
            let stamp =
                now.split("\"E\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap().to_owned();
            let late = (stamp.parse::<u64>().unwrap() - ms).to_string();
            let _ = to.send(Frame::Text(now.replace(&stamp, &late)));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let server = Standin::start(move |seen| {
        if seen.wants_stream() { Act::Follow(Vec::new(), sender.clone()) } else { Act::answer(503, "") }
    });
    server.await.unwrap()
}

/// `[price]` with a source that is late from its first word on, which is preferred, and others that are not.
fn late_and(late: &Standin, others: &[(&str, &Exchange, &str)], policy: &str) -> String {
    let (rest, stream) = (late.http(), late.ws());
    let all = config(others, policy).replacen("providers = [", "providers = [\"late\", ", 1);
    format!(
        "{all}[provider.late]\nkind = \"binance\"\nrest_url = \"{rest}\"\nstream_url = \"{stream}\"\nsymbol_map = {{}}\n"
    )
}

#[tokio::test]
async fn a_source_that_is_late_from_its_first_word_on_is_as_old_as_it_is() {
    let late = late_exchange("64002.00", 300_000).await;
    let [a, b] = [
        Exchange::start("BTCUSD", "64000.00").await.unwrap(),
        Exchange::start("BTCUSD", "64001.00").await.unwrap(),
    ];
    let others: [(&str, &Exchange, &str); 2] = [("a", &a, "{}"), ("b", &b, "{}")];
    let median = late_and(&late, &others, "policy = \"median\"");
    let cluster = cluster().workers(1).config(&median).start().await;
    let quote = price(&cluster, "the others agree", |quote| {
        let words: Vec<_> = verdicts(quote).into_iter().map(|(_, word)| word).collect();
        words == ["stale", "agrees", "agrees"]
    })
    .await;
    assert_eq!((&quote["price"], &quote["stale"]), (&json!("64000.50"), &json!(false)), "{quote}");
    let table = cluster.get("/api/v1/sources").await.json();
    let age = table["sources"][0]["age_ms"].as_u64().unwrap();
    assert!((298_000..310_000).contains(&age), "{table}");

    cluster.reconfigure(&late_and(&late, &others, "")).await;
    let quote = price(&cluster, "failover", |quote| quote["source"] == "a").await;
    assert_eq!(quote["stale"], false, "{quote}");
    freeze(&a);
    let quote = price(&cluster, "the next one that is on time", |quote| quote["source"] == "b").await;
    assert_eq!(quote["stale"], false, "{quote}");
}

#[tokio::test]
async fn rest_that_stands_behind_the_stream_never_takes_its_place() {
    let exchange = Exchange::start("BTCUSD", "64000.00").await.unwrap();
    exchange.rest_does(Some(Act::ok(binance_ticker("BTCUSD", "63500.00", 2))));
    let cluster = cluster().workers(1).config(&config(&[("a", &exchange, "{}")], "")).start().await;
    price(&cluster, "fresh", |quote| quote["stale"] == false).await;
    let mut tab = cluster.tab_with("user_id=alice&channels=price:BTC-USD").await;
    exchange.stream_does(Some(Act::answer(503, "")));
    exchange.send(Frame::Cut);
    exchange.quiet(true);
    let stale = until(&mut tab, "stale", |tick| {
        assert_ne!(tick["price"], "63500.00", "{tick}");
        tick["stale"] == true
    })
    .await;
    assert_eq!(stale["price"], "64000.00");
    let table = cluster.get("/api/v1/sources").await.json();
    assert_eq!(table["sources"][0]["price"], "64000.00", "{table}");
    exchange.stream_does(None);
    exchange.quiet(false);
    until(&mut tab, "back", |tick| tick["price"] == "64000.00" && tick["stale"] == false).await;
}
