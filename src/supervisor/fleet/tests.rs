//! The policy, rule by rule, in virtual time.

use super::*;
use crate::config::WorkerCount;
use crate::model::Rate;
use crate::supervisor::action::Why;
use crate::supervisor::place::LEAVING;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The defaults of `[cluster]`.
pub(super) fn policy() -> ClusterSection {
    ClusterSection {
        workers: WorkerCount::Auto,
        worker_timeout: secs(5),
        start_timeout: secs(10),
        kill_timeout: secs(5),
        drain: secs(5),
        restart_min: millis(100),
        restart_max: secs(30),
        stable_after: secs(5),
        give_up_after: 5,
        give_up_within: secs(60),
        rebalance: Rate::OFF,
        core_dumps: false,
    }
}

/// A fleet and its clock.
struct Bench {
    fleet: Fleet,
    now: Mono,
}

impl Bench {
    /// Feeder and workers, all ready; generations 1 to `workers` + 1.
    fn ready(workers: Slot) -> Self {
        let now = Mono(1_000_000_000);
        let mut bench = Self { fleet: Fleet::new(policy(), 7, now), now };
        let starts = bench.fleet.resize(now, workers);
        assert_eq!(starts.len(), usize::from(workers) + 1);
        for action in starts {
            let Action::Start { generation, .. } = action else { panic!("{action:?}") };
            assert_eq!(bench.fleet.started(now, generation, 1000 + generation), []);
            assert_eq!(bench.fleet.ready(now, generation), []);
        }
        bench
    }

    /// Time passes in steps, everybody but `silent` beats; returns what is to be done.
    fn pass(&mut self, time: Duration, silent: &[Generation]) -> Vec<Action> {
        let end = self.now.after(time);
        let mut actions = Vec::new();
        while self.now < end {
            let next = self.fleet.next_deadline();
            assert!(next > self.now, "a deadline that is over is no deadline");
            self.now = next.min(end);
            for row in self.fleet.rows() {
                if let Some(generation) = row.generation.filter(|g| !silent.contains(g)) {
                    actions.extend(self.fleet.beat(self.now, generation));
                }
            }
            actions.extend(self.fleet.tick(self.now));
        }
        actions
    }

    fn states(&self, worker: Slot) -> Vec<State> {
        self.fleet
            .rows()
            .into_iter()
            .filter(|row| row.role == Role::Worker(worker))
            .map(|row| row.state)
            .collect()
    }

    fn restarts(&self, worker: Slot) -> u32 {
        self.fleet.rows().iter().find(|row| row.role == Role::Worker(worker)).unwrap().restarts
    }

    /// Lets the process of a slot die and returns the pause before the next, or `None` for good.
    fn dies(&mut self, generation: Generation) -> Option<Duration> {
        match self.fleet.exited(self.now, generation).first() {
            Some(Action::Died { pause, .. }) => Some(*pause),
            Some(Action::GivenUp { .. }) => None,
            other => panic!("{other:?}"),
        }
    }
}

fn start(actions: &[Action]) -> Generation {
    match actions.iter().filter(|action| matches!(action, Action::Start { .. })).collect::<Vec<_>>()[..] {
        [Action::Start { generation, .. }] => *generation,
        _ => panic!("not one start: {actions:?}"),
    }
}

#[test]
fn all_are_started_the_feeder_first() {
    let bench = Bench::ready(2);
    let rows: Vec<_> = bench.fleet.rows().iter().map(|r| (r.role, r.state, r.generation, r.pid)).collect();
    let ready = |role, n| (role, State::Ready, Some(n), Some(1000 + n));
    assert_eq!(rows, [ready(Role::Feeder, 1), ready(Role::Worker(1), 2), ready(Role::Worker(2), 3)]);
    assert_eq!(bench.fleet.state(Role::Worker(3)), None);
}

#[test]
fn one_that_was_stable_is_started_at_once() {
    let mut bench = Bench::ready(2);
    assert_eq!(bench.pass(secs(6), &[]), []);
    let actions = bench.fleet.exited(bench.now, 2);
    let died = Action::Died { role: Role::Worker(1), generation: 2, pause: Duration::ZERO };
    assert_eq!(actions, [died, Action::Start { role: Role::Worker(1), generation: 4 }]);
    assert_eq!((bench.states(1), bench.restarts(1)), (vec![State::Starting], 1));
    assert_eq!(bench.fleet.ready(bench.now, 4), []);
    assert_eq!(bench.fleet.ready(bench.now, 2), [], "the dead say nothing");
    assert_eq!(bench.states(1), [State::Ready]);
}

