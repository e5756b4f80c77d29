//! The feeder as a whole, with mocks and recordings, under virtual time.

use super::super::SourceState;
use super::*;
use crate::config::{OnStale, Provider, ProviderKind};
use crate::model::Price;
use crate::providers::Proxies;
use std::sync::Mutex;
use tokio::time::sleep;

fn mock(name: &str, price: &str, script: Option<&std::path::Path>) -> Provider {
    Provider {
        name: name.to_owned(),
        kind: ProviderKind::Mock {
            price: Price::parse(price).unwrap(),
            volatility: 0.0,
            tick: Duration::from_secs(1),
            seed: 1,
            script: script.map(Into::into),
        },
    }
}

pub(super) fn plan(providers: &[Provider]) -> Plan {
    let symbol = Symbol::new("BTC-USD").unwrap();
    let seconds = Duration::from_secs;
    Plan {
        price: PriceSection {
            symbols: vec![symbol.clone()],
            symbol,
            providers: providers.iter().map(|provider| provider.name.clone()).collect(),
            publish_interval: Duration::from_millis(100),
            refresh: seconds(60),
            start_wait: seconds(2),
            fresh_for: seconds(10),
            max_age: seconds(120),
            forget_after: seconds(600),
            on_stale: OnStale::Serve,
            policy: crate::config::Policy::Failover,
            min_sources: 2,
            max_deviation: rust_decimal::Decimal::new(1, 2),
            record: None,
            record_max: 64 << 20,
            resolve_timeout: seconds(10),
            connect_timeout: seconds(4),
            tls_timeout: seconds(5),
            answer_timeout: seconds(5),
            refused_min: seconds(30),
            refused_max: seconds(3600),
            wait_max: seconds(3600),
        },
        providers: providers.iter().map(|provider| (provider.name.clone(), provider.clone())).collect(),
        real_before: false,
        retries: crate::feeder::Retries::default(),
    }
}

/// A running feeder and its output.
struct Running {
    plans: watch::Sender<Arc<Plan>>,
    said: Arc<Mutex<Vec<FromFeeder>>>,
    _task: AbortOnDropHandle<()>,
}

