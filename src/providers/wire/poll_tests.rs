//! Polling within an exchange's limit, against servers that tell the used part.

use super::*;
use crate::model::{Price, Symbol};
use crate::providers::tests::battery::{listen, listen_until};
use crate::providers::tests::standin::{Act, Seen, Standin, eventually};
use crate::providers::{Budget, Tick};
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads every body that is a price.
struct Plain {
    url: String,
    every: Duration,
}

impl Poll for Plain {
    fn url(&self) -> String {
        self.url.clone()
    }
    fn every(&self) -> Duration {
        self.every
    }
    fn read(&mut self, reply: &Reply<'_>, out: &mut dyn Sink) -> Result<(), Fault> {
        if let Some(fault) = reply.fault() {
            return Err(fault);
        }
        let text = String::from_utf8_lossy(reply.body);
        let price = Price::parse(&text).map_err(|error| Fault::Skip(error.to_string()))?;
        let symbol = Symbol::new("BTC-USD").unwrap();
        out.tick(Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time: None, seq: None });
        Ok(())
    }
}

fn polled(server: &Standin, every: u64, http: &Arc<Http>) -> Polled<Plain> {
    Polled::new(Plain { url: server.http(), every: Duration::from_millis(every) }, http.clone())
}

fn http() -> Arc<Http> {
    Http::within(Duration::from_secs(10))
}

/// Remembers the last budget.
#[derive(Default)]
struct LastBudget(Option<Budget>);

impl Sink for LastBudget {
    fn tick(&mut self, _tick: Tick) -> bool {
        true
    }
    fn bad(&mut self, _why: String) {}
    fn budget(&mut self, budget: Budget) {
        self.0 = Some(budget);
    }
}

#[tokio::test]
async fn past_half_of_the_limit_it_is_asked_less_often() {
    let used = Arc::new(AtomicU64::new(10));
    let told = used.clone();
    let server = Standin::start(move |_: &Seen| Act::Answer {
        status: 200,
        headers: vec![("X-MBX-USED-WEIGHT-1M", told.load(Ordering::Relaxed).to_string())],
        body: b"1.5".to_vec(),
    });
    let server = server.await.unwrap();
    let (mut provider, mut budget) = (polled(&server, 50, &http()), LastBudget::default());
    tokio::select! {
        fault = provider.session(&mut budget) => panic!("{fault}"),
        // Each request follows an answer that tells of a high use.
        () = async {
            assert!(eventually(|| server.requests().len() >= 3).await);
            used.store(5_700, Ordering::Relaxed);
            let (asked, begin) = (server.requests().len(), std::time::Instant::now());
            assert!(eventually(|| server.requests().len() >= asked + 3).await);
            // Ten times the interval between the first that was told and the next, and again to the third. The first
            // may have been on its way.
            assert!(begin.elapsed() >= Duration::from_millis(600), "{:?}", begin.elapsed());
        } => {}
    }
    assert_eq!(budget.0, Some(Budget { used: 5_700, limit: 6_000, window_s: 60 }));
}

#[tokio::test]
async fn a_limit_binds_everybody_who_talks_to_the_host() {
    for status in [429, 418] {
        let server = Standin::always(Act::later(status, 30, "too often")).await.unwrap();
        let http = http();
        let first = listen(&mut polled(&server, 50, &http), Duration::from_secs(9)).await;
        let second = listen(&mut polled(&server, 50, &http), Duration::from_secs(9)).await;
        let stream = http.open(&server.ws()).await.err();
        assert_eq!(server.requests().len(), 1, "only one was asked");
        for fault in [first.fault, second.fault, stream] {
            let Some(Fault::Wait(time, why)) = fault else { panic!("{fault:?}") };
            assert!(time <= Duration::from_secs(30) && time > Duration::from_secs(20), "{time:?}");
            assert!(why.starts_with(&format!("HTTP {status}")), "{why}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_told_to_wait_binds_the_questions() {
    let server = Standin::always(Act::later(429, 30, "too often")).await.unwrap();
    let http = http();
    assert!(matches!(http.open(&server.ws()).await.err(), Some(Fault::Wait(..))));
    let asked = listen(&mut polled(&server, 50, &http), Duration::from_secs(9)).await;
    assert!(matches!(asked.fault, Some(Fault::Wait(..))), "{asked:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_outage_or_a_refusal_binds_nobody_else() {
    for act in [Act::later(503, 30, "busy"), Act::answer(403, "WAF"), Act::answer(451, "no")] {
        let server = Standin::script(vec![act, Act::ok("1.5")]).await.unwrap();
        let http = http();
        let first = listen(&mut polled(&server, 50, &http), Duration::from_secs(9)).await;
        assert!(first.fault.is_some());
        let second = listen_until(&mut polled(&server, 50, &http), |heard| !heard.ticks.is_empty()).await;
        assert_eq!((second.ticks.len(), second.fault), (1, None));
    }
}

/// Remembers the age of each price.
#[derive(Default)]
struct PriceAges(Vec<Duration>, Option<Duration>);

impl Sink for PriceAges {
    fn tick(&mut self, tick: Tick) -> bool {
        assert_eq!(tick.time, None, "an age is no stamp: our clock may be wrong");
        self.0.extend(self.1);
        true
    }
    fn bad(&mut self, _why: String) {}
    fn age(&mut self, age: Option<Duration>) {
        self.1 = age;
    }
}

#[tokio::test]
async fn a_cache_that_says_how_old_its_answer_is_is_heard() {
    use crate::providers::plugins::http_json::HttpJson;
    let cached = |age: &str| Act::Answer {
        status: 200,
        headers: vec![("age", age.to_owned())],
        body: br#"{"price":"64000.10"}"#.to_vec(),
    };
    let server = Standin::script(vec![cached("0"), cached("300")]).await.unwrap();
    let symbol = crate::model::Symbol::new("BTC-USD").unwrap();
    let every = Duration::from_millis(20);
    let dialect = HttpJson::each(&server.http(), "/price", "", &[(symbol.clone(), symbol)], every);
    let mut heard = PriceAges::default();
    let _ =
        tokio::time::timeout(Duration::from_secs(2), Polled::new(dialect, http()).session(&mut heard)).await;
    assert_eq!(heard.0[..2], [Duration::ZERO, Duration::from_secs(300)]);
}
