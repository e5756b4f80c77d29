//! Steps that events of a fleet share: processes begin, take over, die and are drained.

use super::{Fleet, Left, Life, PULSE};
use crate::model::Mono;
use crate::protocol::cluster::{Generation, Role};
use crate::supervisor::action::{Action, Why};
use crate::supervisor::place::{Phase, Place, Seat, Unit, Verdict};
use crate::supervisor::rolling::Rolling;
use std::time::Duration;

/// Most processes of a role that are left behind: what makes these hang will hang the next, too.
const MOST_LEFT: usize = 3;

impl Fleet {
    /// Runs an event: looks at the clock before, draws the consequences after.
    pub(super) fn on(&mut self, now: Mono, event: impl FnOnce(&mut Self)) -> Vec<Action> {
        self.notice_absence(now);
        event(self);
        if let Life::Serving { .. } = self.life {
            self.roll(now);
            self.give_up();
        } else if self.places.is_empty() && self.life != Life::Gone {
            self.life = Life::Gone;
            self.actions.push(Action::Gone);
        }
        std::mem::take(&mut self.actions)
    }

    pub(super) fn pulse(&self) -> Duration {
        PULSE.min(self.policy.worker_timeout / 4).max(Duration::from_millis(1))
    }

    /// Gives all processes the time back in which the master did not run (suspended, stopped, starved). Not during a
    /// stop, since others wait for its end.
    fn notice_absence(&mut self, now: Mono) {
        let (gap, late) = (now.since(self.seen), now.since(self.seen.after(self.pulse())));
        self.seen = self.seen.max(now);
        if late > self.policy.worker_timeout / 2 && matches!(self.life, Life::Serving { .. }) {
            self.places.values_mut().flat_map(Place::units_mut).for_each(|unit| unit.forgive(gap));
        }
    }

    pub(super) fn unit_mut(&mut self, generation: Generation) -> Option<&mut Unit> {
        self.places.values_mut().flat_map(Place::units_mut).find(|unit| unit.generation == generation)
    }

    /// Makes a new process.
    fn launch(&mut self, role: Role, now: Mono) -> Unit {
        self.newest += 1;
        self.actions.push(Action::Start { role, generation: self.newest });
        Unit::new(self.newest, now)
    }

    /// Starts a process that has the seat from its first moment.
    pub(super) fn start(&mut self, role: Role, now: Mono) {
        let unit = self.launch(role, now);
        if let Some(place) = self.places.get_mut(&role) {
            place.seat = Seat::Held(unit);
        }
    }

    /// Frees the place of a process that is no more.
    pub(super) fn gone(&mut self, generation: Generation, now: Mono) {
        let Some(role) = self.role_of(generation) else { return };
        let Some(place) = self.places.get_mut(&role) else { return };
        if let Some(at) = place.draining.iter().position(|unit| unit.generation == generation) {
            place.draining.swap_remove(at);
            let is_awaited = role == Role::Feeder && place.draining.is_empty();
            if is_awaited
                && matches!(place.seat, Seat::Backoff { .. })
                && matches!(self.life, Life::Serving { .. })
            {
                self.start(role, now);
            }
        } else if place.replacement.as_ref().is_some_and(|unit| unit.generation == generation) {
            place.replacement = None;
            self.replacement_failed(role, generation);
        } else if let Seat::Held(unit) = std::mem::replace(&mut place.seat, Seat::Retired)
            && matches!(self.life, Life::Serving { .. })
        {
            self.died(role, &unit, now);
        }
        self.places.retain(|_, place| !place.is_over());
    }

    /// Judges the unasked end of a process that had the seat.
    pub(super) fn died(&mut self, role: Role, unit: &Unit, now: Mono) {
        let (generation, chance) = (unit.generation, self.chance.f64());
        let Some(place) = self.places.get_mut(&role) else { return };
        let verdict = place.on_exit(unit, &self.policy, now, chance);
        match (place.replacement.take(), verdict) {
            (Some(next), _) => {
                place.seat = Seat::Held(next);
                self.actions.push(Action::Died { role, generation, pause: Duration::ZERO });
            }
            (None, Verdict::GiveUp) => {
                place.seat = Seat::Failed { since: now };
                self.actions.push(Action::GivenUp { role, generation });
            }
            (None, Verdict::Again(pause)) => {
                place.seat = Seat::Backoff { since: now, until: now.after(pause) };
                self.actions.push(Action::Died { role, generation, pause });
                if pause.is_zero() {
                    self.start(role, now);
                }
            }
        }
        self.replacement_failed(role, generation);
    }

    /// Stops the rolling if it waited for this process.
    pub(super) fn replacement_failed(&mut self, role: Role, generation: Generation) {
        if self.rolling.as_ref().is_some_and(|rolling| rolling.awaits(generation)) {
            self.rolling = None;
            self.actions.push(Action::ReplacementFailed { role, generation });
        }
    }

    /// Gives the seat to a replacement that is ready, and drains the process that had it.
    pub(super) fn take_over(&mut self, generation: Generation, now: Mono) {
        let places = self.places.values_mut();
        for place in places {
            if let Some(next) = place.replacement.take_if(|unit| unit.generation == generation)
                && let Seat::Held(old) = std::mem::replace(&mut place.seat, Seat::Held(next))
            {
                // A process killed for silence has died, although nothing follows from it.
                place.restarts = place.restarts.saturating_add(u32::from(old.is_doomed()));
                place.send_off(old, &self.policy, now, &mut self.actions);
            }
        }
    }

