//! Random histories in virtual time: masters and children that live, speak and die, signals, and no descriptor lost.

use super::*;
use proptest::prelude::*;
use std::rc::Rc;

#[derive(Clone, Debug)]
enum Step {
    Pass(u16),
    Beat,
    Serving,
    Start,
    /// A process that cannot be started.
    NoStart,
    Relink(u8),
    Kill(u8),
    ChildDies(u8),
    MasterDies(bool),
    Hold(u8),
    Release(u8),
    Keep(u8, u8),
    Drop(u8, u8),
    Cells(u8),
    Fetch(u8, u8),
    Forget(u8),
    Drained,
    Signal(bool),
    Succeed,
    GiveBack,
    Done,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4_000u16).prop_map(Step::Pass),
        6 => Just(Step::Beat),
        2 => Just(Step::Serving),
        6 => Just(Step::Start),
        1 => Just(Step::NoStart),
        2 => any::<u8>().prop_map(Step::Relink),
        2 => any::<u8>().prop_map(Step::Kill),
        3 => any::<u8>().prop_map(Step::ChildDies),
        2 => any::<bool>().prop_map(Step::MasterDies),
        2 => (0..4u8).prop_map(Step::Hold),
        1 => (0..4u8).prop_map(Step::Release),
        6 => (any::<u8>(), 0..8u8).prop_map(|(who, key)| Step::Keep(who, key)),
        3 => (any::<u8>(), 0..8u8).prop_map(|(who, key)| Step::Drop(who, key)),
        2 => any::<u8>().prop_map(Step::Cells),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(who, of)| Step::Fetch(who, of)),
        2 => any::<u8>().prop_map(Step::Forget),
        3 => Just(Step::Drained),
        2 => any::<bool>().prop_map(Step::Signal),
        1 => Just(Step::Succeed),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Done),
    ]
}

/// The world around a keeper.
struct World {
    keeper: Keeper<Rc<()>>,
    now: Mono,
    one: Rc<()>,
    /// The master that lives, and whether it heard of its begin and of the stop.
    master: Option<(u32, bool, bool)>,
    living: BTreeSet<Generation>,
    /// Those that the master that lives believes to live.
    believed: BTreeSet<Generation>,
    next: Generation,
    refuses: bool,
    stopped: bool,
    ended: Option<u8>,
}

impl World {
    fn new() -> Self {
        let (one, now) = (Rc::new(()), Mono(1_000_000_000_000));
        let passed = vec![("http".into(), one.clone())];
        let settings = Settings { pid: 1, watchdog: None, passed, sockets: 20, left: Vec::new() };
        let (living, believed) = (BTreeSet::new(), BTreeSet::new());
        let keeper = Keeper::new(settings, now);
        Self {
            keeper,
            now,
            one,
            master: None,
            living,
            believed,
            next: 0,
            refuses: false,
            stopped: false,
            ended: None,
        }
    }

    fn child(&self, n: u8) -> Option<Generation> {
        self.living.iter().nth(usize::from(n) % self.living.len().max(1)).copied()
    }

    fn order(&mut self, message: ToKeeper<'_>, descriptors: usize) {
        if let Some((number, ..)) = self.master {
            self.say(Who::Master(number), message, descriptors);
        }
    }

    fn say(&mut self, who: Who, message: ToKeeper<'_>, descriptors: usize) {
        let with = (0..descriptors).map(|_| self.one.clone()).collect();
        self.keeper.hear(who, message, with, self.now);
    }

    fn die(&mut self, who: Who, end: End) {
        match who {
            Who::Master(_) => (self.master, self.believed) = (None, BTreeSet::new()),
            Who::Child(generation) => assert!(self.living.remove(&generation)),
        }
        self.keeper.ended(who, end, self.now);
    }

    fn carry_out(&mut self) {
        loop {
            let deeds = self.keeper.deeds();
            if deeds.is_empty() || self.ended.is_some() {
                return;
            }
            deeds.into_iter().for_each(|deed| self.carry(deed));
        }
    }

    fn carry(&mut self, deed: Deed<Rc<()>>) {
        match deed {
            Deed::StartMaster(number, _) => {
                assert!(self.master.is_none(), "two masters");
                if self.refuses {
                    return self.keeper.master_not_started("no", self.now);
                }
                self.master = Some((number, false, false));
                self.keeper.master_started(number, self.now);
            }
            Deed::Start(generation, role, link, _) => {
                if self.refuses {
                    return self.keeper.not_started(generation, "no");
                }
                self.living.insert(generation);
                self.keeper.started(generation, role, generation, link);
            }
            Deed::Store(_) => {}
            Deed::Kill(who) => {
                let lives = match who {
                    Who::Master(number) => self.master.is_some_and(|(living, ..)| living == number),
                    Who::Child(generation) => self.living.contains(&generation),
                };
                if lives {
                    self.die(who, End::Signal { signal: 9, core: false });
                }
            }
            Deed::Say(who, message, with) => self.hear(who, message, &with),
            Deed::Notify(..) | Deed::Complain(_) => {}
            Deed::End(status) => {
                assert!(self.living.is_empty() && self.master.is_none(), "it ends before its processes");
                self.ended = Some(status);
            }
        }
    }

