//! The verdict on every payload of `../shared/feeds`, recorded or documented, if that folder exists beside the project:
//! the table of `docs/verdicts.md`. It is expected here and shown there; a payload without a verdict is an error.

use super::battery::{Heard, listen_until};
use super::verdicts::{Verdict, of_rest, of_stream, wanted};
use crate::model::Symbol;
use crate::providers::exchanges::binance;
use crate::providers::fault;
use crate::providers::plugins::replay::Replay;
use crate::providers::wire::push::Push;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes the table anew, after a look at the changes.
const COMMAND: &str = "BTC_CLUSTER_BLESS=1 cargo test --lib providers::tests::recordings -- --nocapture";

/// The folder; `None` (and a loud message) if it is missing.
fn recordings() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os("BTC_CLUSTER_SHARED").map_or_else(beside, PathBuf::from).join("feeds");
    if !folder.is_dir() {
        // Writes past the test runner, which captures the macros' output.
        let word = format!(
            "SKIPPED: no recordings at {}; BTC_CLUSTER_SHARED may name ../shared\n",
            folder.display()
        );
        std::io::stderr().write_all(word.as_bytes()).unwrap();
        return None;
    }
    Some(folder)
}

/// A line of the `MANIFEST.json`.
#[derive(Deserialize)]
struct Payload {
    file: String,
    /// `recorded`, `documented`, ...
    kind: String,
    /// The status of an answer; empty for messages of a stream.
    http: String,
}

fn payloads(folder: &Path) -> BTreeMap<String, Payload> {
    let manifest: Vec<Payload> =
        serde_json::from_slice(&std::fs::read(folder.join("MANIFEST.json")).unwrap()).unwrap();
    manifest.into_iter().map(|payload| (payload.file.clone(), payload)).collect()
}

/// All files in the folder but the manifest.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let inner = std::fs::read_dir(entry.path()).unwrap().map(Result::unwrap);
            files.extend(inner.map(|file| format!("{name}/{}", file.file_name().into_string().unwrap())));
        } else if name != "MANIFEST.json" {
            files.insert(name);
        }
    }
    files
}

