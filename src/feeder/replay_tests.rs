//! The feeder on a recording: its exact output.

use super::super::Clock;
use super::*;
use crate::config::{Provider, ProviderKind};
use crate::model::{Price, Quote};
use crate::providers::Proxies;
use crate::providers::tests::standin::eventually;
use crate::providers::tests::standin::exchange::Exchange;
use std::path::Path;
use std::sync::Mutex;

type Told = Arc<Mutex<Vec<Quote>>>;

fn symbol() -> Symbol {
    Symbol::new("BTC-USD").unwrap()
}

fn tether() -> BTreeMap<Symbol, Symbol> {
    [(symbol(), Symbol::new("BTC-USDT").unwrap())].into()
}

fn plan(provider: Provider, record: Option<&Path>) -> Arc<Plan> {
    let mut plan = super::tests::plan(&[provider]);
    plan.price.publish_interval = Duration::ZERO;
    plan.price.refresh = Duration::from_millis(50);
    (plan.price.record, plan.price.record_max) = (record.map(Into::into), 1 << 20);
    Arc::new(plan)
}

fn start(plan: Arc<Plan>, clock: Clock) -> (Told, watch::Sender<Arc<Plan>>, AbortOnDropHandle<()>) {
    let (told, (plans, receiver)) = (Told::default(), watch::channel(plan));
    let ears = told.clone();
    let task = run(receiver, clock, Arc::new(Http::new(Proxies::Ignored)), move |said| {
        if let FromFeeder::Tick(quote) = said {
            ears.lock().unwrap().push(quote);
        }
    });
    (told, plans, AbortOnDropHandle::new(tokio::spawn(task)))
}

/// A price without the fields that differ between runs.
fn compared(quote: &Quote) -> (Price, Option<Price>, Option<Price>, Option<crate::model::Wall>, String) {
    (quote.price, quote.bid, quote.ask, quote.time, quote.pair.to_string())
}

/// All that a replay of this file publishes within a virtual hour.
async fn played(file: &Path, speed: f64) -> Vec<Quote> {
    let kind = ProviderKind::Replay {
        file: file.to_owned(),
        source: Some("binance".to_owned()),
        symbol_map: tether(),
        speed,
        repeat: false,
    };
    let provider = Provider { name: "played".to_owned(), kind };
    let (told, _plans, _task) = start(plan(provider, None), Clock::virtual_time());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let quotes = told.lock().unwrap();
    quotes.clone()
}

/// Publishes a stand-in's prices while recording them; returns the published ones.
async fn recorded(file: &Path) -> Vec<Quote> {
    let exchange = Exchange::start("BTCUSDT", "64000.00").await.unwrap();
    let kind = ProviderKind::Binance(crate::config::Exchange {
        rest_url: exchange.server.http(),
        stream_url: exchange.server.ws(),
        symbol_map: tether(),
        silence: Duration::from_secs(45),
        no_tick: Duration::from_secs(10),
        renew_after: Duration::ZERO,
    });
    let provider = Provider { name: "binance".to_owned(), kind };
    let (told, plans, task) = start(plan(provider, Some(file)), Clock::system());
    for n in 1..=10 {
        let price = format!("640{n:02}.50");
        exchange.set_price(&price);
        let is_out = || told.lock().unwrap().last().is_some_and(|quote| quote.price.to_string() == price);
        assert!(eventually(is_out).await, "{price}");
    }
    // The end of the feeder writes what waits.
    drop(plans);
    let _ = task.await;
    let quotes = told.lock().unwrap();
    quotes.clone()
}

#[test]
fn what_was_published_is_published_again_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("raw");
    let runtime = |paused| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap()
    };
    let first = runtime(false).block_on(recorded(&file));
    for speed in [1.0, 1000.0, 0.0] {
        let again = runtime(true).block_on(played(&file, speed));
        let (first, again): (Vec<_>, Vec<_>) =
            (first.iter().map(compared).collect(), again.iter().map(compared).collect());
        // The recording also has what came after the last look.
        assert!(again.len() >= first.len() && first.len() >= 10, "{} of {}", again.len(), first.len());
        assert_eq!(again[..first.len()], first, "speed {speed}");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(" binance/stream !begin\n"), "{text:.300}");
}
