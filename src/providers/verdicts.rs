//! Every message that we know of gets the right verdict: those of `tests/fixtures`, written from the exchanges'
//! documents, and where they are, the recorded ones beside the project.

use super::battery::{Heard, listen_until};
use super::binance::{Rest, Stream};
use super::coindesk::Coindesk;
use super::fault::Reply;
use super::poll::Poll;
use super::push::Push;
use super::replay::Replay;
use super::{Fault, Sink};
use crate::config::Secret;
use crate::model::Symbol;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn pairs() -> Vec<(Symbol, Symbol)> {
    [("BTC-USD", "BTC-USDT"), ("BNB-BTC", "BNB-BTC"), ("LTC-BTC", "LTC-BTC"), ("ETH-BTC", "ETH-BTC")]
        .map(|(symbol, pair)| (Symbol::new(symbol).unwrap(), Symbol::new(pair).unwrap()))
        .into()
}

/// `tick PRICE`, `nothing`, or the fault's name.
fn verdict(read: impl FnOnce(&mut dyn Sink) -> Result<(), Fault>) -> String {
    let mut heard = Heard::default();
    match read(&mut heard) {
        Ok(()) => heard.ticks.first().map_or("nothing".to_owned(), |tick| format!("tick {}", tick.price)),
        Err(Fault::Skip(_)) => "skip".to_owned(),
        Err(Fault::Reconnect(_)) => "reconnect".to_owned(),
        Err(Fault::Retry(_)) => "retry".to_owned(),
        Err(Fault::Wait(time, _)) => format!("wait {}", time.as_secs()),
        Err(Fault::Refused(_)) => "refused".to_owned(),
    }
}

fn binance_stream(message: &[u8]) -> String {
    let mut dialect = Stream::new("wss://stream.example", &pairs());
    verdict(|out| dialect.read(message, out))
}

fn binance_rest(status: u16, body: &[u8]) -> String {
    let mut dialect = Rest::new("https://rest.example", &pairs(), Duration::from_secs(5));
    verdict(|out| dialect.read(&Reply { status, retry_after: None, body }, out))
}

fn coindesk(status: u16, body: &[u8]) -> String {
    let symbols = [Symbol::new("BTC-USD").unwrap()];
    let key = Secret::new("k".to_owned());
    let mut dialect =
        Coindesk::new("https://c.example", "cadli", key, &symbols, Duration::from_secs(60)).unwrap();
    verdict(|out| dialect.read(&Reply { status, retry_after: None, body }, out))
}

/// Files of a folder with their texts, sorted.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Compares the verdict on each file with the expected one; a file without one is an error, too.
fn compare(folder: &Path, expected: &[(&str, &str)], judge: impl Fn(&str, &[u8]) -> String) {
    let files = files(folder);
    for (name, text) in &files {
        let wanted = expected.iter().find(|(file, _)| file == name);
        let (_, wanted) = wanted.unwrap_or_else(|| panic!("{name}: no verdict is expected of it"));
        assert_eq!(judge(name, text), *wanted, "{name}");
    }
    assert_eq!(files.len(), expected.len());
}

/// The status in a name like `rest_429.json`, `err_429_weight.json`.
fn status(name: &str) -> u16 {
    name.split(['_', '.']).find_map(|part| part.parse().ok().filter(|status| *status >= 200)).unwrap_or(200)
}

fn binance(name: &str, text: &[u8]) -> String {
    if name.starts_with("ws_") { binance_stream(text) } else { binance_rest(status(name), text) }
}

#[test]
fn binance_s_shapes() {
    let expected = [
        ("rest_200_array.json", "tick 91685.99000000"),
        ("rest_200_error_inside.json", "skip"),
        ("rest_200_mini.json", "tick 91685.99000000"),
        ("rest_400.json", "refused"),
        ("rest_403.html", "refused"),
        ("rest_418.json", "wait 120"),
        ("rest_429.json", "wait 10"),
        ("rest_451.json", "refused"),
        ("rest_503.json", "retry"),
        ("ws_ack.json", "nothing"),
        ("ws_block_trade.json", "nothing"),
        ("ws_book_ticker.json", "nothing"),
        ("ws_error.json", "skip"),
        ("ws_shutdown_combined.json", "reconnect"),
        ("ws_shutdown_raw.json", "reconnect"),
        ("ws_trade_combined.json", "tick 91685.99000000"),
        ("ws_trade_nan.json", "skip"),
        ("ws_trade_of_another.json", "skip"),
        ("ws_trade_old_order_ids.json", "tick 4105.10000000"),
        ("ws_trade_raw.json", "tick 91686.00000000"),
        ("ws_trade_without_price.json", "skip"),
        ("ws_unknown_event.json", "nothing"),
    ];
    compare(&fixtures("binance"), &expected, binance);
}

