//! Candles of many symbols, real and made up, of the clock and of recordings.

use super::*;
use crate::model::{Boot, Price};

/// The first second of an hour.
const NOON: i64 = 1_763_640_000_000;

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).unwrap()
}

fn quote(of: &str, price: &str, at: i64) -> Quote {
    Quote {
        symbol: symbol(of),
        pair: symbol(of),
        price: Price::parse(price).unwrap(),
        bid: None,
        ask: None,
        source: "x".into(),
        mock: false,
        time: None,
        received_at: Wall(at),
        received: Boot(0),
        lag: Duration::ZERO,
        interval: Duration::ZERO,
        seq: 0,
        sources: std::sync::Arc::default(),
    }
}

fn history() -> History {
    let mut history = History::default();
    history.reconfigure(&[symbol("BTC-USD"), symbol("ETH-USD")], false);
    history
}

fn ticks(history: &History, of: Interval) -> Vec<(i64, u32, bool)> {
    let all = history.newest("BTC-USD", of, usize::MAX).unwrap().candles;
    all.iter().map(|one| ((one.time.0 - NOON) / 1_000, one.ticks, one.partial)).collect()
}

#[test]
fn each_second_everybody_is_told_once() {
    let mut history = history();
    assert!(history.is_due(Wall(NOON)));
    assert_eq!(history.wake(Wall(NOON)), []);
    assert!(!history.is_due(Wall(NOON + 999)) && history.is_due(Wall(NOON - 5_000)));
    assert_eq!(history.next((Mono(7), Wall(NOON + 250))), Mono(750_000_007));
    for ms in [300, 600, 900] {
        history.take(&quote("BTC-USD", "2", NOON + ms), false, Wall(NOON + ms));
    }
    let news = history.wake(Wall(NOON + 1_000));
    let [Candles { symbol: of, newest, mock: false, .. }] = &news[..] else { panic!("{news:?}") };
    assert_eq!((of, newest.map(|candle| candle.ticks)), (&symbol("BTC-USD"), [3; 3]));
    assert_eq!(history.wake(Wall(NOON + 2_000)), [], "a second without a price");
    assert_eq!(history.newest("BTC-EUR", Interval::Second, 1), None);
    assert_eq!(history.newest("ETH-USD", Interval::Second, 1).unwrap().candles, []);
    // A price of the next second arrives before the timer.
    history.take(&quote("BTC-USD", "3", NOON + 59_999), false, Wall(NOON + 59_999));
    history.take(&quote("BTC-USD", "4", NOON + 60_000), false, Wall(NOON + 60_001));
    let newest = history.wake(Wall(NOON + 60_002))[0].newest;
    assert_eq!(newest.map(|candle| candle.close.to_string()), ["3", "3", "3"], "the minute as it ended");
}

#[test]
fn who_was_away_has_missed_something() {
    let mut history = history();
    for second in [0, 1, 2, 3, 61, 62] {
        let at = NOON + second * 1_000;
        history.take(&quote("BTC-USD", "2", at), false, Wall(at));
        history.wake(Wall(at + 500));
    }
    let minutes = ticks(&history, Interval::Minute);
    assert_eq!(minutes, [(0, 4, true), (60, 2, true)]);
    for second in 63..121 {
        history.wake(Wall(NOON + second * 1_000));
    }
    history.take(&quote("BTC-USD", "2", NOON + 121_000), false, Wall(NOON + 121_000));
    assert_eq!(ticks(&history, Interval::Minute)[2], (120, 1, false), "silence is no absence");
}

#[test]
fn late_words_of_a_slow_source_are_of_now() {
    let mut history = history();
    history.take(&quote("BTC-USD", "2", NOON), false, Wall(NOON));
    for second in 1..10 {
        history.wake(Wall(NOON + second * 1_000));
    }
    history.take(&quote("BTC-USD", "2", NOON + 9_500), false, Wall(NOON + 9_500));
    history.take(&quote("BTC-USD", "2", NOON + 4_000), false, Wall(NOON + 9_600));
    assert_eq!(ticks(&history, Interval::Second), [(0, 1, false), (9, 2, false)]);
    history.take(&quote("BTC-USD", "2", NOON + 4_000), false, Wall(NOON + 4_000));
    assert_eq!(ticks(&history, Interval::Second), [(0, 1, false), (4, 1, false)], "the clock was set back");
}