/// Provider, payload, verdict. `http_json` can read any answer; its pointer follows its name.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str, &str)] = &[
    ("binance", "binance/err_400_bad_symbol.json", "skip"),
    ("binance", "binance/err_403_waf.html", "refused"),
    ("binance", "binance/err_418_banned.json", "wait 120"),
    ("binance", "binance/err_429_weight.json", "wait 10"),
    ("binance", "binance/err_451_geo.json", "barred"),
    ("binance", "binance/err_503_busy.json", "retry"),
    ("binance", "binance/err_504_timeout.json", "retry"),
    ("binance", "binance/rest_24hr_full.json", "tick 4.00000200"),
    ("binance", "binance/rest_24hr_mini.json", "tick 4.00000200"),
    ("binance", "binance/rest_agg_trades.json", "skip"),
    ("binance", "binance/rest_avg_price.json", "skip"),
    ("binance", "binance/rest_book_ticker.json", "skip"),
    ("binance", "binance/rest_book_ticker_far_ask.json", "skip"),
    ("binance", "binance/rest_klines.json", "skip"),
    ("binance", "binance/rest_ticker_price.json", "skip"),
    ("binance", "binance/ws_agg_trade.json", "nothing"),
    ("binance", "binance/ws_avg_price.json", "nothing"),
    ("binance", "binance/ws_block_trade.json", "nothing"),
    ("binance", "binance/ws_combined_book_ticker_recorded.json", "nothing"),
    ("binance", "binance/ws_combined_trade_2019_recorded.json", "tick 0.00426990"),
    ("binance", "binance/ws_combined_trade_recorded.json", "tick 61685.99000000"),
    ("binance", "binance/ws_error_invalid_json.json", "skip"),
    ("binance", "binance/ws_error_unknown_method.json", "skip"),
    ("binance", "binance/ws_kline_1m.json", "nothing"),
    ("binance", "binance/ws_mini_ticker.json", "nothing"),
    ("binance", "binance/ws_raw_trade_recorded.json", "tick 61685.99000000"),
    ("binance", "binance/ws_reference_price.json", "nothing"),
    ("binance", "binance/ws_reference_price_null.json", "nothing"),
    ("binance", "binance/ws_server_shutdown_combined.json", "reconnect"),
    ("binance", "binance/ws_server_shutdown_raw.json", "reconnect"),
    ("binance", "binance/ws_subscribe_ack.json", "nothing"),
    ("binance", "binance/ws_subscribe_request.json", "nothing"),
    ("binance", "binance/ws_ticker_24h.json", "nothing"),
    ("binance", "binance/ws_trade_doc.json", "tick 0.001"),
    ("binance", "binance/ws_trade_microseconds.json", "tick 61685.99000000"),
    ("bitstamp", "bitstamp/err_400_rate_limit.json", "wait 60"),
    ("bitstamp", "bitstamp/rest_ticker_2018_recorded.json", "tick 7675.00"),
    ("bitstamp", "bitstamp/rest_ticker_now.json", "tick 2211.00"),
    ("bitstamp", "bitstamp/ws_error.json", "refused"),
    ("bitstamp", "bitstamp/ws_heartbeat_request.json", "nothing"),
    ("bitstamp", "bitstamp/ws_request_reconnect.json", "reconnect"),
    ("bitstamp", "bitstamp/ws_subscribe_request.json", "nothing"),
    ("bitstamp", "bitstamp/ws_subscription_succeeded_recorded.json", "nothing"),
    ("bitstamp", "bitstamp/ws_trade_2019_recorded.json", "tick 3651.30"),
    ("bitstamp", "bitstamp/ws_trade_2024.json", "tick 2253.7"),
    ("coinbase", "coinbase/advanced_rest_trades.json", "skip"),
    ("coinbase", "coinbase/advanced_ws_ticker.json", "skip"),
    ("coinbase", "coinbase/err_404.json", "unknown"),
    ("coinbase", "coinbase/err_429.json", "wait 10"),
    ("coinbase", "coinbase/rest_product_ticker.json", "tick 246.28000000"),
    ("coinbase", "coinbase/rest_v2_spot.json", "skip"),
    ("coinbase", "coinbase/ws_error.json", "refused"),
    ("coinbase", "coinbase/ws_heartbeat.json", "nothing"),
    ("coinbase", "coinbase/ws_l2update_zero_time_recorded.json", "nothing"),
    ("coinbase", "coinbase/ws_match_recorded.json", "nothing"),
    ("coinbase", "coinbase/ws_snapshot_malformed_decimal.json", "nothing"),
    ("coinbase", "coinbase/ws_status_online.json", "nothing"),
    ("coinbase", "coinbase/ws_subscribe_request.json", "nothing"),
    ("coinbase", "coinbase/ws_subscriptions_recorded.json", "nothing"),
    ("coinbase", "coinbase/ws_ticker_2019_recorded.json", "tick 4095.00000000"),
    ("coinbase", "coinbase/ws_ticker_2022_recorded.json", "tick 17165.16"),
    ("coindesk", "coindesk/bpi_currentprice_2013_rate_float_string.json", "skip"),
    ("coindesk", "coindesk/bpi_currentprice_2024.json", "skip"),
    ("coindesk", "coindesk/err_200_rate_limit_legacy.json", "wait 60"),
    ("coindesk", "coindesk/err_401_key_required.json", "refused"),
    ("coindesk", "coindesk/err_404_instrument.json", "unknown"),
    ("coindesk", "coindesk/rest_index_latest_tick_cadli.json", "tick 96353.9044445288"),
    ("coindesk", "coindesk/rest_index_latest_tick_groups_value.json", "tick 96353.9044445288"),
    ("coindesk", "coindesk/rest_spot_latest_tick_coinbase.json", "skip"),
    ("coindesk", "coindesk/ws_heartbeat.json", "skip"),
    ("coindesk", "coindesk/ws_invalid_api_key.json", "skip"),
    ("coindesk", "coindesk/ws_ratelimit_error.json", "skip"),
    ("coindesk", "coindesk/ws_session_welcome.json", "skip"),
    ("coindesk", "coindesk/ws_subscribe_request.json", "skip"),
    ("coindesk", "coindesk/ws_subscribe_request_old.json", "skip"),
    ("coindesk", "coindesk/ws_subscription_accepted.json", "skip"),
    ("coindesk", "coindesk/ws_subscription_complete.json", "skip"),
    ("coindesk", "coindesk/ws_tick_1101_btc.json", "skip"),
    ("coindesk", "coindesk/ws_tick_985.json", "skip"),
    ("kraken", "kraken/err_200_rate_limit.json", "wait 60"),
    ("kraken", "kraken/err_200_unknown_pair.json", "unknown"),
    ("kraken", "kraken/rest_server_time.json", "skip"),
    ("kraken", "kraken/rest_system_status.json", "skip"),
    ("kraken", "kraken/rest_ticker.json", "tick 105899.40000"),
    ("kraken", "kraken/rest_ticker_2014_xxbtzeur.json", "tick 560.87711"),
    ("kraken", "kraken/ws1_spread_zero.json", "skip"),
    ("kraken", "kraken/ws1_system_status_recorded.json", "nothing"),
    ("kraken", "kraken/ws1_ticker.json", "skip"),
    ("kraken", "kraken/ws1_trades.json", "skip"),
    ("kraken", "kraken/ws2_heartbeat.json", "nothing"),
    ("kraken", "kraken/ws2_pong.json", "nothing"),
    ("kraken", "kraken/ws2_status.json", "nothing"),
    ("kraken", "kraken/ws2_subscribe_ack.json", "nothing"),
    ("kraken", "kraken/ws2_subscribe_error.json", "unknown"),
    ("kraken", "kraken/ws2_subscribe_request.json", "nothing"),
    ("kraken", "kraken/ws2_ticker_snapshot.json", "tick 105899.40"),
    ("kraken", "kraken/ws2_ticker_zero.json", "skip"),
    ("kraken", "kraken/ws2_trade_update.json", "nothing"),
    ("http_json /data/amount", "coinbase/rest_v2_spot.json", "tick 19414.63"),
    ("http_json /bpi/USD/rate", "coindesk/bpi_currentprice_2024.json", "skip"),
    ("http_json /bpi/USD/rate_float", "coindesk/bpi_currentprice_2024.json", "tick 59524.4038"),
    ("http_json /bpi/CNY/rate_float", "coindesk/bpi_currentprice_2013_rate_float_string.json", "tick 775.0665"),
    ("http_json /price", "binance/err_429_weight.json", "wait 10"),
    ("http_json /price", "binance/rest_ticker_price.json", "tick 61685.99000000"),
    ("binance, each line", "series/binance-btcusdt-raw-burst-12s.ndjson", "1291 ticks"),
    ("replay", "series/binance-btcusdt-ticks-120s.ndjson", "4763 ticks"),
    ("replay", "series/kraken-xbtusdt-ticks-6h50.ndjson", "1000 ticks"),
    ("replay", "series/binance-btcusdt-1s-last.csv", "0 ticks, 646 lines skipped"),
    ("replay", "series/ftx-btc-perp-1m-2022-01-21.csv", "0 ticks, 1441 lines skipped"),
];

