//! Replacing a connection, with real sockets: nothing is lost, and there are never more than two.

use super::*;
use crate::model::Symbol;
use crate::providers::exchanges::binance::Stream;
use crate::providers::tests::standin::exchange::Exchange;
use crate::providers::tests::standin::{Act, Frame, Standin, eventually};
use crate::providers::{Budget, Tick};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::task::AbortOnDropHandle;

const LONG: Duration = Duration::from_secs(10);
const SHUTDOWN: &str = r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}"#;

/// Results of a session so far.
#[derive(Clone, Default)]
struct SessionLog {
    numbers: Arc<Mutex<Vec<u64>>>,
    bad: Arc<AtomicUsize>,
}

impl Sink for SessionLog {
    fn tick(&mut self, tick: Tick) -> bool {
        self.numbers.lock().unwrap().push(tick.seq.unwrap());
        true
    }
    fn bad(&mut self, _why: String) {
        self.bad.fetch_add(1, Ordering::Relaxed);
    }
    fn budget(&mut self, _budget: Budget) {}
}

impl SessionLog {
    fn count(&self) -> usize {
        self.numbers.lock().unwrap().len()
    }

    async fn hears(&self, more: usize) {
        let before = self.count();
        assert!(
            eventually(|| self.count() >= before + more).await,
            "{} of {more} more",
            self.count() - before
        );
    }

    /// Every number from the first to the last was heard: once, or twice around a renewal.
    fn has_no_gap(&self) {
        let mut numbers = self.numbers.lock().unwrap().clone();
        numbers.dedup();
        numbers.sort_unstable();
        numbers.dedup();
        let gaps: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
        assert!(gaps.is_empty(), "{gaps:?}");
    }
}

/// A session with an exchange, and the largest number of connections at the same time.
struct Session {
    log: SessionLog,
    most: Arc<AtomicUsize>,
    running: AbortOnDropHandle<Fault>,
}

fn provider(url: &str, renew_after: Duration) -> Pushed<Stream> {
    let pairs = [(Symbol::new("BTC-USD").unwrap(), Symbol::new("BTC-USDT").unwrap())];
    let limits = Limits { silence: LONG, no_tick: LONG, renew_after };
    let mut pushed = Pushed::new(Stream::new(url, &pairs), limits, Http::within(LONG));
    pushed.pauses = (Duration::from_millis(20), Duration::from_millis(40));
    pushed
}

