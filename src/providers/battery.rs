//! The contract that every provider must keep, and an ear for tests.
//!
//! A provider: gives prices of what was asked for with the source's digits; may be dropped in the middle and
//! begun again; ends a session with the right fault, in time, whatever the other side does; never takes for a
//! price what is none.

use super::binance::{Rest, Stream};
use super::coindesk::Coindesk;
use super::mock::Mock;
use super::poll::Polled;
use super::push::{Limits, Pushed};
use super::replay::Replay;
use super::standin::{
    Act, Frame, Standin, binance_ticker, binance_trade, coindesk_index, eventually, nobody,
};
use super::{Fault, Http, PriceProvider, Sink, Tick};
use crate::config::Secret;
use crate::model::{Price, Symbol};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// What a session said.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub ticks: Vec<Tick>,
    pub bad: Vec<String>,
    pub raw: Vec<Vec<u8>>,
    /// `None`: it was still going on.
    pub fault: Option<Fault>,
    pub lasted: Duration,
}

impl Sink for Heard {
    fn tick(&mut self, tick: Tick) {
        self.ticks.push(tick);
    }
    fn bad(&mut self, why: String) {
        self.bad.push(why);
    }
    fn raw(&mut self, bytes: &[u8]) {
        self.raw.push(bytes.to_vec());
    }
}

/// One session, cut off after `patience`.
pub(super) async fn listen(provider: &mut dyn PriceProvider, patience: Duration) -> Heard {
    let mut heard = Heard::default();
    let begin = Instant::now();
    heard.fault = timeout(patience, provider.session(&mut heard)).await.ok();
    heard.lasted = begin.elapsed();
    heard
}

/// One session, until it has said enough (or has ended, or the patience is over).
pub(super) async fn listen_until(
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
    fn tick(&mut self, tick: Tick) {
        self.heard.tick(tick);
        if (self.enough)(&self.heard) {
            self.stop.notify_one();
        }
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

/// Limit of a whole request where the other side is to be found too slow.
const SHORT: Duration = Duration::from_millis(400);
/// And where it is not, however busy the machine.
const LONG: Duration = Duration::from_secs(10);
/// A session that should have ended has not after this.
const PATIENCE: Duration = Duration::from_secs(15);

const LIMITS: Limits = Limits {
    silence: Duration::from_secs(45),
    no_tick: Duration::from_secs(10),
    renew_after: Duration::ZERO,
};

fn symbol() -> Symbol {
    Symbol::new("BTC-USD").unwrap()
}

fn pairs() -> Vec<(Symbol, Symbol)> {
    vec![(symbol(), Symbol::new("BTC-USDT").unwrap())]
}

/// A provider that talks to a server, and how that server would say a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remote {
    BinanceStream,
    BinanceRest,
    Coindesk,
}

const REMOTES: [Remote; 3] = [Remote::BinanceStream, Remote::BinanceRest, Remote::Coindesk];

impl Remote {
    fn at(self, http_url: &str, ws_url: &str, whole: Duration) -> Box<dyn PriceProvider> {
        let (every, http) = (Duration::from_millis(20), Http::within(whole));
        match self {
            Self::BinanceStream => Box::new(Pushed::new(Stream::new(ws_url, &pairs()), LIMITS, http)),
            Self::BinanceRest => Box::new(Polled::new(Rest::new(http_url, &pairs(), every), http)),
            Self::Coindesk => {
                let key = Secret::new("the-key".to_owned());
                let dialect = Coindesk::new(http_url, "cadli", key, &[symbol()], every).unwrap();
                Box::new(Polled::new(dialect, http))
            }
        }
    }

    fn of(self, server: &Standin) -> Box<dyn PriceProvider> {
        self.at(&server.http(), &server.ws(), LONG)
    }

    fn message(self, digits: &str, seq: u64) -> String {
        match self {
            Self::BinanceStream => binance_trade("BTCUSDT", digits, seq),
            Self::BinanceRest => binance_ticker("BTCUSDT", digits, seq),
            Self::Coindesk => coindesk_index("BTC-USD", digits, seq),
        }
    }

    /// That message by the way that this provider listens on.
    fn act(self, message: String) -> Act {
        match self {
            Self::BinanceStream => Act::Stream(vec![Frame::Text(message)]),
            Self::BinanceRest | Self::Coindesk => Act::ok(message),
        }
    }

    fn pair(self) -> &'static str {
        if self == Self::Coindesk { "BTC-USD" } else { "BTC-USDT" }
    }
}

