//! The stories, in virtual time.

use super::*;
use crate::model::{Boot, Mono};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The right time at the beginning.
const NOON: i64 = 1_763_640_000_000;

/// Sources that are heard, our clocks, and the right time.
struct World {
    witnesses: Arc<Mutex<Witnesses>>,
    ms: i64,
    /// How far our wall clock is ahead.
    wall: i64,
}

impl World {
    fn new(wall: i64) -> Self {
        Self { witnesses: Arc::default(), ms: 0, wall }
    }

    fn source(&self, name: &str) -> Belief {
        Belief::new(name, self.witnesses.clone())
    }

    fn now(&self) -> Now {
        let nanos = self.ms.unsigned_abs() * 1_000_000 + 77_000_000_000_000;
        Now { mono: Mono(nanos), boot: Boot(nanos), wall: Wall(NOON + self.ms + self.wall) }
    }

    /// A price whose stamp is so many milliseconds behind the right time.
    fn say(&self, belief: &Belief, price: u32, behind: i64, seq: Option<u64>) -> Verdict {
        self.say_as(belief, "x", price, behind, seq)
    }

    /// An answer without a stamp from a cache that says how many seconds old it is.
    fn cached(&self, belief: &Belief, price: u32, age: u64) -> Verdict {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let price = Price::parse(&price.to_string()).unwrap();
        let tick = Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time: None, seq: None };
        belief.take(&tick, Said { counts: "x", age: Some(Duration::from_secs(age)) }, self.now())
    }

    fn say_as(
        &self,
        belief: &Belief,
        counts: &'static str,
        price: u32,
        behind: i64,
        seq: Option<u64>,
    ) -> Verdict {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let price = Price::parse(&price.to_string()).unwrap();
        let time = Some(Wall(NOON + self.ms - behind));
        let tick = Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time, seq };
        belief.take(&tick, Said { counts, age: None }, self.now())
    }

    /// A second passes in which a source gives a price so many milliseconds behind; tells its lag.
    fn second(&mut self, belief: &Belief, behind: i64) -> Option<i64> {
        self.ms += 1_000;
        lag(self.say(belief, u32::try_from(self.ms).unwrap(), behind, None))
    }

    /// The same for a time; the lag of the last one.
    fn seconds(&mut self, seconds: u32, all: &[(&Belief, i64)]) -> Vec<Option<i64>> {
        let mut last = Vec::new();
        for _ in 0..seconds {
            self.ms += 1_000;
            let say = |(belief, behind): &(&Belief, i64)| {
                lag(self.say(belief, u32::try_from(self.ms).unwrap(), *behind, None))
            };
            last = all.iter().map(say).collect();
        }
        last
    }
}

/// How late news are; `None` if it is no news.
fn lag(verdict: Verdict) -> Option<i64> {
    match verdict {
        Verdict::News(lag) => Some(i64::try_from(lag.as_millis()).unwrap()),
        _ => None,
    }
}

fn is_old(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Old(_))
}

#[test]
fn a_snapshot_of_the_past_is_old_in_whatever_session_or_leg() {
    let mut world = World::new(0);
    let kraken = world.source("kraken");
    world.seconds(10, &[(&kraken, 0)]);
    assert!(is_old(&world.say(&kraken, 63, 20 * MINUTE, None)));
    assert!(is_old(&world.say_as(&kraken, "rest", 63, 20 * MINUTE, Some(7))));
    assert!(is_old(&world.say_as(&kraken, "rest", 63, 3_000, Some(8))));
    assert_eq!(world.say(&kraken, 64, 1_500, None), Verdict::News(Duration::from_millis(1_500)), "overtaken");
    assert_eq!(world.second(&kraken, 0), Some(0));
    // After an outage of an hour an unchanged snapshot is no news either.
    let stamp = world.ms;
    world.ms += HOUR;
    let unchanged = u32::try_from(stamp).unwrap();
    assert_eq!(world.say(&kraken, unchanged, HOUR, None), Verdict::Known);
    let other = lag(world.say(&kraken, unchanged + 1, HOUR, None));
    assert_eq!(other, Some(HOUR), "another price of the same moment is new, and as late as it is");
}

#[test]
fn legs_with_common_numbers_are_one_source() {
    let world = World::new(0);
    let binance = world.source("binance");
    assert_eq!(world.say(&binance, 64, 0, Some(957)), Verdict::News(Duration::ZERO));
    for _ in 0..100 {
        assert_eq!(world.say(&binance, 63, 0, Some(900)), Verdict::Known);
    }
    assert_eq!(world.say(&binance, 65, 0, Some(960)), Verdict::News(Duration::ZERO), "REST is ahead");
    assert_eq!(world.say(&binance, 64, 100, Some(958)), Verdict::Known);
    assert_eq!(world.say(&binance, 66, 0, Some(961)), Verdict::News(Duration::ZERO));
}