/// The requested symbols other than `BTC-USD`.
fn symbols(provider: &str, file: &str) -> &'static str {
    match (provider, file) {
        ("binance", _) => "BTC-USD=BTC-USDT BNB-BTC LTC-BTC ETH-BTC",
        (_, "bitstamp/ws_trade_2019_recorded.json" | "kraken/rest_ticker_2014_xxbtzeur.json") => "BTC-EUR",
        (_, "bitstamp/ws_trade_2024.json") => "ETH-USD",
        (_, "kraken/ws2_subscribe_error.json") => "BTC-USDX",
        (_, "kraken/ws2_ticker_zero.json") => "ANET-USD",
        (_, "coinbase/ws_snapshot_malformed_decimal.json") => "YFI-USD",
        _ => "BTC-USD",
    }
}

/// Names the way in which the payload arrived.
fn way(payload: &Payload) -> &str {
    match &*payload.http {
        "" if payload.file.starts_with("series/") => "file",
        "" => "stream",
        status => status,
    }
}

async fn judge(folder: &Path, provider: &str, payload: &Payload) -> Verdict {
    let (path, symbols) = (folder.join(&payload.file), symbols(provider, &payload.file));
    match provider {
        "replay" => replayed(path).await,
        "binance, each line" => burst(&path),
        // Messages of a stream that is not used: never a price where an answer was expected.
        "coindesk" => of_rest(provider, symbols, payload.http.parse().unwrap_or(200), &read(&path)),
        _ if payload.http.is_empty() => of_stream(provider, symbols, &read(&path)),
        _ => of_rest(provider, symbols, payload.http.parse().unwrap(), &read(&path)),
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Lines of a time of reception and a raw message.
fn burst(path: &Path) -> Verdict {
    let text = String::from_utf8(read(path)).unwrap();
    let mut dialect = binance::Stream::new("wss://stream.example", &wanted("BTC-USD=BTC-USDT"));
    let mut heard = Heard::default();
    for line in text.lines() {
        let (_, message) = line.split_once(' ').unwrap();
        dialect.read(message.as_bytes(), &mut heard).unwrap();
    }
    assert_eq!(heard.ticks.len(), text.lines().filter(|line| line.contains("\"e\":\"trade\"")).count());
    assert!(heard.ticks.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let bids = heard.ticks.iter().filter(|tick| tick.bid.is_some()).count();
    Verdict { word: format!("{} ticks", heard.ticks.len()), more: format!("{bids} of them with best prices") }
}

/// Lines with one tick each.
async fn replayed(path: PathBuf) -> Verdict {
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    let symbol = Symbol::new("BTC-USD").unwrap();
    let mut replay = Replay::new(path, 0.0, false, std::slice::from_ref(&symbol), symbol.clone());
    let heard = listen_until(&mut replay, |heard| heard.ticks.len() + heard.bad.len() == lines).await;
    assert_eq!(heard.fault, None);
    let stamped = heard.ticks.iter().all(|tick| tick.time.is_some() && tick.seq.is_some());
    assert!(stamped);
    let word = if heard.bad.is_empty() {
        format!("{} ticks", heard.ticks.len())
    } else {
        format!("{} ticks, {} lines skipped", heard.ticks.len(), heard.bad.len())
    };
    Verdict { word, more: heard.bad.first().cloned().unwrap_or_default() }
}

#[tokio::test]
async fn every_payload_has_its_verdict() {
    let Some(folder) = recordings() else { return };
    let (payloads, mut table, mut wrong) = (payloads(&folder), String::new(), String::new());
    let judged: BTreeSet<_> = EXPECTED.iter().map(|(_, file, _)| (*file).to_owned()).collect();
    assert_eq!(judged, payloads.keys().cloned().collect(), "every payload of the manifest has a verdict");
    assert_eq!(judged, files(&folder), "every file is in the manifest");
    for (provider, file, expected) in EXPECTED {
        let payload = &payloads[*file];
        let Verdict { word, more } = judge(&folder, provider, payload).await;
        if word != *expected {
            writeln!(wrong, "{provider} {file}: {word} ({more}), not {expected}").unwrap();
        }
        let cell =
            |text: &str| text.chars().take(110).collect::<String>().replace('|', "\\|").replace('<', "&lt;");
        let (status, more) = (way(payload), cell(&more));
        writeln!(table, "| {provider} | {file} | {} | {status} | {word} | {more} |", payload.kind).unwrap();
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    print!("{table}");
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verdicts.md");
    let page = format!("{}{table}", head());
    if std::env::var_os("BTC_CLUSTER_BLESS").is_some() {
        std::fs::write(&shown, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&shown).unwrap_or_default() == page,
        "docs/verdicts.md is not up to date: {COMMAND}"
    );
}

/// The page before its table.
fn head() -> String {
    let row = |verdict, words: &[&str]| format!("| `{verdict}` | {} |", words.join(", "));
    let rows = [
        ("BARRED", row("barred", &fault::BARRED)),
        ("UNKNOWN", row("unknown", &fault::UNKNOWN)),
        ("PASSING", row("retry", &fault::PASSING)),
    ];
    rows.iter().fold(HEAD.replace("COMMAND", COMMAND), |page, (mark, row)| page.replace(mark, row))
}

const HEAD: &str = "\
# Verdicts

What the sources make of every payload that we know of, recorded, documented or constructed. Generated, so do not edit:

    COMMAND

(`BTC_CLUSTER_SHARED` says where the payloads are.) `tick` is a price, with its pair, what was
shown of bid and ask, stamp and number; `nothing` is read and is no price; `skip` is counted and the session goes on;
`reconnect` is at once; `retry` is after 0.25 s, later and later up to 30 s; `wait` is so many seconds, `price.wait_max`
at most; `refused` is after `price.refused_min`, later and later up to `price.refused_max` (after 1 s, if there was a
price in the last five minutes); `unknown` (no such symbol) is the same if there was such a price, else it is
`price.refused_max` at once; `barred` (not for this country) is `price.refused_max` at once. `btc-cluster ctl retry` and a
reload try now, the latter unless it is a `wait`.

A refusal (4xx, or an error in words) is sorted by its text, in this order:

| verdict | if the text has one of |
|---|---|
BARRED
UNKNOWN
PASSING
| `refused` | anything else: a missing key, a firewall |

| provider | payload | kind | from | verdict | why |
|---|---|---|---|---|---|
";