#[test]
fn coindesk_s_shapes() {
    let expected = [
        ("rest_200_another.json", "skip"),
        ("rest_200_empty.json", "skip"),
        ("rest_200_exponent.json", "skip"),
        ("rest_200_index.json", "tick 96353.9044445280"),
        ("rest_200_key.json", "refused"),
        ("rest_200_limit.json", "wait 60"),
        ("rest_200_without_seq.json", "tick 96353.90"),
        ("rest_200_without_value.json", "skip"),
        ("rest_401.json", "refused"),
        ("rest_404.json", "refused"),
        ("rest_500.json", "retry"),
    ];
    compare(&fixtures("coindesk"), &expected, |name, text| coindesk(status(name), text));
}

#[test]
fn a_binance_trade_carries_stamp_number_and_best_prices() {
    let mut dialect = Stream::new("wss://stream.example/", &pairs());
    let mut heard = Heard::default();
    for file in ["ws_book_ticker.json", "ws_trade_combined.json"] {
        dialect.read(&std::fs::read(fixtures("binance").join(file)).unwrap(), &mut heard).unwrap();
    }
    let tick = &heard.ticks[0];
    assert_eq!(
        (tick.symbol.as_str(), tick.pair.as_str(), tick.seq),
        ("BTC-USD", "BTC-USDT", Some(5_000_000_015))
    );
    assert_eq!(tick.time.unwrap().to_string(), "2026-11-20T08:14:23.270Z");
    let best = [tick.bid, tick.ask].map(|price| price.unwrap().to_string());
    assert_eq!(best, ["91685.99000000", "91686.00000000"]);
}

#[test]
fn a_coindesk_value_carries_its_stamp_in_two_parts() {
    let symbols = [Symbol::new("BTC-USD").unwrap()];
    let key = Secret::new("k".to_owned());
    let mut dialect =
        Coindesk::new("https://c.example/", "cadli", key, &symbols, Duration::from_secs(60)).unwrap();
    let mut heard = Heard::default();
    let body = std::fs::read(fixtures("coindesk").join("rest_200_index.json")).unwrap();
    dialect.read(&Reply { status: 200, retry_after: None, body: &body }, &mut heard).unwrap();
    assert_eq!(heard.ticks[0].time.unwrap().to_string(), "2026-11-20T08:14:23.843Z");
    assert_eq!(heard.ticks[0].seq, Some(712_401_808));
}

#[test]
fn several_symbols_are_asked_for_at_once() {
    assert_eq!(
        Rest::new("https://rest.example", &pairs()[..2], Duration::ZERO).url(),
        "https://rest.example/api/v3/ticker/24hr?symbols=%5B%22BTCUSDT%22,%22BNBBTC%22%5D&type=MINI"
    );
    assert_eq!(
        Stream::new("wss://stream.example", &pairs()[..2]).url(),
        "wss://stream.example/stream?streams=btcusdt@trade/btcusdt@bookTicker/bnbbtc@trade/bnbbtc@bookTicker"
    );
}

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

/// The recordings beside the project, `None` (and a loud word) where they are not.
fn recordings() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("BTC_CLUSTER_SHARED").map_or_else(beside, PathBuf::from).join("feeds");
    if !folder.is_dir() {
        // Past the test runner, which swallows what the macros print.
        let word = format!(
            "SKIPPED: no recordings at {}; BTC_CLUSTER_SHARED may name ../shared\n",
            folder.display()
        );
        std::io::stderr().write_all(word.as_bytes()).unwrap();
        return None;
    }
    Some(folder)
}

