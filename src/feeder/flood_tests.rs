//! One source floods the feeder, in real time: the others must not notice.
//!
//! The exchanges run in threads of their own, because the feeder shares this test's thread with nobody.

use super::super::Clock;
use super::super::SourceState;
use super::super::table::SourceStatus;
use super::tests::plan;
use super::*;
use crate::config::{Provider, ProviderKind};
use crate::providers::tests::standin::flood::{Flood, frame, text};
use crate::providers::tests::standin::{Act, Frame, Standin, binance_trade, says};
use std::sync::Mutex;
use std::time::Duration;

/// The time that is looked at.
const LOOK: Duration = Duration::from_secs(3);

fn exchange(name: &str, kind: fn(crate::config::Exchange) -> ProviderKind, stream: String) -> Provider {
    let kind = kind(crate::config::Exchange {
        rest_url: "http://127.0.0.1:9".to_owned(),
        stream_url: stream,
        symbol_map: BTreeMap::new(),
        silence: Duration::from_secs(1),
        no_tick: Duration::from_secs(10),
        renew_after: Duration::ZERO,
    });
    Provider { name: name.to_owned(), kind }
}

/// A stand-in for another exchange, in a thread of its own: a price each 20 ms, and what it says then.
fn calm(say: fn(&str, u64) -> String) -> Standin {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (frames, _) = tokio::sync::broadcast::channel(16);
            let server = Standin::always(Act::Follow(Vec::new(), frames.clone())).await.unwrap();
            sender.send(server).unwrap();
            for id in 1..1000 {
                // Before the stream is open nobody listens.
                let _ = frames.send(Frame::Text(say("64250.10", id)));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    });
    receiver.recv().unwrap()
}

/// What was seen.
#[derive(Debug)]
struct Findings {
    sources: Vec<SourceStatus>,
    /// Processor time of the feeder, as a part of the time.
    cpu: f64,
    /// Most processor time that the feeder took before a timer of 5 ms got its turn. On the wall the load of others would
    /// count, too.
    late: f64,
    /// Seconds that the flood's newest price is behind what it sent.
    behind: f64,
    quotes: usize,
}

fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn look(flooding: Provider) -> Findings {
    let coinbase = calm(says::coinbase_ticker);
    let kraken = calm(says::kraken_ticker);
    let bitstamp = calm(says::bitstamp_trade);
    let others = [
        flooding,
        exchange("coinbase", ProviderKind::Coinbase, coinbase.ws()),
        exchange("kraken", ProviderKind::Kraken, kraken.ws()),
        exchange("bitstamp", ProviderKind::Bitstamp, bitstamp.ws()),
    ];
    let mut plan = plan(&others);
    plan.price.publish_interval = Duration::from_millis(10);
    let (_plans, receiver) = watch::channel(Arc::new(plan));
    let sources: Arc<Mutex<Vec<SourceStatus>>> = Arc::default();
    let quotes: Arc<Mutex<(usize, f64)>> = Arc::default();
    let (s, q) = (sources.clone(), quotes.clone());
    let task = run(receiver, Clock::system(), Http::within(Duration::from_secs(2)), move |said| match said {
        FromFeeder::Sources(table) => *s.lock().unwrap() = serde_json::from_str(&table).unwrap(),
        FromFeeder::Tick(quote) if &*quote.source == "flood" => {
            let mut last = q.lock().unwrap();
            let at: f64 = quote.price.to_string().parse().unwrap();
            *last = (last.0 + 1, seconds() - at);
        }
        _ => {}
    });
    let _task = AbortOnDropHandle::new(tokio::spawn(task));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (begun, before, mut late) = (std::time::Instant::now(), cpu(), 0.0_f64);
    while begun.elapsed() < LOOK {
        let turn = cpu();
        tokio::time::sleep(Duration::from_millis(5)).await;
        late = late.max(cpu() - turn);
    }
    let cpu = (cpu() - before) / begun.elapsed().as_secs_f64();
    let (quotes, behind) = *quotes.lock().unwrap();
    let sources = sources.lock().unwrap().clone();
    for source in &sources {
        println!("{} {} ticks {} {:?}", source.name, source.state.as_str(), source.ticks, source.error);
    }
    println!("cpu {cpu:.2} late {late:.3} s behind {behind:.3} s, quotes {quotes}");
    Findings { sources, cpu, late, behind, quotes }
}

/// Seconds of this day, as a price.
fn seconds() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_micros() % 1_000_000_000_000) as f64 / 1e6
}

fn trade(id: u64) -> Vec<u8> {
    text(&binance_trade("BTCUSD", &format!("{:.6}", seconds()), id))
}

/// The others have their prices, and timers their turn.
fn assert_calm(found: &Findings) {
    for other in &found.sources[1..] {
        assert_eq!(other.state, SourceState::Live, "{}", other.name);
        // One each 20 ms, by threads of a machine that may be busy.
        assert!(other.ticks >= 40, "{} has {} ticks", other.name, other.ticks);
    }
    assert!(found.late < 0.5, "{}", found.late);
    assert!(found.cpu < 0.98, "{}", found.cpu);
}

#[tokio::test]
async fn a_stream_of_20000_trades_a_second_takes_nothing_from_the_others() {
    let flood = Flood::start(20_000, trade).unwrap();
    let found = look(exchange("flood", ProviderKind::Binance, flood.ws())).await;
    println!("sent {}", flood.sent());
    assert_calm(&found);
    assert!(found.quotes > 20 && found.behind < 5.0, "{found:?}");
}

#[tokio::test]
async fn a_stream_without_any_pause_takes_nothing_from_the_others() {
    let flood = Flood::start(0, trade).unwrap();
    let found = look(exchange("flood", ProviderKind::Binance, flood.ws())).await;
    println!("sent {}", flood.sent());
    assert_calm(&found);
    assert!(found.quotes > 20, "{found:?}");
}

#[tokio::test]
async fn pings_parts_of_messages_junk_and_answers_take_nothing_from_the_others() {
    let begin = || frame(0x01, b"{");
    type Say = Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>;
    let floods: [(&str, Say); 5] = [
        ("pings", Box::new(|_| frame(0x89, b"x"))),
        ("parts", Box::new(move |id| if id == 1 { begin() } else { frame(0x00, b"") })),
        ("junk", Box::new(|_| text("junk"))),
        ("huge", Box::new(|_| text(&format!("[{}1]", "1,".repeat(100_000))))),
        ("answers", Box::new(|id| text(&format!(r#"{{"result":null,"id":{id}}}"#)))),
    ];
    for (name, say) in floods {
        let flood = Flood::start(0, say).unwrap();
        println!("--- {name}");
        let found = look(exchange("flood", ProviderKind::Binance, flood.ws())).await;
        println!("sent {}", flood.sent());
        assert_calm(&found);
    }
}
