//! Invariants in random histories of ticks, faults, bans, silence and suspends, in virtual time.

use super::failover::COME_BACK;
use super::*;
use crate::model::{Boot, Wall};
use crate::model::{Price, Rules};
use proptest::prelude::*;
use rust_decimal::Decimal;
use std::sync::Arc;

const A: u32 = 1;
const B: u32 = 2;
const C: u32 = 3;
const MOCK: u32 = 4;
const NAMES: [&str; 5] = ["", "a", "b", "c", "mock"];
const INTERVAL: Duration = Duration::from_millis(100);

fn symbol() -> Symbol {
    Symbol::new("BTC-USD").unwrap()
}

fn settings(mode: Mode, ids: &[u32]) -> Settings {
    let member = |id: &u32| Member {
        id: *id,
        name: NAMES[*id as usize].into(),
        made_up: *id == MOCK,
        // This source may be silent for long and still be alive: freshness decides.
        no_tick: Duration::from_secs(if *id == B { 60 } else { 10 }),
    };
    Settings {
        members: ids.iter().map(member).collect(),
        symbols: vec![symbol()],
        start_wait: Duration::from_secs(2),
        publish_interval: INTERVAL,
        mode,
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

#[derive(Clone, Debug)]
enum Step {
    /// Source, price in cents, how late it is.
    Tick(u32, u32, u64),
    Ended(u32, bool),
    Out(u32),
    Wait(u64),
    Suspend(u64),
    /// Only these sources, in this order.
    Members(Vec<u32>),
}

/// A policy, the clocks, and all its output.
struct World {
    policy: Policy,
    ids: Vec<u32>,
    mode: Mode,
    ms: u64,
    slept: u64,
    /// All prices that sources gave.
    said: Vec<(Arc<str>, Price)>,
    real: bool,
    out: Vec<(u64, Quote)>,
    switches: usize,
    /// Failover: the served source after the last step.
    serving: Option<u32>,
}

impl World {
    fn new(mode: Mode, ids: &[u32]) -> Self {
        let policy = Policy::new(settings(mode, ids), false, Mono(0));
        let (said, out) = Default::default();
        let (switches, serving) = (0, None);
        Self { policy, ids: ids.to_vec(), mode, ms: 0, slept: 0, said, real: false, out, switches, serving }
    }

    fn now(&self) -> Now {
        let (mono, boot) = (self.ms * 1_000_000, (self.ms + self.slept) * 1_000_000);
        Now { mono: Mono(mono), boot: Boot(boot), wall: Wall((self.ms + self.slept).cast_signed()) }
    }

    /// Young enough, ticking, and its session not gone for good; defined independently of the policy.
    fn well(&self, id: u32) -> bool {
        let own = self.policy.symbols[&symbol()].standings.get(&id);
        let member = self.policy.settings.members.iter().find(|member| member.id == id);
        let (Some(own), Some(member), now) = (own, member, self.now()) else { return false };
        own.newest.as_ref().is_some_and(|(at, quote)| {
            let young = now.boot.since(quote.received) + quote.lag <= Duration::from_secs(10);
            young && now.mono.since(*at) < member.no_tick && own.down_from.is_none_or(|down| now.mono < down)
        })
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Publish(quote) => self.published(quote),
                Action::Serve { from, to, .. } if self.mode == Mode::Failover => {
                    self.served(from.as_deref(), &to)
                }
                _ => {}
            }
        }
        if self.mode == Mode::Failover {
            let serving = self.policy.symbols[&symbol()].serving;
            let mixed = self.ids.iter().any(|id| *id != MOCK);
            let allowed = |id: &u32| *id != MOCK || !mixed;
            if serving.is_none_or(|id| !self.well(id)) {
                let better: Vec<_> = self.ids.iter().filter(|id| allowed(id) && self.well(**id)).collect();
                assert!(better.is_empty(), "{serving:?} is served, {better:?} are fresh");
            }
        }
        self.serving = self.policy.symbols[&symbol()].serving;
    }

    fn served(&mut self, from: Option<&str>, to: &str) {
        self.switches += 1;
        let rank = |name: &str| self.ids.iter().position(|id| NAMES[*id as usize] == name);
        let id = |name: &str| self.ids.iter().copied().find(|id| NAMES[*id as usize] == name);
        let (Some(left), Some(id_to)) = (from.and_then(id), id(to)) else { return };
        // A source that left the configuration and came back is not served, although the price is still its own.
        if self.serving == Some(left)
            && self.well(left)
            && left != MOCK
            && self.now().mono >= self.policy.settled
        {
            let since = self.policy.symbols[&symbol()].standings[&id_to].good_since.unwrap();
            assert!(rank(to) < rank(from.unwrap()), "a good source was left for a worse one");
            assert!(self.now().mono.since(since) >= COME_BACK, "too early");
        }
    }

    fn published(&mut self, quote: Quote) {
        if let Some((at, before)) = self.out.last() {
            assert!(self.ms >= at + 100, "two within the interval");
            if self.mode == Mode::Failover {
                assert!(quote.received >= before.received, "an older price than the one before");
            }
        }
        if self.mode == Mode::Failover {
            assert!(self.said.contains(&(quote.source.clone(), quote.price)), "nobody said {quote:?}");
        } else {
            agreed(&quote);
        }
        let only_mocks = self.ids.iter().all(|id| *id == MOCK);
        assert!(!quote.mock || !self.real || only_mocks, "made up after a real price");
        self.out.push((self.ms, quote));
    }

    fn until(&mut self, ms: u64) {
        while let Some(wake) = self.policy.next(self.now()).filter(|wake| *wake <= Mono(ms * 1_000_000)) {
            self.ms = wake.0.div_ceil(1_000_000).max(self.ms);
            let before = self.now();
            let actions = self.policy.wake(before);
            self.take(actions);
            assert!(self.policy.next(before).is_none_or(|next| next > before.mono), "it would spin");
        }
        self.ms = ms;
    }

    fn step(&mut self, step: &Step) {
        let actions = match step {
            Step::Wait(ms) => return self.until(self.ms + ms),
            Step::Suspend(ms) => {
                self.slept += ms;
                self.policy.wake(self.now())
            }
            Step::Tick(who, cents, behind) => return self.tick(*who, *cents, *behind),
            Step::Ended(who, back) => self.policy.ended(*who, *back, self.now()),
            Step::Out(who) => self.policy.out(*who, self.now()),
            Step::Members(ids) => {
                self.ids.clone_from(ids);
                self.policy.reconfigure(settings(self.mode, ids), self.now())
            }
        };
        self.take(actions);
    }

    fn tick(&mut self, who: u32, cents: u32, behind: u64) {
        if !self.ids.contains(&who) {
            return;
        }
        let price = Price::parse(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap();
        self.said.push((NAMES[who as usize].into(), price));
        let tick =
            Tick { symbol: symbol(), pair: symbol(), price, bid: None, ask: None, time: None, seq: None };
        let (interval, lag) = (Duration::ZERO, Duration::from_millis(behind));
        let actions = self.policy.take(who, SourceTick { tick, interval, lag, halted: false }, self.now());
        self.real |= self.policy.symbols[&symbol()].real;
        self.take(actions);
    }

    fn waits(&self) -> bool {
        self.policy.symbols[&symbol()].pending.is_some()
    }

    /// The last price is published, and then nothing more.
    fn end(&mut self) {
        self.step(&Step::Suspend(0));
        self.until(self.ms + 200);
        // A member that grew old in these moments may have changed the median again.
        let soon = Mono((self.ms + 100) * 1_000_000);
        let due = self.policy.next(self.now()).is_some_and(|wake| wake <= soon);
        assert!(due || !self.waits(), "a price waits for ever");
        self.until(self.ms + 700_000);
        assert!(!self.waits(), "a price waits for ever");
        let published = self.out.len();
        self.until(self.ms + 3_600_000);
        assert_eq!(self.out.len(), published, "out of nothing");
    }
}

/// A median belongs to a group that is large enough, lies inside it, and is as old as one of its members.
fn agreed(quote: &Quote) {
    let by = |verdict| quote.sources.iter().filter(move |part| part.verdict == verdict);
    let group: Vec<_> = by(SourceVerdict::Agrees).map(|part| part.said.clone().unwrap()).collect();
    assert!(group.len() >= 2 && group.len() > by(SourceVerdict::Deviates).count(), "{quote:?}");
    let (low, high) = (group.iter().map(|said| said.price).min(), group.iter().map(|said| said.price).max());
    assert!(low <= Some(quote.price) && Some(quote.price) <= high, "outside its group: {quote:?}");
    assert!(high.unwrap().deviation(low.unwrap()) <= Decimal::new(1, 2), "{quote:?}");
    assert!(group.iter().any(|said| said.received == quote.received && said.lag == quote.lag), "{quote:?}");
}

fn step(cents: impl Strategy<Value = u32> + 'static) -> impl Strategy<Value = Step> {
    let who = 1u32..5;
    let behind = prop_oneof![9 => Just(0u64), 1 => 0u64..30_000];
    let members = prop::sample::subsequence(vec![A, B, C, MOCK], 1..=4).prop_shuffle();
    prop_oneof![
        12 => (who.clone(), cents, behind).prop_map(|(who, cents, behind)| Step::Tick(who, cents, behind)),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, back)| Step::Ended(who, back)),
        1 => who.prop_map(Step::Out),
        6 => (0u64..4_000).prop_map(Step::Wait),
        2 => (0u64..50_000).prop_map(Step::Wait),
        1 => (0u64..30_000).prop_map(Step::Suspend),
        1 => members.prop_map(Step::Members),
    ]
}