impl Running {
    fn new(providers: &[Provider]) -> Self {
        let (plans, receiver) = watch::channel(Arc::new(plan(providers)));
        let said = Arc::new(Mutex::new(Vec::new()));
        let ears = said.clone();
        let http = Arc::new(Http::new(Proxies::Ignored));
        let task = run(receiver, Clock::virtual_time(), http, move |what| ears.lock().unwrap().push(what));
        Self { plans, said, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    fn reconfigure(&self, providers: &[Provider]) {
        self.plans.send(Arc::new(plan(providers))).unwrap();
    }

    /// The prices since the last call.
    fn prices(&self) -> Vec<String> {
        let mut said = self.said.lock().unwrap();
        let prices = said.iter().filter_map(|what| match what {
            FromFeeder::Tick(quote) => Some(quote.price.to_string()),
            _ => None,
        });
        let prices = prices.collect();
        said.retain(|what| !matches!(what, FromFeeder::Tick(_)));
        prices
    }

    fn sources(&self) -> Vec<SourceStatus> {
        let said = self.said.lock().unwrap();
        let last = said.iter().rev().find_map(|what| match what {
            FromFeeder::Sources(table) => Some(serde_json::from_str(table).unwrap()),
            _ => None,
        });
        last.unwrap()
    }
}

fn script(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn after(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn a_mock_is_published_and_told_of() {
    let feeder = Running::new(&[mock("mock", "64000.00", None)]);
    after(3_500).await;
    assert_eq!(feeder.prices(), ["64000.00"; 4]);
    let [source] = &feeder.sources()[..] else { panic!() };
    assert_eq!(
        (&*source.name, source.state, source.serving, source.mock),
        ("mock", SourceState::Live, true, true)
    );
    assert!(source.ticks >= 3, "{source:?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_price_restarts_the_mock_there_and_an_unchanged_one_goes_on() {
    let calm = script("set 100\nmove +1\nmove +1\nmove +1\nmove +1\nmove +1\nmove +1");
    let scripted = mock("calm", "1", Some(calm.path()));
    let feeder = Running::new(&[mock("mock", "64000.00", None)]);
    after(1_500).await;
    feeder.prices();
    feeder.reconfigure(&[mock("mock", "100.00", None)]);
    after(50).await;
    assert_eq!(feeder.prices(), ["100.00"], "at once and without a doubt");

    feeder.reconfigure(std::slice::from_ref(&scripted));
    after(4_500).await;
    assert!(feeder.prices().len() > 1);
    feeder.reconfigure(&[scripted.clone(), mock("mock", "5", None)]);
    after(1_000).await;
    assert_eq!(feeder.prices(), ["105.00"], "its session went on");
    after(1_000).await;
    let sources = feeder.sources();
    assert_eq!(sources.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn faults_are_paused_for_and_told() {
    let file = script("set 1\nfault wait 7s\nset 1\nfault retry\nset 1\nfault refused\nset 1");
    let feeder = Running::new(&[mock("m", "1", Some(file.path()))]);
    after(1_500).await;
    let source = feeder.sources().remove(0);
    assert_eq!((source.state, source.reconnects), (SourceState::Waiting, 1));
    assert_eq!(source.error.as_deref(), Some("mock: as the script says (told to wait 7 s)"));
    after(6_400).await;
    assert_eq!(feeder.prices().len(), 1, "not before");
    after(900).await;
    assert_eq!(feeder.prices().len(), 1);
    after(1_200).await;
    assert_eq!(feeder.prices().len(), 1, "a quick retry");
    let mut states = Vec::new();
    for _ in 0..40 {
        after(100).await;
        let source = feeder.sources().remove(0);
        states.push((source.state, source.retry_at.is_some()));
    }
    states.dedup();
    let expected = [(SourceState::Live, false), (SourceState::Refused, true), (SourceState::Live, false)];
    assert_eq!(states[..3], expected, "it was well a moment ago, and the operator reads until when it rests");
    assert!(!feeder.prices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_lacks_its_key_is_off_and_the_mock_waits_for_it_all_the_same() {
    let coindesk = Provider {
        name: "coindesk".to_owned(),
        kind: ProviderKind::Coindesk {
            rest_url: "https://127.0.0.1:1".to_owned(),
            api_key: None,
            market: "cadli".to_owned(),
        },
    };
    let feeder = Running::new(&[coindesk, mock("mock", "1", None)]);
    after(1_900).await;
    assert_eq!(feeder.prices().len(), 0);
    after(200).await;
    assert_eq!(feeder.prices().len(), 1);
    let sources = feeder.sources();
    assert_eq!((sources[0].state, sources[0].error.as_deref()), (SourceState::Off, Some("no API key")));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_says_nothing_is_down_though_its_session_goes_on() {
    let file = script("set 1\nstall 1m\nset 1\nsilent");
    let feeder = Running::new(&[mock("m", "1", Some(file.path()))]);
    after(9_900).await;
    assert_eq!(feeder.sources()[0].state, SourceState::Live);
    after(200).await;
    let source = feeder.sources().remove(0);
    assert_eq!((source.state, source.error.as_deref()), (SourceState::Down, Some("no price for 10s")));
    after(51_500).await;
    assert_eq!(feeder.sources()[0].state, SourceState::Live);
    after(10_000).await;
    assert_eq!((feeder.sources()[0].state, feeder.sources()[0].reconnects), (SourceState::Down, 0));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_plans() {
    let (plans, receiver) = watch::channel(Arc::new(plan(&[mock("mock", "1", None)])));
    let http = Arc::new(Http::new(Proxies::Ignored));
    let task = tokio::spawn(run(receiver, Clock::virtual_time(), http, |_| {}));
    after(10).await;
    drop(plans);
    task.await.unwrap();
}

/// Collects what this thread logs while it lives.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn sources_that_flap_are_logged_once_a_minute() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // Each ticks for six seconds, so that its pauses begin anew, and breaks: about 500 changes an hour each.
    let file = script("walk 6s\nfault retry\nwalk 6s\nfault wait 2s\nrepeat");
    let feeder = Running::new(&[mock("a", "1.0", Some(file.path())), mock("b", "1.0", Some(file.path()))]);
    after(3_600_000).await;
    let reconnects = feeder.sources().iter().map(|source| source.reconnects).min().unwrap();
    assert!(reconnects > 300, "{reconnects}");
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    for source in ["a", "b"] {
        for state in ["live", "down", "waiting"] {
            let said = format!("source=\"{source}\" state=\"{state}\"");
            let lines = text.lines().filter(|line| line.contains(&said)).count();
            assert!((2..=61).contains(&lines), "{said}: {lines}");
        }
        let hushed = text.lines().filter(|line| line.contains(&format!("source=\"{source}\" state")));
        let hushed: u64 = hushed
            .filter_map(|line| line.split("hushed=").nth(1)?.split(' ').next()?.parse::<u64>().ok())
            .sum();
        assert!(hushed > reconnects, "{hushed} were not said, and that is told");
    }
    assert!(text.lines().count() < 1_000, "{}", text.lines().count());
    eprintln!("{reconnects} sessions ended, {} lines", text.lines().count());
}

#[tokio::test(start_paused = true)]
async fn a_state_that_lasts_is_logged_though_it_came_in_the_midst_of_flapping() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let file = script("set 1\nfault retry\nset 1\nfault retry\nset 1\nfault wait 2s\nset 1\nsilent");
    let feeder = Running::new(&[mock("a", "1.0", Some(file.path()))]);
    after(300_000).await;
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let last = text.lines().rfind(|line| line.contains("source=\"a\" state")).unwrap();
    assert_eq!(feeder.sources()[0].state, SourceState::Down);
    assert!(last.contains("state=\"down\"") && last.contains("no price for 10s"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn sources_that_take_turns_are_logged_once_a_minute() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // Each tells us to wait after each price, for longer than the policy waits.
    let file = script("set 1\nfault wait 2s\nrepeat");
    let feeder = Running::new(&[mock("a", "1.0", Some(file.path())), mock("b", "1.0", Some(file.path()))]);
    after(600_000).await;
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let lines = text.lines().filter(|line| line.contains("price-served")).count();
    assert!((2..=22).contains(&lines), "{lines} lines:\n{text}");
    assert!(feeder.sources().iter().any(|source| source.reconnects > 100));
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_is_no_reason_to_leave_a_source() {
    let brief = script("set 1\nfault wait 1s\nrepeat");
    let feeder = Running::new(&[mock("a", "1.0", Some(brief.path())), mock("b", "2.0", None)]);
    after(60_000).await;
    let prices = feeder.prices();
    assert!(prices.len() > 20 && prices.iter().all(|price| price == "1"), "{prices:?}");
}

#[test]
fn what_a_source_does_not_use_does_not_change_it() {
    let exchange = |kind: fn(crate::config::Exchange) -> ProviderKind| Provider {
        name: "x".to_owned(),
        kind: kind(crate::config::Exchange {
            rest_url: "https://127.0.0.1:1".to_owned(),
            stream_url: "wss://127.0.0.1:1".to_owned(),
            symbol_map: BTreeMap::new(),
            silence: Duration::from_secs(45),
            no_tick: Duration::from_secs(10),
            renew_after: Duration::ZERO,
        }),
    };
    let program = ProviderKind::Command {
        program: vec!["/bin/true".to_owned()],
        symbol_map: BTreeMap::new(),
        no_tick: Duration::from_secs(10),
    };
    let program = Provider { name: "x".to_owned(), kind: program };
    let (btc, eth) = (Symbol::new("BTC-USD").unwrap(), Symbol::new("ETH-USD").unwrap());
    let before = PriceSection { symbols: vec![btc, eth.clone()], ..plan(&[]).price };
    let same = |provider: &Provider, price: &PriceSection| {
        Content::new(provider, &before) == Content::new(provider, price)
    };
    let other_default = PriceSection { symbol: eth.clone(), ..before.clone() };
    let rarer = PriceSection { refresh: Duration::from_secs(30), ..before.clone() };
    let often = PriceSection { refresh: Duration::from_secs(1), ..before.clone() };
    for kind in [ProviderKind::Binance, ProviderKind::Bitstamp, ProviderKind::Coinbase, ProviderKind::Kraken]
    {
        let source = exchange(kind);
        assert!(same(&source, &other_default) && same(&source, &rarer), "its stream need not be cut");
        assert!(!same(&source, &often), "REST stands in more often than else");
        assert!(!same(&source, &PriceSection { symbols: vec![eth.clone()], ..before.clone() }));
    }
    assert!(same(&program, &rarer));
    assert!(!same(&program, &other_default), "its lines need not name their symbol");
}
