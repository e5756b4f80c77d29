//! The policy under virtual time.

use super::*;
use crate::model::{Boot, Wall};
use crate::model::{Price, Rules};
use rust_decimal::Decimal;

const A: u32 = 1;
const B: u32 = 2;
const MOCK: u32 = 3;

fn symbol() -> Symbol {
    Symbol::new("BTC-USD").unwrap()
}

fn settings(ids: &[u32]) -> Settings {
    let member = |id: &u32| Member {
        id: *id,
        name: ["", "a", "b", "mock"][*id as usize].into(),
        made_up: *id == MOCK,
        no_tick: Duration::from_secs(10),
    };
    Settings {
        members: ids.iter().map(member).collect(),
        symbols: vec![symbol()],
        start_wait: Duration::from_secs(2),
        publish_interval: Duration::from_millis(100),
        mode: Mode::Failover,
        min_sources: 2,
        max_deviation: Decimal::new(1, 2),
        rules: Rules {
            fresh_for: Duration::from_secs(10),
            max_age: Duration::from_secs(120),
            forget_after: Duration::from_secs(600),
            refuse_stale: false,
        },
    }
}

fn now(ms: u64) -> Now {
    let nanos = ms * 1_000_000;
    Now { mono: Mono(nanos), boot: Boot(nanos), wall: Wall(1_763_640_000_000 + ms.cast_signed()) }
}

/// A policy and what it has published.
struct Run {
    policy: Policy,
    at: u64,
    out: Vec<(u64, String, String)>,
    held: usize,
}

impl Run {
    fn new(ids: &[u32]) -> Self {
        Self { policy: Policy::new(settings(ids), false, now(0).mono), at: 0, out: Vec::new(), held: 0 }
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Publish(quote) => {
                    self.out.push((self.at, quote.source.to_string(), quote.price.to_string()));
                }
                Action::Held { .. } => self.held += 1,
                Action::Accept(_) | Action::Refused { .. } | Action::Serve { .. } => {}
            }
        }
    }

    /// Lets time pass, waking the policy when it asks for it.
    fn until(&mut self, ms: u64) -> &mut Self {
        while let Some(wake) = self.policy.next(now(self.at)).filter(|wake| *wake <= now(ms).mono) {
            self.at = wake.0.div_ceil(1_000_000).max(self.at + 1).min(ms.max(self.at + 1));
            let actions = self.policy.wake(now(self.at));
            self.take(actions);
        }
        self.at = ms;
        self
    }

    fn tick(&mut self, from: u32, price: &str) -> &mut Self {
        self.late(from, price, 0)
    }

    /// A price so many milliseconds late.
    fn late(&mut self, from: u32, price: &str, ms: u64) -> &mut Self {
        let tick = Tick {
            symbol: symbol(),
            pair: symbol(),
            price: Price::parse(price).unwrap(),
            bid: None,
            ask: None,
            time: None,
            seq: None,
        };
        let (interval, lag) = (Duration::ZERO, Duration::from_millis(ms));
        let actions = self.policy.take(from, SourceTick { tick, interval, lag, halted: false }, now(self.at));
        self.take(actions);
        self
    }

    /// A tick of each of these sources every second until `ms`.
    fn ticking(&mut self, from: &[u32], ms: u64) -> &mut Self {
        while self.at + 1000 <= ms {
            self.until(self.at + 1000);
            for id in from {
                self.tick(*id, ["", "100", "101", "102"][*id as usize]);
            }
        }
        self.until(ms)
    }

    fn serving(&self) -> Option<u32> {
        [A, B, MOCK].into_iter().find(|id| self.policy.part(&symbol(), *id).serving)
    }

    fn sources(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.out.iter().map(|(_, source, _)| source.as_str()).collect();
        names.dedup();
        names
    }
}

#[test]
fn the_first_that_ticks_is_served_and_the_better_one_in_the_first_seconds() {
    let mut run = Run::new(&[A, B]);
    run.until(300).tick(B, "101").until(900).tick(A, "100");
    assert_eq!(run.out, [(300, "b".into(), "101".into()), (900, "a".into(), "100".into())]);
}

