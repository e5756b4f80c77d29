//! The contract of every provider, and a sink for tests.
//!
//! A provider gives prices of the requested symbols with the source's digits; it may be dropped in the middle and
//! started again. `faults.rs` has what the other side must not make it do, `remotes.rs` the tested providers.

use super::remotes::{remote, remotes, symbol};
use super::standin::{Act, Frame, Standin, coindesk_index, eventually};
use crate::model::Price;
use crate::providers::plugins::mock::Mock;
use crate::providers::plugins::replay::Replay;
use crate::providers::{Fault, PriceProvider, Sink, Tick};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// Results of a session.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub ticks: Vec<Tick>,
    pub bad: Vec<String>,
    pub raw: Vec<Vec<u8>>,
    /// `None`: the session was still going on.
    pub fault: Option<Fault>,
    pub lasted: Duration,
}

impl Sink for Heard {
    fn tick(&mut self, tick: Tick) -> bool {
        self.ticks.push(tick);
        true
    }
    fn bad(&mut self, why: String) {
        self.bad.push(why);
    }
    fn raw(&mut self, bytes: &[u8]) {
        self.raw.push(bytes.to_vec());
    }
}

/// Runs one session, cut off after `patience`.
pub(in crate::providers) async fn listen(provider: &mut dyn PriceProvider, patience: Duration) -> Heard {
    let mut heard = Heard::default();
    let begin = Instant::now();
    heard.fault = timeout(patience, provider.session(&mut heard)).await.ok();
    heard.lasted = begin.elapsed();
    heard
}

/// Runs one session until it has given enough, has ended, or the patience is over.
pub(in crate::providers) async fn listen_until(
    provider: &mut dyn PriceProvider,
    enough: impl FnMut(&Heard) -> bool + Send,
) -> Heard {
    let stop = Arc::new(Notify::new());
    let mut until = Until { heard: Heard::default(), enough, stop: stop.clone() };
    let begin = Instant::now();
    let fault = tokio::select! {
        fault = provider.session(&mut until) => Some(fault),
        () = stop.notified() => None,
        () = sleep(PATIENCE) => None,
    };
    Heard { fault, lasted: begin.elapsed(), ..until.heard }
}

struct Until<E> {
    heard: Heard,
    enough: E,
    stop: Arc<Notify>,
}

impl<E: FnMut(&Heard) -> bool + Send> Sink for Until<E> {
    fn tick(&mut self, tick: Tick) -> bool {
        self.heard.tick(tick);
        if (self.enough)(&self.heard) {
            self.stop.notify_one();
        }
        true
    }
    fn bad(&mut self, why: String) {
        self.heard.bad(why);
        if (self.enough)(&self.heard) {
            self.stop.notify_one();
        }
    }
    fn raw(&mut self, bytes: &[u8]) {
        self.heard.raw(bytes);
    }
}

/// Time-out of a session that should end.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// `wait 7`, or the fault's name.
pub(super) fn word(fault: &Fault) -> String {
    match fault {
        Fault::Skip(_) => "skip".to_owned(),
        Fault::Reconnect(_) => "reconnect".to_owned(),
        Fault::Retry(_) => "retry".to_owned(),
        Fault::Wait(time, _) => format!("wait {}", time.as_secs()),
        Fault::Refused(_) => "refused".to_owned(),
        Fault::Barred(_) => "barred".to_owned(),
        Fault::Unknown(_) => "unknown".to_owned(),
    }
}

#[tokio::test]
async fn a_remote_price_is_told_with_its_digits_again_and_again() {
    for remote in remotes() {
        let server = remote.server(vec![remote.message("64250.10", 7).into()]).await;
        let mut provider = remote.of(&server);
        // Dropped in the middle and started again: the same once more.
        for _ in 0..2 {
            let heard = listen_until(&mut *provider, |heard| !heard.ticks.is_empty()).await;
            let tick = heard.ticks.first().unwrap_or_else(|| panic!("{}: {heard:?}", remote.name));
            assert_eq!((tick.symbol.as_str(), tick.pair.as_str()), ("BTC-USD", remote.pair));
            assert_eq!(tick.price.to_string(), "64250.10", "{}", remote.name);
            assert_eq!((tick.seq, tick.time.is_some()), (remote.numbered.then_some(7), remote.stamped));
            assert_eq!((heard.fault, heard.bad.len()), (None, 0), "{}", remote.name);
            assert!(!heard.raw.is_empty(), "a recorder hears everything");
        }
    }
}

