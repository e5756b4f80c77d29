//! The counters of all processes. Counts of dead processes stay counted, so that no total ever falls. Counts between
//! the last beat of a process and its death (a second at most) are lost.

use crate::model::Mono;
use crate::protocol::cluster::{Counters, Generation, Role};
use std::collections::BTreeMap;
use std::time::Duration;

/// Two beats closer than this were held up and came together: they tell nothing about the CPU.
const APART: Duration = Duration::from_millis(500);

/// Gauges of a living process, from its beats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pulse {
    /// CPU between its last two beats, in percent of one core.
    pub cpu_pct: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Delay of its last timer.
    pub lag: Duration,
    /// Time since the last sign of life; the start counts as one.
    pub age: Duration,
}

/// A living process.
#[derive(Debug)]
struct Process {
    role: Role,
    counters: Counters,
    /// The last sign of life.
    seen: Mono,
    /// The beat that CPU is measured from: moment and CPU time.
    measured: Option<(Mono, u64)>,
    cpu_pct: f64,
}

/// The counters of all processes.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Sums of the dead processes of each role.
    dead: BTreeMap<Role, Counters>,
    alive: BTreeMap<Generation, Process>,
    /// What the master counts itself.
    own: Counters,
}

impl Ledger {
    /// Goes on with what masters before have counted: of the dead, and of those that lived.
    #[must_use]
    pub fn after(
        dead: BTreeMap<Role, Counters>,
        alive: BTreeMap<Generation, (Role, Counters)>,
        now: Mono,
    ) -> Self {
        let process = |(generation, (role, counters))| {
            (generation, Process { role, counters, seen: now, measured: None, cpu_pct: 0.0 })
        };
        let alive = alive.into_iter().map(process).collect();
        let mut ledger = Self { dead, alive, own: Counters::default() };
        let roles: Vec<_> = ledger.alive.values().map(|process| process.role).collect();
        roles.into_iter().for_each(|role| _ = ledger.dead.entry(role).or_default());
        ledger
    }

    /// The processes that live.
    pub fn living(&self) -> impl Iterator<Item = Generation> {
        self.alive.keys().copied()
    }

    /// Notes that a process was started.
    pub fn born(&mut self, generation: Generation, role: Role, now: Mono) {
        self.dead.entry(role).or_default();
        let counters = Counters::default();
        let process = || Process { role, counters, seen: now, measured: None, cpu_pct: 0.0 };
        self.alive.entry(generation).or_insert_with(process);
    }

    /// Takes the counters of a beat. Those of an unknown process are ignored.
    pub fn beat(&mut self, generation: Generation, counters: &Counters, now: Mono) {
        let Some(process) = self.alive.get_mut(&generation) else { return };
        match process.measured {
            Some((at, _)) if now.since(at) < APART => {}
            Some((at, before)) => {
                let used = counters.cpu_us.saturating_sub(before);
                process.cpu_pct = used as f64 * 100.0 / (now.since(at).as_micros() as f64);
                process.measured = Some((now, counters.cpu_us));
            }
            None => process.measured = Some((now, counters.cpu_us)),
        }
        process.counters.clone_from(counters);
        process.seen = now;
    }

    /// Notes that a process has ended: its role keeps its counters.
    pub fn gone(&mut self, generation: Generation) {
        if let Some(process) = self.alive.remove(&generation) {
            self.dead.entry(process.role).or_default().add_sums(&process.counters);
        }
    }

    /// Counters of a role since the daemon's start. Gauges are those of the living.
    #[must_use]
    pub fn of(&self, role: Role) -> Counters {
        let mut sum = self.dead.get(&role).cloned().unwrap_or_default();
        for process in self.alive.values().filter(|process| process.role == role) {
            sum.add_sums(&process.counters);
            sum.add_gauges(&process.counters);
        }
        sum
    }

    /// What the master counts itself: results of handovers that no worker is left to count.
    pub fn own(&mut self) -> &mut Counters {
        &mut self.own
    }

    /// CPU time of the masters before this one, in microseconds: `cpu_us` of what the master counts.
    #[must_use]
    pub fn masters_cpu(&self) -> u64 {
        self.own.cpu_us
    }

