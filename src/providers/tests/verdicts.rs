//! Every known message gets the right verdict: here those of `tests/fixtures`, written from the exchanges' documents;
//! in `recordings.rs` the recorded ones, if they exist beside the project.

use super::battery::{Heard, word};
use crate::config::Secret;
use crate::model::Symbol;
use crate::providers::exchanges::{binance, bitstamp, coinbase, coindesk, kraken};
use crate::providers::plugins::http_json::HttpJson;
use crate::providers::wire::poll::Poll;
use crate::providers::wire::push::Push;
use crate::providers::wire::reply::Reply;
use crate::providers::{Fault, Sink, Tick, believable};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Symbols with their pairs, `BTC-USD=BTC-USDT`, or `BTC-USD` if they are the same.
pub(super) fn wanted(symbols: &str) -> Vec<(Symbol, Symbol)> {
    let both = |text: &str| {
        let (symbol, pair) = text.split_once('=').unwrap_or((text, text));
        (Symbol::new(symbol).unwrap(), Symbol::new(pair).unwrap())
    };
    symbols.split(' ').map(both).collect()
}

/// Any stream's dialect.
trait StreamDialect {
    fn url(&self) -> String;
    fn hello(&self) -> Vec<String>;
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault>;
}

impl<D: Push> StreamDialect for D {
    fn url(&self) -> String {
        Push::url(self)
    }
    fn hello(&self) -> Vec<String> {
        Push::hello(self)
    }
    fn read(&mut self, message: &[u8], out: &mut dyn Sink) -> Result<(), Fault> {
        Push::read(self, message, out)
    }
}

/// The pairs in Binance's messages.
const BINANCE: &str = "BTC-USD=BTC-USDT BNB-BTC LTC-BTC ETH-BTC";

fn stream(provider: &str, symbols: &str) -> Box<dyn StreamDialect> {
    let (url, wanted) = ("wss://stream.example", wanted(symbols));
    match provider {
        "binance" => Box::new(binance::Stream::new(url, &wanted)),
        "bitstamp" => Box::new(bitstamp::Stream::new(url, &wanted)),
        "coinbase" => Box::new(coinbase::Stream::new(url, &wanted)),
        "kraken" => Box::new(kraken::Stream::new(url, &wanted)),
        _ => panic!("{provider} has no stream"),
    }
}

/// The pointer of `http_json` follows after a space.
fn rest(provider: &str, symbols: &str) -> Box<dyn Poll> {
    let (url, wanted, every) = ("https://rest.example", wanted(symbols), Duration::from_secs(5));
    match provider {
        "binance" => Box::new(binance::Rest::new(url, &wanted, every)),
        "bitstamp" => Box::new(bitstamp::rest(url, &wanted, every)),
        "coinbase" => Box::new(coinbase::rest(url, &wanted, every)),
        "coindesk" => {
            let symbols: Vec<_> = wanted.into_iter().map(|(symbol, _)| symbol).collect();
            let key = Secret::new("k".to_owned());
            Box::new(coindesk::Coindesk::new(url, "cadli", key, &symbols, every).unwrap())
        }
        "kraken" => Box::new(kraken::rest(url, &wanted, every)),
        _ => {
            let pointer = provider.strip_prefix("http_json ").unwrap();
            Box::new(HttpJson::each(url, pointer, "", &wanted, every))
        }
    }
}

/// `tick PRICE`, `nothing`, or the fault's name, with details.
#[derive(Debug)]
pub(super) struct Verdict {
    pub word: String,
    pub more: String,
}

fn verdict(read: impl FnOnce(&mut dyn Sink) -> Result<(), Fault>) -> Verdict {
    let mut heard = Heard::default();
    match (read(&mut heard), heard.ticks.into_iter().next()) {
        (_, Some(tick)) => Verdict { word: format!("tick {}", tick.price), more: details(tick) },
        (Ok(()), None) => Verdict { word: "nothing".to_owned(), more: String::new() },
        (Err(fault), None) => {
            let (Fault::Skip(why)
            | Fault::Reconnect(why)
            | Fault::Retry(why)
            | Fault::Wait(_, why)
            | Fault::Refused(why)
            | Fault::Barred(why)
            | Fault::Unknown(why)) = &fault;
            Verdict { word: word(&fault), more: why.clone() }
        }
    }
}

/// A tick as it counts, without impossible best prices.
fn details(tick: Tick) -> String {
    let tick = believable(tick);
    let mut all = vec![tick.pair.to_string()];
    all.extend(tick.bid.map(|bid| format!("bid {bid}")));
    all.extend(tick.ask.map(|ask| format!("ask {ask}")));
    all.extend(tick.time.map(|time| time.to_string()));
    all.extend(tick.seq.map(|seq| format!("no. {seq}")));
    all.join(", ")
}

/// Verdict of the stream of `provider` on a message when `symbols` are requested.
pub(super) fn of_stream(provider: &str, symbols: &str, message: &[u8]) -> Verdict {
    let mut dialect = stream(provider, symbols);
    verdict(|out| dialect.read(message, out))
}

