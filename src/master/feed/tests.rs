//! Tests of the feed: numbers, symbols that come and go, random histories against a model.

use super::*;
use crate::config::{Source, Surroundings, load};
use crate::model::{Candle, PairTable, Price};
use proptest::prelude::*;
use std::time::Duration;

const WALL: Wall = Wall(1_800_000_000_000);
const SYMBOLS: [&str; 3] = ["BTC-USD", "ETH-USD", "SOL-USD"];

fn at(seconds: u64) -> (Mono, Boot) {
    let ns = (1 << 40) + seconds * 1_000_000_000;
    (Mono(ns), Boot(ns))
}

fn config(symbols: &[&str]) -> Config {
    let mut source = Source::find(None, Some("test"), &Surroundings::default()).unwrap();
    source.required = false;
    let set = |key: &str, value: String| (key.to_owned(), value);
    source.overrides = vec![
        set("price.symbols", format!("{symbols:?}")),
        set("price.symbol", format!("{:?}", symbols[0])),
        set("price.fresh_for", "\"1s\"".to_owned()),
        set("price.max_age", "\"2s\"".to_owned()),
        set("price.forget_after", "\"3s\"".to_owned()),
    ];
    load(&source).unwrap().config
}

fn symbol(name: &str) -> Symbol {
    config(&[name]).price.symbol
}

fn quote(of: &Symbol, source: &str, received: Boot) -> Quote {
    Quote {
        symbol: of.clone(),
        pair: of.clone(),
        price: Price::parse("64000.00").unwrap(),
        bid: None,
        ask: None,
        source: source.into(),
        mock: false,
        time: None,
        received_at: WALL,
        received,
        lag: Duration::ZERO,
        interval: Duration::ZERO,
        seq: 0,
        sources: [].into(),
    }
}

fn candles(of: &Symbol) -> Candles {
    let candle = Candle::new(WALL, Price::parse("1").unwrap(), false);
    Candles { symbol: of.clone(), newest: [candle; 3], mock: false, pairs: PairTable::default() }
}

/// Counts the log's lines about a symbol.
fn news_of(news: &[News], of: &Symbol) -> usize {
    news.iter().filter(|news| news.symbol == *of).count()
}

#[test]
fn a_symbol_that_a_reload_removes_is_forgotten_and_never_missed() {
    let [btc, eth, _] = SYMBOLS.map(symbol);
    let mut feed = Feed::new(&config(&SYMBOLS[..2]), WALL);
    let (now, boot) = at(0);
    for of in [&btc, &eth] {
        feed.price(quote(of, "a", boot), now).unwrap();
        assert!(feed.candles(&candles(of)));
    }
    assert!(feed.look(now, boot).is_empty());
    assert!(feed.refuse(BTreeMap::from([(btc.clone(), "x".to_owned()), (eth.clone(), "x".to_owned())])));
    assert!(feed.adopt(&config(&SYMBOLS[..1])), "one refused less");
    assert!(!feed.adopt(&config(&SYMBOLS[..1])));
    let (late, much_later) = at(10);
    let news = feed.look(late, much_later);
    assert_eq!((news_of(&news, &btc), news_of(&news, &eth)), (1, 0), "{news:?}");
    assert!(feed.quotes().all(|quote| quote.symbol == btc) && feed.quotes().count() == 1);
    assert!(feed.all_candles().all(|candles| candles.symbol == btc));
    assert!(feed.refused().keys().eq([&btc]));
    assert_eq!(feed.price(quote(&eth, "a", boot), now), None, "last words of a feeder");
    assert!(!feed.candles(&candles(&eth)));
    assert!(!feed.refuse(BTreeMap::from([(btc, "x".to_owned()), (eth, "x".to_owned())])));
}

#[test]
fn a_restarted_daemon_goes_on_above_the_numbers_of_the_one_before() {
    let (btc, (now, boot)) = (symbol("BTC-USD"), at(0));
    let seq = |feed: &mut Feed| feed.price(quote(&btc, "a", boot), now).unwrap().0.seq;
    let mut before = Feed::new(&config(&SYMBOLS), WALL);
    let last = (0..1000).map(|_| seq(&mut before)).last().unwrap();
    // 1000 prices in a single millisecond, and the next daemon starts in the following one.
    let next = seq(&mut Feed::new(&config(&SYMBOLS), Wall(WALL.0 + 1)));
    assert!(next > last, "{next} after {last}");
    assert!(next < 1 << 53, "JavaScript counts exactly up to here");
}

