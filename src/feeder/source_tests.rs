//! The supervisor with scripted providers, under virtual time.

use super::super::mailbox::mailbox;
use super::*;
use crate::model::{Price, Symbol};
use async_trait::async_trait;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::sleep;

/// A step of a scripted provider, in order, over all its sessions.
#[derive(Clone, Debug)]
enum Do {
    Tick(u64),
    /// A price of that symbol and pair.
    Price(&'static str, &'static str),
    Sleep(u64),
    End(Fault),
    Panic,
    Stay,
}

type Script = Arc<Mutex<std::collections::VecDeque<Do>>>;

struct Puppet {
    script: Script,
    /// Counts the living providers.
    _alive: Arc<()>,
}

#[async_trait]
impl PriceProvider for Puppet {
    async fn session(&mut self, out: &mut dyn Sink) -> Fault {
        loop {
            let next = self.script.lock().unwrap().pop_front();
            match next {
                Some(Do::Tick(seq)) => _ = out.tick(tick(seq)),
                Some(Do::Price(symbol, pair)) => {
                    let of = |text| Symbol::new(text).unwrap();
                    out.tick(Tick { symbol: of(symbol), pair: of(pair), seq: None, ..tick(0) });
                }
                Some(Do::Sleep(ms)) => sleep(Duration::from_millis(ms)).await,
                Some(Do::End(fault)) => return fault,
                Some(Do::Panic) => panic!("as the script says"),
                Some(Do::Stay) => std::future::pending().await,
                None => return Fault::Retry("nothing left to do".to_owned()),
            }
        }
    }
}

fn tick(seq: u64) -> Tick {
    let symbol = Symbol::new("BTC-USD").unwrap();
    let price = Price::parse("1").unwrap();
    Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time: None, seq: Some(seq) }
}

/// A leg of scripted providers; the counter tells how many have been made.
fn leg(word: &'static str, script: Vec<Do>, alive: &Arc<()>) -> (Leg, Arc<AtomicUsize>) {
    let (script, made): (Script, _) = (Arc::new(Mutex::new(script.into())), Arc::new(AtomicUsize::new(0)));
    let (count, alive) = (made.clone(), alive.clone());
    let leg = Leg::new(word, move || {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Puppet { script: script.clone(), _alive: alive.clone() }))
    });
    (leg, made)
}

/// Runs a source for some time and returns its notes, with milliseconds.
async fn watch(legs: Vec<Leg>, seconds: u64) -> Vec<(u64, usize, What)> {
    watch_pairs(legs, &[("BTC-USD", "BTC-USD")], seconds).await
}

/// The same with other pairs than BTC-USD's own.
async fn watch_pairs(legs: Vec<Leg>, pairs: &[(&str, &str)], seconds: u64) -> Vec<(u64, usize, What)> {
    let (_orders, ordered) = watch::channel(Orders::default());
    watch_orders(legs, pairs, ordered, seconds).await
}

/// The same with orders to the source.
async fn watch_orders(
    legs: Vec<Leg>,
    pairs: &[(&str, &str)],
    orders: watch::Receiver<Orders>,
    seconds: u64,
) -> Vec<(u64, usize, What)> {
    let (sender, mut inbox) = mailbox();
    let symbol = |text| Symbol::new(text).unwrap();
    let pairs = pairs.iter().map(|(asked, pair)| (symbol(asked), symbol(pair))).collect();
    let clock = Clock::virtual_time();
    let mut notes = Vec::new();
    let noting = async {
        loop {
            let note = inbox.recv().await.note;
            notes.push((clock.now().mono.0 / 1_000_000, note.leg, note.what));
            assert!(notes.len() < 3000, "a storm");
        }
    };
    tokio::select! {
        () = supervise(1, legs, (pairs, Belief::new("x", Arc::default())), (clock.clone(), sender), orders, None) => panic!("a source never ends"),
        () = noting => {}
        () = sleep(Duration::from_secs(seconds)) => {}
    }
    notes
}

fn began(notes: &[(u64, usize, What)], leg: usize) -> Vec<u64> {
    let began =
        |(at, of, what): &(u64, usize, What)| (*of == leg && matches!(what, What::Began)).then_some(*at);
    notes.iter().filter_map(began).collect()
}

