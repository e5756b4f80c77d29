//! `btc-cluster price` and `btc-cluster probe`: what an operator asks before anything else.

use crate::harness::cluster;
use crate::standin::exchange::Exchange;
use crate::standin::{Act, Standin};
use serde_json::Value;

#[tokio::test]
async fn the_price_is_the_running_daemon_s() {
    let cluster = cluster().start().await;
    let said = cluster.run(&["--config", "btc-cluster.toml", "price"]).await;
    let text = said.out.trim();
    assert!(text.starts_with("BTC-USD 64000.00 from mock, ") && text.ends_with(", MADE UP"), "{text}");
    let said = cluster.run(&["--config", "btc-cluster.toml", "price", "--json"]).await;
    let quote: Value = serde_json::from_str(&said.out).unwrap();
    assert!(quote["seq"].as_u64().unwrap() > 1, "the daemon's own number: {quote}");
    let said = cluster.run(&["--config", "btc-cluster.toml", "price", "--symbol", "DOGE-USD"]).await;
    assert_eq!((said.code, said.err.trim()), (Some(1), "price.symbols does not have this symbol"));
}

/// A configuration without a daemon.
fn alone(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[control]\nsocket = \"{}/none.sock\"\n{text}", folder.path().display());
    std::fs::write(folder.path().join("x.toml"), text).unwrap();
    folder
}

async fn run(folder: &tempfile::TempDir, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_btc-cluster"));
    command.args(["--env", "test", "--config", "x.toml"]).args(words).current_dir(folder.path());
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn without_a_daemon_the_sources_are_asked() {
    let exchange = Exchange::start("BTCUSDT", "61234.50").await.unwrap();
    let server = &exchange.server;
    let folder = alone(&format!(
        "[price]\nproviders = [\"binance\"]\n[provider.binance]\nrest_url = \"{}\"\nstream_url = \"{}\"\n",
        server.http(),
        server.ws()
    ));
    let (code, text, note) = run(&folder, &["price"]).await;
    assert!(text.starts_with("BTC-USD 61234.50 from binance (BTC-USDT), "), "{text}");
    assert!(code == Some(0) && note.contains("none.sock") && note.contains("asking the sources"), "{note}");
    exchange.stream_does(Some(Act::Hang));
    exchange.rest_does(Some(Act::answer(451, r#"{"code":0,"msg":"restricted"}"#)));
    let (code, text, note) = run(&folder, &["price", "--timeout", "1"]).await;
    assert_eq!((code, text.as_str()), (Some(1), ""), "{note}");
    assert!(note.contains("no price"), "{note}");
}

#[tokio::test]
async fn the_probe_says_what_is_in_the_way() {
    let exchange = Exchange::start("BTCUSDT", "61234.50").await.unwrap();
    exchange.rest_does(Some(Act::answer(451, r#"{"code":0,"msg":"restricted"}"#)));
    let folder = alone(&format!(
        r#"
[price]
providers = ["binance", "gone", "nobody", "key", "mock"]
[provider.binance]
rest_url = "{http}"
stream_url = "{ws}"
[provider.gone]
kind = "binance"
rest_url = "http://127.0.0.1:1"
stream_url = "ws://127.0.0.1:1"
[provider.nobody]
kind = "binance"
rest_url = "http://no-such-host.invalid"
stream_url = "ws://no-such-host.invalid"
[provider.key]
kind = "coindesk"
"#,
        http = exchange.server.http(),
        ws = exchange.server.ws()
    ));
    let (code, text, _) = run(&folder, &["probe", "--json", "--timeout", "20"]).await;
    let found: Vec<Value> = serde_json::from_str(&text).unwrap();
    let outcome = |source: &str, leg: &str, step: &str| {
        let row = found.iter().find(|row| row["source"] == source && row["leg"] == leg);
        let step = &row.unwrap_or_else(|| panic!("no {source} {leg} in {text}"))[step];
        let word = if step["outcome"] == "ok" { "what" } else { "why" };
        format!("{} {}", step["outcome"].as_str().unwrap(), step[word].as_str().unwrap_or_default())
    };
    assert!(outcome("binance", "stream", "tcp").starts_with("ok 127.0.0.1"));
    assert!(outcome("binance", "stream", "price").starts_with("ok BTC-USDT 61234.50"), "{text}");
    assert_eq!(outcome("binance", "rest", "http"), "ok 451 Unavailable For Legal Reasons");
    assert!(outcome("binance", "rest", "price").starts_with("failed HTTP 451: "), "{text}");
    assert!(outcome("gone", "stream", "tcp").contains("refused"), "{text}");
    assert_eq!(outcome("gone", "rest", "price"), "skipped ");
    assert!(outcome("nobody", "rest", "dns").starts_with("failed "), "{text}");
    assert_eq!(outcome("key", "", "price"), "failed off: no API key");
    assert!(outcome("mock", "mock", "price").starts_with("ok BTC-USD "), "{text}");
    assert_eq!(code, Some(1), "not every source gives a price");
    let (code, text, _) = run(&folder, &["probe", "--provider", "mock"]).await;
    assert_eq!((code, text.lines().next()), (Some(0), Some("mock mock")), "{text}");
    let (code, _, faults) = run(&folder, &["probe", "--provider", "binanse"]).await;
    assert!(code == Some(78) && faults.contains("did you mean \"binance\"?"), "{faults}");
}

#[tokio::test]
async fn the_probe_reads_the_other_clock() {
    let dated = Standin::start(|_| Act::Answer {
        status: 200,
        headers: vec![("date", "Wed, 21 Oct 2015 07:28:00 GMT".to_owned())],
        body: b"{}".to_vec(),
    });
    let dated = dated.await.unwrap();
    let folder = alone(&format!(
        "[price]\nproviders = [\"key\"]\n[provider.key]\nkind = \"coindesk\"\napi_key_file = \"key\"\nrest_url = \"{}\"\n",
        dated.http()
    ));
    std::fs::write(folder.path().join("key"), "the-key\n").unwrap();
    let (code, text, _) = run(&folder, &["probe", "--json", "--timeout", "1"]).await;
    let found: Vec<Value> = serde_json::from_str(&text).unwrap();
    let years = found[0]["clock_ms"].as_i64().unwrap() / 1000 / 86_400 / 365;
    assert!(years <= -11, "{text}");
    assert!(code == Some(1) && !text.contains("the-key"), "{text}");
}
