//! The feeder with a whole exchange on the loopback, in real time.

use super::super::table::SourceStatus;
use super::super::{Clock, SourceState};
use super::tests::plan;
use super::*;
use crate::config::{Provider, ProviderKind};
use crate::model::{Price, Quote};
use crate::providers::tests::standin::exchange::Exchange;
use crate::providers::tests::standin::{Act, Frame, eventually};
use std::sync::Mutex;

fn binance(exchange: &Exchange) -> Provider {
    let symbol = |text| Symbol::new(text).unwrap();
    Provider {
        name: "binance".to_owned(),
        kind: ProviderKind::Binance(crate::config::Exchange {
            rest_url: exchange.server.http(),
            // Another host than REST's, as real exchanges have: each host has its own limits.
            stream_url: exchange.server.ws().replace("127.0.0.1", "localhost"),
            symbol_map: [(symbol("BTC-USD"), symbol("BTC-USDT"))].into(),
            silence: Duration::from_secs(45),
            no_tick: Duration::from_secs(10),
            renew_after: Duration::ZERO,
        }),
    }
}

fn mock() -> Provider {
    Provider {
        name: "mock".to_owned(),
        kind: ProviderKind::Mock {
            price: Price::parse("1.00").unwrap(),
            volatility: 0.0,
            tick: Duration::from_millis(20),
            seed: 1,
            script: None,
        },
    }
}

/// The feeder and its last output.
pub(super) struct Feeder {
    pub quotes: Arc<Mutex<Vec<Quote>>>,
    pub sources: Arc<Mutex<Vec<SourceStatus>>>,
    _plans: watch::Sender<Arc<Plan>>,
    _task: AbortOnDropHandle<()>,
}

impl Feeder {
    pub(super) fn start(providers: &[Provider]) -> Self {
        Self::start_with(providers, |_| {})
    }

    /// With other settings than those of these tests.
    pub(super) fn start_with(providers: &[Provider], change: impl FnOnce(&mut PriceSection)) -> Self {
        Self::run(Clock::system(), providers, change)
    }

    /// With clocks of its own.
    pub(super) fn start_at(clock: Clock, providers: &[Provider]) -> Self {
        Self::run(clock, providers, |_| {})
    }