fn ticks(notes: &[(u64, usize, What)], leg: usize) -> Vec<u64> {
    let ticks =
        |(at, of, what): &(u64, usize, What)| (*of == leg && matches!(what, What::Tick(..))).then_some(*at);
    notes.iter().filter_map(ticks).collect()
}

fn retry() -> Do {
    Do::End(Fault::Retry("as the script says".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_it_never_gives_up() {
    let (leg, _) = leg("x", vec![], &Arc::default());
    let began = began(&watch(vec![leg], 7200).await, 0);
    let pauses: Vec<_> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((125..=251).contains(&pauses[0]), "{pauses:?}");
    assert!((1000..=2001).contains(&pauses[3]), "{pauses:?}");
    assert!(
        pauses.len() > 240 && pauses[8..].iter().all(|pause| (15_000..=30_001).contains(pause)),
        "{pauses:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_session_that_gave_prices_and_lasted_starts_the_pauses_anew() {
    let mut script: Vec<_> = (0..8).flat_map(|_| [Do::Tick(1), Do::Sleep(100), retry()]).collect();
    script.extend([Do::Tick(1), Do::Sleep(6_000), retry(), Do::Tick(1), Do::Stay]);
    let (leg, _) = leg("x", script, &Arc::default());
    let ticks = ticks(&watch(vec![leg], 600).await, 0);
    assert_eq!(ticks.len(), 10);
    assert!(ticks[8] - ticks[7] > 15_000, "it ticked, but broke each time: {ticks:?}");
    assert!(ticks[9] - ticks[8] < 6_000 + 260, "{ticks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_obeyed_what_is_never_served_is_an_hour_and_a_move_is_at_once() {
    let why = || "as the script says".to_owned();
    let script = vec![
        Do::End(Fault::Wait(Duration::from_secs(100), why())),
        Do::End(Fault::Barred(why())),
        Do::Tick(1),
        Do::Sleep(10_000),
        Do::End(Fault::Reconnect(why())),
        Do::Stay,
    ];
    let (leg, _) = leg("x", script, &Arc::default());
    let began = began(&watch(vec![leg], 10_000).await, 0);
    let pauses: Vec<_> = began.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((100_000..=110_001).contains(&pauses[0]), "{pauses:?}");
    assert!((3_240_000..=3_600_001).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses[2] <= 10_002 && pauses.len() == 3, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn five_seconds_of_refusals_cost_half_a_minute() {
    let refused = |_| Do::End(Fault::Refused("HTTP 403: a page of HTML".to_owned()));
    let script: Vec<_> =
        [Do::Sleep(5_000)].into_iter().chain((0..1).map(refused)).chain([Do::Tick(1), Do::Stay]).collect();
    let (at_first, _) = leg("x", script, &Arc::default());
    let found = ticks(&watch(vec![at_first], 7200).await, 0);
    assert!(found.first().is_some_and(|at| *at <= 35_001), "{found:?}");
    let well = [Do::Tick(1), Do::Sleep(60_000)]
        .into_iter()
        .chain((0..3).map(refused))
        .chain([Do::Tick(2), Do::Stay]);
    let (later, _) = leg("x", well.collect(), &Arc::default());
    let found = ticks(&watch(vec![later], 7200).await, 0);
    assert!(found.get(1).is_some_and(|at| *at <= 67_001), "it was well a moment ago: {found:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_has_it_tried_now_and_a_reload_too_unless_it_said_wait() {
    let why = || "as the script says".to_owned();
    let wait = || Do::End(Fault::Wait(Duration::from_secs(3 * 86_400), why()));
    let script =
        vec![Do::End(Fault::Barred(why())), Do::End(Fault::Barred(why())), wait(), Do::Tick(1), Do::Stay];
    let (leg, _) = leg("x", script, &Arc::default());
    let (orders, ordered) = watch::channel(Orders::default());
    let ordering = async {
        sleep(Duration::from_secs(10)).await;
        orders.send_modify(|orders| orders.reloads += 1);
        sleep(Duration::from_secs(10)).await;
        orders.send_modify(|orders| orders.retries += 1);
        sleep(Duration::from_secs(10)).await;
        orders.send_modify(|orders| orders.reloads += 1);
        sleep(Duration::from_secs(10)).await;
        orders.send_modify(|orders| orders.retries += 1);
        std::future::pending::<()>().await
    };
    let pairs = [("BTC-USD", "BTC-USD")];
    let notes = tokio::select! {
        notes = watch_orders(vec![leg], &pairs, ordered, 60) => notes,
        () = ordering => Vec::new(),
    };
    assert_eq!(began(&notes, 0), [0, 10_000, 20_000, 40_000]);
    let rests = notes.iter().filter_map(|(at, _, what)| match what {
        What::Pause(Boot(until)) => Some(until / 1_000_000 - at),
        _ => None,
    });
    let rests: Vec<_> = rests.collect();
    assert!(rests.iter().all(|ms| (3_240_000..=3_630_000).contains(ms)) && rests.len() == 3, "{rests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_sends_everybody_away_is_not_stormed() {
    let script = std::iter::repeat_n(Do::End(Fault::Reconnect("go".to_owned())), 100).collect();
    let (leg, _) = leg("x", script, &Arc::default());
    assert!(began(&watch(vec![leg], 60).await, 0).len() < 15);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_a_session_and_nothing_else() {
    let (leg, made) = leg("x", vec![Do::Tick(1), Do::Panic, Do::Tick(1), Do::Stay], &Arc::default());
    let notes = watch(vec![leg], 5).await;
    assert_eq!((ticks(&notes, 0).len(), made.load(Ordering::Relaxed)), (2, 2), "{notes:?}");
    assert!(notes.iter().any(|(_, _, what)| matches!(what, What::Ended(Fault::Retry(_)))));
}

#[tokio::test(start_paused = true)]
async fn numbers_grow_within_a_session_and_begin_anew_with_the_next() {
    let script =
        [5, 6, 6, 4, 7].map(Do::Tick).into_iter().chain([retry(), Do::Tick(1), Do::Tick(2), Do::Stay]);
    let (leg, made) = leg("x", script.collect(), &Arc::default());
    let notes = watch(vec![leg], 5).await;
    assert_eq!(ticks(&notes, 0).len(), 5);
    assert_eq!(notes.iter().filter(|(_, _, what)| matches!(what, What::Repeated)).count(), 2);
    assert_eq!(made.load(Ordering::Relaxed), 1, "the provider goes on where it was");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_counts_anew_is_not_ignored_for_ever() {
    let numbers = [1000, 1001].into_iter().chain(1..20);
    let script = numbers.flat_map(|seq| [Do::Tick(seq), Do::Sleep(1_000)]).chain([Do::Stay]);
    let (leg, _) = leg("x", script.collect(), &Arc::default());
    let notes = watch(vec![leg], 30).await;
    let late = ticks(&notes, 0)[2..].to_vec();
    assert!(late.len() == 14 && late[0].abs_diff(7_000) < 50, "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn the_second_leg_stands_in_while_the_first_gives_nothing() {
    let alive = Arc::default();
    let mut first = vec![Do::Sleep(2_500)];
    first.extend((1..=10).flat_map(|seq| [Do::Tick(seq), Do::Sleep(1_000)]));
    first.extend([Do::Sleep(9_000), Do::Tick(20), Do::Stay]);
    let second = (1..100).flat_map(|seq| [Do::Tick(seq), Do::Sleep(1_000)]).collect();
    let (first, _) = leg("stream", first, &alive);
    let (second, made) = leg("rest", second, &alive);
    let notes = watch(vec![first, second], 60).await;
    // At the beginning after a second; later after three seconds without a price.
    let second = ticks(&notes, 1);
    let expected: &[_] = &[1_000, 2_000, 14_500, 15_500, 16_500, 17_500, 18_500, 19_500, 20_500, 24_500];
    let near = second.iter().zip(expected).all(|(at, wanted)| at.abs_diff(*wanted) < 50);
    assert!(near, "{second:?}");
    assert_eq!(second.iter().filter(|at| **at < 24_400).count(), 9, "{second:?}");
    assert!(made.load(Ordering::Relaxed) >= 2);
}

#[tokio::test(start_paused = true)]
async fn the_second_leg_stands_in_at_once_when_the_first_breaks_and_keeps_its_own_pauses() {
    let alive = Arc::default();
    let told = Do::End(Fault::Wait(Duration::from_secs(20), "too often".to_owned()));
    let first = vec![Do::Tick(1), Do::Sleep(500), retry(), Do::Sleep(4_000), Do::Tick(2), retry(), Do::Stay];
    let (first, _) = leg("stream", first, &alive);
    let (second, _) = leg("rest", vec![told, Do::Tick(1), Do::Stay], &alive);
    let notes = watch(vec![first, second], 60).await;
    let began = began(&notes, 1);
    assert!(began[0].abs_diff(500) < 5, "{began:?}");
    assert!((20_500..=22_600).contains(&began[1]), "not before, though it was stopped in between: {began:?}");
}

#[tokio::test(start_paused = true)]
async fn the_second_leg_stands_in_for_the_symbol_that_is_quiet_and_for_no_other() {
    let both = || [Do::Price("BTC-USD", "BTC-USD"), Do::Price("ETH-USD", "ETH-USD")];
    let lively = (0..20).flat_map(|_| [Do::Price("BTC-USD", "BTC-USD"), Do::Sleep(1_000)]);
    let stream = both().into_iter().chain(lively).chain(both()).chain([Do::Stay]).collect();
    let rest = (0..100).flat_map(|_| both().into_iter().chain([Do::Sleep(5_000)])).collect();
    let (first, _) = leg("stream", stream, &Arc::default());
    let (second, _) = leg("rest", rest, &Arc::default());
    let notes = watch_pairs(vec![first, second], &[("BTC-USD", "BTC-USD"), ("ETH-USD", "ETH-USD")], 22).await;
    let told =
        |what: &What| if let What::Tick(tick, ..) = what { Some(tick.symbol.to_string()) } else { None };
    let second: Vec<_> = notes
        .iter()
        .filter(|(_, leg, _)| *leg == 1)
        .filter_map(|(at, _, what)| Some((at / 1000, told(what)?)))
        .collect();
    let eth = |at| (at, "ETH-USD".to_owned());
    assert_eq!(second, [eth(3), eth(8), eth(13), eth(18)], "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_dropped_leaves_nothing_behind() {
    let alive = Arc::new(());
    let (leg, _) = leg("x", vec![Do::Tick(1), Do::Stay], &alive);
    watch(vec![leg], 5).await;
    // The runtime ends the task a moment later.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_be_made_is_a_fault() {
    let leg = Leg::new("x", || Err(Fault::Refused("no address".to_owned())));
    let notes = watch(vec![leg], 5).await;
    let [(_, _, What::Began), (_, _, What::Pause(_)), (_, _, What::Ended(Fault::Refused(_)))] = &notes[..]
    else {
        panic!("{notes:?}")
    };
}

#[tokio::test(start_paused = true)]
async fn a_price_of_another_pair_than_agreed_is_none() {
    let prices = [
        ("BTC-USD", "BTC-USD"),
        ("BTC-USD", "BTC-USDT"),
        ("ETH-USD", "ETH-USDT"),
        ("ETH-USD", "ETH-USD"),
        ("DOGE-USD", "DOGE-USD"),
    ];
    let script = prices.map(|(symbol, pair)| Do::Price(symbol, pair)).into_iter().chain([Do::Stay]);
    let (first, _) = leg("x", script.collect(), &Arc::default());
    let notes = watch_pairs(vec![first], &[("BTC-USD", "BTC-USD"), ("ETH-USD", "ETH-USDT")], 5).await;
    let bad: Vec<_> = notes
        .iter()
        .filter_map(|(.., what)| if let What::Bad(why) = what { Some(why.as_str()) } else { None })
        .collect();
    let expected = [
        "a price of BTC-USDT for BTC-USD, where BTC-USD is meant: see symbol_map",
        "a price of ETH-USD for ETH-USD, where ETH-USDT is meant: see symbol_map",
        "a price of DOGE-USD, which nobody asked for",
    ];
    assert_eq!((ticks(&notes, 0).len(), &bad[..]), (2, &expected[..]));
}

#[tokio::test(start_paused = true)]
async fn a_leg_that_gives_only_other_pairs_gives_nothing() {
    let strangers = (0..60).flat_map(|_| [Do::Price("BTC-USD", "BTC-EUR"), Do::Sleep(500)]).collect();
    let (first, _) = leg("stream", strangers, &Arc::default());
    let (second, _) = leg("rest", vec![Do::Tick(1), Do::Stay], &Arc::default());
    let notes = watch(vec![first, second], 20).await;
    assert_eq!((ticks(&notes, 0).len(), ticks(&notes, 1).len()), (0, 1), "the other one stands in");
}
