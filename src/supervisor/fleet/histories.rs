//! Random histories: whatever happens in whatever order, nothing leaks, nothing is asked of the dead, and when the
//! world calms down all is well again.

use super::tests::policy;
use super::*;
use crate::protocol::keeper::Running;
use crate::supervisor::action::Why;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Absent(u64),
    Beat(usize),
    Moves(usize),
    Ready(usize),
    Exit(usize),
    LateExit(usize),
    Resize(Slot),
    Replace(Role),
    ReplaceAll,
    ReplaceNewer(Generation),
    RestartFeeder,
    Revive(Role),
    ReviveAll,
    Adopt(u64),
    /// Another master goes on; so many processes die meanwhile.
    Renew(usize),
    /// The same, and nothing was written down.
    RenewBlind,
}

fn role() -> impl Strategy<Value = Role> {
    (0..6usize).prop_filter_map("five workers", |n| Role::all(5).nth(n))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u64..3000).prop_map(Op::Wait),
        1 => (6000u64..100_000).prop_map(Op::Absent),
        6 => any::<usize>().prop_map(Op::Beat),
        2 => any::<usize>().prop_map(Op::Moves),
        8 => any::<usize>().prop_map(Op::Ready),
        6 => any::<usize>().prop_map(Op::Exit),
        2 => any::<usize>().prop_map(Op::LateExit),
        1 => (1u16..6).prop_map(Op::Resize),
        2 => role().prop_map(Op::Replace),
        1 => Just(Op::ReplaceAll),
        1 => (0u32..20).prop_map(Op::ReplaceNewer),
        2 => Just(Op::RestartFeeder),
        1 => role().prop_map(Op::Revive),
        1 => Just(Op::ReviveAll),
        1 => (0u64..9).prop_map(Op::Adopt),
        3 => (0usize..3).prop_map(Op::Renew),
        1 => Just(Op::RenewBlind),
    ]
}

fn starts(actions: &[Action]) -> impl Iterator<Item = Generation> {
    actions.iter().filter_map(|action| match action {
        Action::Start { generation, .. } => Some(*generation),
        _ => None,
    })
}

/// The processes as the kernel knows them.
struct World {
    fleet: Fleet,
    now: Mono,
    alive: BTreeMap<Generation, Role>,
    told: BTreeSet<Generation>,
    killed: BTreeSet<Generation>,
    left: BTreeSet<Generation>,
    born: Generation,
    stopped: bool,
    gone: u32,
    chance: fastrand::Rng,
    /// On average, 1 of so many starts fails; 0: none does.
    misfire: u32,
    /// On average, the master dies before 1 of so many starts; 0: it never does.
    lost: u32,
    size: Slot,
}

impl World {
    fn new(seed: u64, workers: Slot) -> Self {
        let now = Mono(1);
        let mut world = Self {
            fleet: Fleet::new(policy(), seed, now),
            now,
            alive: BTreeMap::new(),
            told: BTreeSet::new(),
            killed: BTreeSet::new(),
            left: BTreeSet::new(),
            born: 0,
            stopped: false,
            gone: 0,
            chance: fastrand::Rng::with_seed(seed),
            misfire: 8,
            lost: 16,
            size: workers,
        };
        let actions = world.fleet.resize(now, workers);
        world.obey(actions);
        world
    }