impl Session {
    fn start(exchange: &Arc<Exchange>, renew_after: Duration) -> Self {
        let mut provider = provider(&exchange.server.ws(), renew_after);
        let (log, most) = (SessionLog::default(), Arc::new(AtomicUsize::new(0)));
        let (mut out, seen, watched) = (log.clone(), most.clone(), exchange.clone());
        let running = tokio::spawn(async move {
            let counting = async {
                loop {
                    seen.fetch_max(watched.streams(), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                fault = provider.session(&mut out) => fault,
                () = counting => Fault::Skip(String::new()),
            }
        });
        Self { log, most, running: AbortOnDropHandle::new(running) }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

async fn exchange() -> Arc<Exchange> {
    Arc::new(Exchange::start("BTCUSDT", "64000.10").await.unwrap())
}

fn streams(exchange: &Exchange) -> Vec<std::time::Instant> {
    exchange.server.requests().iter().filter(|seen| seen.wants_stream()).map(|seen| seen.at).collect()
}

#[tokio::test]
async fn an_old_connection_is_replaced_again_and_again_without_a_gap() {
    let exchange = exchange().await;
    let begin = std::time::Instant::now();
    let session = Session::start(&exchange, Duration::from_millis(300));
    assert!(eventually(|| streams(&exchange).len() >= 5).await);
    session.log.hears(3).await;
    session.log.has_no_gap();
    assert_eq!((session.most(), session.log.bad.load(Ordering::Relaxed)), (2, 0));
    let second = streams(&exchange)[1] - begin;
    assert!(second >= Duration::from_millis(270), "not before its time: {second:?}");
    assert!(eventually(|| exchange.streams() == 1).await, "the old ones are closed");
    assert!(!session.running.is_finished());
}

#[tokio::test]
async fn a_server_that_says_it_will_go_is_read_until_the_new_one_ticks() {
    let exchange = exchange().await;
    let session = Session::start(&exchange, Duration::ZERO);
    session.log.hears(3).await;
    // The new connection is accepted, but silent for a while.
    exchange.stream_does(Some(Act::Stream(vec![])));
    exchange.send(Frame::Text(SHUTDOWN.to_owned()));
    assert!(eventually(|| streams(&exchange).len() == 2).await);
    session.log.hears(10).await;
    assert_eq!((exchange.streams(), streams(&exchange).len()), (1, 2), "the old one, and one beside it");
    exchange.send(Frame::Text(SHUTDOWN.to_owned()));
    session.log.hears(10).await;
    assert_eq!(streams(&exchange).len(), 2, "saying it twice changes nothing");
    session.log.has_no_gap();
}

#[tokio::test]
async fn a_newcomer_that_fails_is_tried_again_and_the_old_one_goes_on() {
    let exchange = exchange().await;
    let session = Session::start(&exchange, Duration::ZERO);
    session.log.hears(3).await;
    for act in [Act::answer(503, "busy"), Act::Cut, Act::Stream(vec![Frame::Close(1001, "going")])] {
        exchange.stream_does(Some(act));
        let before = streams(&exchange).len();
        exchange.send(Frame::Text(SHUTDOWN.to_owned()));
        assert!(eventually(|| streams(&exchange).len() >= before + 3).await);
        session.log.hears(3).await;
        assert_eq!(exchange.streams(), 1);
    }
    exchange.stream_does(None);
    let before = streams(&exchange).len();
    assert!(eventually(|| streams(&exchange).len() > before && exchange.streams() == 1).await);
    session.log.hears(3).await;
    session.log.has_no_gap();
    assert_eq!((session.most(), session.running.is_finished()), (2, false));
}

#[tokio::test]
async fn a_newcomer_that_is_told_to_wait_waits_and_the_old_one_goes_on() {
    let exchange = exchange().await;
    let session = Session::start(&exchange, Duration::ZERO);
    session.log.hears(3).await;
    exchange.stream_does(Some(Act::later(429, 1, "too often")));
    exchange.send(Frame::Text(SHUTDOWN.to_owned()));
    assert!(eventually(|| streams(&exchange).len() == 3).await);
    let at = streams(&exchange);
    assert!(at[2] - at[1] >= Duration::from_millis(1000), "{:?}", at[2] - at[1]);
    session.log.hears(3).await;
    session.log.has_no_gap();
}

#[tokio::test]
async fn a_connection_that_goes_as_it_said_ends_the_session_with_its_word() {
    let exchange = exchange().await;
    let session = Session::start(&exchange, Duration::ZERO);
    session.log.hears(3).await;
    exchange.stream_does(Some(Act::Hang));
    exchange.send(Frame::Text(SHUTDOWN.to_owned()));
    assert!(eventually(|| streams(&exchange).len() == 2).await);
    exchange.send(Frame::Close(1001, "bye"));
    let fault = session.running.await.unwrap();
    assert_eq!(fault, Fault::Reconnect("the server is about to go".to_owned()));
}

#[tokio::test]
async fn a_connection_that_is_cut_leaves_its_place_to_one_that_is_open() {
    let exchange = exchange().await;
    let session = Session::start(&exchange, Duration::ZERO);
    session.log.hears(3).await;
    // The new connection follows another channel, which is silent until the old one is gone.
    let (later, _) = tokio::sync::broadcast::channel(8);
    exchange.stream_does(Some(Act::Follow(vec![], later.clone())));
    exchange.send(Frame::Text(SHUTDOWN.to_owned()));
    assert!(eventually(|| later.receiver_count() == 1).await);
    session.log.hears(3).await;
    exchange.send(Frame::Cut);
    assert!(eventually(|| exchange.streams() == 0).await);
    let before = session.log.count();
    let trade = crate::providers::tests::standin::binance_trade("BTCUSDT", "64001.00", 1_000_000);
    // The handshake is not visible from outside: the message is repeated until it is heard.
    assert!(
        eventually(|| {
            let _ = later.send(Frame::Text(trade.clone()));
            session.log.count() > before
        })
        .await
    );
    assert!(!session.running.is_finished());
    assert_eq!(streams(&exchange).len(), 2);
}

#[tokio::test]
async fn both_connections_answer_pings() {
    let server = Standin::start({
        let mut count = 0;
        move |_| {
            count += 1;
            let trade = crate::providers::tests::standin::binance_trade("BTCUSDT", "1.0", count);
            let beat = |name: &str| [Frame::Wait(Duration::from_millis(150)), Frame::Ping(name.into())];
            // The first connection is asked to go, the second one never gives a price.
            Act::Stream(match count {
                1 => [Frame::Text(trade), Frame::Text(SHUTDOWN.to_owned())]
                    .into_iter()
                    .chain(beat("old"))
                    .chain(beat("old"))
                    .collect(),
                _ => beat("new").into_iter().chain(beat("new")).collect(),
            })
        }
    });
    let server = server.await.unwrap();
    let mut provider = provider(&server.ws(), Duration::ZERO);
    let said =
        || ["pong:old", "pong:new"].map(|pong| server.said().iter().filter(|said| *said == pong).count());
    let mut log = SessionLog::default();
    tokio::select! {
        fault = provider.session(&mut log) => panic!("{fault}"),
        both = eventually(|| said() == [2, 2]) => assert!(both, "{:?}", server.said()),
    }
}

#[tokio::test]
async fn servers_that_all_send_everybody_away_are_not_stormed() {
    let exchange = exchange().await;
    let trade = crate::providers::tests::standin::binance_trade("BTCUSDT", "1.0", 1);
    exchange.stream_does(Some(Act::Stream(vec![Frame::Text(trade), Frame::Text(SHUTDOWN.to_owned())])));
    let mut provider = provider(&exchange.server.ws(), Duration::ZERO);
    provider.pauses = (Duration::from_millis(100), Duration::from_secs(30));
    let begin = Instant::now();
    let mut log = SessionLog::default();
    tokio::select! {
        ended = provider.session(&mut log) => panic!("{ended:?}"),
        () = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(eventually(|| streams(&exchange).len() >= 3).await);
        } => {}
    }
    let (all, time) = (streams(&exchange).len() as u64, begin.elapsed());
    assert!(all <= 6 + time.as_secs() / 2, "{all} in {time:?}");
}

#[test]
fn renewals_that_come_too_soon_are_later_and_later() {
    let (s, begin) = (Duration::from_secs, Instant::now());
    let mut pace = RenewalPace::new(s(1), s(30));
    pace.last = begin;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        pace.last = pace.next(pace.last);
        pauses.push(pace.last);
    }
    let pause = |n: usize| pauses[n] - pauses[n - 1];
    assert!(pause(1) >= s(1) && pause(7) >= s(15) && pause(7) <= s(30), "{pauses:?}");
    let later = pace.last + s(61);
    assert_eq!(pace.next(later), later, "at once after a calm time");
}