#[test]
fn one_that_dies_young_waits_longer_each_time_and_is_given_up() {
    let mut bench = Bench::ready(2);
    let mut generation = 2;
    for (from, to) in [(50, 100), (100, 200), (200, 400), (400, 800)] {
        let pause = bench.dies(generation).unwrap();
        assert!((millis(from)..=millis(to)).contains(&pause), "{pause:?}");
        assert_eq!(bench.states(1), [State::Backoff]);
        generation = start(&bench.pass(pause, &[]));
    }
    assert_eq!(bench.dies(generation), None);
    assert_eq!((bench.states(1), bench.restarts(1)), (vec![State::Failed], 5));
    assert_eq!(bench.pass(secs(600), &[]), [], "given up is given up");

    let generation = start(&bench.fleet.revive(bench.now, Role::Worker(1)));
    assert!(bench.dies(generation).unwrap() <= millis(100), "a clean record");
}

#[test]
fn deaths_far_apart_are_not_added_up() {
    let mut bench = Bench::ready(1);
    bench.fleet.adopt(ClusterSection { kill_timeout: secs(3600), ..policy() });
    let mut generation = 2;
    for _ in 0..20 {
        let pause = bench.dies(generation).unwrap();
        generation = start(&bench.pass(pause.max(secs(31)), &[2]));
    }
}

#[test]
fn stability_wipes_the_record() {
    let mut bench = Bench::ready(2);
    let mut generation = 2;
    for _ in 0..3 {
        let pause = bench.dies(generation).unwrap();
        generation = start(&bench.pass(pause, &[]));
    }
    bench.fleet.ready(bench.now, generation);
    bench.pass(secs(5), &[]);
    assert_eq!(bench.dies(generation), Some(Duration::ZERO));
    let generation = bench.fleet.newest();
    assert!(bench.dies(generation).unwrap() <= millis(100));
}

#[test]
fn the_feeder_is_never_given_up() {
    let mut bench = Bench::ready(1);
    let mut generation = 1;
    for _ in 0..100 {
        let pause = bench.dies(generation).unwrap();
        assert!(pause <= secs(30));
        generation = start(&bench.pass(pause, &[]));
    }
    assert_eq!(bench.states(1), [State::Ready]);
}

#[test]
fn all_workers_failed_is_said_once() {
    let mut bench = Bench::ready(2);
    let mut all = Vec::new();
    for _ in 0..5 {
        for row in bench.fleet.rows() {
            if let (Role::Worker(_), Some(generation)) = (row.role, row.generation) {
                all.extend(bench.fleet.exited(bench.now, generation));
            }
        }
        all.extend(bench.pass(secs(1), &[]));
    }
    assert_eq!(all.iter().filter(|action| **action == Action::AllFailed).count(), 1);
    let again = bench.fleet.revive_all(bench.now);
    assert_eq!(again.len(), 2, "{again:?}");
}

#[test]
fn a_silent_one_is_killed_and_replaced() {
    let mut bench = Bench::ready(2);
    assert_eq!(bench.pass(millis(4999), &[3]), []);
    let kill = Action::Kill { generation: 3, why: Why::Silent };
    assert_eq!(bench.pass(millis(1), &[3]), [kill]);
    assert_eq!(bench.pass(millis(4999), &[3]), [], "once is enough");
    let actions = bench.fleet.exited(bench.now, 3);
    assert_eq!(start(&actions), 4);
    assert_eq!(bench.restarts(2), 1);
}

#[test]
fn one_that_kill_does_not_end_is_left_behind_and_replaced() {
    let mut bench = Bench::ready(2);
    let kill = Action::Kill { generation: 3, why: Why::Silent };
    assert_eq!(bench.pass(secs(5), &[3]), [kill]);
    let actions = bench.pass(secs(5), &[3]);
    assert_eq!(actions.first(), Some(&Action::LeftBehind { generation: 3 }));
    assert_eq!((start(&actions), bench.restarts(2)), (4, 1));
    assert_eq!(bench.states(2), [State::Starting]);
    assert_eq!(bench.fleet.pids().collect::<Vec<_>>(), [1001, 1002, 1003], "4 is not started yet");
    assert_eq!(bench.fleet.exited(bench.now, 3), [], "nothing follows from its late end");
    assert_eq!(bench.fleet.pids().collect::<Vec<_>>(), [1001, 1002]);
}