#[tokio::test]
async fn a_remote_price_is_told_with_its_digits_again_and_again() {
    for remote in REMOTES {
        let server = Standin::always(remote.act(remote.message("64250.10", 7))).await.unwrap();
        let mut provider = remote.of(&server);
        // Dropped in the middle and begun again: the same once more.
        for _ in 0..2 {
            let heard = listen_until(&mut *provider, |heard| !heard.ticks.is_empty()).await;
            let tick = heard.ticks.first().unwrap_or_else(|| panic!("{remote:?}: {heard:?}"));
            assert_eq!((tick.symbol.as_str(), tick.pair.as_str()), ("BTC-USD", remote.pair()));
            assert_eq!((tick.price.to_string().as_str(), tick.seq), ("64250.10", Some(7)));
            assert!(tick.time.is_some());
            assert_eq!((heard.fault, heard.bad.len()), (None, 0), "{remote:?}");
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
async fn what_is_no_price_is_counted_and_the_session_goes_on() {
    let digits = [
        "NaN",
        "Infinity",
        "-1",
        "0",
        "0.00",
        "1e400",
        "1e5",
        "1_0",
        "63,000.10",
        "",
        "1000000000",
        "0x10",
        "1111111111111111111111111111111111111111",
    ];
    for remote in REMOTES {
        for digits in digits {
            let server = Standin::always(remote.act(remote.message(digits, 1))).await.unwrap();
            let heard = listen_until(&mut *remote.of(&server), |heard| !heard.bad.is_empty()).await;
            // "1e5" and "0x10" as bare JSON numbers, "NaN" as a bare word: no JSON at all for some. All the same.
            let told = (heard.ticks.len(), heard.bad.is_empty(), heard.fault.clone());
            assert_eq!(told, (0, false, None), "{remote:?} {digits}");
        }
    }
}

#[tokio::test]
async fn garbage_is_counted_and_the_session_goes_on() {
    let garbage: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"garbage".to_vec(),
        b"<html>busy</html>".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\xff\xfe{\x00}\x00".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        "[".repeat(100_000).into_bytes(),
        "{\"data\":".repeat(20_000).into_bytes(),
        // gzip that nobody asked for
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00".to_vec(),
    ];
    for remote in REMOTES {
        let whole = remote.message("64250.10", 1).into_bytes();
        let truncated = whole[..whole.len() / 2].to_vec();
        let stranger = String::from_utf8(whole).unwrap().replace("BTC", "DOGE").into_bytes();
        for message in garbage.iter().chain([&truncated, &stranger]) {
            let good = remote.message("64250.10", 2);
            let server = match remote {
                Remote::BinanceStream => {
                    Standin::always(Act::Stream(vec![Frame::Binary(message.clone()), Frame::Text(good)]))
                        .await
                }
                _ => Standin::script(vec![Act::ok(message.clone()), Act::ok(good)]).await,
            };
            let server = server.unwrap();
            let mut provider = remote.of(&server);
            let heard = listen_until(&mut *provider, |heard| !heard.ticks.is_empty()).await;
            let shown = String::from_utf8_lossy(&message[..message.len().min(40)]).into_owned();
            assert_eq!((heard.ticks.len(), heard.fault), (1, None), "{remote:?} {shown}");
            // `[]` is an answer without a price for a list of tickers, and ignored on a stream.
            assert!(!heard.bad.is_empty() || shown == "[]", "{remote:?} {shown}");
        }
    }
}

#[tokio::test]
async fn a_status_ends_the_session_as_it_should() {
    let wait = |seconds| Some(Duration::from_secs(seconds));
    for remote in REMOTES {
        let cases: [(Act, &str, Option<Duration>); 12] = [
            (Act::later(429, 7, "{}"), "wait", wait(7)),
            (Act::answer(429, "{}"), "wait", wait(10)),
            (Act::later(418, 300, r#"{"code":-1003,"msg":"banned"}"#), "wait", wait(300)),
            (Act::answer(418, ""), "wait", wait(120)),
            (Act::answer(451, r#"{"code":0,"msg":"restricted location"}"#), "refused", None),
            (Act::answer(403, "<html>WAF</html>"), "refused", None),
            (Act::answer(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#), "refused", None),
            (Act::answer(404, ""), "refused", None),
            (Act::answer(500, "oops"), "retry", None),
            (Act::answer(503, r#"{"code":-1008,"msg":"overloaded"}"#), "retry", None),
            (Act::answer(504, ""), "retry", None),
            (Act::redirect("http://127.0.0.1:1/elsewhere"), "retry", None),
        ];
        for (act, expected, time) in cases {
            let server = Standin::always(act.clone()).await.unwrap();
            let heard = listen(&mut *remote.of(&server), PATIENCE).await;
            let (word, told) = match heard.fault {
                Some(Fault::Wait(time, _)) => ("wait", Some(time)),
                Some(Fault::Refused(_)) => ("refused", None),
                Some(Fault::Retry(_)) => ("retry", None),
                other => panic!("{remote:?} {act:?}: {other:?}"),
            };
            assert_eq!((word, told), (expected, time), "{remote:?} {act:?}");
            assert_eq!(server.requests().len(), 1, "one request, no storm");
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_drips_or_floods_is_given_up_in_time() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"Data\"".to_vec();
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1_000_000));
    for remote in REMOTES {
        let acts = [
            Act::Hang,
            Act::Cut,
            Act::Bytes(b"HTTP/1.1 200 OK\r\nx: ".to_vec()),
            Act::Bytes(head.clone()),
            Act::Drip(head.clone(), Duration::from_millis(50)),
            Act::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            Act::Bytes(long.clone().into_bytes()),
            Act::ok(vec![b' '; 3_000_000]),
        ];
        for act in acts {
            let server = Standin::always(act.clone()).await.unwrap();
            let mut provider = remote.at(&server.http(), &server.ws(), SHORT);
            let heard = listen(&mut *provider, PATIENCE).await;
            let shown: String = format!("{act:?}").chars().take(60).collect();
            assert!(matches!(heard.fault, Some(Fault::Retry(_))), "{remote:?} {shown} {:?}", heard.fault);
            assert!(heard.lasted < SHORT * 10, "{remote:?} {shown} {:?}", heard.lasted);
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_had_is_tried_again() {
    let nobody = nobody().await.unwrap();
    for remote in REMOTES {
        for host in [nobody.to_string(), "no-such-host.invalid".to_owned()] {
            let mut provider = remote.at(&format!("http://{host}"), &format!("ws://{host}"), LONG);
            let heard = listen(&mut *provider, PATIENCE).await;
            let Some(Fault::Retry(why)) = &heard.fault else { panic!("{remote:?} {host}: {heard:?}") };
            assert!(!why.contains("the-key") && why.len() < 200, "{why}");
        }
    }
}

#[tokio::test]
async fn redirects_are_few_and_stay_on_the_host() {
    let elsewhere = Standin::always(Act::ok("{}")).await.unwrap();
    let server = Standin::always(Act::redirect(format!("{}/x", elsewhere.http()))).await.unwrap();
    let heard = listen(&mut *Remote::Coindesk.of(&server), PATIENCE).await;
    assert!(matches!(heard.fault, Some(Fault::Retry(_))), "{heard:?}");
    assert_eq!(elsewhere.requests().len(), 0, "the key goes nowhere else");

    let server = Standin::always(Act::redirect("/again")).await.unwrap();
    let heard = listen(&mut *Remote::Coindesk.of(&server), PATIENCE).await;
    assert!(matches!(heard.fault, Some(Fault::Retry(_))), "{heard:?}");
    assert!(server.requests().len() <= 5);

    let good = coindesk_index("BTC-USD", "1.5", 1);
    let server = Standin::script(vec![Act::redirect("/moved"), Act::ok(good)]).await.unwrap();
    let heard = listen_until(&mut *Remote::Coindesk.of(&server), |heard| !heard.ticks.is_empty()).await;
    assert!(!heard.ticks.is_empty());
}

#[tokio::test]
async fn the_addresses_are_those_of_the_documents() {
    let stream = Standin::always(Act::answer(451, "")).await.unwrap();
    listen(&mut *Remote::BinanceStream.of(&stream), PATIENCE).await;
    assert_eq!(stream.requests()[0].target, "/stream?streams=btcusdt@trade/btcusdt@bookTicker");

    let rest = Standin::always(Act::answer(451, "")).await.unwrap();
    listen(&mut *Remote::BinanceRest.of(&rest), PATIENCE).await;
    assert_eq!(rest.requests()[0].target, "/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI");

    listen(&mut *Remote::Coindesk.of(&rest), PATIENCE).await;
    let seen = rest.requests().pop().unwrap();
    let target = "/index/cc/v1/latest/tick?market=cadli&instruments=BTC-USD&groups=VALUE&apply_mapping=true";
    assert_eq!((seen.target.as_str(), seen.header("x-api-key")), (target, Some("the-key")));
    assert!(seen.header("user-agent").unwrap().starts_with("btc-cluster/"));
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_while_nothing_else_comes() {
    let server = Standin::always(Act::Stream(vec![Frame::Ping(b"1763640000123".to_vec())])).await.unwrap();
    let mut provider = Remote::BinanceStream.of(&server);
    tokio::select! {
        heard = listen(&mut *provider, PATIENCE) => panic!("{heard:?}"),
        answered = eventually(|| server.said() == ["pong:1763640000123"]) => assert!(answered),
    }
}
