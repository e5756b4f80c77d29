//! What the feeder believes of stamps and numbers, over sessions, legs and sources, with stand-ins on the loopback.

use super::super::{Now, SourceState};
use super::exchange_tests::Feeder;
use super::*;
use crate::config::Provider;
use crate::config::{Exchange, Policy as Mode, ProviderKind};
use crate::model::{SourceVerdict, Wall};
use crate::os::clock;
use crate::providers::tests::standin::{Act, Frame, Standin, eventually};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tokio::time::sleep;

const MINUTE: i64 = 60_000;
const DAY: i64 = 1_440 * MINUTE;

/// The wall clock `ahead` milliseconds from now.
fn wall(ahead: i64) -> Wall {
    Wall(clock::wall().0 + ahead)
}

fn kraken_says(price: &str, stamp: Wall) -> String {
    format!(
        r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{price},"ask":{price},"last":{price},"timestamp":"{stamp}"}}]}}"#
    )
}

fn binance_says(price: &str, id: u64, stamp: Wall) -> String {
    let at = stamp.0;
    format!(
        r#"{{"stream":"btcusd@trade","data":{{"e":"trade","E":{at},"s":"BTCUSD","t":{id},"p":"{price}","T":{at}}}}}"#
    )
}

fn binance_rests(price: &str, id: u64, stamp: Wall) -> Act {
    let at = stamp.0;
    Act::ok(format!(r#"{{"symbol":"BTCUSD","lastPrice":"{price}","closeTime":{at},"lastId":{id}}}"#))
}

fn coinbase_rests(price: &str, id: u64, stamp: Wall) -> Act {
    Act::ok(format!(r#"{{"trade_id":{id},"price":"{price}","time":"{stamp}"}}"#))
}

fn provider(
    name: &str,
    server: &Standin,
    renew_after: Duration,
    kind: fn(Exchange) -> ProviderKind,
) -> Provider {
    let kind = kind(Exchange {
        rest_url: server.http(),
        stream_url: server.ws().replace("127.0.0.1", "localhost"),
        symbol_map: BTreeMap::new(),
        silence: Duration::from_secs(45),
        no_tick: Duration::from_secs(30),
        renew_after,
    });
    Provider { name: name.to_owned(), kind }
}

/// A message each 20 ms, for a minute.
fn steady(say: impl Fn(u64) -> String + Send + 'static) -> Act {
    let (sender, _) = tokio::sync::broadcast::channel(64);
    let to = sender.clone();
    tokio::spawn(async move {
        for n in 1..3_000 {
            let _ = to.send(Frame::Text(say(n)));
            sleep(Duration::from_millis(20)).await;
        }
    });
    Act::Follow(vec![], sender)
}

/// A source that sends such stamps from its first message on.
async fn kraken_behind(name: &str, price: &'static str, ahead: i64) -> (Standin, Provider) {
    let server = Standin::start(move |seen| {
        if seen.wants_stream() {
            steady(move |_| kraken_says(price, wall(ahead)))
        } else {
            Act::answer(503, "")
        }
    });
    let server = server.await.unwrap();
    let provider = provider(name, &server, Duration::ZERO, ProviderKind::Kraken);
    (server, provider)
}

/// Prices in the order of publication, each once.
fn prices(feeder: &Feeder) -> Vec<String> {
    let mut prices: Vec<_> =
        feeder.quotes.lock().unwrap().iter().map(|quote| quote.price.to_string()).collect();
    prices.dedup();
    prices
}

#[tokio::test]
async fn a_renewed_connection_that_begins_in_the_past_neither_is_served_nor_ends_the_old_one() {
    let count = AtomicUsize::new(0);
    let server = Standin::start(move |seen| {
        if !seen.wants_stream() {
            return Act::answer(503, "");
        }
        match count.fetch_add(1, Relaxed) {
            0 => steady(|n| kraken_says(&format!("64000.{:02}", n % 100), wall(0))),
            _ => Act::Stream(vec![Frame::Text(kraken_says("63000.00", wall(-20 * MINUTE)))]),
        }
    });
    let server = server.await.unwrap();
    let renew = Duration::from_millis(500);
    let feeder = Feeder::start(&[provider("kraken", &server, renew, ProviderKind::Kraken)]);
    let streams = || server.requests().iter().filter(|seen| seen.wants_stream()).count();
    assert!(eventually(|| streams() == 2).await);
    let begin = feeder.quotes.lock().unwrap().len();
    sleep(Duration::from_millis(1_500)).await;
    let quotes = feeder.quotes.lock().unwrap()[begin..].to_vec();
    assert!(quotes.iter().all(|quote| quote.price.to_string().starts_with("64000.")), "{quotes:?}");
    let gap = quotes.windows(2).map(|pair| pair[1].received.since(pair[0].received)).max();
    assert!(quotes.len() > 20 && gap < Some(Duration::from_millis(500)), "{} {gap:?}", quotes.len());
}

#[tokio::test]
async fn rest_that_stands_behind_the_stream_is_not_served_when_the_stream_breaks() {
    let server = Standin::start(|seen| {
        if seen.wants_stream() {
            Act::Stream(vec![Frame::Text(binance_says("64000.00", 957, wall(0))), Frame::Cut])
        } else {
            binance_rests("63500.00", 900, wall(0))
        }
    });
    let server = server.await.unwrap();
    let feeder = Feeder::start(&[provider("binance", &server, Duration::ZERO, ProviderKind::Binance)]);
    let asked = || server.requests().iter().filter(|seen| !seen.wants_stream()).count();
    assert!(eventually(|| asked() > 20).await);
    assert_eq!(prices(&feeder), ["64000.00"]);
    let told = feeder.sources.lock().unwrap()[0].ticks;
    assert_eq!(told, 1, "no session brought news");
}

#[tokio::test]
async fn a_replica_that_is_hours_behind_gives_no_price_and_makes_nothing_fresh() {
    let (count, good) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(true)));
    let on = good.clone();
    let server = Standin::start(move |seen| {
        let n = count.fetch_add(1, Relaxed) as u64;
        match (seen.wants_stream(), n.is_multiple_of(2) && on.load(Relaxed)) {
            (true, _) => Act::answer(503, ""),
            (_, true) => coinbase_rests("64000.00", 5_000 + n, wall(0)),
            (_, false) => coinbase_rests("61000.00", 100 + n, wall(-180 * MINUTE)),
        }
    });
    let server = server.await.unwrap();
    let feeder = Feeder::start(&[provider("coinbase", &server, Duration::ZERO, ProviderKind::Coinbase)]);
    let ticks = || feeder.sources.lock().unwrap().first().map_or(0, |source| source.ticks);
    assert!(eventually(|| ticks() >= 3).await);
    good.store(false, Relaxed);
    let before = ticks();
    sleep(Duration::from_secs(7)).await;
    assert_eq!(prices(&feeder).last().unwrap(), "64000.00", "{:?}", prices(&feeder));
    assert!(!prices(&feeder)[1..].contains(&"61000.00".to_owned()), "{:?}", prices(&feeder));
    assert!(ticks() <= before + 1, "what is repeated is no news: {before} {}", ticks());
    // The stream's refusals are told in turn.
    let error = || feeder.sources.lock().unwrap()[0].error.clone().unwrap_or_default();
    assert!(eventually(|| error().contains("is older than that of")).await, "{}", error());
}

#[tokio::test]
async fn a_connection_that_gives_only_the_past_is_left_after_no_tick() {
    let count = AtomicUsize::new(0);
    let server = Standin::start(move |seen| match (seen.wants_stream(), count.fetch_add(1, Relaxed)) {
        (false, _) => Act::answer(503, ""),
        (true, 0) => Act::Stream(vec![Frame::Text(kraken_says("64000.00", wall(0))), Frame::Cut]),
        (true, _) => steady(|_| kraken_says("63500.00", wall(-20 * MINUTE))),
    });
    let server = server.await.unwrap();
    let provider = provider("kraken", &server, Duration::ZERO, |own| {
        ProviderKind::Kraken(Exchange { no_tick: Duration::from_millis(500), ..own })
    });
    let feeder = Feeder::start(&[provider]);
    let streams = || server.requests().iter().filter(|seen| seen.wants_stream()).count();
    assert!(eventually(|| streams() >= 4).await);
    assert_eq!(prices(&feeder), ["64000.00"]);
}

type Says = fn(&str, u64, Wall) -> String;
type Kind = fn(Exchange) -> ProviderKind;

/// Each exchange: what its stream and its REST say.
const EXCHANGES: [(&str, Kind, Says, Says); 3] = [
    (
        "bitstamp",
        ProviderKind::Bitstamp,
        |price, id, stamp| {
            let micros = stamp.0 * 1_000;
            format!(
                r#"{{"channel":"live_trades_btcusd","event":"trade","data":{{"id":{id},"price_str":"{price}","microtimestamp":"{micros}"}}}}"#
            )
        },
        |price, _, stamp| format!(r#"{{"timestamp":"{}","last":"{price}"}}"#, stamp.0 / 1_000),
    ),
    (
        "coinbase",
        ProviderKind::Coinbase,
        |price, id, stamp| {
            format!(
                r#"{{"type":"ticker","sequence":{id},"product_id":"BTC-USD","price":"{price}","time":"{stamp}","trade_id":{id}}}"#
            )
        },
        |price, id, stamp| format!(r#"{{"trade_id":{},"price":"{price}","time":"{stamp}"}}"#, id + 500),
    ),
    (
        "kraken",
        ProviderKind::Kraken,
        |price, _, stamp| kraken_says(price, stamp),
        |_, _, _| "no price".to_owned(),
    ),
];

#[tokio::test]
async fn no_leg_of_any_exchange_goes_back_when_the_stream_breaks() {
    for (name, kind, stream, rest) in EXCHANGES {
        let (count, now) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
        let on = now.clone();
        let server = Standin::start(move |seen| {
            let (old, n) = (wall(-20 * MINUTE), count.fetch_add(1, Relaxed) as u64);
            match (seen.wants_stream(), n) {
                (_, _) if on.load(Relaxed) && seen.wants_stream() => {
                    steady(move |n| stream("64002.00", 1_000 + n, wall(0)))
                }
                (true, 0) => Act::Stream(vec![Frame::Text(stream("64000.00", 957, wall(0))), Frame::Cut]),
                (true, _) => {
                    let backlog = (0..20).map(|more| Frame::Text(stream("63500.00", 880 + n + more, old)));
                    Act::Stream(backlog.chain([Frame::Cut]).collect())
                }
                (false, _) => Act::ok(rest("63500.00", 900 + n, old)),
            }
        });
        let server = server.await.unwrap();
        let feeder = Feeder::start(&[provider(name, &server, Duration::ZERO, kind)]);
        feeder.says("64000.00").await;
        let rejected = || feeder.sources.lock().unwrap().first().map_or(0, |source| source.rejected);
        assert!(eventually(|| rejected() >= 40).await, "{name} {}", rejected());
        assert_eq!(prices(&feeder), ["64000.00"], "{name}");
        assert_eq!(feeder.sources.lock().unwrap()[0].ticks, 1, "{name}");
        now.store(true, Relaxed);
        feeder.says("64002.00").await;
        assert_eq!(prices(&feeder), ["64000.00", "64002.00"], "{name}");
    }
}

#[tokio::test]
async fn an_unchanged_number_after_an_outage_is_not_news() {
    let count = AtomicUsize::new(0);
    let server = Standin::start(move |seen| match (seen.wants_stream(), count.fetch_add(1, Relaxed) % 4) {
        (true, _) => Act::answer(503, ""),
        (_, 3) => Act::answer(503, "busy"),
        _ => binance_rests("64000.00", 900, wall(0)),
    });
    let server = server.await.unwrap();
    let feeder = Feeder::start(&[provider("binance", &server, Duration::ZERO, ProviderKind::Binance)]);
    let asked = || server.requests().iter().filter(|seen| !seen.wants_stream()).count();
    assert!(eventually(|| asked() > 12).await);
    assert_eq!(feeder.sources.lock().unwrap()[0].ticks, 1);
    assert_eq!(feeder.quotes.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_first_word_of_hours_ago_is_not_fresh_and_not_preferred() {
    let old = Act::Stream(vec![Frame::Text(kraken_says("63000.00", wall(-180 * MINUTE)))]);
    let server =
        Standin::start(move |seen| if seen.wants_stream() { old.clone() } else { Act::answer(503, "") });
    let server = server.await.unwrap();
    let late = provider("late", &server, Duration::ZERO, ProviderKind::Kraken);
    let (_right, punctual) = kraken_behind("punctual", "64000.00", 0).await;
    let feeder = Feeder::start(&[late, punctual]);
    feeder.says("64000.00").await;
    sleep(Duration::from_secs(1)).await;
    let quotes = feeder.quotes.lock().unwrap();
    assert_eq!(&*quotes.last().unwrap().source, "punctual");
    let late: Vec<_> = quotes.iter().filter(|quote| &*quote.source == "late").collect();
    assert!(late.iter().all(|quote| quote.lag > Duration::from_secs(10_000)), "{late:?}");
}

#[tokio::test]
async fn a_source_that_is_late_from_its_first_word_on_does_not_agree() {
    let (_a, a) = kraken_behind("a", "64000.00", 0).await;
    let (_b, b) = kraken_behind("b", "64001.00", 0).await;
    let (_late, late) = kraken_behind("late", "64002.00", -300_000).await;
    let feeder = Feeder::start_with(&[late, a, b], |price| price.policy = Mode::Median);
    let verdicts =
        || -> Vec<_> { feeder.sources.lock().unwrap().iter().filter_map(|source| source.verdict).collect() };
    let expected = [SourceVerdict::Stale, SourceVerdict::Agrees, SourceVerdict::Agrees];
    assert!(eventually(|| verdicts() == expected).await, "{:?}", verdicts());
    sleep(Duration::from_millis(500)).await;
    assert_eq!((verdicts(), feeder.price().as_deref()), (expected.to_vec(), Some("64000.50")));
}

#[tokio::test]
async fn two_stamps_of_tomorrow_cost_seconds() {
    let server = Standin::start(|seen| {
        if !seen.wants_stream() {
            return Act::answer(503, "");
        }
        steady(|n| kraken_says(&format!("64000.{n:04}"), wall(if n <= 2 { DAY } else { 0 })))
    });
    let server = server.await.unwrap();
    let feeder = Feeder::start(&[provider("kraken", &server, Duration::ZERO, ProviderKind::Kraken)]);
    assert!(eventually(|| prices(&feeder).len() >= 3).await);
    sleep(Duration::from_secs(1)).await;
    let quote = feeder.quotes.lock().unwrap().last().unwrap().clone();
    assert!(clock::boot().since(quote.received) < Duration::from_millis(500), "{quote:?}");
    assert!(quote.lag < Duration::from_secs(2), "{quote:?}");
    assert_eq!(feeder.state(), Some(SourceState::Live));
}

/// A clock of ours that is an hour wrong, and is set while the feeder runs.
#[tokio::test]
async fn our_own_clock_may_be_wrong_where_the_sources_agree() {
    for wrong in [60 * MINUTE, -60 * MINUTE, DAY, -DAY, 1_270] {
        let (_a, a) = kraken_behind("a", "64000.00", 0).await;
        let (_b, b) = kraken_behind("b", "64001.00", 0).await;
        let off = Arc::new(Mutex::new(wrong));
        let told = off.clone();
        let clock = Clock::new(move || {
            let ahead = *told.lock().unwrap();
            Now { mono: clock::mono(), boot: clock::boot(), wall: wall(ahead) }
        });
        let feeder = Feeder::start_at(clock, &[a, b]);
        let fresh = || {
            let quotes = feeder.quotes.lock().unwrap();
            quotes.last().is_some_and(|quote| &*quote.source == "a" && quote.age(clock::boot()).as_secs() < 2)
        };
        assert!(eventually(fresh).await, "{wrong}");
        // Stamps that are ahead are fresh at once; the two are witnesses after half a second.
        sleep(Duration::from_secs(1)).await;
        // The clock is put right, and then wrong the other way.
        for ahead in [0, -wrong] {
            *off.lock().unwrap() = ahead;
            sleep(Duration::from_millis(300)).await;
            assert!(fresh(), "{wrong} {ahead}: {:?}", feeder.quotes.lock().unwrap().last());
        }
    }
}