#[test]
fn only_some_are_left_behind() {
    let mut bench = Bench::ready(1);
    let mut left = Vec::new();
    // Whatever the feeder is, it hangs.
    let all: Vec<_> = (0..99).filter(|generation| *generation != 2).collect();
    for action in bench.pass(secs(3600), &all) {
        if let Action::LeftBehind { generation } = action {
            left.push(generation);
        }
    }
    assert_eq!((left.len(), bench.fleet.rows().len()), (3, 2));
    bench.fleet.exited(bench.now, left[0]);
    assert!(bench.pass(secs(5), &all).iter().any(|action| matches!(action, Action::LeftBehind { .. })));
}

#[test]
fn a_rolling_does_not_wait_for_one_that_kill_does_not_end() {
    let mut bench = Bench::ready(1);
    bench.fleet.replace_all(bench.now);
    assert_eq!(bench.fleet.ready(bench.now, 3), [Action::Drain { generation: 2 }, Action::RollingDone]);
    assert_eq!(bench.fleet.replace_all(bench.now), [], "one old process is enough");
    let kill = Action::Kill { generation: 2, why: Why::Lingering };
    assert_eq!(bench.pass(secs(6), &[]), [kill]);
    let next = [Action::LeftBehind { generation: 2 }, Action::Start { role: Role::Worker(1), generation: 4 }];
    assert_eq!(bench.pass(secs(5), &[]), next);
}

#[test]
fn a_stop_waits_for_nobody_whom_kill_does_not_end() {
    let mut bench = Bench::ready(1);
    bench.fleet.stop(bench.now, secs(10));
    assert_eq!(bench.pass(secs(10), &[]).len(), 2);
    bench.fleet.exited(bench.now, 1);
    assert_eq!(bench.pass(millis(4999), &[]), []);
    assert_eq!(bench.pass(millis(1), &[]), [Action::LeftBehind { generation: 2 }, Action::Gone]);
}

#[test]
fn one_that_does_not_get_ready_is_killed() {
    let mut bench = Bench::ready(1);
    bench.dies(2);
    let generation = start(&bench.pass(millis(100), &[]));
    let kill = Action::Kill { generation, why: Why::NotReady };
    assert_eq!(bench.pass(secs(11), &[]), [kill]);
    assert_eq!(bench.fleet.ready(bench.now, generation), []);
    assert_eq!(bench.states(1), [State::Starting], "too late");
    assert!(bench.dies(generation).is_some());
}

#[test]
fn nobody_is_blamed_for_the_masters_own_absence() {
    let mut bench = Bench::ready(2);
    bench.pass(secs(1), &[]);
    bench.now = bench.now.after(secs(60));
    assert_eq!(bench.fleet.tick(bench.now), []);
    assert_eq!(bench.pass(secs(3), &[1, 2, 3]), [], "one round of grace");
    assert_eq!(bench.pass(secs(3), &[1, 2, 3]).len(), 3, "but no more");
}

#[test]
fn a_short_absence_forgives_nothing() {
    let mut bench = Bench::ready(1);
    bench.pass(secs(1), &[]);
    for _ in 0..4 {
        bench.now = bench.now.after(secs(1));
        assert_eq!(bench.fleet.tick(bench.now), []);
    }
    bench.now = bench.now.after(secs(1));
    assert_eq!(bench.fleet.tick(bench.now).len(), 2);
}

#[test]
fn a_rolling_goes_slot_by_slot_new_before_old() {
    let mut bench = Bench::ready(2);
    assert_eq!(bench.fleet.replace_all(bench.now), [Action::Start { role: Role::Worker(1), generation: 4 }]);
    assert_eq!(bench.states(1), [State::Ready, State::Starting]);
    let next = [Action::Drain { generation: 2 }, Action::Start { role: Role::Worker(2), generation: 5 }];
    assert_eq!(bench.fleet.ready(bench.now, 4), next);
    assert_eq!(bench.states(1), [State::Ready, State::Draining]);
    assert!(bench.fleet.is_leaving(2));
    let end = [Action::Drain { generation: 3 }, Action::RollingDone];
    assert_eq!(bench.fleet.ready(bench.now, 5), end);
    assert_eq!(bench.fleet.exited(bench.now, 2), []);
    let kill = Action::Kill { generation: 3, why: Why::Lingering };
    assert_eq!(bench.pass(secs(6), &[]), [kill]);
    assert_eq!(bench.fleet.exited(bench.now, 3), []);
    assert_eq!((bench.restarts(1), bench.restarts(2)), (0, 0), "planned");
    assert_eq!(bench.fleet.rows().len(), 3);
}