#[test]
fn a_silent_source_is_left_and_served_again_when_it_has_been_good() {
    let mut run = Run::new(&[A, B]);
    run.ticking(&[A, B], 20_000);
    assert_eq!(run.serving(), Some(A));
    run.ticking(&[B], 29_900);
    assert_eq!(run.serving(), Some(A), "ten seconds are not over");
    run.ticking(&[B], 60_000);
    assert_eq!(run.serving(), Some(B));
    assert!(run.out.iter().any(|(at, source, _)| source == "b" && *at == 30_000), "served at that moment");
    let back = run.at;
    run.ticking(&[B, A], back + 30_500);
    assert_eq!(run.serving(), Some(B));
    run.ticking(&[B, A], back + 31_500);
    assert_eq!(run.serving(), Some(A));
    assert_eq!(run.sources(), ["a", "b", "a"]);
}

#[test]
fn a_source_that_flaps_does_not_make_the_price_flap() {
    let mut run = Run::new(&[A, B]);
    run.ticking(&[A, B], 10_000);
    for _ in 0..20 {
        let actions = run.policy.ended(A, false, now(run.at));
        run.take(actions);
        let at = run.at;
        run.ticking(&[B], at + 3_000).ticking(&[A, B], at + 6_000);
    }
    assert_eq!(run.sources(), ["a", "b"]);
}

#[test]
fn a_source_whose_session_ended_is_left_after_two_seconds_and_a_banned_one_at_once() {
    let mut run = Run::new(&[A, B]);
    run.ticking(&[A, B], 10_000);
    let actions = run.policy.ended(A, true, now(run.at));
    run.take(actions);
    run.until(11_000).tick(A, "100").ticking(&[B], 14_000);
    assert_eq!(run.serving(), Some(A), "it came back in time");
    let actions = run.policy.ended(A, false, now(run.at));
    run.take(actions);
    run.until(15_900);
    assert_eq!(run.serving(), Some(A));
    run.until(16_100);
    assert_eq!(run.serving(), Some(B));

    let mut run = Run::new(&[A, B]);
    run.ticking(&[A, B], 10_000);
    let actions = run.policy.out(A, now(run.at));
    run.take(actions);
    assert_eq!(run.serving(), Some(B));
}

#[test]
fn with_nobody_else_the_last_price_grows_old() {
    let mut run = Run::new(&[A]);
    run.ticking(&[A], 5_000);
    let published = run.out.len();
    run.until(600_000);
    assert_eq!((run.out.len(), run.serving()), (published, Some(A)));
    run.tick(A, "100");
    assert_eq!(run.out.len(), published + 1);
}

#[test]
fn a_mock_beside_real_sources_serves_only_until_the_first_real_price() {
    let mut run = Run::new(&[A, MOCK]);
    run.ticking(&[MOCK], 1_900);
    assert_eq!(run.out, []);
    run.ticking(&[MOCK], 60_000);
    assert_eq!(run.sources(), ["mock"]);
    assert_eq!(run.out[0].0, 2_000, "after start_wait, not before");
    run.until(60_100).tick(A, "100");
    assert_eq!(run.sources(), ["mock", "a"], "at once, however late");
    let published = run.out.len();
    run.ticking(&[MOCK], 600_000);
    assert_eq!(run.out.len(), published, "an outage is never mock");
}

#[test]
fn a_mock_serves_at_its_start_wait_with_the_price_that_it_has() {
    let mut run = Run::new(&[MOCK, A]);
    run.until(100).tick(MOCK, "102").until(5_000);
    assert_eq!(run.out, [(2_000, "mock".into(), "102".into())]);
}

#[test]
fn a_mock_never_takes_the_place_of_a_feeder_that_died() {
    let mut run = Run::new(&[A, MOCK]);
    run.policy = Policy::new(settings(&[A, MOCK]), true, now(0).mono);
    assert_eq!(run.ticking(&[MOCK], 60_000).out, []);
}

#[test]
fn a_mock_alone_is_simply_a_source() {
    let mut run = Run::new(&[MOCK]);
    run.until(10).tick(MOCK, "102");
    assert_eq!(run.out, [(10, "mock".into(), "102".into())]);
}

