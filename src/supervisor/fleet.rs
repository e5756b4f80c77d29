//! The supervisor, pure: events and the moment in, actions out. All children are treated alike, except where the
//! role decides: only workers are given up and replaced one after another.
//!
//! Every event returns what is to be done now. [`Fleet::tick`] must be called at [`Fleet::next_deadline`] at the
//! latest. A call that comes much later shows that the master itself did not run: all deadlines are shifted by that
//! time.

use super::action::Action;
use super::place::{LEAVING, Phase, Place, Row, Seat, State, Unit, drained_by};
use super::rolling::Rolling;
use crate::config::ClusterSection;
use crate::model::Mono;
use crate::protocol::cluster::{Generation, Role, Slot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
mod histories;
mod moves;
mod resume;
#[cfg(test)]
mod tests;

pub use resume::Alive;

/// The longest time between two ticks.
const PULSE: Duration = Duration::from_secs(1);

/// The phase of the daemon as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Serving { all_failed: bool },
    Stopping,
    Gone,
}

/// A process whose end is not waited for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Left {
    role: Role,
    generation: Generation,
    pid: Option<u32>,
}

/// The state of all children.
#[derive(Clone, Debug)]
pub struct Fleet {
    policy: ClusterSection,
    places: BTreeMap<Role, Place>,
    /// Killed processes that do not end.
    left: Vec<Left>,
    newest: Generation,
    rolling: Option<Rolling>,
    life: Life,
    seen: Mono,
    chance: fastrand::Rng,
    actions: Vec<Action>,
}

impl Fleet {
    /// Creates an empty fleet. [`Fleet::resize`] starts processes. `seed` is for the jitter of the pauses.
    #[must_use]
    pub fn new(policy: ClusterSection, seed: u64, now: Mono) -> Self {
        Self {
            policy,
            places: BTreeMap::new(),
            left: Vec::new(),
            newest: 0,
            rolling: None,
            life: Life::Serving { all_failed: false },
            seen: now,
            chance: fastrand::Rng::with_seed(seed),
            actions: Vec::new(),
        }
    }

    /// Continues the numbers of processes after this one.
    #[must_use]
    pub fn after(mut self, last: Generation) -> Self {
        self.newest = self.newest.max(last);
        self
    }

    /// Sets how many workers there are, beside one feeder. Surplus slots, the highest, are drained and disappear.
    pub fn resize(&mut self, now: Mono, workers: Slot) -> Vec<Action> {
        self.on(now, |fleet| {
            if !matches!(fleet.life, Life::Serving { .. }) {
                return;
            }
            for role in Role::all(workers) {
                let place = fleet.places.entry(role).or_insert_with(|| Place::new(&fleet.policy, role));
                if place.seat == Seat::Retired {
                    fleet.start(role, now);
                }
            }
            let beyond = |role: &Role| role.worker().is_some_and(|slot| slot > workers);
            let surplus: Vec<_> = fleet.places.keys().copied().filter(beyond).collect();
            surplus.into_iter().for_each(|role| fleet.retire(role, now));
        })
    }

    /// Notes the process id of a process that was started.
    pub fn started(&mut self, now: Mono, generation: Generation, pid: u32) -> Vec<Action> {
        self.on(now, |fleet| {
            if let Some(unit) = fleet.unit_mut(generation) {
                unit.pid = Some(pid);
            }
        })
    }

    /// Notes that a process could not be started. Counts as its death.
    pub fn start_failed(&mut self, now: Mono, generation: Generation) -> Vec<Action> {
        self.exited(now, generation)
    }

    /// Notes that a process is at work.
    pub fn ready(&mut self, now: Mono, generation: Generation) -> Vec<Action> {
        self.on(now, |fleet| {
            let Some(unit) = fleet.unit_mut(generation).filter(|unit| !unit.is_doomed()) else { return };
            if !matches!(unit.phase, Phase::Starting { .. }) {
                return;
            }
            unit.phase = Phase::Ready { since: now, beat: now };
            fleet.take_over(generation, now);
            if let Some(rolling) = fleet.rolling.as_mut().filter(|rolling| rolling.awaits(generation)) {
                rolling.arrived();
            }
        })
    }