#[test]
fn those_that_are_younger_are_replaced() {
    let mut bench = Bench::ready(2);
    assert_eq!(
        bench.fleet.replace_newer(bench.now, 2),
        [Action::Start { role: Role::Worker(2), generation: 4 }]
    );
    assert_eq!(bench.fleet.ready(bench.now, 4), [Action::Drain { generation: 3 }, Action::RollingDone]);
    assert_eq!(bench.fleet.replace_newer(bench.now, 4), []);
}

#[test]
fn a_feeder_is_started_when_the_one_before_has_gone() {
    let mut bench = Bench::ready(1);
    assert_eq!(bench.fleet.restart_feeder(bench.now), [Action::Drain { generation: 1 }]);
    assert!(bench.fleet.is_leaving(1));
    assert_eq!(bench.fleet.restart_feeder(bench.now), [], "it goes already");
    assert_eq!(bench.fleet.exited(bench.now, 1), [Action::Start { role: Role::Feeder, generation: 3 }]);
    bench.fleet.ready(bench.now, 3);
    assert!(bench.fleet.rows().iter().all(|row| row.restarts == 0), "planned");
    assert_eq!(bench.fleet.restart_feeder(bench.now), [Action::Drain { generation: 3 }]);
    let kill = Action::Kill { generation: 3, why: Why::Lingering };
    assert_eq!(bench.pass(secs(2), &[]), [kill], "it hangs");
    let next = Action::Start { role: Role::Feeder, generation: 4 };
    assert!(bench.pass(secs(5), &[]).contains(&next), "and is not waited for");
}

#[test]
fn a_replacement_that_fails_leaves_the_old_one_at_work() {
    for death in [true, false] {
        let mut bench = Bench::ready(2);
        bench.fleet.replace_all(bench.now);
        let failed = Action::ReplacementFailed { role: Role::Worker(1), generation: 4 };
        if death {
            assert_eq!(bench.fleet.start_failed(bench.now, 4), [failed]);
        } else {
            let kill = Action::Kill { generation: 4, why: Why::NotReady };
            assert_eq!(bench.pass(secs(10), &[]), [kill, failed]);
            assert_eq!(bench.fleet.exited(bench.now, 4), []);
        }
        assert_eq!((bench.states(1), bench.restarts(1)), (vec![State::Ready], 0));
        assert!(bench.fleet.rolling.is_none());
        assert_eq!(bench.pass(secs(60), &[]), [], "and nobody tries again by himself");
    }
}

#[test]
fn when_the_old_one_dies_its_replacement_inherits_the_seat() {
    let mut bench = Bench::ready(2);
    bench.fleet.replace(bench.now, Role::Worker(1));
    let died = Action::Died { role: Role::Worker(1), generation: 2, pause: Duration::ZERO };
    assert_eq!(bench.fleet.exited(bench.now, 2), [died]);
    assert_eq!((bench.states(1), bench.restarts(1)), (vec![State::Starting], 1));
    assert_eq!(bench.fleet.ready(bench.now, 4), [Action::RollingDone]);
}

#[test]
fn an_inherited_seat_lost_again_ends_the_rolling() {
    let mut bench = Bench::ready(2);
    bench.fleet.replace_all(bench.now);
    bench.fleet.exited(bench.now, 2);
    let actions = bench.fleet.exited(bench.now, 4);
    assert!(matches!(
        actions[..],
        [Action::Died { .. }, Action::ReplacementFailed { role: Role::Worker(1), .. }]
    ));
    assert_eq!(bench.states(1), [State::Backoff]);
}

#[test]
fn a_rolling_asked_for_again_replaces_all_once_more() {
    let mut bench = Bench::ready(2);
    bench.fleet.replace_all(bench.now);
    assert_eq!(bench.fleet.replace_all(bench.now), [], "after the one that is under way");
    // Slot 1 has had its turn: it comes again behind slot 2.
    let actions = bench.fleet.ready(bench.now, 4);
    assert_eq!(
        actions,
        [Action::Drain { generation: 2 }, Action::Start { role: Role::Worker(2), generation: 5 }]
    );
    let actions = bench.fleet.ready(bench.now, 5);
    assert_eq!(actions, [Action::Drain { generation: 3 }], "not while an old one of slot 1 is there");
    assert_eq!(bench.fleet.exited(bench.now, 2), [Action::Start { role: Role::Worker(1), generation: 6 }]);
    let end = [Action::Drain { generation: 4 }, Action::RollingDone];
    assert_eq!(bench.fleet.ready(bench.now, 6), end);
}