    /// Does what is asked, in order; a start that fails may lead to more.
    fn obey(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Start { .. } if self.lost > 0 && self.chance.u32(..self.lost) == 0 => {
                    // Nothing of what the old master wanted to do is done; whom it has left behind, it has.
                    for action in &actions {
                        if let Action::LeftBehind { generation } = action {
                            self.alive.remove(generation);
                            self.left.insert(*generation);
                        }
                    }
                    actions = self.renew(&self.fleet.pack(true)).into();
                }
                Action::Start { role, generation } => actions.extend(self.birth(role, generation)),
                Action::Drain { generation } => {
                    assert!(self.alive.contains_key(&generation), "the dead cannot be drained");
                    assert!(self.told.insert(generation) && !self.killed.contains(&generation));
                }
                Action::Stop { generation } => assert!(self.alive.contains_key(&generation)),
                Action::Kill { generation, .. } => {
                    assert!(self.alive.contains_key(&generation) && self.killed.insert(generation));
                }
                Action::LeftBehind { generation } => {
                    assert!(self.killed.contains(&generation) && self.alive.remove(&generation).is_some());
                    self.left.insert(generation);
                }
                Action::GivenUp { role, .. } => assert_ne!(role, Role::Feeder),
                Action::Gone => self.gone += 1,
                Action::AllFailed => assert!(!self.stopped),
                Action::Died { generation, .. } | Action::ReplacementFailed { generation, .. } => {
                    assert!(!self.alive.contains_key(&generation) || self.killed.contains(&generation));
                }
                Action::RollingDone => (),
            }
        }
        self.check();
        for slot in (1..=9).filter(|slot| self.fleet.accepts(*slot)) {
            let serves = |of: &Generation| !self.told.contains(of) && !self.killed.contains(of);
            let mut alive = self.alive.iter().filter(|(_, role)| **role == Role::Worker(slot));
            assert!(alive.any(|(of, _)| serves(of)), "nobody accepts in slot {slot}");
        }
    }

    fn birth(&mut self, role: Role, generation: Generation) -> Vec<Action> {
        assert!(!self.stopped, "nobody is started in a stop");
        assert!(generation > self.born, "generations grow");
        self.born = generation;
        if self.misfire > 0 && self.chance.u32(..self.misfire) == 0 {
            return self.fleet.start_failed(self.now, generation);
        }
        self.alive.insert(generation, role);
        self.fleet.started(self.now, generation, generation)
    }

    fn check(&self) {
        let rows = self.fleet.rows();
        let known: BTreeMap<_, _> = rows.iter().filter_map(|r| Some((r.generation?, r.role))).collect();
        assert_eq!(known, self.alive, "the fleet knows exactly who lives");
        let mut seats = BTreeMap::<Role, u32>::new();
        for row in &rows {
            assert_eq!(row.pid, row.generation);
            if matches!(row.state, State::Starting | State::Ready) {
                *seats.entry(row.role).or_default() += 1;
            }
        }
        let pids: BTreeSet<_> = self.fleet.pids().collect();
        let awaited: BTreeSet<_> = self.alive.keys().chain(&self.left).copied().collect();
        assert_eq!(pids, awaited, "nobody else may ask after their end");
        assert!(seats.values().all(|up| *up <= 2), "one that serves and one that is to");
    }

    /// A world after these events, told to stop within ten seconds.
    fn stopped_after(seed: u64, workers: Slot, ops: Vec<Op>) -> Self {
        let mut world = Self::new(seed, workers);
        ops.into_iter().for_each(|op| world.act(op));
        world.lost = 0;
        let stops = world.fleet.stop(world.now, Duration::from_secs(10));
        world.stopped = true;
        world.obey(stops);
        world
    }

    fn pick(&self, n: usize) -> Option<Generation> {
        self.alive.keys().nth(n % self.alive.len().max(1)).copied()
    }

    fn act(&mut self, op: Op) {
        let now = self.now;
        let actions = match op {
            Op::Wait(ms) => return self.wait(Duration::from_millis(ms), |_, _| ()),
            Op::Absent(ms) => {
                self.now = now.after(Duration::from_millis(ms));
                let actions = self.fleet.tick(self.now);
                let silent = |action: &Action| matches!(action, Action::Kill { why: Why::Silent, .. });
                assert!(!actions.iter().any(silent), "blamed for the master's absence");
                actions
            }
            Op::Beat(n) => self.pick(n).map_or(vec![], |generation| self.fleet.beat(now, generation)),
            Op::Moves(n) => self.pick(n).map_or(vec![], |generation| self.fleet.moves(now, generation)),
            Op::Ready(n) => self.pick(n).map_or(vec![], |generation| self.fleet.ready(now, generation)),
            Op::Exit(n) => self.pick(n).map_or(vec![], |generation| self.exit(generation)),
            Op::LateExit(n) => {
                let late = self.left.iter().nth(n % self.left.len().max(1)).copied();
                late.map_or(vec![], |generation| {
                    self.left.remove(&generation);
                    let actions = self.fleet.exited(now, generation);
                    assert_eq!(actions, [], "nothing follows from a late end");
                    actions
                })
            }
            Op::Resize(workers) => {
                self.size = workers;
                self.fleet.resize(now, workers)
            }
            Op::Replace(role) => self.fleet.replace(now, role),
            Op::ReplaceAll => self.fleet.replace_all(now),
            Op::ReplaceNewer(than) => self.fleet.replace_newer(now, than),
            Op::RestartFeeder => self.fleet.restart_feeder(now),
            Op::Revive(role) => self.fleet.revive(now, role),
            Op::ReviveAll => {
                let before = self.born;
                let actions = self.fleet.revive_all(now);
                assert!(starts(&actions).all(|generation| generation > before));
                actions
            }
            Op::Renew(deaths) => self.renew_after(deaths),
            Op::RenewBlind => self.renew_blind(),
            Op::Adopt(secs) => {
                let time = Duration::from_secs(secs);
                self.fleet.adopt(ClusterSection {
                    drain: time,
                    stable_after: time,
                    restart_min: time,
                    ..policy()
                });
                vec![]
            }
        };
        self.obey(actions);
    }

    /// So many die while there is no master.
    fn renew_after(&mut self, deaths: usize) -> Vec<Action> {
        let packed = self.fleet.pack(true);
        for _ in 0..deaths {
            let which = self.chance.usize(..);
            let dies = self.pick(which);
            dies.into_iter().for_each(|generation| _ = self.alive.remove(&generation));
        }
        self.renew(&packed)
    }

    /// Another master that knows nothing of the one before.
    fn renew_blind(&mut self) -> Vec<Action> {
        let actions = self.renew("");
        let seats: BTreeSet<_> = self.alive.values().collect();
        assert_eq!(starts(&actions).count(), 0, "each that lives has a place: {seats:?}");
        let size = self.size;
        self.obey(actions);
        self.fleet.resize(self.now, size)
    }

    /// Another master goes on with the children that live.
    fn renew(&mut self, packed: &str) -> Vec<Action> {
        self.told.clear();
        self.killed.clear();
        let running = self.alive.iter().map(|(generation, role)| (*generation, *role));
        let children: Vec<_> = running
            .chain(self.left.iter().map(|generation| (*generation, Role::Worker(1))))
            .map(|(generation, role)| Running { generation, role, pid: generation })
            .collect();
        let packed = if self.left.is_empty() || !packed.is_empty() {
            packed.to_owned()
        } else {
            self.fleet.pack(true)
        };
        let alive = Alive { children: &children, last: self.born };
        let policy = self.fleet.policy.clone();
        let (fleet, actions) = Fleet::resume(policy, (&packed, self.chance.u64(..)), alive, self.now);
        self.fleet = fleet;
        for action in &actions {
            if let Action::Start { role, .. } = action {
                let seated = self.alive.iter().filter(|(generation, of)| {
                    *of == role && !self.fleet.is_leaving(**generation) && self.fleet.rolling.is_none()
                });
                assert_eq!(seated.count(), 0, "a second process for {role}");
            }
        }
        actions
    }

    fn exit(&mut self, generation: Generation) -> Vec<Action> {
        self.alive.remove(&generation);
        self.fleet.exited(self.now, generation)
    }

    /// Lets time pass from deadline to deadline; `between` lets the processes act.
    fn wait(&mut self, time: Duration, between: impl Fn(&mut Self, Generation)) {
        let end = self.now.after(time);
        while self.now < end {
            self.now = self.fleet.next_deadline().max(self.now).min(end);
            for generation in self.alive.keys().copied().collect::<Vec<_>>() {
                between(self, generation);
            }
            let actions = self.fleet.tick(self.now);
            self.obey(actions);
            assert!(self.fleet.next_deadline() > self.now, "the loop would not rest");
        }
    }

    /// Makes the process do what a good one does.
    fn behave(&mut self, generation: Generation) {
        let leaves = self.killed.contains(&generation) || self.told.contains(&generation) || self.stopped;
        let actions = if leaves {
            self.exit(generation)
        } else {
            let mut actions = self.fleet.ready(self.now, generation);
            actions.extend(self.fleet.beat(self.now, generation));
            actions
        };
        self.obey(actions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_leaks_and_all_calms_down(
        seed in any::<u64>(), workers in 1u16..6, ops in prop::collection::vec(op(), 0..150),
    ) {
        let mut world = World::new(seed, workers);
        let (mut size, mut failed) = (workers, 0);
        for op in ops {
            if let Op::Resize(n) = op { size = n }
            world.act(op);
        }
        (world.misfire, world.lost) = (0, 0);
        world.fleet.adopt(policy());
        world.wait(Duration::from_secs(120), World::behave);
        for role in Role::all(size) {
            match world.fleet.state(role) {
                Some(State::Failed) if role != Role::Feeder => failed += 1,
                state => {
                    prop_assert_eq!(state, Some(State::Ready), "{}", role);
                    prop_assert!(role.worker().is_none_or(|slot| world.fleet.accepts(slot)), "{}", role);
                }
            }
        }
        prop_assert_eq!(world.fleet.rows().len(), usize::from(size) + 1, "nobody is left over");
        prop_assert!(world.fleet.rolling.is_none());

        let revived = world.fleet.revive_all(world.now);
        prop_assert_eq!(revived.len(), failed);
        world.obey(revived);
        let stops = world.fleet.stop(world.now, Duration::from_secs(10));
        prop_assert_eq!(stops.len(), world.alive.len());
        world.obey(stops);
        world.stopped = true;
        world.wait(Duration::from_secs(11), World::behave);
        prop_assert_eq!((world.gone, world.alive.len()), (1, 0));
    }

    #[test]
    fn a_stop_ends_in_time_whatever_came_before(
        seed in any::<u64>(), workers in 1u16..6, ops in prop::collection::vec(op(), 0..100),
    ) {
        let mut world = World::stopped_after(seed, workers, ops);
        // Nobody obeys; only KILL helps.
        world.wait(Duration::from_millis(10_500), |world, generation| {
            if world.killed.contains(&generation) {
                let actions = world.exit(generation);
                world.obey(actions);
            }
        });
        world.wait(Duration::from_millis(10), World::behave);
        prop_assert_eq!((world.gone, world.alive.len()), (1, 0));
    }

    #[test]
    fn a_stop_ends_in_time_although_kill_ends_nobody(
        seed in any::<u64>(), workers in 1u16..6, ops in prop::collection::vec(op(), 0..100),
    ) {
        let mut world = World::stopped_after(seed, workers, ops);
        world.wait(Duration::from_millis(16_500), |_, _| ());
        prop_assert_eq!((world.gone, world.alive.len()), (1, 0));
    }
}