/// Prices near each other, with some nonsense.
fn cents() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1_000_000u32..1_003_000, 1 => 1_000_000u32..1_050_000, 1 => 1u32..100_000_000]
}

proptest! {
    /// The served source is fresh while any source is; only a failure or half a minute of good conduct changes it; each
    /// price came from the source it names, in order, at the pace of the interval; the last one is published; the mock
    /// never comes back.
    #[test]
    fn failover(steps in prop::collection::vec(step(cents()), 1..250)) {
        let mut world = World::new(Mode::Failover, &[A, B, C, MOCK]);
        steps.iter().for_each(|step| world.step(step));
        world.end();
    }

    /// Each price belongs to a majority and lies inside it (see [`agreed`]).
    #[test]
    fn median(steps in prop::collection::vec(step(cents()), 1..250)) {
        let mut world = World::new(Mode::Median, &[A, B, C, MOCK]);
        steps.iter().filter(|step| !matches!(step, Step::Members(_))).for_each(|step| world.step(step));
        world.end();
        prop_assert!(world.policy.symbols[&symbol()].refused.is_some(), "nobody is fresh and yet they agree");
        prop_assert!(world.out.iter().all(|(_, quote)| !quote.mock));
    }

    /// A liar among three: no price is farther from the honest ones than the allowed deviation.
    #[test]
    fn a_lone_liar(
        steps in prop::collection::vec((1u32..4, 1_000_000u32..1_002_000, 1u32..100_000_000, 0u64..3_000), 1..250),
    ) {
        let mut world = World::new(Mode::Median, &[C, A, B]);
        for (who, honest, lie, wait) in steps {
            world.step(&Step::Tick(who, if who == C { lie } else { honest }, 0));
            world.step(&Step::Wait(wait));
        }
        world.end();
        let (low, high) = (Price::parse("9900.00").unwrap(), Price::parse("10121.00").unwrap());
        for (_, quote) in &world.out {
            prop_assert!(low <= quote.price && quote.price <= high, "{:?}", quote);
        }
    }

    /// The policy may be switched at any time.
    #[test]
    fn turns(steps in prop::collection::vec(step(cents()), 1..100), at in prop::collection::vec(0usize..100, 1..5)) {
        let mut world = World::new(Mode::Failover, &[A, B, C, MOCK]);
        for (number, step) in steps.iter().enumerate() {
            if at.contains(&number) {
                world.mode = if world.mode == Mode::Median { Mode::Failover } else { Mode::Median };
                world.out.clear();
                let ids = world.ids.clone();
                world.ms += 100;
                world.step(&Step::Members(ids));
            }
            world.step(step);
        }
        world.end();
    }
}

