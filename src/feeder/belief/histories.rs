//! Invariants in random histories of sources that are right, late, ahead, repeat themselves or count anew.

use super::*;
use crate::feeder::belief::offsets::AGREE;
use crate::model::{Boot, Mono};
use proptest::prelude::*;

const NOON: i64 = 1_763_640_000_000;
const HOUR: i64 = 3_600_000;

#[derive(Clone, Debug)]
enum Step {
    Wait(u32),
    /// Our wall clock is set.
    Set(i64),
    /// The source, how far its stamp is behind, and its number.
    Say(usize, i64, Option<u64>),
}

fn step(behind: impl Strategy<Value = i64> + 'static) -> impl Strategy<Value = Step> {
    let seq = prop_oneof![3 => Just(None), 1 => (0..100u64).prop_map(Some)];
    prop_oneof![
        4 => (0..5_000u32).prop_map(Step::Wait),
        1 => (0..120_000u32).prop_map(Step::Wait),
        1 => prop_oneof![Just(0), -24 * HOUR..24 * HOUR].prop_map(Step::Set),
        12 => (0..3usize, behind, seq).prop_map(|(who, behind, seq)| Step::Say(who, behind, seq)),
    ]
}

fn any_stamp() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..1_000i64, 2 => 0..60_000i64, 1 => -24 * HOUR..24 * HOUR, 1 => any::<i32>().prop_map(i64::from)]
}

struct World {
    beliefs: Vec<Belief>,
    ms: i64,
    wall: i64,
    price: u32,
}

impl World {
    fn new() -> Self {
        let witnesses: Arc<Mutex<Witnesses>> = Arc::default();
        let beliefs = ["a", "b", "c"].iter().map(|name| Belief::new(name, witnesses.clone())).collect();
        Self { beliefs, ms: 0, wall: 0, price: 1 }
    }

    fn now(&self) -> Now {
        let nanos = self.ms.unsigned_abs() * 1_000_000 + 5_000_000_000;
        Now { mono: Mono(nanos), boot: Boot(nanos), wall: Wall(NOON + self.ms + self.wall) }
    }

    fn say(&mut self, who: usize, behind: i64, seq: Option<u64>) -> Verdict {
        self.price += 1;
        let (symbol, price) =
            (Symbol::new("BTC-USD").unwrap(), Price::parse(&self.price.to_string()).unwrap());
        let time = Some(Wall(NOON + self.ms - behind));
        let tick = Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time, seq };
        self.beliefs[who].take(&tick, Said { counts: "x", age: None }, self.now())
    }

    fn step(&mut self, step: &Step) -> Option<Verdict> {
        match step {
            Step::Wait(ms) => self.ms += i64::from(*ms),
            Step::Set(ahead) => self.wall = *ahead,
            Step::Say(who, behind, seq) => return Some(self.say(*who, *behind, *seq)),
        }
        None
    }
}

proptest! {
    /// Where two sources are always right, however our clock is set: what they say is on time, a third one is never
    /// taken for less late than it is, and nobody is later than by its own stamp.
    #[test]
    fn nobody_is_fresher_than_it_is(steps in prop::collection::vec(step(any_stamp()), 1..300)) {
        let mut world = World::new();
        for who in [0, 1, 0, 1] {
            world.ms += 400;
            world.say(who, 0, None);
        }
        for step in steps {
            if let Step::Say(..) = step {
                world.ms += 10;
                for who in 0..2 {
                    prop_assert_eq!(world.say(who, 0, None), Verdict::News(Duration::ZERO));
                }
            }
            let (before, step) = (world.ms, match step { Step::Say(_, behind, seq) => Step::Say(2, behind, seq), other => other });
            let said = world.step(&step);
            if let (Step::Say(_, behind, _), Some(Verdict::News(lag))) = (&step, said) {
                let lag = i64::try_from(lag.as_millis()).unwrap();
                prop_assert!(lag >= behind - AGREE, "{} {} at {}", lag, behind, before);
            }
        }
    }

    /// News of one source never go back by more than the jitter, where the right time is known.
    #[test]
    fn news_do_not_go_back(steps in prop::collection::vec(step(0..HOUR), 1..300)) {
        let mut world = World::new();
        let mut newest = [-HOUR; 3];
        for step in steps {
            world.say(0, 0, None);
            match step {
                Step::Set(_) | Step::Say(0, ..) => {}
                Step::Say(who, behind, seq) => if let Verdict::News(_) = world.say(who, behind, seq) {
                    let (stamp, jitter) = (world.ms - behind, if seq.is_some() { NUMBERED_JITTER } else { JITTER });
                    prop_assert!(stamp >= newest[who] - jitter);
                    newest[who] = newest[who].max(stamp);
                },
                Step::Wait(_) => _ = world.step(&step),
            }
        }
    }

    /// Whatever was said before: a source that is right from now on, beside another one that is, gives prices within
    /// seconds, and on time.
    #[test]
    fn who_is_right_is_heard_within_seconds(steps in prop::collection::vec(step(any_stamp()), 1..300)) {
        let mut world = World::new();
        steps.iter().for_each(|step| _ = world.step(step));
        let mut last = Vec::new();
        for _ in 0..200 {
            world.ms += 100;
            last = (0..2).map(|who| world.say(who, 0, None)).collect();
        }
        let on_time = |said: &Verdict| matches!(said, Verdict::News(lag) if lag.as_millis() <= 4_000);
        prop_assert!(last.iter().all(on_time), "{:?}", last);
    }
}