#[test]
fn the_first_real_price_drops_what_was_made_up() {
    let mut history = history();
    let made_up = |at| Quote { mock: true, ..quote("BTC-USD", "1", at) };
    history.take(&made_up(NOON), false, Wall(NOON));
    history.take(&made_up(NOON + 1_000), false, Wall(NOON + 1_000));
    assert_eq!(ticks(&history, Interval::Hour), [(0, 2, false)]);
    history.take(&quote("BTC-USD", "9", NOON + 1_500), false, Wall(NOON + 1_500));
    assert_eq!(ticks(&history, Interval::Hour), [(0, 1, true)]);
    assert!(history.all().all(|entry| !entry.made_up));
    // A configuration without real sources: the real candles stay, and are not mixed with made-up ones.
    history.take(&made_up(NOON + 3_000), false, Wall(NOON + 3_000));
    assert_eq!(ticks(&history, Interval::Hour), [(0, 1, true)]);
    assert_eq!(history.newest("BTC-USD", Interval::Second, 9).unwrap().candles[0].close.to_string(), "1");
    history.take(&quote("BTC-USD", "9", NOON + 4_000), false, Wall(NOON + 4_000));
    assert_eq!(ticks(&history, Interval::Hour), [(0, 2, true)]);
    let told = history.wake(Wall(NOON + 5_000));
    assert_eq!((told.len(), told[0].newest[0].close.to_string()), (1, "9".to_owned()));
}

#[test]
fn a_candle_knows_its_pairs_and_its_kind() {
    let mut history = history();
    let of = |pair: &str, at, mock| Quote { pair: symbol(pair), mock, ..quote("BTC-USD", "2", at) };
    for (pair, at) in [("BTC-USDT", 0), ("BTC-USDT", 59_000), ("BTC-USD", 60_000), ("BTC-USDT", 90_000)] {
        history.take(&of(pair, NOON + at, false), false, Wall(NOON + at));
        history.wake(Wall(NOON + at + 1_000));
    }
    history.take(&of("BTC-USD", NOON + 120_000, false), false, Wall(NOON + 120_000));
    let pairs = |history: &History, of| {
        let Newest { candles, mock, pairs } = history.newest("BTC-USD", of, usize::MAX).unwrap();
        let named = |candle: &Candle| {
            let names = pairs.names(candle.pairs).unwrap();
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        (mock, candles.iter().map(named).collect::<Vec<_>>())
    };
    let minutes = ["BTC-USDT", "BTC-USDT BTC-USD", "BTC-USD"].map(String::from).to_vec();
    assert_eq!(pairs(&history, Interval::Minute), (false, minutes));
    assert_eq!(pairs(&history, Interval::Hour), (false, vec!["BTC-USD BTC-USDT".to_owned()]));
    let news = history.wake(Wall(NOON + 121_000));
    assert!(!news[0].mock && news[0].pairs.names(news[0].newest[2].pairs).unwrap().len() == 2, "{news:?}");
    history.take(&of("BTC-USD", NOON + 122_000, true), false, Wall(NOON + 122_000));
    let news = history.wake(Wall(NOON + 123_000));
    assert!(news[0].mock && news[0].newest.map(|candle| candle.ticks) == [1; 3], "{news:?}");
    assert_eq!(pairs(&history, Interval::Hour), (true, vec!["BTC-USD".to_owned()]));
}

#[test]
fn a_recording_makes_the_same_candles_at_any_speed() {
    let play = |speed: i64| {
        let mut history = history();
        for n in 0..500 {
            let (stamp, now) = (NOON - 86_400_000 + n * 730, NOON + n * 730 / speed);
            let recorded = Quote { time: Some(Wall(stamp)), ..quote("BTC-USD", "2", now) };
            history.take(&recorded, true, Wall(now));
            if history.is_due(Wall(now)) {
                assert!(history.wake(Wall(now)).len() <= 1);
            }
        }
        let unstamped = quote("BTC-USD", "2", NOON);
        history.take(&unstamped, true, Wall(NOON + 9_000_000));
        Interval::ALL.map(|of| ticks(&history, of))
    };
    assert_eq!(play(1), play(1_000));
    assert_eq!(play(7)[2].iter().map(|hour| hour.1).sum::<u32>(), 501);
}

#[test]
fn symbols_come_and_go() {
    let mut history = history();
    history.take(&quote("ETH-USD", "2", NOON), false, Wall(NOON));
    history.reconfigure(&[symbol("ETH-USD"), symbol("SOL-USD")], false);
    assert_eq!(history.newest("BTC-USD", Interval::Second, 9), None);
    assert_eq!(history.newest("ETH-USD", Interval::Second, 9).unwrap().candles.len(), 1);
    history.take(&quote("SOL-USD", "2", NOON), false, Wall(NOON));
    history.take(&quote("BTC-USD", "2", NOON), false, Wall(NOON));
    assert_eq!(history.newest("SOL-USD", Interval::Second, 9).unwrap().candles.len(), 1);
    assert_eq!(history.newest("BTC-USD", Interval::Second, 9), None);
}