    /// Drains the processes of a role that is to disappear.
    pub(super) fn retire(&mut self, role: Role, now: Mono) {
        if let Some(rolling) = &mut self.rolling {
            rolling.forget(role);
        }
        if let Some(place) = self.places.get_mut(&role) {
            let held = match std::mem::replace(&mut place.seat, Seat::Retired) {
                Seat::Held(unit) => Some(unit),
                _ => None,
            };
            for unit in held.into_iter().chain(place.replacement.take()) {
                place.send_off(unit, &self.policy, now, &mut self.actions);
            }
        }
        self.places.retain(|_, place| !place.is_over());
    }

    /// Goes on without processes that were killed long ago and have not ended.
    pub(super) fn leave_behind(&mut self, now: Mono) {
        let again = now.after(self.policy.kill_timeout);
        let mut leaves = Vec::new();
        for (role, place) in &mut self.places {
            let mut room = match self.life {
                Life::Serving { .. } => {
                    MOST_LEFT.saturating_sub(self.left.iter().filter(|left| left.role == *role).count())
                }
                Life::Stopping | Life::Gone => usize::MAX,
            };
            for unit in place.units_mut().filter(|unit| unit.doomed.is_some_and(|until| until <= now)) {
                unit.doomed = Some(again);
                if room > 0 {
                    room -= 1;
                    leaves.push(Left { role: *role, generation: unit.generation, pid: unit.pid });
                }
            }
        }
        for left in leaves {
            self.left.push(left);
            self.actions.push(Action::LeftBehind { generation: left.generation });
            self.gone(left.generation, now);
        }
    }

    pub(super) fn kill_overdue(&mut self, now: Mono) {
        let (policy, stopping) = (&self.policy, matches!(self.life, Life::Stopping));
        let mut failed = Vec::new();
        for (role, place) in &mut self.places {
            for unit in place.units_mut() {
                if !unit.is_doomed() && unit.deadline(policy) <= now {
                    unit.doomed = Some(now.after(policy.kill_timeout));
                    let why = match unit.phase {
                        _ if stopping => Why::Grace,
                        Phase::Starting { .. } => Why::NotReady,
                        Phase::Ready { .. } => Why::Silent,
                        Phase::Draining { .. } => Why::Lingering,
                    };
                    self.actions.push(Action::Kill { generation: unit.generation, why });
                }
            }
            // The seat is not concerned: only the exit is awaited.
            if let Some(unit) = place.replacement.take_if(|unit| unit.is_doomed()) {
                failed.push((*role, unit.generation));
                place.send_off(unit, policy, now, &mut self.actions);
            }
        }
        failed.into_iter().for_each(|(role, generation)| self.replacement_failed(role, generation));
    }

    pub(super) fn ask(&mut self, wanted: impl Fn(Role) -> bool) {
        if !matches!(self.life, Life::Serving { .. }) {
            return;
        }
        let roles = self.places.iter().filter(|(role, place)| wanted(**role) && place.seat != Seat::Retired);
        for (role, _) in roles {
            self.rolling.get_or_insert_default().ask(*role, self.newest);
        }
    }

    /// Continues the rolling as far as possible.
    fn roll(&mut self, now: Mono) {
        while let Some((role, old)) = self.rolling.as_ref().and_then(Rolling::next) {
            let place = self.places.get(&role);
            // A process started meanwhile for another reason is young enough, and awaited if it is not ready yet.
            let renewed = place.and_then(Place::held).filter(|unit| unit.generation > old);
            let awaited = match (renewed, place) {
                (Some(unit), _) => unit.is_starting().then_some(unit.generation),
                (None, None) => None,
                // At most one old process per role: repeated rollings must not pile them up.
                (None, Some(place)) if !place.draining.is_empty() => return,
                (None, Some(_)) => Some(self.renew(role, now)),
            };
            if let Some(rolling) = &mut self.rolling {
                rolling.turn(awaited);
            }
        }
        if self.rolling.take_if(|rolling| rolling.is_over()).is_some() {
            self.actions.push(Action::RollingDone);
        }
    }

    /// Starts a process: beside the one that serves, or in the empty seat with a clean record.
    fn renew(&mut self, role: Role, now: Mono) -> Generation {
        let unit = self.launch(role, now);
        let generation = unit.generation;
        if let Some(place) = self.places.get_mut(&role) {
            if place.held().is_some() {
                place.replacement = Some(unit);
            } else {
                place.forget();
                place.seat = Seat::Held(unit);
            }
        }
        generation
    }

    /// Orders once to give up, when no worker is left that would ever serve again.
    fn give_up(&mut self) {
        let wanted = |(role, place): &(&Role, &Place)| role.worker().is_some() && place.seat != Seat::Retired;
        let mut workers = self.places.iter().filter(wanted);
        let some = workers.clone().next().is_some();
        let all_failed = some && workers.all(|(_, place)| matches!(place.seat, Seat::Failed { .. }));
        if all_failed && self.life == (Life::Serving { all_failed: false }) {
            self.actions.push(Action::AllFailed);
        }
        self.life = Life::Serving { all_failed };
    }
}