    /// All roles that ever had a process, in their order.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.dead.keys().copied()
    }

    /// Counters of all workers since the daemon's start, and what the master counts for them.
    #[must_use]
    pub fn total(&self) -> Counters {
        let mut sum = Counters::default();
        sum.add_sums(&Counters { cpu_us: 0, ..self.own.clone() });
        for role in self.roles().filter(|role| role.worker().is_some()) {
            let of_one = self.of(role);
            sum.add_sums(&of_one);
            sum.add_gauges(&of_one);
        }
        sum
    }

    /// Messages to clients and, of those, statistics. Cheap: `When` asks often.
    #[must_use]
    pub fn deliveries(&self) -> (u64, u64) {
        let dead = self.dead.values();
        let all = dead.chain(self.alive.values().map(|process| &process.counters));
        all.fold((0, 0), |(all, stats), counters| (all + counters.messages_out, stats + counters.stats_out))
    }

    /// Gauges of a process; `None` when it is not alive.
    #[must_use]
    pub fn pulse(&self, generation: Generation, now: Mono) -> Option<Pulse> {
        self.alive.get(&generation).map(|process| Pulse {
            cpu_pct: process.cpu_pct,
            rss: process.counters.rss,
            lag: Duration::from_micros(process.counters.lag_us),
            age: now.since(process.seen),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(1_000_000_000_000).after(Duration::from_millis(ms))
    }

    fn counted(messages_out: u64, cpu_us: u64) -> Counters {
        let http = BTreeMap::from([(200, messages_out)]);
        Counters { messages_out, stats_out: messages_out / 2, cpu_us, rss: 10, http, ..Counters::default() }
    }

    #[test]
    fn no_total_falls_when_a_worker_dies() {
        let mut ledger = Ledger::default();
        ledger.born(1, Role::Worker(1), at(0));
        ledger.born(2, Role::Worker(2), at(0));
        ledger.born(3, Role::Feeder, at(0));
        ledger.beat(1, &counted(100, 7), at(1));
        ledger.beat(2, &counted(50, 5), at(1));
        ledger.beat(3, &counted(1000, 9), at(1));
        assert_eq!((ledger.total().messages_out, ledger.total().rss), (150, 20), "the feeder is no worker");
        ledger.gone(1);
        ledger.gone(1);
        ledger.beat(1, &counted(1_000_000, 0), at(2));
        assert_eq!((ledger.total().messages_out, ledger.total().rss), (150, 10), "the dead hold no memory");
        ledger.born(4, Role::Worker(1), at(3));
        assert_eq!(ledger.of(Role::Worker(1)).messages_out, 100);
        ledger.beat(4, &counted(1, 1), at(4));
        assert_eq!(
            (
                ledger.of(Role::Worker(1)).messages_out,
                ledger.of(Role::Worker(1)).cpu_us,
                ledger.of(Role::Worker(1)).http[&200]
            ),
            (101, 8, 101)
        );
        assert_eq!(ledger.deliveries(), (1151, 575));
        assert_eq!(ledger.roles().collect::<Vec<_>>(), Role::all(2).collect::<Vec<_>>());
    }

    #[test]
    fn two_processes_of_one_role_count_together() {
        let mut ledger = Ledger::default();
        ledger.born(1, Role::Worker(1), at(0));
        ledger.born(2, Role::Worker(1), at(0));
        ledger.beat(1, &counted(3, 0), at(1));
        ledger.beat(2, &counted(4, 0), at(1));
        assert_eq!((ledger.of(Role::Worker(1)).messages_out, ledger.of(Role::Worker(1)).rss), (7, 20));
    }

    #[test]
    fn cpu_is_measured_between_beats_that_are_apart() {
        let mut ledger = Ledger::default();
        ledger.born(1, Role::Worker(1), at(0));
        let pct = |ledger: &Ledger| ledger.pulse(1, at(0)).unwrap().cpu_pct;
        ledger.beat(1, &counted(0, 1_000_000), at(1000));
        assert!(pct(&ledger) < 0.001, "one beat tells nothing");
        ledger.beat(1, &counted(0, 1_250_000), at(2000));
        assert!((pct(&ledger) - 25.0).abs() < 0.001);
        ledger.beat(1, &counted(0, 1_260_000), at(2001));
        assert!((pct(&ledger) - 25.0).abs() < 0.001, "held up, came together");
        ledger.beat(1, &counted(0, 3_250_000), at(4000));
        assert!((pct(&ledger) - 100.0).abs() < 0.001);
    }

    #[test]
    fn a_beat_ages_and_the_dead_have_none() {
        let mut ledger = Ledger::default();
        ledger.born(1, Role::Worker(1), at(0));
        assert_eq!(ledger.pulse(1, at(300)).unwrap().age, Duration::from_millis(300));
        ledger.beat(1, &Counters { lag_us: 1500, ..counted(0, 0) }, at(1000));
        let pulse = ledger.pulse(1, at(1250)).unwrap();
        assert_eq!((pulse.age, pulse.lag), (Duration::from_millis(250), Duration::from_micros(1500)));
        ledger.gone(1);
        assert_eq!(ledger.pulse(1, at(1250)), None);
    }
}