#[test]
fn where_both_flap_each_break_costs_one_switch_at_most() {
    let mut world = World::new(Mode::Failover, &[A, B]);
    // Each breaks every six seconds and is back after three, in turn, for an hour; both tick ten times a second.
    for n in 0..36_000u64 {
        let (phase_a, phase_b) = (n % 60, (n + 30) % 60);
        for (who, phase) in [(A, phase_a), (B, phase_b)] {
            match phase {
                0 => world.step(&Step::Ended(who, false)),
                30.. => world.step(&Step::Tick(who, 1_000_000, 0)),
                _ => {}
            }
        }
        world.step(&Step::Wait(100));
    }
    // 600 breaks of each: the served source is left two seconds after its break, and only then.
    assert!((1_000..=1_202).contains(&world.switches), "{}", world.switches);
}

#[test]
fn a_source_that_left_and_came_back_is_not_the_served_one() {
    let mut world = World::new(Mode::Failover, &[A, B]);
    world.step(&Step::Tick(A, 1, 0));
    for members in [vec![C], vec![B, A]] {
        world.step(&Step::Members(members));
    }
    world.step(&Step::Wait(5_000));
    // The jump of the one is held until the other confirms it: both become good at once, and the first is served.
    world.step(&Step::Tick(A, 1_000_000, 0));
    world.step(&Step::Tick(B, 1_000_000, 0));
    assert_eq!((world.serving, world.switches), (Some(B), 2));
}