    /// Notes a sign of life.
    pub fn beat(&mut self, now: Mono, generation: Generation) -> Vec<Action> {
        self.on(now, |fleet| {
            if let Some(Phase::Ready { beat, .. }) = fleet.unit_mut(generation).map(|unit| &mut unit.phase) {
                *beat = now;
            }
        })
    }

    /// Notes that sessions of a process have moved to another one: if it is drained, its time begins anew.
    pub fn moves(&mut self, now: Mono, generation: Generation) -> Vec<Action> {
        self.on(now, |fleet| {
            let over = drained_by(&fleet.policy, now);
            if let Some(Phase::Draining { until, .. }) =
                fleet.unit_mut(generation).map(|unit| &mut unit.phase)
            {
                *until = over.max(*until);
            }
        })
    }

    /// Notes that a process has ended.
    pub fn exited(&mut self, now: Mono, generation: Generation) -> Vec<Action> {
        self.on(now, |fleet| {
            fleet.left.retain(|left| left.generation != generation);
            fleet.gone(generation, now);
        })
    }

    /// Replaces a process by a new one; where there is none, starts one.
    pub fn replace(&mut self, now: Mono, role: Role) -> Vec<Action> {
        self.on(now, |fleet| fleet.ask(|each| each == role))
    }

    /// Replaces all workers, one after another.
    pub fn replace_all(&mut self, now: Mono) -> Vec<Action> {
        self.on(now, |fleet| fleet.ask(|role| role.worker().is_some()))
    }

    /// Replaces the workers that are younger than this.
    pub fn replace_newer(&mut self, now: Mono, than: Generation) -> Vec<Action> {
        let newer = |(role, place): (&Role, &Place)| {
            let is_newer = place.held().is_some_and(|unit| unit.generation > than);
            (is_newer && role.worker().is_some()).then_some(*role)
        };
        let newer: Vec<_> = self.places.iter().filter_map(newer).collect();
        self.on(now, |fleet| fleet.ask(|role| newer.contains(&role)))
    }

    /// Ends the feeder, of which there is one at a time, and starts the next one when it has gone.
    pub fn restart_feeder(&mut self, now: Mono) -> Vec<Action> {
        self.on(now, |fleet| {
            let until = now.after(LEAVING).after(fleet.policy.kill_timeout);
            let Some(place) = fleet.places.get_mut(&Role::Feeder) else { return };
            if place.held().is_none_or(Unit::is_doomed) {
                return;
            }
            let before = std::mem::replace(&mut place.seat, Seat::Backoff { since: now, until });
            let before = if let Seat::Held(unit) = before { Some(unit) } else { None };
            for unit in before.into_iter().chain(place.replacement.take()) {
                place.send_off(unit, &fleet.policy, now, &mut fleet.actions);
            }
            for unit in place.draining.iter_mut().filter(|unit| !unit.is_doomed()) {
                unit.phase = Phase::Draining { since: now, until: now.after(LEAVING) };
            }
            if let Some(rolling) = &mut fleet.rolling {
                rolling.forget(Role::Feeder);
            }
        })
    }

    /// Starts, with a clean record, a process that was given up or waits in its back-off.
    pub fn revive(&mut self, now: Mono, role: Role) -> Vec<Action> {
        self.on(now, |fleet| {
            let Some(place) = fleet.places.get_mut(&role) else { return };
            if matches!(place.seat, Seat::Failed { .. } | Seat::Backoff { .. }) {
                place.forget();
                fleet.start(role, now);
            }
        })
    }

    /// Does the same for all: a new configuration may have cured them.
    pub fn revive_all(&mut self, now: Mono) -> Vec<Action> {
        let roles: Vec<_> = self.places.keys().copied().collect();
        roles.into_iter().flat_map(|role| self.revive(now, role)).collect()
    }