#[test]
fn what_comes_from_elsewhere_is_logged_once() {
    let (btc, (now, boot)) = (symbol("BTC-USD"), at(0));
    let mut feed = Feed::new(&config(&SYMBOLS), WALL);
    let said: Vec<_> =
        ["a", "a", "b", "b"].map(|from| feed.price(quote(&btc, from, boot), now).unwrap().1.is_some()).into();
    assert_eq!(said, [true, false, true, false]);
}

#[derive(Clone, Debug)]
enum Step {
    Price(usize),
    Refuse(Vec<usize>),
    /// Another configuration with these symbols.
    Adopt(Vec<usize>),
    Look,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::sample::subsequence(vec![0, 1, 2], 1..=3);
    prop_oneof![
        6 => (0usize..3).prop_map(Step::Price),
        1 => some().prop_map(Step::Refuse),
        2 => some().prop_map(Step::Adopt),
        3 => Just(Step::Look),
        3 => (0u64..4).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens: numbers of a symbol only grow, nothing is known or said of a symbol that is not configured,
    /// and a symbol that stays configured is not forgotten.
    #[test]
    fn numbers_grow_and_only_configured_symbols_are_known(steps in prop::collection::vec(step(), 1..60)) {
        let symbols = SYMBOLS.map(symbol);
        let (mut feed, mut wanted, mut seconds) = (Feed::new(&config(&SYMBOLS), WALL), vec![0, 1, 2], 0);
        let mut last: [u64; 3] = [0; 3];
        let mut known: BTreeMap<usize, u64> = BTreeMap::new();
        for step in steps {
            let (now, boot) = at(seconds);
            match step {
                Step::Price(n) => match feed.price(quote(&symbols[n], "a", boot), now) {
                    Some((quote, _)) => {
                        prop_assert!(wanted.contains(&n) && quote.seq > last[n]);
                        last[n] = quote.seq;
                        known.insert(n, quote.seq);
                    }
                    None => prop_assert!(!wanted.contains(&n)),
                },
                Step::Refuse(which) => {
                    feed.refuse(which.iter().map(|n| (symbols[*n].clone(), String::new())).collect());
                }
                Step::Adopt(which) => {
                    let names: Vec<_> = which.iter().map(|n| SYMBOLS[*n]).collect();
                    feed.adopt(&config(&names));
                    known.retain(|n, _| which.contains(n));
                    wanted = which;
                }
                Step::Look => {
                    let news = feed.look(now, boot);
                    for (n, symbol) in symbols.iter().enumerate().filter(|(n, _)| !wanted.contains(n)) {
                        prop_assert_eq!(news_of(&news, symbol), 0, "{}", n);
                    }
                }
                Step::Pass(more) => seconds += more,
            }
            let expected = known.iter().map(|(n, seq)| (&symbols[*n], *seq));
            prop_assert!(feed.quotes().map(|quote| (&quote.symbol, quote.seq)).eq(expected));
            prop_assert!(feed.refused().keys().all(|symbol| wanted.iter().any(|n| symbols[*n] == *symbol)));
            prop_assert_eq!(feed.gauges(boot).len(), wanted.len());
        }
    }
}

#[test]
fn a_new_feeder_s_first_price_does_not_go_back() {
    let [btc, eth, _] = SYMBOLS.map(symbol);
    let late = |second: u64, by_ms: u64, source: &str| {
        let lag = Duration::from_millis(by_ms);
        Quote { lag, ..quote(&btc, source, at(second).1) }
    };
    let taken = |feed: &mut Feed, quote: Quote| feed.price(quote, at(0).0).is_some();
    let mut feed = Feed::new(&config(&SYMBOLS), WALL);
    assert!(taken(&mut feed, late(0, 0, "a")));
    assert!(taken(&mut feed, late(1, 60_000, "a")), "the same feeder knows what it does");
    assert!(taken(&mut feed, late(1, 0, "a")));
    feed.renew();
    assert!(!taken(&mut feed, late(2, 1_200_000, "a")), "a snapshot of 20 minutes ago");
    assert!(!taken(&mut feed, late(2, 3_500, "b")));
    assert!(taken(&mut feed, quote(&eth, "a", at(2).1)), "each symbol for itself");
    assert!(taken(&mut feed, late(3, 2_500, "a")), "overtaken at most");
    assert!(taken(&mut feed, late(3, 60_000, "a")), "from then on it decides");
    feed.renew();
    assert!(taken(&mut feed, late(400, 0, "a")));
    feed.renew();
    assert!(taken(&mut feed, late(404, 60_000, "b")), "what is gone is no better");
}