/// Verdict of REST on an answer.
pub(super) fn of_rest(provider: &str, symbols: &str, status: u16, body: &[u8]) -> Verdict {
    let mut dialect = rest(provider, symbols);
    verdict(|out| dialect.read(&Reply { status, body, ..Reply::default() }, out))
}

/// The files of a folder with their texts, sorted.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The status in a name like `rest_429.json`.
fn status(name: &str) -> u16 {
    name.split(['_', '.']).find_map(|part| part.parse().ok()).unwrap()
}

fn fixtures(provider: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(provider)
}

/// Compares the verdict on each fixture with the expected one; a file without a verdict is an error, too.
fn compare(provider: &str, symbols: &str, expected: &[(&str, &str)]) {
    let files = files(&fixtures(provider));
    for (name, text) in &files {
        let wanted = expected.iter().find(|(file, _)| file == name);
        let (_, wanted) = wanted.unwrap_or_else(|| panic!("{name}: no verdict is expected of it"));
        let verdict = if name.starts_with("ws_") {
            of_stream(provider, symbols, text)
        } else {
            of_rest(provider, symbols, status(name), text)
        };
        assert_eq!(verdict.word, *wanted, "{name}: {}", verdict.more);
    }
    assert_eq!(files.len(), expected.len());
}

#[test]
fn binance_s_shapes() {
    let expected = [
        ("rest_200_array.json", "tick 91685.99000000"),
        ("rest_200_error_inside.json", "skip"),
        ("rest_200_mini.json", "tick 91685.99000000"),
        ("rest_400.json", "skip"),
        ("rest_403.html", "refused"),
        ("rest_418.json", "wait 120"),
        ("rest_429.json", "wait 10"),
        ("rest_451.json", "barred"),
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
    compare("binance", BINANCE, &expected);
}

#[test]
fn coindesk_s_shapes() {
    let expected = [
        ("rest_200_another.json", "skip"),
        ("rest_200_empty.json", "skip"),
        ("rest_200_exponent.json", "tick 96300"),
        ("rest_200_index.json", "tick 96353.9044445280"),
        ("rest_200_key.json", "refused"),
        ("rest_200_limit.json", "wait 60"),
        ("rest_200_without_seq.json", "tick 96353.90"),
        ("rest_200_without_value.json", "skip"),
        ("rest_401.json", "refused"),
        ("rest_404.json", "unknown"),
        ("rest_500.json", "retry"),
    ];
    compare("coindesk", "BTC-USD", &expected);
}

#[test]
fn coinbase_s_shapes() {
    let expected = [
        ("rest_200.json", "tick 91685.90"),
        ("rest_200_absurd_book.json", "tick 246.30"),
        ("rest_200_another_shape.json", "skip"),
        ("rest_404.json", "unknown"),
        ("rest_429.json", "wait 10"),
        ("rest_500.json", "retry"),
        ("ws_error_internal.json", "retry"),
        ("ws_error_limit.json", "wait 60"),
        ("ws_error_product.json", "unknown"),
        ("ws_error_slow.json", "retry"),
        ("ws_heartbeat.json", "nothing"),
        ("ws_subscriptions.json", "nothing"),
        ("ws_ticker.json", "tick 91685.90"),
        ("ws_ticker_malformed.json", "skip"),
        ("ws_ticker_of_another.json", "skip"),
        ("ws_ticker_without_decimals.json", "tick 91686"),
        ("ws_ticker_without_price.json", "skip"),
        ("ws_ticker_zero_time.json", "tick 91686.01"),
        ("ws_unknown_type.json", "nothing"),
    ];
    compare("coinbase", "BTC-USD", &expected);
}

#[test]
fn kraken_s_shapes() {
    let expected = [
        ("rest_200.json", "tick 91685.90000"),
        ("rest_200_empty.json", "skip"),
        ("rest_200_limit.json", "wait 60"),
        ("rest_200_lockout.json", "wait 60"),
        ("rest_200_pair.json", "unknown"),
        ("rest_200_two.json", "skip"),
        ("rest_200_unavailable.json", "retry"),
        ("rest_200_warning.json", "tick 91685.90000"),
        ("rest_200_zero.json", "skip"),
        ("rest_520.html", "retry"),
        ("ws_ack.json", "nothing"),
        ("ws_heartbeat.json", "nothing"),
        ("ws_old_protocol.json", "skip"),
        ("ws_pong.json", "nothing"),
        ("ws_refused.json", "unknown"),
        ("ws_refused_silently.json", "refused"),
        ("ws_status.json", "nothing"),
        ("ws_ticker_snapshot.json", "tick 91685.90"),
        ("ws_ticker_two.json", "tick 91685.95"),
        ("ws_ticker_update_without_time.json", "tick 91686.10"),
        ("ws_ticker_without_last.json", "skip"),
        ("ws_ticker_zero.json", "skip"),
        ("ws_too_often.json", "wait 60"),
        ("ws_trade.json", "nothing"),
        ("ws_unavailable.json", "retry"),
    ];
    compare("kraken", "BTC-USD", &expected);
}

#[test]
fn bitstamp_s_shapes() {
    let expected = [
        ("rest_200.json", "tick 91685.90"),
        ("rest_200_zero.json", "skip"),
        ("rest_400.json", "wait 60"),
        ("rest_400_other.json", "refused"),
        ("rest_404.html", "retry"),
        ("rest_503.json", "retry"),
        ("ws_error.json", "refused"),
        ("ws_heartbeat.json", "nothing"),
        ("ws_reconnect.json", "reconnect"),
        ("ws_succeeded.json", "nothing"),
        ("ws_trade.json", "tick 91685.90"),
        ("ws_trade_bad_stamp.json", "tick 91685.9"),
        ("ws_trade_of_another.json", "skip"),
        ("ws_trade_without_text.json", "skip"),
        ("ws_unknown_event.json", "nothing"),
    ];
    compare("bitstamp", "BTC-USD", &expected);
}

#[test]
fn a_price_carries_what_its_message_says_beside() {
    for (provider, file, more) in [
        ("bitstamp", "rest_200.json", "BTC-USD, bid 91685, ask 91686, 2026-11-20T08:14:23.000Z"),
        ("bitstamp", "ws_trade.json", "BTC-USD, 2026-11-20T08:14:23.270Z, no. 517319339"),
        (
            "coinbase",
            "rest_200.json",
            "BTC-USD, bid 91685.99, ask 91686, 2026-11-20T08:14:23.270Z, no. 800000015",
        ),
        ("coinbase", "rest_200_absurd_book.json", "BTC-USD, 2015-04-08T20:49:06.506Z, no. 1201370"),
        (
            "coinbase",
            "ws_ticker.json",
            "BTC-USD, bid 91685.89, ask 91686, 2026-11-20T08:14:23.270Z, no. 90000000015",
        ),
        ("coinbase", "ws_ticker_zero_time.json", "BTC-USD, no. 90000000017"),
        ("coindesk", "rest_200_index.json", "BTC-USD, 2026-11-20T08:14:23.843Z, no. 712401808"),
        ("kraken", "rest_200.json", "BTC-USD, bid 91685.90000, ask 91686.00000"),
        (
            "kraken",
            "ws_ticker_snapshot.json",
            "BTC-USD, bid 91685.90, ask 91686.00, 2026-11-20T08:14:23.270Z",
        ),
        ("kraken", "ws_ticker_update_without_time.json", "BTC-USD, bid 91685.90, ask 91686.00"),
    ] {
        let text = std::fs::read(fixtures(provider).join(file)).unwrap();
        let verdict = if file.starts_with("ws_") {
            of_stream(provider, "BTC-USD", &text)
        } else {
            of_rest(provider, "BTC-USD", status(file), &text)
        };
        assert_eq!(verdict.more, more, "{provider} {file}");
    }
}

#[test]
fn a_binance_trade_goes_out_with_the_best_prices_before_it() {
    let mut dialect = stream("binance", BINANCE);
    let mut heard = Heard::default();
    for file in ["ws_book_ticker.json", "ws_trade_combined.json"] {
        dialect.read(&std::fs::read(fixtures("binance").join(file)).unwrap(), &mut heard).unwrap();
    }
    assert_eq!(
        details(heard.ticks.remove(0)),
        "BTC-USDT, bid 91685.99000000, ask 91686.00000000, 2026-11-20T08:14:23.270Z, no. 5000000015"
    );
}

#[test]
fn one_refused_symbol_takes_no_price_from_the_others() {
    let read = |dialect: &mut Box<dyn StreamDialect>, file: &str| {
        let text = std::fs::read(fixtures("kraken").join(file)).unwrap();
        verdict(|out| dialect.read(&text, out)).word
    };
    let mut dialect = stream("kraken", "BTC-USD BTC-USDX");
    assert_eq!(read(&mut dialect, "ws_refused.json"), "skip");
    assert_eq!(read(&mut dialect, "ws_ticker_snapshot.json"), "tick 91685.90");
}

#[test]
fn several_symbols_are_asked_for_at_once_where_that_can_be() {
    let two = "BTC-USD=BTC-USDT BNB-BTC";
    assert_eq!(
        rest("binance", two).url(),
        "https://rest.example/api/v3/ticker/24hr?symbols=%5B%22BTCUSDT%22,%22BNBBTC%22%5D&type=MINI"
    );
    assert_eq!(
        stream("binance", two).url(),
        "wss://stream.example/stream?streams=btcusdt@trade/btcusdt@bookTicker/bnbbtc@trade/bnbbtc@bookTicker"
    );
    let said = |provider| stream(provider, "BTC-USD DOGE-EUR").hello();
    assert!(said("coinbase")[0].contains(r#""product_ids":["BTC-USD","DOGE-EUR"]"#));
    assert!(said("kraken")[0].contains(r#""symbol":["BTC/USD","DOGE/EUR"]"#));
    assert_eq!(said("bitstamp").len(), 2);
    assert!(said("bitstamp")[1].contains("live_trades_dogeeur"));
    assert!(rest("kraken", "DOGE-EUR").url().ends_with("?pair=XDGEUR"));
}