    fn hear(&mut self, who: Who, message: FromKeeper, with: &[Rc<()>]) {
        let Who::Master(number) = who else { return };
        // It may have died since: its line is read by nobody.
        let Some((living, begun, stops)) = self.master.as_mut().filter(|(living, ..)| *living == number)
        else {
            return;
        };
        match message {
            FromKeeper::Held { .. } => assert!(!*begun && with.len() == 1),
            FromKeeper::Begin(begin) => {
                assert!(!std::mem::replace(begun, true), "{living} began twice");
                self.believed = begin.children.iter().map(|running| running.generation).collect();
                assert!(begin.last_generation <= self.next);
            }
            _ if !*begun => panic!("before its beginning: {message:?}"),
            FromKeeper::Signal(15) => *stops = true,
            FromKeeper::Started { generation, .. } => assert!(self.believed.insert(generation)),
            FromKeeper::Exited { generation, .. } => {
                assert!(self.believed.remove(&generation), "an end twice")
            }
            _ => {}
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(ms) => {
                self.now = self.now.after(Duration::from_millis(ms.into()));
                self.refuses = false;
            }
            Step::Beat => self.order(ToKeeper::Beat { within: Duration::from_secs(5), well: true }, 0),
            Step::Serving => self.order(ToKeeper::Serving, 0),
            Step::Start => {
                self.next += u32::from(self.master.is_some());
                self.order(ToKeeper::Start { generation: self.next, role: Role::Feeder }, 1);
            }
            Step::NoStart => self.refuses = true,
            Step::Relink(n) => self
                .child(n)
                .into_iter()
                .for_each(|generation| self.order(ToKeeper::Relink { generation }, 1)),
            Step::Kill(n) => {
                self.child(n).into_iter().for_each(|generation| self.order(ToKeeper::Kill { generation }, 0))
            }
            Step::ChildDies(n) => {
                self.child(n).into_iter().for_each(|of| self.die(Who::Child(of), End::Status(1)))
            }
            Step::MasterDies(by_itself) => {
                if let Some((number, ..)) = self.master {
                    self.die(Who::Master(number), if by_itself { End::Status(1) } else { End::Unknown });
                }
            }
            Step::Hold(n) => self.order(ToKeeper::Hold { name: &n.to_string() }, 1),
            Step::Release(n) => self.order(ToKeeper::Release { name: &n.to_string() }, 0),
            Step::Keep(n, key) => self
                .child(n)
                .into_iter()
                .for_each(|of| self.say(Who::Child(of), ToKeeper::Keep { key: key.into() }, 1)),
            Step::Drop(n, key) => self
                .child(n)
                .into_iter()
                .for_each(|of| self.say(Who::Child(of), ToKeeper::Drop { key: key.into() }, 0)),
            Step::Cells(n) => {
                self.child(n).into_iter().for_each(|of| self.say(Who::Child(of), ToKeeper::Cells, 1))
            }
            Step::Fetch(n, of) => {
                let fetch = ToKeeper::Fetch { request: 1, of: u32::from(of) % (self.next + 1), keys: None };
                if let Some(who) = self.child(n) {
                    self.say(Who::Child(who), fetch, 0);
                }
            }
            Step::Forget(of) => {
                self.order(ToKeeper::Forget { of: u32::from(of) % (self.next + 1), keys: None }, 0)
            }
            Step::Drained => self.keeper.wanted_by().into_iter().for_each(|who| self.keeper.drained(who)),
            Step::Signal(stops) => {
                self.stopped |= stops;
                self.keeper.signal(if stops { 15 } else { 1 }, stops, self.now);
            }
            Step::Succeed => self.order(ToKeeper::Succeed { within: Duration::from_secs(3) }, 1),
            Step::GiveBack => self.order(ToKeeper::GiveBack, 0),
            Step::Done => self.order(ToKeeper::Done { status: 0 }, 0),
        }
        self.keeper.tick(self.now);
        self.carry_out();
    }

    fn holds(&self) {
        if self.ended.is_some() {
            return;
        }
        if let Some((number, begun, stops)) = self.master {
            assert!(begun, "{number} was told nothing");
            assert!(!self.stopped || stops, "a stop was lost");
            assert_eq!(self.believed, self.living, "the master knows who lives");
        }
        let held =
            self.keeper.held.all().count() + self.keeper.vault.descriptors() + self.keeper.images.len();
        assert_eq!(Rc::strong_count(&self.one), 1 + held, "nothing but what is held is open");
        assert!(self.keeper.vault.len() <= 20);
    }
}

proptest! {
    #[test]
    fn one_master_at_a_time_knows_who_lives_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        world.keeper.tick(world.now);
        world.carry_out();
        for step in steps {
            world.take(step);
            world.holds();
            if world.ended.is_some() {
                break;
            }
        }
        // Whatever happened: a stop that masters obey ends it.
        world.refuses = false;
        for _ in 0..10 {
            if world.ended.is_some() {
                break;
            }
            world.take(Step::Signal(true));
            world.take(Step::Done);
            world.take(Step::MasterDies(true));
            world.take(Step::Pass(4_000));
        }
        prop_assert!(world.ended.is_some(), "it ends");
        drop(world.keeper);
        prop_assert_eq!(Rc::strong_count(&world.one), 1, "all descriptors are closed");
    }
}