#[test]
fn prices_are_conflated_and_the_last_one_gets_out() {
    let mut run = Run::new(&[A]);
    for ms in 0..250u64 {
        run.until(ms).tick(A, &format!("100.{ms:03}"));
    }
    run.until(10_000);
    let expected = [(0, "100.000"), (100, "100.099"), (200, "100.199"), (300, "100.249")];
    let expected = expected.map(|(at, price)| (at, "a".to_owned(), price.to_owned()));
    assert_eq!(run.out, expected);
}

#[test]
fn a_jump_waits_for_the_next_tick_or_for_another_source() {
    let mut run = Run::new(&[A]);
    run.tick(A, "100").until(1_000).tick(A, "1000").until(2_000);
    assert_eq!((run.out.len(), run.held), (1, 1));
    run.tick(A, "1001").until(3_000);
    assert_eq!(run.out.last().unwrap().2, "1001");

    let mut run = Run::new(&[A, B]);
    run.tick(A, "100").until(1_000).tick(B, "110").tick(A, "111").until(2_000);
    assert_eq!((run.held, run.out.last().unwrap().2.as_str()), (1, "111"), "B alone was held");
}

#[test]
fn the_first_price_of_a_source_may_not_jump_either() {
    let mut run = Run::new(&[A, B]);
    run.tick(B, "100").until(500).tick(A, "1").until(1_000);
    assert_eq!((run.held, run.out.last().unwrap().2.as_str()), (1, "100"), "though it is the preferred one");
    run.tick(A, "100.2").until(1_500);
    assert_eq!(run.out.last().unwrap().2, "100.2");
    // The only source, changed by a reload: another id, the same symbol.
    let mut run = Run::new(&[A]);
    run.tick(A, "100").until(1_000);
    let actions = run.policy.reconfigure(settings(&[B]), now(run.at));
    run.take(actions);
    run.tick(B, "1").until(2_000);
    assert_eq!((run.held, run.out.len()), (1, 1));
    run.tick(B, "1.01").until(3_000);
    assert_eq!(run.out.last().unwrap().2, "1.01", "a second one confirms it");
}

#[test]
fn two_sources_that_jump_to_the_same_place_confirm_each_other() {
    // Polled once a minute: a second tick of either would come too late.
    let mut run = Run::new(&[A, B]);
    run.tick(A, "100").tick(B, "100.1").until(1_000).tick(A, "90").until(1_500);
    assert_eq!((run.held, run.out.last().unwrap().2.as_str()), (1, "100"));
    run.tick(B, "90.1").until(2_000);
    assert_eq!(run.out.last().unwrap(), &(1_500, "a".to_owned(), "90".to_owned()), "who is served stays");
    run.until(2_500).tick(A, "89.9").until(3_000);
    assert_eq!((run.held, run.out.last().unwrap().2.as_str()), (1, "89.9"));

    // Not if one of them has gone in the meantime, and not by an old price.
    let mut run = Run::new(&[A, B]);
    run.tick(A, "100")
        .tick(B, "100.1")
        .until(1_000)
        .tick(A, "90")
        .until(9_000)
        .tick(B, "100.2")
        .until(12_000);
    run.tick(B, "90.1").until(13_000);
    assert_eq!((run.held, run.out.last().unwrap().2.as_str()), (2, "100.2"));
}

#[test]
fn no_older_price_goes_out_when_the_source_changes() {
    let mut run = Run::new(&[A, B]);
    run.tick(A, "100").until(3_000).tick(B, "101").until(8_000).tick(A, "100.5").until(8_500);
    let actions = run.policy.out(A, now(8_500));
    run.take(actions);
    assert_eq!((run.serving(), run.out.last().unwrap().2.as_str()), (Some(B), "100.5"));
    run.until(9_000).tick(B, "101.5");
    assert_eq!(run.out.last().unwrap(), &(9_000, "b".to_owned(), "101.5".to_owned()));
}