#[test]
fn numbers_that_count_other_things_are_not_compared() {
    let mut world = World::new(0);
    let coinbase = world.source("coinbase");
    let say = |world: &World, counts, seq| lag(world.say_as(&coinbase, counts, 64, 0, Some(seq)));
    assert_eq!(say(&world, "stream", 9_000_000), Some(0));
    assert_eq!(say(&world, "rest", 16), None, "the same trade, as the other leg knows it");
    world.ms += 1_000;
    assert_eq!([17, 17].map(|seq| say(&world, "rest", seq)), [Some(0), None]);
}

#[test]
fn a_higher_number_is_newer_than_its_stamp_says_within_seconds() {
    let mut world = World::new(0);
    let a = world.source("a");
    assert_eq!(lag(world.say(&a, 64, 0, Some(1))), Some(0));
    world.ms += 1_000;
    assert_eq!(lag(world.say(&a, 64, 4_000, Some(2))), Some(4_000));
    assert!(is_old(&world.say(&a, 64, 12_000, Some(3))));
}

#[test]
fn numbers_that_begin_anew_while_stamps_grow_are_heard() {
    let mut world = World::new(0);
    let a = world.source("a");
    assert_eq!(lag(world.say(&a, 64, 0, Some(1_000_000))), Some(0));
    let first = (1..100).find(|n| {
        world.ms += 1_000;
        lag(world.say(&a, 65, 0, Some(*n))).is_some()
    });
    assert_eq!(first, Some(6));
}

#[test]
fn replicas_that_take_turns_give_the_newest_only() {
    let mut world = World::new(0);
    let a = world.source("a");
    for _ in 0..1_000 {
        assert_eq!(world.second(&a, 0), Some(0));
        world.ms += 1_000;
        assert!(is_old(&world.say(&a, 61, 3 * HOUR, None)));
    }
    // The good one is gone, the other one stays for long: our clock was proven before.
    for _ in 0..1_000 {
        world.ms += 1_000;
        assert!(is_old(&world.say(&a, 61, 3 * HOUR, None)));
    }
}

#[test]
fn a_first_word_of_hours_ago_is_late() {
    let mut world = World::new(0);
    let a = world.source("a");
    assert_eq!(lag(world.say(&a, 64, 3 * HOUR, None)), Some(3 * HOUR));
    assert_eq!(world.second(&a, 0), Some(0));
}

#[test]
fn a_source_that_is_late_from_its_first_word_on_stays_late_beside_others() {
    for first in ["late", "right"] {
        for wall in [0, 1_270, -1_270] {
            let mut world = World::new(wall);
            let (late, right) = (world.source("late"), world.source("right"));
            let before = if first == "late" { (&late, 5 * MINUTE) } else { (&right, 0) };
            world.seconds(30, &[before]);
            let lags = world.seconds(300, &[(&late, 5 * MINUTE), (&right, 0)]);
            let off = lags[0].unwrap().abs_diff(5 * MINUTE);
            assert!(off <= 2_000 && lags[1] == Some(0), "{first} {wall}: {lags:?}");
        }
    }
}

#[test]
fn two_stamps_of_tomorrow_cost_nothing() {
    for beside in [false, true] {
        let mut world = World::new(0);
        let (a, b) = (world.source("a"), world.source("b"));
        if beside {
            world.seconds(10, &[(&b, 0)]);
        }
        for behind in [-DAY, -DAY, 0, 0, 100] {
            let lag = world.second(&a, behind);
            assert!(lag.is_some_and(|lag| lag <= 100), "{behind}: {lag:?}");
        }
        assert!(is_old(&world.say(&a, 60, HOUR, None)), "and the newest is known again");
    }
}

#[test]
fn our_clock_may_be_wrong_and_may_be_set_where_two_sources_agree() {
    for wall in [HOUR, -HOUR, DAY, -DAY, 1_270, -1_270] {
        let mut world = World::new(wall);
        let (a, b) = (world.source("a"), world.source("b"));
        assert_eq!(world.seconds(3, &[(&a, 0), (&b, 100)]), [Some(0); 2], "{wall}");
        for set in [0, -wall, DAY, wall] {
            world.wall = set;
            assert_eq!(world.seconds(100, &[(&a, 0), (&b, 100)]), [Some(0); 2], "{wall} {set}");
            assert_eq!(world.second(&a, 30_000), None, "{wall} {set}");
        }
    }
}

#[test]
fn a_lone_source_outlives_steps_of_our_clock_and_its_delay_is_seen() {
    for step in [HOUR, -HOUR, DAY, -DAY] {
        let mut world = World::new(0);
        let a = world.source("a");
        world.seconds(10, &[(&a, 0)]);
        world.wall = step;
        assert_eq!(world.seconds(1_000, &[(&a, 0)]), [Some(0)], "{step}");
        world.ms += 60_000;
        assert_eq!(world.second(&a, 30_000), Some(30_000), "{step}");
    }
}

