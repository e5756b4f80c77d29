//! A role and its processes: the serving one, its replacement, and those that drain.

use super::action::Action;
use crate::config::ClusterSection;
use crate::model::words;
use crate::model::{Backoff, Mono};
use crate::protocol::cluster::{Generation, Role};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Time beyond its drain that a process has to end by itself before it is killed.
pub(super) const LEAVING: Duration = Duration::from_secs(1);

/// When a process is killed whose drain begins now.
pub(super) fn drained_by(policy: &ClusterSection, now: Mono) -> Mono {
    now.after(policy.drain).after(LEAVING)
}

words! {
    /// The state of a process, or of a role without one, as people see it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum State {
        /// Started, not ready yet.
        Starting = "starting",
        Ready = "ready",
        Draining = "draining",
        /// Dead; it will be started again.
        Backoff = "backoff",
        /// Dead too often: given up until somebody revives it.
        Failed = "failed",
    }
}

/// A line of the statistics: a process, or a role that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub role: Role,
    pub state: State,
    /// The process; `None` in [`State::Backoff`] and [`State::Failed`].
    pub generation: Option<Generation>,
    /// Process id, once known.
    pub pid: Option<u32>,
    /// Start of the process.
    pub started: Option<Mono>,
    /// Begin of this state.
    pub since: Mono,
    /// Deaths in this role so far.
    pub restarts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    pub(super) generation: Generation,
    pub(super) pid: Option<u32>,
    pub(super) started: Mono,
    pub(super) phase: Phase,
    /// Killed: only the exit is awaited, until this moment.
    pub(super) doomed: Option<Mono>,
}

/// The phase of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// `cluster.start_timeout` runs since `from`.
    Starting { from: Mono },
    /// Last heard of at `beat`.
    Ready { since: Mono, beat: Mono },
    /// Killed at `until`.
    Draining { since: Mono, until: Mono },
}

impl Unit {
    pub(super) fn new(generation: Generation, now: Mono) -> Self {
        let phase = Phase::Starting { from: now };
        Self { generation, pid: None, started: now, phase, doomed: None }
    }

    /// The moment to kill the process if nothing is heard until then; for a killed one, to leave it behind.
    pub(super) fn deadline(&self, policy: &ClusterSection) -> Mono {
        self.doomed.unwrap_or(match self.phase {
            Phase::Starting { from } => from.after(policy.start_timeout),
            Phase::Ready { beat, .. } => beat.after(policy.worker_timeout),
            Phase::Draining { until, .. } => until,
        })
    }

    pub(super) fn is_doomed(&self) -> bool {
        self.doomed.is_some()
    }

    /// Whether the process is at work, and not killed.
    pub(super) fn serves(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. }) && !self.is_doomed()
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether the process was at work long enough for its death to be an accident.
    pub(super) fn stable(&self, policy: &ClusterSection, now: Mono) -> bool {
        matches!(self.phase, Phase::Ready { since, .. } if now.since(since) >= policy.stable_after)
    }

    /// Shifts the deadline by time in which nobody listened.
    pub(super) fn forgive(&mut self, gap: Duration) {
        match &mut self.phase {
            Phase::Starting { from: at }
            | Phase::Ready { beat: at, .. }
            | Phase::Draining { until: at, .. } => {
                *at = at.after(gap);
            }
        }
        self.doomed = self.doomed.map(|at| at.after(gap));
    }

    fn state(&self) -> (State, Mono) {
        match self.phase {
            Phase::Starting { .. } => (State::Starting, self.started),
            Phase::Ready { since, .. } => (State::Ready, since),
            Phase::Draining { since, .. } => (State::Draining, since),
        }
    }
}

/// The seat of the serving process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Seat {
    /// Taken by this process.
    Held(Unit),
    /// Empty until then.
    Backoff { since: Mono, until: Mono },
    /// Empty for good.
    Failed { since: Mono },
    /// The role goes away with its last process.
    Retired,
}

/// The processes of one role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) seat: Seat,
    /// Takes the seat when it is ready.
    pub(super) replacement: Option<Unit>,
    pub(super) draining: Vec<Unit>,
    pub(super) restarts: u32,
    /// Never given up: the back-off goes on for ever.
    kept: bool,
    backoff: Backoff,
    deaths: VecDeque<Mono>,
}

/// Consequence of a death.
pub(super) enum Verdict {
    Again(Duration),
    GiveUp,
}

impl Place {
    /// Drains a process; its end is awaited beside the seat.
    pub(super) fn send_off(
        &mut self,
        mut unit: Unit,
        policy: &ClusterSection,
        now: Mono,
        actions: &mut Vec<Action>,
    ) {
        if !unit.is_doomed() {
            actions.push(Action::Drain { generation: unit.generation });
        }
        unit.phase = Phase::Draining { since: now, until: drained_by(policy, now) };
        self.draining.push(unit);
    }

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

    /// All processes, the serving one first.
    pub(super) fn units(&self) -> impl Iterator<Item = &Unit> {
        let held = if let Seat::Held(unit) = &self.seat { Some(unit) } else { None };
        held.into_iter().chain(&self.replacement).chain(&self.draining)
    }

    /// All processes, to be changed.
    pub(super) fn units_mut(&mut self) -> impl Iterator<Item = &mut Unit> {
        let held = if let Seat::Held(unit) = &mut self.seat { Some(unit) } else { None };
        held.into_iter().chain(&mut self.replacement).chain(&mut self.draining)
    }

    /// The process that has the seat.
    pub(super) fn held(&self) -> Option<&Unit> {
        if let Seat::Held(unit) = &self.seat { Some(unit) } else { None }
    }

    /// Whether no process is left and none is to come.
    pub(super) fn is_over(&self) -> bool {
        self.seat == Seat::Retired && self.units().next().is_none()
    }

    /// Counts a death of `unit`, and judges.
    pub(super) fn on_exit(
        &mut self,
        unit: &Unit,
        policy: &ClusterSection,
        now: Mono,
        chance: f64,
    ) -> Verdict {
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

    /// A row for each process, or one for an empty seat.
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