#[test]
fn binance_s_recordings() {
    let Some(folder) = recordings() else { return };
    let expected = [
        ("err_400_bad_symbol.json", "refused"),
        ("err_403_waf.html", "refused"),
        ("err_418_banned.json", "wait 120"),
        ("err_429_weight.json", "wait 10"),
        ("err_451_geo.json", "refused"),
        ("err_503_busy.json", "retry"),
        ("err_504_timeout.json", "retry"),
        ("rest_24hr_full.json", "tick 4.00000200"),
        ("rest_24hr_mini.json", "tick 4.00000200"),
        ("rest_agg_trades.json", "skip"),
        ("rest_avg_price.json", "skip"),
        ("rest_book_ticker.json", "skip"),
        ("rest_book_ticker_far_ask.json", "skip"),
        ("rest_klines.json", "skip"),
        ("rest_ticker_price.json", "skip"),
        ("ws_agg_trade.json", "nothing"),
        ("ws_avg_price.json", "nothing"),
        ("ws_block_trade.json", "nothing"),
        ("ws_combined_book_ticker_recorded.json", "nothing"),
        ("ws_combined_trade_2019_recorded.json", "tick 0.00426990"),
        ("ws_combined_trade_recorded.json", "tick 61685.99000000"),
        ("ws_error_invalid_json.json", "skip"),
        ("ws_error_unknown_method.json", "skip"),
        ("ws_kline_1m.json", "nothing"),
        ("ws_mini_ticker.json", "nothing"),
        ("ws_raw_trade_recorded.json", "tick 61685.99000000"),
        ("ws_reference_price.json", "nothing"),
        ("ws_reference_price_null.json", "nothing"),
        ("ws_server_shutdown_combined.json", "reconnect"),
        ("ws_server_shutdown_raw.json", "reconnect"),
        ("ws_subscribe_ack.json", "nothing"),
        ("ws_subscribe_request.json", "nothing"),
        ("ws_ticker_24h.json", "nothing"),
        ("ws_trade_doc.json", "tick 0.001"),
        ("ws_trade_microseconds.json", "tick 61685.99000000"),
    ];
    let judge = |name: &str, text: &[u8]| {
        // `rest_24hr_...`: the number there is no status.
        if name.starts_with("rest_") { binance_rest(200, text) } else { binance(name, text) }
    };
    compare(&folder.join("binance"), &expected, judge);
}

#[test]
fn coindesk_s_recordings() {
    let Some(folder) = recordings() else { return };
    let expected = [
        ("bpi_currentprice_2013_rate_float_string.json", "skip"),
        ("bpi_currentprice_2024.json", "skip"),
        ("err_200_rate_limit_legacy.json", "wait 60"),
        ("err_401_key_required.json", "refused"),
        ("err_404_instrument.json", "refused"),
        ("rest_index_latest_tick_cadli.json", "tick 96353.9044445288"),
        ("rest_index_latest_tick_groups_value.json", "tick 96353.9044445288"),
        ("rest_spot_latest_tick_coinbase.json", "skip"),
        // Messages of the stream, which is not listened to: never a price where an answer was expected.
        ("ws_heartbeat.json", "skip"),
        ("ws_invalid_api_key.json", "skip"),
        ("ws_ratelimit_error.json", "skip"),
        ("ws_session_welcome.json", "skip"),
        ("ws_subscribe_request.json", "skip"),
        ("ws_subscribe_request_old.json", "skip"),
        ("ws_subscription_accepted.json", "skip"),
        ("ws_subscription_complete.json", "skip"),
        ("ws_tick_1101_btc.json", "skip"),
        ("ws_tick_985.json", "skip"),
    ];
    let judge =
        |name: &str, text: &[u8]| coindesk(if name.starts_with("err_") { status(name) } else { 200 }, text);
    compare(&folder.join("coindesk"), &expected, judge);
}

#[test]
fn binance_s_burst() {
    let Some(folder) = recordings() else { return };
    let text = std::fs::read_to_string(folder.join("series/binance-btcusdt-raw-burst-12s.ndjson")).unwrap();
    let mut dialect = Stream::new("wss://stream.example", &pairs());
    let mut heard = Heard::default();
    for line in text.lines() {
        let (_, message) = line.split_once(' ').unwrap();
        dialect.read(message.as_bytes(), &mut heard).unwrap();
    }
    assert_eq!(heard.ticks.len(), text.lines().filter(|line| line.contains("\"e\":\"trade\"")).count());
    assert!(heard.ticks.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert!(heard.ticks.iter().filter(|tick| tick.bid.is_some()).count() > heard.ticks.len() / 2);
}

#[tokio::test]
async fn the_recorded_series_play() {
    let Some(folder) = recordings() else { return };
    for (file, count) in
        [("binance-btcusdt-ticks-120s.ndjson", 4763), ("kraken-xbtusdt-ticks-6h50.ndjson", 1000)]
    {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let path = folder.join("series").join(file);
        let mut replay = Replay::new(path, 0.0, false, std::slice::from_ref(&symbol), symbol.clone());
        let heard = listen_until(&mut replay, |heard| heard.ticks.len() == count).await;
        assert_eq!((heard.ticks.len(), heard.bad.len(), heard.fault), (count, 0, None), "{file}");
        assert!(heard.ticks.iter().all(|tick| tick.time.is_some() && tick.seq.is_some()));
    }
}