#[tokio::test]
async fn a_local_price_is_told_again_and_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "64250.10\n64250.20\n").unwrap();
    let price = Price::parse("64250.10").unwrap();
    let locals: [Box<dyn PriceProvider>; 2] = [
        Box::new(Mock::new(&[symbol()], price, 0.0, Duration::from_millis(5))),
        Box::new(Replay::new(file.path().to_owned(), 0.0, false, &[symbol()], symbol())),
    ];
    for mut provider in locals {
        for _ in 0..2 {
            let heard = listen_until(&mut *provider, |heard| !heard.ticks.is_empty()).await;
            assert_eq!((heard.ticks[0].price, &heard.ticks[0].pair), (price, &symbol()));
            assert_eq!((heard.fault, heard.bad.len()), (None, 0));
        }
    }
}

#[tokio::test]
async fn redirects_are_few_and_stay_on_the_host() {
    let coindesk = remote("coindesk rest");
    let elsewhere = Standin::always(Act::ok("{}")).await.unwrap();
    let server = Standin::always(Act::redirect(format!("{}/x", elsewhere.http()))).await.unwrap();
    let heard = listen(&mut *coindesk.of(&server), PATIENCE).await;
    assert!(matches!(heard.fault, Some(Fault::Retry(_))), "{heard:?}");
    assert_eq!(elsewhere.requests().len(), 0, "the key goes nowhere else");

    let server = Standin::always(Act::redirect("/again")).await.unwrap();
    let heard = listen(&mut *coindesk.of(&server), PATIENCE).await;
    assert!(matches!(heard.fault, Some(Fault::Retry(_))), "{heard:?}");
    assert!(server.requests().len() <= 5);

    let good = coindesk_index("BTC-USD", "1.5", 1);
    let server = Standin::script(vec![Act::redirect("/moved"), Act::ok(good)]).await.unwrap();
    let heard = listen_until(&mut *coindesk.of(&server), |heard| !heard.ticks.is_empty()).await;
    assert!(!heard.ticks.is_empty());
}

#[tokio::test]
async fn the_addresses_are_those_of_the_documents() {
    for (name, target) in [
        ("binance stream", "/stream?streams=btcusdt@trade/btcusdt@bookTicker"),
        ("binance rest", "/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI"),
        ("bitstamp stream", "/"),
        ("bitstamp rest", "/api/v2/ticker/btcusd/"),
        ("coinbase stream", "/"),
        ("coinbase rest", "/products/BTC-USD/ticker"),
        (
            "coindesk rest",
            "/index/cc/v1/latest/tick?market=cadli&instruments=BTC-USD&groups=VALUE&apply_mapping=true",
        ),
        ("http_json rest", "/BTC?vs=USD"),
        ("kraken stream", "/"),
        ("kraken rest", "/0/public/Ticker?pair=XBTUSD"),
    ] {
        let server = Standin::always(Act::answer(451, "")).await.unwrap();
        listen(&mut *remote(name).of(&server), PATIENCE).await;
        let seen = &server.requests()[0];
        assert_eq!(seen.target, target, "{name}");
        assert!(seen.header("user-agent").unwrap().starts_with("btc-cluster/"));
        assert_eq!(seen.header("x-api-key"), (name == "coindesk rest").then_some("the-key"));
    }
}

#[tokio::test]
async fn a_stream_is_asked_for_as_the_documents_say() {
    for (name, said) in [
        (
            "coinbase stream",
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker","heartbeat"]}"#,
        ),
        (
            "kraken stream",
            r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo","snapshot":true},"req_id":1}"#,
        ),
        ("bitstamp stream", r#"{"event":"bts:subscribe","data":{"channel":"live_trades_btcusd"}}"#),
    ] {
        let server = Standin::always(Act::Stream(vec![])).await.unwrap();
        let mut provider = remote(name).of(&server);
        tokio::select! {
            heard = listen(&mut *provider, PATIENCE) => panic!("{name}: {heard:?}"),
            said = eventually(|| !server.said().is_empty()) => assert!(said, "{name}"),
        }
        let heard = server.said();
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(json(heard[0].strip_prefix("text:").unwrap()), json(said), "{name}");
        assert_eq!(heard.len(), 1);
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_while_nothing_else_comes() {
    for remote in remotes().into_iter().filter(|remote| remote.streams) {
        let ping = Frame::Ping(b"1763640000123".to_vec());
        let server = Standin::always(Act::Stream(vec![ping])).await.unwrap();
        let mut provider = remote.of(&server);
        let answered = || server.said().contains(&"pong:1763640000123".to_owned());
        tokio::select! {
            heard = listen(&mut *provider, PATIENCE) => panic!("{}: {heard:?}", remote.name),
            answered = eventually(answered) => assert!(answered, "{}", remote.name),
        }
    }
}