    /// Ends everything within `grace`, whatever else goes on. A second stop can only shorten the time.
    pub fn stop(&mut self, now: Mono, grace: Duration) -> Vec<Action> {
        self.on(now, |fleet| {
            if fleet.life == Life::Gone {
                return;
            }
            let by = now.after(grace);
            fleet.life = Life::Stopping;
            fleet.rolling = None;
            for place in fleet.places.values_mut() {
                if matches!(place.seat, Seat::Backoff { .. } | Seat::Failed { .. }) {
                    place.seat = Seat::Retired;
                }
                for unit in place.units_mut().filter(|unit| !unit.is_doomed()) {
                    let (since, until) = match unit.phase {
                        Phase::Draining { since, until } => (since, until.min(by)),
                        _ => (now, by),
                    };
                    unit.phase = Phase::Draining { since, until };
                    fleet.actions.push(Action::Stop { generation: unit.generation });
                }
            }
            fleet.places.retain(|_, place| !place.is_over());
        })
    }

    /// Kills processes that are overdue, leaves behind those that KILL does not end, starts those whose pause is over.
    pub fn tick(&mut self, now: Mono) -> Vec<Action> {
        self.on(now, |fleet| {
            fleet.leave_behind(now);
            fleet.kill_overdue(now);
            let due = |place: &Place| matches!(place.seat, Seat::Backoff { until, .. } if until <= now);
            let waited: Vec<_> =
                fleet.places.iter().filter(|(_, place)| due(place)).map(|(role, _)| *role).collect();
            waited.into_iter().for_each(|role| fleet.start(role, now));
        })
    }

    /// Follows other values of `[cluster]`, in force at once.
    pub fn adopt(&mut self, policy: ClusterSection) {
        self.policy = policy;
        self.places.values_mut().for_each(|place| place.adopt(&self.policy));
    }
}

impl Fleet {
    /// The latest moment of the next [`Fleet::tick`].
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        let units = self.places.values().flat_map(Place::units).map(|unit| unit.deadline(&self.policy));
        let waits = self.places.values().filter_map(|place| match place.seat {
            Seat::Backoff { until, .. } => Some(until),
            _ => None,
        });
        units.chain(waits).fold(self.seen.after(self.pulse()), Mono::min)
    }

    /// The state of a role; `None`: there is no such role.
    #[must_use]
    pub fn state(&self, role: Role) -> Option<State> {
        self.places.get(&role)?.rows(role).next().map(|row| row.state)
    }

    /// All processes, and the roles that have none; by role, within a role the serving one first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.places.iter().flat_map(|(role, place)| place.rows(*role)).collect()
    }

    /// Process ids of all processes whose end the kernel has not told.
    #[cfg(test)]
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        let known = self.places.values().flat_map(Place::units).map(|unit| unit.pid);
        known.chain(self.left.iter().map(|left| left.pid)).flatten()
    }

    /// The role of a process that is not left behind.
    #[must_use]
    pub fn role_of(&self, generation: Generation) -> Option<Role> {
        let has = |place: &Place| place.units().any(|unit| unit.generation == generation);
        self.places.iter().find(|(_, place)| has(place)).map(|(role, _)| *role)
    }

    /// Whether a process is drained or stopped.
    #[must_use]
    pub fn is_leaving(&self, generation: Generation) -> bool {
        let mut units = self.places.values().flat_map(Place::units);
        units.any(|unit| unit.generation == generation && matches!(unit.phase, Phase::Draining { .. }))
    }

    /// Whether a process of that slot takes connections: a ready one that is not drained.
    #[must_use]
    pub fn accepts(&self, slot: Slot) -> bool {
        let place = self.places.get(&Role::Worker(slot));
        place.into_iter().flat_map(Place::units).any(|unit| unit.serves())
    }

    /// The number of the newest process. Greater numbers are started later.
    #[must_use]
    pub fn newest(&self) -> Generation {
        self.newest
    }
}
