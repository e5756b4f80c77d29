//! The fleet of a master that takes the place of another: the same children, of which some may have died meanwhile.

use super::{Fleet, Left, Life, Phase, Place, Seat};
use crate::config::ClusterSection;
use crate::model::Mono;
use crate::protocol::cluster::{Generation, Role};
use crate::protocol::keeper::Running;
use crate::supervisor::action::Action;
use crate::supervisor::place::{LEAVING, Unit};
use crate::supervisor::rolling::Rolling;
use serde::{Deserialize, Serialize};

/// What one fleet writes down for the next.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    places: Vec<(Role, Place)>,
    left: Vec<Left>,
    newest: Generation,
    rolling: Option<Rolling>,
    stopping: bool,
}

/// The processes as the keeper knows them.
#[derive(Clone, Copy, Debug)]
pub struct Alive<'a> {
    pub children: &'a [Running],
    /// The highest generation that was ever started.
    pub last: Generation,
}

impl Alive<'_> {
    fn has(&self, generation: Generation) -> bool {
        self.children.iter().any(|child| child.generation == generation)
    }
}

impl Fleet {
    /// What [`Fleet::resume`] needs, as text. Write it down before the actions of an event are carried out. `rolls`:
    /// whether the next fleet goes on with the rolling.
    #[must_use]
    pub fn pack(&self, rolls: bool) -> String {
        let kept = Kept {
            places: self.places.iter().map(|(role, place)| (*role, place.clone())).collect(),
            left: self.left.clone(),
            newest: self.newest,
            rolling: self.rolling.clone().filter(|_| rolls),
            stopping: !matches!(self.life, Life::Serving { .. }),
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }

    /// Goes on with what the fleet before has packed. Without that, each living process is taken as one that starts.
    /// Orders to leave are given again: the process may not have heard the first.
    pub fn resume(
        policy: ClusterSection,
        (packed, seed): (&str, u64),
        alive: Alive<'_>,
        now: Mono,
    ) -> (Self, Vec<Action>) {
        let mut fleet = Self::new(policy, seed, now);
        let kept: Kept = serde_json::from_str(packed).unwrap_or_default();
        fleet.places = kept.places.into_iter().collect();
        fleet.left = kept.left.into_iter().filter(|left| alive.has(left.generation)).collect();
        fleet.newest = kept.newest.max(alive.last);
        fleet.rolling = kept.rolling;
        if kept.stopping {
            fleet.life = Life::Stopping;
        }
        let policy = fleet.policy.clone();
        fleet.places.values_mut().for_each(|place| place.adopt(&policy));
        let actions = fleet.on(now, |fleet| {
            fleet.meet_again(alive, now);
            fleet.take_in_strangers(alive, now);
            fleet.miss(alive, now);
        });
        (fleet, actions)
    }

    /// Gives each process that lives its time anew.
    fn meet_again(&mut self, alive: Alive<'_>, now: Mono) {
        let stopping = self.life == Life::Stopping;
        for unit in self.places.values_mut().flat_map(Place::units_mut) {
            let Some(child) = alive.children.iter().find(|child| child.generation == unit.generation) else {
                continue;
            };
            (unit.pid, unit.doomed) = (Some(child.pid), None);
            match &mut unit.phase {
                Phase::Starting { from: at } | Phase::Ready { beat: at, .. } => *at = now,
                Phase::Draining { until, .. } => {
                    *until = (*until).max(now.after(LEAVING));
                    let generation = unit.generation;
                    self.actions.push(if stopping {
                        Action::Stop { generation }
                    } else {
                        Action::Drain { generation }
                    });
                }
            }
        }
    }

    /// Gives places to processes that nothing was written of: the newest of a role has the seat, the others leave.
    fn take_in_strangers(&mut self, alive: Alive<'_>, now: Mono) {
        let known = |fleet: &Self, generation| {
            fleet.role_of(generation).is_some() || fleet.left.iter().any(|left| left.generation == generation)
        };
        let strangers = alive.children.iter().filter(|child| !known(self, child.generation));
        let mut strangers: Vec<_> = strangers.copied().collect();
        strangers.sort_unstable_by_key(|child| child.generation);
        for child in strangers {
            let place = self.places.entry(child.role).or_insert_with(|| Place::new(&self.policy, child.role));
            let mut unit = Unit::new(child.generation, now);
            unit.pid = Some(child.pid);
            if let Seat::Held(before) = std::mem::replace(&mut place.seat, Seat::Held(unit)) {
                place.send_off(before, &self.policy, now, &mut self.actions);
            }
        }
    }

    /// Draws the consequences for processes that are no more. One that was never started has not died.
    fn miss(&mut self, alive: Alive<'_>, now: Mono) {
        let units = self.places.values().flat_map(Place::units).map(|unit| unit.generation);
        let missing: Vec<_> = units.filter(|generation| !alive.has(*generation)).collect();
        for generation in missing {
            if generation <= alive.last {
                self.gone(generation, now);
            } else {
                self.never_started(generation, now);
            }
        }
    }

    fn never_started(&mut self, generation: Generation, now: Mono) {
        if let Some(rolling) = &mut self.rolling {
            rolling.again(generation);
        }
        let Some(role) = self.role_of(generation) else { return };
        let Some(place) = self.places.get_mut(&role) else { return };
        place.draining.retain(|unit| unit.generation != generation);
        place.replacement.take_if(|unit| unit.generation == generation);
        if place.held().is_some_and(|unit| unit.generation == generation) {
            place.seat = Seat::Retired;
            if let Some(next) = place.replacement.take() {
                place.seat = Seat::Held(next);
            } else if matches!(self.life, Life::Serving { .. }) {
                self.start(role, now);
            }
        }
        self.places.retain(|_, place| !place.is_over());
    }
}