#[test]
fn a_lone_source_is_believed_against_a_wrong_clock_of_ours_after_a_minute() {
    for wall in [HOUR, DAY] {
        let mut world = World::new(wall);
        let a = world.source("a");
        let late = (1..100).find(|_| world.second(&a, 0) == Some(0)).unwrap();
        assert_eq!(late, 61, "{wall}");
        world.ms += 60_000;
        assert_eq!(world.second(&a, 50_000), Some(50_000));
        assert_eq!(world.witnesses.lock().unwrap().wall_ahead(world.now()), Some(wall));
    }
    // Stamps that are ahead are never late.
    for wall in [-HOUR, -DAY, -10 * 365 * DAY] {
        let mut world = World::new(wall);
        let a = world.source("a");
        assert!((0..1_000).all(|_| world.second(&a, 0) == Some(0)), "{wall}");
        world.ms += 60_000;
        assert_eq!(world.second(&a, 50_000), Some(50_000));
    }
}

#[test]
fn first_words_of_several_sources_are_no_witnesses() {
    let mut world = World::new(0);
    let (a, b) = (world.source("a"), world.source("b"));
    // Both begin with a snapshot of the same moment, again and again, with prices that change.
    for step in 0..500 {
        for source in [&a, &b] {
            let late = lag(world.say(source, 64 + step, 3 * HOUR + i64::from(step) * 100, None));
            assert!(late.is_some_and(|late| late >= 3 * HOUR), "{step}: {late:?}");
        }
        world.ms += 100;
    }
    assert_eq!(world.second(&a, 0), Some(0));
}

#[test]
fn a_backlog_of_a_lone_source_is_late_until_it_is_drained() {
    let mut world = World::new(0);
    let a = world.source("a");
    for n in 0..600 {
        let behind = 3 * HOUR - n * 15_000;
        let lag = world.second(&a, behind).unwrap();
        assert!(lag.abs_diff(behind) < 1_000, "{n} {lag}");
    }
}

#[test]
fn a_source_whose_clock_is_ahead_does_not_make_the_others_late() {
    let mut world = World::new(0);
    let (a, b) = (world.source("ahead"), world.source("b"));
    assert_eq!(world.seconds(100, &[(&a, -DAY)]), [Some(0)], "alone, it is believed in the end");
    world.seconds(15, &[(&a, -DAY), (&b, 0)]);
    assert_eq!(world.seconds(1_000, &[(&a, -DAY), (&b, 0)]), [Some(0); 2]);
    // Its clock is set.
    let since = world.ms;
    while world.second(&a, 0) != Some(0) {}
    assert!(world.ms - since <= 5_000);
}

#[test]
fn a_machine_that_stood_still_finds_the_right_time_again() {
    // The boot clock does not count the time for which a virtual machine was stopped; our wall clock is set later.
    let mut world = World::new(0);
    let (a, b) = (world.source("a"), world.source("b"));
    world.seconds(100, &[(&a, 0), (&b, 0)]);
    world.wall = -HOUR;
    let stopped = [(&a, -HOUR), (&b, -HOUR)];
    for _ in 0..100 {
        let lags = world.seconds(1, &stopped);
        assert_eq!(lags, [Some(0); 2]);
    }
    world.ms += 60_000;
    assert_eq!(world.second(&a, -HOUR + 30_000), Some(30_000));
}

#[test]
fn an_age_is_lag_whatever_our_clock_says_and_no_vote() {
    for wall in [0, HOUR, -HOUR] {
        let mut world = World::new(wall);
        let [a, right, other] = ["cached", "right", "other"].map(|name| world.source(name));
        for second in 0..1_000 {
            world.ms += 1_000;
            assert_eq!(lag(world.cached(&a, 64, 300)), Some(5 * MINUTE), "alone, {wall} {second}");
        }
        assert_eq!(world.seconds(3, &[(&right, 0), (&other, 0)]), [Some(0); 2], "{wall}");
        assert_eq!(lag(world.cached(&a, 64, 301)), Some(5 * MINUTE + 1_000), "{wall}");
        // Of two caches the one that is behind gives no price.
        world.ms += 1_000;
        assert_eq!(lag(world.cached(&a, 65, 10)), Some(10_000));
        assert!(is_old(&world.cached(&a, 64, 301)));
        assert_eq!(lag(world.cached(&a, 65, 11)), Some(11_000), "and what is known may be told again");
    }
}

#[test]
fn a_stamp_from_a_cache_is_at_least_as_old_as_the_cache_says() {
    for wall in [0, HOUR, -HOUR] {
        let mut world = World::new(wall);
        let a = world.source("a");
        for second in 0..300 {
            world.ms += 1_000;
            let (symbol, price) = (Symbol::new("BTC-USD").unwrap(), Price::parse("64").unwrap());
            let time = Some(Wall(NOON + world.ms - 5 * MINUTE));
            let tick = Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time, seq: None };
            let said = Said { counts: "x", age: Some(Duration::from_secs(300)) };
            let late = lag(a.take(&tick, said, world.now()));
            assert!(late >= Some(5 * MINUTE), "{wall} {second}: {late:?}");
        }
    }
}
