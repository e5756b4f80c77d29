//! One role and the processes that have it: the one that serves, the one that is to take over, and those on their
//! way out.

use crate::config::ClusterSection;
use crate::model::words;
use crate::model::{Backoff, Mono};
use crate::protocol::cluster::{Generation, Role};
use std::collections::VecDeque;
use std::time::Duration;

/// A drained process ends by itself; so much longer than its drain it has before it is killed.
pub(super) const LEAVING: Duration = Duration::from_secs(1);

words! {
    /// What people see of a process, or of a role that has none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum State {
        /// Started, not ready yet.
        Starting = "starting",
        /// At work.
        Ready = "ready",
        /// On its way out.
        Draining = "draining",
        /// Dead; it will be started again.
        Backoff = "backoff",
        /// Dead too often: given up until somebody revives it.
        Failed = "failed",
    }
}

/// One line of the statistics: a process, or a role that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose place it is.
    pub role: Role,
    /// How it is.
    pub state: State,
    /// Which process; `None` in [`State::Backoff`] and [`State::Failed`].
    pub generation: Option<Generation>,
    /// Its process id, once it has one.
    pub pid: Option<u32>,
    /// When the process was started.
    pub started: Option<Mono>,
    /// When this state began.
    pub since: Mono,
    /// Deaths in this role so far.
    pub restarts: u32,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) generation: Generation,
    pub(super) pid: Option<u32>,
    pub(super) started: Mono,
    pub(super) phase: Phase,
    /// It has been killed; only its exit is awaited.
    pub(super) doomed: bool,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its patience runs from `from`.
    Starting { from: Mono },
    /// Last heard of at `beat`.
    Ready { since: Mono, beat: Mono },
    /// Killed at `until`.
    Draining { since: Mono, until: Mono },
}

impl Unit {
    pub(super) fn new(generation: Generation, now: Mono) -> Self {
        let phase = Phase::Starting { from: now };
        Self { generation, pid: None, started: now, phase, doomed: false }
    }

    /// When it is killed if nothing is heard until then; never for one that has been killed.
    pub(super) fn deadline(&self, policy: &ClusterSection) -> Option<Mono> {
        let at = match self.phase {
            Phase::Starting { from } => from.after(policy.start_timeout),
            Phase::Ready { beat, .. } => beat.after(policy.worker_timeout),
            Phase::Draining { until, .. } => until,
        };
        (!self.doomed).then_some(at)
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether it has been at work long enough for its death to be an accident.
    pub(super) fn stable(&self, policy: &ClusterSection, now: Mono) -> bool {
        matches!(self.phase, Phase::Ready { since, .. } if now.since(since) >= policy.stable_after)
    }

    /// Nobody could listen for so long: it is not to blame.
    pub(super) fn forgive(&mut self, gap: Duration) {
        match &mut self.phase {
            Phase::Starting { from: at }
            | Phase::Ready { beat: at, .. }
            | Phase::Draining { until: at, .. } => {
                *at = at.after(gap);
            }
        }
    }

    fn state(&self) -> (State, Mono) {
        match self.phase {
            Phase::Starting { .. } => (State::Starting, self.started),
            Phase::Ready { since, .. } => (State::Ready, since),
            Phase::Draining { since, .. } => (State::Draining, since),
        }
    }
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// This process.
    Held(Unit),
    /// Nobody until then.
    Backoff { since: Mono, until: Mono },
    /// Nobody any more.
    Failed { since: Mono },
    /// The role goes away with its last process.
    Retired,
}

/// The processes of one role.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) seat: Seat,
    /// Takes the seat when it is ready.
    pub(super) replacement: Option<Unit>,
    pub(super) draining: Vec<Unit>,
    pub(super) restarts: u32,
    /// Never given up: it backs off for ever.
    kept: bool,
    backoff: Backoff,
    deaths: VecDeque<Mono>,
}

/// What a death leads to.
pub(super) enum Verdict {
    Again(Duration),
    GiveUp,
}

impl Place {
    pub(super) fn new(policy: &ClusterSection, role: Role) -> Self {
        let kept = match role {
            Role::Feeder => true,
            Role::Worker(_) => false,
        };
        Self {
            seat: Seat::Retired,
            replacement: None,
            draining: Vec::new(),
            restarts: 0,
            kept,
            backoff: Backoff::new(policy.restart_min, policy.restart_max),
            deaths: VecDeque::new(),
        }
    }

    /// All its processes, the serving one first.
    pub(super) fn units(&self) -> impl Iterator<Item = &Unit> {
        let held = if let Seat::Held(unit) = &self.seat { Some(unit) } else { None };
        held.into_iter().chain(&self.replacement).chain(&self.draining)
    }

    /// The same, to be changed.
    pub(super) fn units_mut(&mut self) -> impl Iterator<Item = &mut Unit> {
        let held = if let Seat::Held(unit) = &mut self.seat { Some(unit) } else { None };
        held.into_iter().chain(&mut self.replacement).chain(&mut self.draining)
    }

    /// The process that has the seat.
    pub(super) fn held(&self) -> Option<&Unit> {
        if let Seat::Held(unit) = &self.seat { Some(unit) } else { None }
    }

    /// Whether nothing of it is left.
    pub(super) fn is_over(&self) -> bool {
        self.seat == Seat::Retired && self.units().next().is_none()
    }

    /// Counts a death of `unit`, and judges.
    pub(super) fn mourn(&mut self, unit: &Unit, policy: &ClusterSection, now: Mono, chance: f64) -> Verdict {
        self.restarts = self.restarts.saturating_add(1);
        let stable = unit.stable(policy, now);
        if stable {
            self.forget();
        }
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|at| now.since(*at) > policy.give_up_within) {
            self.deaths.pop_front();
        }
        if !self.kept && policy.give_up_after > 0 && self.deaths.len() >= policy.give_up_after as usize {
            return Verdict::GiveUp;
        }
        if self.kept {
            self.deaths.clear();
        }
        Verdict::Again(if stable { Duration::ZERO } else { self.pause(chance) })
    }

    /// The next pause of the back-off.
    pub(super) fn pause(&mut self, chance: f64) -> Duration {
        self.backoff.next(chance)
    }

    /// Count and pause start anew.
    pub(super) fn forget(&mut self) {
        self.deaths.clear();
        self.backoff.reset();
    }

    /// New bounds for the pauses; how far they have grown is kept.
    pub(super) fn adopt(&mut self, policy: &ClusterSection) {
        let failures = self.backoff.failures();
        self.backoff = Backoff::new(policy.restart_min, policy.restart_max);
        (0..failures).for_each(|_| {
            self.backoff.next(0.0);
        });
    }

    /// What people see of it.
    pub(super) fn rows(&self, role: Role) -> impl Iterator<Item = Row> {
        let restarts = self.restarts;
        let vacant = match self.seat {
            Seat::Backoff { since, .. } => Some((State::Backoff, since)),
            Seat::Failed { since } => Some((State::Failed, since)),
            Seat::Held(_) | Seat::Retired => None,
        };
        let vacant = vacant.map(|(state, since)| Row {
            role,
            state,
            generation: None,
            pid: None,
            started: None,
            since,
            restarts,
        });
        let units = self.units().map(move |unit| {
            let (state, since) = unit.state();
            let (generation, started) = (Some(unit.generation), Some(unit.started));
            Row { role, state, generation, pid: unit.pid, started, since, restarts }
        });
        vacant.into_iter().chain(units)
    }
}