#[test]
fn a_change_of_the_configuration_keeps_what_is_known() {
    let mut run = Run::new(&[A, B]);
    run.ticking(&[A, B], 10_000);
    let actions = run.policy.reconfigure(settings(&[B]), now(run.at));
    run.take(actions);
    assert_eq!(run.serving(), Some(B), "at once");
    run.until(10_200);
    assert_eq!(run.out.last().unwrap().1, "b");
    let actions = run.policy.reconfigure(settings(&[A, B]), now(run.at));
    run.take(actions);
    run.until(11_000).tick(A, "100");
    assert_eq!(run.serving(), Some(A), "in the first seconds the order is obeyed at once");
    let actions = run.policy.reconfigure(settings(&[MOCK]), now(run.at));
    run.take(actions);
    run.until(11_100).tick(MOCK, "64000");
    assert_eq!(run.out.last().unwrap().2, "64000");
}

#[test]
fn a_late_price_does_not_replace_a_newer_one_of_a_source_that_was_removed() {
    let mut run = Run::new(&[A, B]);
    run.tick(A, "100").late(B, "98", 3_600_000);
    let actions = run.policy.reconfigure(settings(&[B]), now(run.at));
    run.take(actions);
    run.until(500).late(B, "99", 3_600_000).until(5_000);
    assert_eq!(run.out.last().unwrap().2, "100");
    run.tick(B, "101").until(6_000);
    assert_eq!(run.out.last().unwrap().2, "101");
}

#[test]
fn a_late_price_is_served_only_if_there_is_no_better_one() {
    let mut run = Run::new(&[A, B]);
    run.late(A, "100", 300_000);
    assert_eq!(run.serving(), Some(A));
    run.until(500).tick(B, "101").until(600).late(A, "100", 300_000).until(1_000);
    assert_eq!((run.serving(), run.sources()), (Some(B), vec!["a", "b"]));
    run.ticking(&[B], 120_000);
    run.late(A, "100", 300_000).until(121_000);
    assert_eq!(run.serving(), Some(B));
}

proptest::proptest! {
    /// In any history: no two prices within the interval, none older than the one before, the mock never after a real
    /// one, and the served source's newest price is published or waits to be.
    #[test]
    fn histories(steps in proptest::collection::vec((0u8..6, 1u64..4_000), 1..200)) {
        let mut run = Run::new(&[A, B, MOCK]);
        let mut real = false;
        for (what, wait) in steps {
            let at = run.at + wait;
            run.until(at);
            match what {
                0..=2 => { run.tick([A, B, MOCK][usize::from(what)], "100"); real |= what < 2; }
                3 => { let actions = run.policy.ended(A, wait % 2 == 0, now(at)); run.take(actions); }
                4 => { let actions = run.policy.out(B, now(at)); run.take(actions); }
                _ => { run.tick(A, "1000"); real |= run.sources().contains(&"a"); }
            }
            if real {
                proptest::prop_assert_ne!(run.serving(), Some(MOCK));
            }
        }
        let end = run.at + 200;
        run.until(end);
        for pair in run.out.windows(2) {
            proptest::prop_assert!(pair[1].0 >= pair[0].0 + 100, "{:?}", pair);
        }
        let out = run.out.iter().position(|(_, source, _)| source != "mock");
        proptest::prop_assert!(out.is_none_or(|first| run.out[first..].iter().all(|(_, s, _)| s != "mock")));
        let state = &run.policy.symbols[&symbol()];
        proptest::prop_assert!(state.pending.is_none());
    }
}

#[test]
fn a_price_that_nobody_trades_at_is_served_and_no_candle_s() {
    let mut run = Run::new(&[A]);
    let accepted = |run: &mut Run, second: u64, halted| {
        let tick = Tick {
            symbol: symbol(),
            pair: symbol(),
            price: Price::parse("100").unwrap(),
            bid: None,
            ask: None,
            time: None,
            seq: None,
        };
        let (interval, lag) = (Duration::ZERO, Duration::from_secs(if halted { 1 } else { 0 }));
        let actions = run.policy.take(A, SourceTick { tick, interval, lag, halted }, now(second * 1_000));
        let is = |what: fn(&Action) -> bool| actions.iter().any(what);
        (is(|action| matches!(action, Action::Accept(_))), is(|action| matches!(action, Action::Publish(_))))
    };
    assert_eq!(accepted(&mut run, 1, false), (true, true));
    assert_eq!([2, 3].map(|second| accepted(&mut run, second, true)), [(false, true); 2]);
    assert_eq!(accepted(&mut run, 4, false), (true, true));
}