    fn run(clock: Clock, providers: &[Provider], change: impl FnOnce(&mut PriceSection)) -> Self {
        let mut plan = plan(providers);
        plan.price.publish_interval = Duration::from_millis(10);
        plan.price.refresh = Duration::from_millis(50);
        change(&mut plan.price);
        let (plans, receiver) = watch::channel(Arc::new(plan));
        let (quotes, sources): (Arc<Mutex<Vec<_>>>, Arc<Mutex<Vec<_>>>) = Default::default();
        let (q, s) = (quotes.clone(), sources.clone());
        let task = run(receiver, clock, Http::within(Duration::from_secs(2)), move |said| match said {
            FromFeeder::Tick(quote) => q.lock().unwrap().push(quote),
            FromFeeder::Sources(table) => *s.lock().unwrap() = serde_json::from_str(&table).unwrap(),
            _ => {}
        });
        Self { quotes, sources, _plans: plans, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    pub(super) fn price(&self) -> Option<String> {
        self.quotes.lock().unwrap().last().map(|quote| quote.price.to_string())
    }

    pub(super) async fn says(&self, price: &str) {
        assert!(eventually(|| self.price().as_deref() == Some(price)).await, "{price}: {:?}", self.price());
    }

    pub(super) fn state(&self) -> Option<SourceState> {
        self.sources.lock().unwrap().first().map(|source| source.state)
    }
}

fn asked(exchange: &Exchange) -> usize {
    exchange.server.requests().iter().filter(|seen| !seen.wants_stream()).count()
}

#[tokio::test]
async fn the_stream_gives_the_price_and_rest_is_not_asked() {
    let exchange = Exchange::start("BTCUSDT", "64000.10").await.unwrap();
    let feeder = Feeder::start(&[binance(&exchange), mock()]);
    feeder.says("64000.10").await;
    assert!(eventually(|| exchange.streams() == 1).await);
    // On a busy machine the stream may have been so slow that REST was asked before.
    let before = asked(&exchange);
    exchange.set_price("64001.20");
    feeder.says("64001.20").await;
    let quote = feeder.quotes.lock().unwrap().last().unwrap().clone();
    assert_eq!((quote.pair.as_str(), &*quote.source, quote.mock), ("BTC-USDT", "binance", false));
    assert!(quote.time.is_some() && quote.lag < Duration::from_secs(5) && quote.interval.is_zero());
    assert_eq!((asked(&exchange), exchange.streams()), (before, 1));
}

#[tokio::test]
async fn rest_stands_in_while_the_stream_cannot_be_had() {
    let exchange = Exchange::start("BTCUSDT", "64000.10").await.unwrap();
    exchange.stream_does(Some(Act::answer(503, "busy")));
    let feeder = Feeder::start(&[binance(&exchange), mock()]);
    feeder.says("64000.10").await;
    assert!(eventually(|| feeder.state() == Some(SourceState::Live)).await);
    assert_eq!(feeder.quotes.lock().unwrap()[0].interval, Duration::from_millis(50));
    exchange.stream_does(None);
    assert!(eventually(|| exchange.streams() == 1).await);
    exchange.set_price("64001.20");
    feeder.says("64001.20").await;
    // The stream is back: the last REST request was sent before it ticked.
    let before = asked(&exchange);
    exchange.set_price("64002.30");
    feeder.says("64002.30").await;
    assert!(asked(&exchange) <= before + 1);
}

#[tokio::test]
async fn a_server_that_is_about_to_go_is_left_for_another_connection() {
    let exchange = Exchange::start("BTCUSDT", "64000.10").await.unwrap();
    let feeder = Feeder::start(&[binance(&exchange)]);
    feeder.says("64000.10").await;
    exchange
        .send(Frame::Text(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#.to_owned()));
    let streams = || exchange.server.requests().iter().filter(|seen| seen.wants_stream()).count();
    assert!(eventually(|| streams() == 2 && exchange.streams() == 1).await);
    exchange.set_price("64001.20");
    feeder.says("64001.20").await;
}

#[tokio::test]
async fn a_ban_is_obeyed_and_an_outage_is_never_mock() {
    let exchange = Exchange::start("BTCUSDT", "64000.10").await.unwrap();
    let feeder = Feeder::start(&[binance(&exchange), mock()]);
    feeder.says("64000.10").await;
    // On a busy machine the stream may have been so slow that REST was asked before.
    let before = asked(&exchange);
    exchange.rest_does(Some(Act::later(429, 2, r#"{"code":-1003,"msg":"Too much request weight used"}"#)));
    exchange.stream_does(Some(Act::later(418, 60, "banned")));
    exchange.send(Frame::Cut);
    assert!(eventually(|| feeder.state() == Some(SourceState::Waiting)).await);
    let published = feeder.quotes.lock().unwrap().len();
    assert!(eventually(|| asked(&exchange) == before + 2).await, "asked again");
    let times: Vec<_> = exchange
        .server
        .requests()
        .into_iter()
        .filter(|seen| !seen.wants_stream())
        .skip(before)
        .map(|seen| seen.at)
        .collect();
    assert!(times[1] - times[0] >= Duration::from_secs(2), "and not before");
    assert_eq!(feeder.quotes.lock().unwrap().len(), published, "nothing was made up");
    exchange.rest_does(None);
    exchange.set_price("64001.20");
    feeder.says("64001.20").await;
}

#[tokio::test]
async fn a_mock_serves_until_the_exchange_answers_for_the_first_time() {
    let exchange = Exchange::start("BTCUSDT", "64000.10").await.unwrap();
    exchange.stream_does(Some(Act::Hang));
    exchange.rest_does(Some(Act::Hang));
    let feeder = Feeder::start(&[binance(&exchange), mock()]);
    feeder.says("1.00").await;
    exchange.stream_does(None);
    exchange.rest_does(None);
    feeder.says("64000.10").await;
    let quotes = feeder.quotes.lock().unwrap();
    assert!(quotes.iter().skip_while(|quote| quote.mock).all(|quote| !quote.mock));
}

/// The other exchanges and `http_json`: from the configuration to the price, with the stream and without.
#[tokio::test]
async fn every_exchange_gives_its_price_over_either_leg() {
    use crate::providers::tests::standin::{Standin, says};
    type Say = fn(&str, u64) -> String;
    type Kind = fn(crate::config::Exchange) -> ProviderKind;
    let exchanges: [(&str, Kind, Say, Say); 3] = [
        ("bitstamp", ProviderKind::Bitstamp, says::bitstamp_trade, says::bitstamp_ticker),
        ("coinbase", ProviderKind::Coinbase, says::coinbase_ticker, says::coinbase_product),
        ("kraken", ProviderKind::Kraken, says::kraken_ticker, says::kraken_result),
    ];
    for (name, kind, stream, rest) in exchanges {
        for streams in [true, false] {
            let server = Standin::start(move |seen| match (seen.wants_stream(), streams) {
                (true, true) => Act::Stream(vec![Frame::Text(stream("64000.10", 7))]),
                (true, false) => Act::answer(503, ""),
                (false, _) => Act::ok(rest("64000.20", 7)),
            });
            let server = server.await.unwrap();
            let kind = kind(crate::config::Exchange {
                rest_url: server.http(),
                stream_url: server.ws(),
                symbol_map: std::collections::BTreeMap::new(),
                silence: Duration::from_secs(45),
                no_tick: Duration::from_secs(30),
                renew_after: Duration::ZERO,
            });
            let feeder = Feeder::start(&[Provider { name: name.to_owned(), kind }]);
            feeder.says(if streams { "64000.10" } else { "64000.20" }).await;
            let quote = feeder.quotes.lock().unwrap().last().unwrap().clone();
            assert_eq!((quote.pair.as_str(), &*quote.source), ("BTC-USD", name));
            let every = Duration::from_millis(if streams { 0 } else { 1000 });
            assert_eq!(quote.interval, every, "{name}: a question for each pair, at most one a second");
        }
    }
}

#[tokio::test]
async fn any_address_is_a_source() {
    use crate::providers::tests::standin::{Standin, says};
    let server = Standin::always(Act::ok(says::some_json("64000.10", 1))).await.unwrap();
    let kind = ProviderKind::HttpJson {
        url: format!("{}/{{base}}", server.http()),
        pointer: "/data/0/BTC/USD".to_owned(),
        time_pointer: String::new(),
        every: Duration::from_millis(30),
        symbol_map: [(Symbol::new("BTC-USD").unwrap(), Symbol::new("BTC-USDC").unwrap())].into(),
    };
    let feeder = Feeder::start(&[Provider { name: "some".to_owned(), kind }]);
    feeder.says("64000.10").await;
    let quote = feeder.quotes.lock().unwrap().last().unwrap().clone();
    assert_eq!((quote.pair.as_str(), &*quote.source, quote.time), ("BTC-USDC", "some", None));
    assert_eq!(quote.interval, Duration::from_millis(30));
    assert_eq!(server.requests()[0].target, "/BTC");
}

#[tokio::test]
async fn what_is_used_of_a_limit_is_in_the_table() {
    let exchange = Exchange::start("BTCUSDT", "64000.10").await.unwrap();
    exchange.stream_does(Some(Act::answer(503, "busy")));
    let body = crate::providers::tests::standin::binance_ticker("BTCUSDT", "64000.10", 1).into_bytes();
    let headers = vec![("x-mbx-used-weight-1m", "120".to_owned())];
    exchange.rest_does(Some(Act::Answer { status: 200, headers, body }));
    let feeder = Feeder::start(&[binance(&exchange)]);
    feeder.says("64000.10").await;
    let told = || {
        let sources = feeder.sources.lock().unwrap();
        sources.first().and_then(|source| serde_json::to_value(source).ok()?.get("budget").cloned())
    };
    let expected = serde_json::json!({ "used": 120, "limit": 6000, "window_s": 60 });
    assert!(eventually(|| told().as_ref() == Some(&expected)).await, "{:?}", told());
}

/// Kraken's stream with what it says; `(seconds, message)`.
async fn kraken_says(all: Vec<(u64, String)>) -> (crate::providers::tests::standin::Standin, Provider) {
    use crate::providers::tests::standin::Standin;
    let frames =
        all.into_iter().flat_map(|(ms, text)| [Frame::Wait(Duration::from_millis(ms)), Frame::Text(text)]);
    let stream = Act::Stream(frames.collect());
    let server = Standin::start(move |seen| match seen.wants_stream() {
        true => stream.clone(),
        // REST repeats what the stream says: a halted exchange has no other price.
        false => Act::ok(crate::providers::tests::standin::says::kraken_result("64250.10", 1)),
    });
    let server = server.await.unwrap();
    let kind = ProviderKind::Kraken(crate::config::Exchange {
        rest_url: server.http(),
        stream_url: server.ws(),
        symbol_map: std::collections::BTreeMap::new(),
        silence: Duration::from_secs(45),
        no_tick: Duration::from_secs(30),
        renew_after: Duration::ZERO,
    });
    (server, Provider { name: "kraken".to_owned(), kind })
}

fn kraken_status(word: &str) -> String {
    format!(
        r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.9","system":"{word}","api_version":"v2","connection_id":1}}]}}"#
    )
}

fn kraken_book(last: &str, bid: u32) -> String {
    let ask = bid + 1;
    format!(
        r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{bid},"ask":{ask},"last":{last}}}]}}"#
    )
}

impl Feeder {
    fn source(&self, name: &str) -> Option<SourceStatus> {
        self.sources.lock().unwrap().iter().find(|source| &*source.name == name).cloned()
    }

    /// Whether the newest price is fresh for a second now.
    fn is_fresh(&self) -> Option<bool> {
        let quotes = self.quotes.lock().unwrap();
        let rules = crate::model::Rules {
            fresh_for: Duration::from_secs(1),
            max_age: Duration::from_secs(120),
            forget_after: Duration::from_secs(600),
            refuse_stale: false,
        };
        let now = Clock::system().now().boot;
        quotes.last().map(|quote| quote.health(&rules, now) == Health::Fresh)
    }
}

#[tokio::test]
async fn an_exchange_that_does_not_trade_is_halted_and_its_price_stale() {
    let mut all = vec![(0, kraken_status("post_only")), (0, kraken_book("64250.10", 64250))];
    all.extend((0..300).map(|step| (20, kraken_book("64250.10", 64249 - 10 * step))));
    all.extend([(0, kraken_status("online"))]);
    all.extend((0..1000).map(|step| (20, kraken_book(&format!("61000.{}", 10 + step % 80), 61000))));
    let (_server, kraken) = kraken_says(all).await;
    let feeder = Feeder::start(&[kraken]);
    assert!(eventually(|| feeder.source("kraken").is_some_and(|own| own.state == SourceState::Halted)).await);
    let own = feeder.source("kraken").unwrap();
    assert!(own.error.as_deref().is_some_and(|error| error.contains("post_only")), "{own:?}");
    feeder.says("64250.10").await;
    assert_eq!(feeder.is_fresh(), Some(false), "never fresh: its age is unknown");
    // It trades again.
    assert!(eventually(|| feeder.source("kraken").is_some_and(|own| own.state == SourceState::Live)).await);
    assert!(eventually(|| feeder.is_fresh() == Some(true)).await);
    assert!(feeder.price().unwrap().starts_with("61000."));
}

#[tokio::test]
async fn a_price_that_bid_and_ask_have_left_is_replaced_by_another_source_s() {
    // Without a word: the book falls, the last price stands.
    let mut all: Vec<_> = (0..20).map(|_| (20, kraken_book("64250.10", 64250))).collect();
    all.extend((0..2000).map(|step| (20, kraken_book("64250.10", 63000 - step))));
    let (_server, kraken) = kraken_says(all).await;
    let exchange = Exchange::start("BTCUSDT", "62000.10").await.unwrap();
    let both = [kraken, binance(&exchange)];
    let feeder = Feeder::start_with(&both, |price| price.fresh_for = Duration::from_secs(4));
    feeder.says("64250.10").await;
    assert!(eventually(|| feeder.source("kraken").is_some_and(|own| own.state == SourceState::Halted)).await);
    feeder.says("62000.10").await;
    let own = feeder.source("kraken").unwrap();
    assert!(own.error.as_deref().is_some_and(|error| error.contains("bid and ask")), "{own:?}");
    // The price is published a moment before the table of sources is.
    assert!(eventually(|| feeder.source("binance").is_some_and(|own| own.serving)).await);
}