#[test]
fn replacing_an_empty_seat_starts_it() {
    let mut bench = Bench::ready(1);
    bench.dies(2);
    let actions = bench.fleet.replace(bench.now, Role::Worker(1));
    assert_eq!(actions, [Action::Start { role: Role::Worker(1), generation: 3 }]);
    assert_eq!(bench.fleet.ready(bench.now, 3), [Action::RollingDone]);
}

#[test]
fn fewer_workers_drain_the_highest_and_more_start_them() {
    let mut bench = Bench::ready(3);
    let drains = bench.fleet.resize(bench.now, 1);
    assert_eq!(drains, [Action::Drain { generation: 3 }, Action::Drain { generation: 4 }]);
    assert_eq!((bench.states(2), bench.states(3)), (vec![State::Draining], vec![State::Draining]));
    assert_eq!(bench.fleet.exited(bench.now, 4), []);
    assert_eq!(bench.fleet.state(Role::Worker(3)), None);
    assert_eq!(bench.fleet.resize(bench.now, 2), [Action::Start { role: Role::Worker(2), generation: 5 }]);
    assert_eq!(bench.states(2), [State::Starting, State::Draining]);
    assert_eq!(bench.fleet.resize(bench.now, 2), [], "nothing to do");
}

#[test]
fn a_drained_process_is_killed_when_no_session_has_moved_for_its_time() {
    let mut bench = Bench::ready(2);
    bench.fleet.resize(bench.now, 1);
    let drain = bench.fleet.policy.drain;
    for _ in 0..5 {
        assert_eq!(bench.pass(drain, &[]), []);
        assert_eq!(bench.fleet.moves(bench.now, 3), []);
    }
    let killed = bench.pass(drain + LEAVING, &[]);
    assert!(matches!(killed[..], [Action::Kill { generation: 3, .. }]), "{killed:?}");
}

#[test]
fn a_slot_that_goes_does_not_hold_up_the_rolling() {
    let mut bench = Bench::ready(2);
    bench.fleet.replace(bench.now, Role::Worker(2));
    let actions = bench.fleet.resize(bench.now, 1);
    let drain = |generation| Action::Drain { generation };
    assert_eq!(actions, [drain(3), drain(4), Action::RollingDone]);
}

#[test]
fn a_stop_wins_over_everything() {
    let mut bench = Bench::ready(3);
    bench.dies(2);
    bench.fleet.replace(bench.now, Role::Worker(2));
    let stops = bench.fleet.stop(bench.now, secs(10));
    assert_eq!(stops.len(), 4, "{stops:?}");
    assert_eq!(bench.fleet.replace_all(bench.now), []);
    assert_eq!(bench.fleet.resize(bench.now, 9), []);
    assert_eq!(bench.fleet.revive(bench.now, Role::Worker(1)), []);
    assert_eq!(bench.pass(millis(9999), &[1, 3, 4, 5]), []);
    for generation in [1, 3, 4] {
        assert_eq!(bench.fleet.exited(bench.now, generation), []);
    }
    assert_eq!(bench.pass(millis(1), &[]), [Action::Kill { generation: 5, why: Why::Grace }]);
    assert_eq!(bench.fleet.exited(bench.now, 5), [Action::Gone]);
    assert_eq!(bench.fleet.tick(bench.now), []);
    assert_eq!(bench.fleet.stop(bench.now, secs(1)), []);
}

#[test]
fn a_second_stop_only_shortens_the_time() {
    let mut bench = Bench::ready(1);
    bench.fleet.stop(bench.now, secs(10));
    bench.fleet.stop(bench.now, secs(1));
    bench.fleet.stop(bench.now, secs(99));
    assert_eq!(bench.pass(secs(1), &[]).len(), 2);
}

#[test]
fn a_stop_without_children_is_over_at_once() {
    let now = Mono(1);
    assert_eq!(Fleet::new(policy(), 1, now).stop(now, secs(1)), [Action::Gone]);
}

#[test]
fn new_values_are_in_force_at_once() {
    let mut bench = Bench::ready(1);
    bench.fleet.adopt(ClusterSection { worker_timeout: secs(2), restart_min: secs(3), ..policy() });
    assert_eq!(bench.pass(secs(2), &[2]), [Action::Kill { generation: 2, why: Why::Silent }]);
    assert!(bench.dies(2).unwrap() >= millis(1500));
}
