//! The course of an upgrade, and of a restart that keeps sessions: trial, packing, and what the next master tells of
//! it. Pure: `D` is a descriptor.

use super::packing::Packing;
use super::succession::{Succession, Yielding};
use super::unpacking::{Counts, Unpacking};
use crate::model::Mono;
use crate::protocol::cluster::Generation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Device and inode of a program.
pub(super) type Identity = (u64, u64);

/// What comes after the packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Goal {
    /// Another program takes over.
    Upgrade,
    /// systemd starts the daemon again.
    Restart,
}

/// What a master leaves to the one that takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Legacy {
    pub(super) goal: Goal,
    /// Counts upgrades.
    pub(super) number: u64,
    /// The version before.
    pub(super) from: String,
    /// The version that takes over.
    pub(super) to: String,
    /// The program that takes over.
    pub(super) program: Identity,
    /// What it cannot take over.
    pub(super) losses: Vec<String>,
    /// Sessions that were packed.
    pub(super) packed: u64,
    /// Sessions that could not be packed.
    pub(super) closed: u64,
    /// Processes up to this one live on, and are to be replaced; `None`: all were packed.
    #[serde(default)]
    pub(super) last: Option<Generation>,
    /// Why its program gives way again.
    #[serde(default)]
    pub(super) why: Option<String>,
}

/// How the last upgrade or restart went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) goal: Goal,
    number: u64,
    pub(super) from: String,
    pub(super) to: String,
    losses: Vec<String>,
    /// Why the program before runs on; `None`: the new one runs.
    pub(super) why: Option<String>,
    pub(super) counts: Counts,
}

/// What the workers have packed so far, what the master leaves, and the program that takes over.
type Packed<D> = (Packing<D>, Legacy, Option<D>);

#[derive(Debug)]
enum Stage<D> {
    Idle,
    Trying,
    Packing(Box<Packed<D>>),
    Yielding(Box<(Yielding, Legacy, D)>),
    /// The next master is started, or the daemon ends.
    Gone,
}

/// Upgrades of this daemon.
#[derive(Debug)]
pub(super) struct Upgrades<D> {
    stage: Stage<D>,
    last: u64,
    outcome: Option<Outcome>,
    /// What the master before has left, while it is unpacked.
    legacy: Option<(Legacy, Option<String>)>,
    packs: BTreeMap<Generation, D>,
    /// When this program has proven itself.
    settles: Option<Mono>,
    pub(super) unpacking: Unpacking,
    /// This program takes over from living processes.
    succession: Option<(Succession, Legacy)>,
}

impl<D> Default for Upgrades<D> {
    fn default() -> Self {
        let unpacking = Unpacking::default();
        let (stage, packs) = (Stage::Idle, BTreeMap::new());
        let (outcome, legacy, settles, succession) = (None, None, None, None);
        Self { stage, last: 0, outcome, legacy, packs, settles, unpacking, succession }
    }
}

impl<D> Upgrades<D> {
    /// A program is to be tried.
    ///
    /// # Errors
    /// Why it must wait.
    pub(super) fn try_out(&mut self) -> Result<u64, &'static str> {
        match self.stage {
            _ if self.legacy.is_some() => Err("sessions of the last upgrade are still taken over"),
            _ if self.succession.is_some() => Err("processes are still replaced after the last upgrade"),
            Stage::Idle => {
                self.stage = Stage::Trying;
                self.last += 1;
                Ok(self.last)
            }
            Stage::Trying => Err("another program is on trial"),
            Stage::Packing(_) | Stage::Yielding(_) | Stage::Gone => {
                Err("the daemon gives way to another program")
            }
        }
    }

    /// The program on trial is refused. Nothing was touched.
    pub(super) fn refused(&mut self, why: String) {
        if matches!(self.stage, Stage::Trying | Stage::Yielding(_)) {
            self.stage = Stage::Idle;
            let (from, to) = (env!("CARGO_PKG_VERSION").to_owned(), String::new());
            let (goal, number, losses, counts) = (Goal::Upgrade, self.last, Vec::new(), Counts::default());
            self.outcome = Some(Outcome { goal, number, from, to, losses, why: Some(why), counts });
        }
    }

    /// Whether nothing else may begin.
    pub(super) fn is_packing(&self) -> bool {
        matches!(self.stage, Stage::Packing(_) | Stage::Gone)
    }

    /// All workers pack from now on.
    pub(super) fn pack(&mut self, packing: Packing<D>, legacy: Legacy, image: Option<D>) {
        self.stage = Stage::Packing(Box::new((packing, legacy, image)));
    }

    /// This master gives way to one of the program `image`.
    pub(super) fn give_way(&mut self, yielding: Yielding, legacy: Legacy, image: D) {
        self.stage = Stage::Yielding(Box::new((yielding, legacy, image)));
    }

    pub(super) fn yielding(&mut self) -> Option<&mut Yielding> {
        if let Stage::Yielding(all) = &mut self.stage { Some(&mut all.0) } else { None }
    }

    /// It is the moment to give way: once.
    pub(super) fn gives_way(&mut self) -> Option<(Legacy, D)> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Yielding(all) => Some((all.1, all.2)),
            other => {
                self.stage = other;
                None
            }
        }
    }

    pub(super) fn packing(&mut self) -> Option<&mut Packing<D>> {
        if let Stage::Packing(packed) = &mut self.stage { Some(&mut packed.0) } else { None }
    }

    /// The packing is over: all of it, once.
    pub(super) fn end(&mut self) -> Option<(Packing<D>, Legacy, Option<D>)> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Packing(packed) => Some(*packed),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// What the master before has left. `why`: its program did not take over.
    pub(super) fn inherit(
        &mut self,
        legacy: Legacy,
        why: Option<String>,
        (unpacking, packs): (Unpacking, BTreeMap<Generation, D>),
    ) {
        self.last = self.last.max(legacy.number);
        (self.legacy, self.unpacking, self.packs) = (Some((legacy, why)), unpacking, packs);
    }

    /// The master before has given way to this program.
    pub(super) fn succeed(&mut self, legacy: Legacy) {
        self.last = self.last.max(legacy.number);
        let succession = Succession::new(legacy.last.unwrap_or_default());
        self.succession = Some((succession, legacy));
    }

    pub(super) fn succession(&mut self) -> Option<&mut Succession> {
        self.succession.as_mut().filter(|(_, legacy)| legacy.why.is_none()).map(|(succession, _)| succession)
    }

    /// What was left for a program that has failed: this is the one before.
    pub(super) fn refused_succession(&mut self) -> Option<Legacy> {
        let refused = self.succession.take_if(|(_, legacy)| legacy.why.is_some())?;
        Some(refused.1)
    }

    /// This program is refused: what is told to the one before.
    pub(super) fn gives_back(&mut self, why: String) -> Option<Legacy> {
        let (_, legacy) = self.succession.take()?;
        self.stage = Stage::Gone;
        Some(Legacy { why: Some(why), ..legacy })
    }

    /// All processes are of this program, which has `held` sessions and has proven itself at `settles`.
    pub(super) fn succeeded(&mut self, held: u64, settles: Mono) -> Option<&Outcome> {
        let (succession, legacy) = self.succession.take()?;
        self.settles = Some(settles);
        Some(self.came_out(legacy, Counts { held, ..succession.counts() }))
    }

    /// The program that took over from living processes has failed: this one goes on with `held` sessions.
    pub(super) fn goes_on(&mut self, legacy: Legacy, held: u64, silence: Duration) -> &Outcome {
        self.last = self.last.max(legacy.number);
        self.came_out(legacy, Counts { held, closed: 0, silence })
    }

    fn came_out(&mut self, legacy: Legacy, counts: Counts) -> &Outcome {
        let Legacy { goal, number, from, to, losses, why, .. } = legacy;
        self.outcome.insert(Outcome { goal, number, from, to, losses, why, counts })
    }

    /// The pack of a worker, while it is not unpacked whole.
    pub(super) fn pack_of(&self, worker: Generation) -> Option<&D> {
        self.packs.get(&worker)
    }

    pub(super) fn drop_pack(&mut self, worker: Generation) {
        self.packs.remove(&worker);
    }

    /// The number of the last upgrade that was tried.
    pub(super) fn number(&self) -> u64 {
        self.last
    }

    /// Whether the program that has taken over has proven itself by now; once.
    pub(super) fn is_settled(&mut self, now: Mono) -> bool {
        self.settles.take_if(|settles| *settles <= now).is_some()
    }

    /// When something is due, at the latest.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let packing = match &self.stage {
            Stage::Packing(packed) => Some(packed.0.until()),
            Stage::Yielding(all) => Some(all.0.next_deadline()),
            Stage::Idle | Stage::Trying | Stage::Gone => None,
        };
        [packing, self.unpacking.next_deadline(), self.settles].into_iter().flatten().min()
    }

    /// Whether sessions are still to be taken over.
    pub(super) fn is_unpacking(&self) -> bool {
        self.legacy.is_some()
    }

    /// The outcome, once everything is unpacked. A program that has taken over has proven itself at `settles`.
    pub(super) fn unpacked(&mut self, settles: Mono) -> Option<&Outcome> {
        if !self.unpacking.is_over() {
            return None;
        }
        let (legacy, why) = self.legacy.take()?;
        self.settles = (legacy.goal == Goal::Upgrade && why.is_none()).then_some(settles);
        let mut counts = self.unpacking.counts();
        let all = legacy.packed + legacy.closed;
        // Sessions of which nothing could be read are in no count.
        counts.closed = (counts.closed + legacy.closed).max(all.saturating_sub(counts.held));
        let Legacy { goal, number, from, to, losses, .. } = legacy;
        self.outcome = Some(Outcome { goal, number, from, to, losses, why, counts });
        self.outcome.as_ref()
    }

    /// The last upgrade or restart, for `ctl status`.
    pub(super) fn json(&self) -> Value {
        let Some(Outcome { goal, number, from, to, losses, why, counts }) = &self.outcome else {
            return Value::Null;
        };
        let outcome = match goal {
            _ if why.is_some() => "refused",
            Goal::Upgrade => "upgraded",
            Goal::Restart => "restarted",
        };
        json!({
            "number": number,
            "outcome": outcome,
            "why": why,
            "from": from,
            "to": to,
            "losses": losses,
            "held": counts.held,
            "closed": counts.closed,
            "silence_ms": u64::try_from(counts.silence.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(goal: Goal) -> Legacy {
        let (from, to) = ("1".to_owned(), "2".to_owned());
        Legacy {
            goal,
            number: 7,
            from,
            to,
            program: (1, 2),
            losses: vec![],
            packed: 10,
            closed: 1,
            last: None,
            why: None,
        }
    }

    #[test]
    fn one_thing_at_a_time() {
        let mut upgrades = Upgrades::<char>::default();
        assert_eq!(upgrades.try_out(), Ok(1));
        assert!(upgrades.try_out().is_err());
        upgrades.refused("no".into());
        assert_eq!((&upgrades.json()["outcome"], &upgrades.json()["why"]), (&json!("refused"), &json!("no")));
        assert_eq!(upgrades.try_out(), Ok(2));
        assert!(!upgrades.is_packing() && upgrades.packing().is_none() && upgrades.end().is_none());
        let packing = Packing::new(vec![1], vec![], Duration::from_secs(1), Mono(0));
        upgrades.pack(packing, legacy(Goal::Upgrade), Some('i'));
        assert!(upgrades.is_packing() && upgrades.packing().is_some() && upgrades.try_out().is_err());
        assert!(matches!(upgrades.end(), Some((_, _, Some('i')))));
        assert!(upgrades.end().is_none() && upgrades.is_packing());
    }

    #[test]
    fn an_outcome_is_told_once_and_shown_until_the_next() {
        let mut upgrades = Upgrades::<char>::default();
        assert_eq!(upgrades.json(), Value::Null);
        assert!(upgrades.unpacked(Mono(5)).is_none());
        upgrades.inherit(legacy(Goal::Upgrade), None, (Unpacking::default(), BTreeMap::new()));
        assert!(upgrades.is_unpacking() && upgrades.try_out().is_err());
        assert_eq!(upgrades.unpacked(Mono(5)).map(|outcome| outcome.counts.closed), Some(11));
        assert!(upgrades.unpacked(Mono(5)).is_none() && !upgrades.is_unpacking());
        assert_eq!(
            (&upgrades.json()["outcome"], &upgrades.json()["closed"]),
            (&json!("upgraded"), &json!(11))
        );
        assert_eq!(upgrades.next_deadline(), Some(Mono(5)));
        assert!(
            !upgrades.is_settled(Mono(4)) && upgrades.is_settled(Mono(5)) && !upgrades.is_settled(Mono(6))
        );
        assert_eq!(upgrades.try_out(), Ok(8));
        upgrades.refused("no".into());
        upgrades.inherit(
            legacy(Goal::Upgrade),
            Some("it died".into()),
            (Unpacking::default(), BTreeMap::new()),
        );
        upgrades.unpacked(Mono(5));
        assert_eq!(
            (&upgrades.json()["outcome"], &upgrades.json()["why"]),
            (&json!("refused"), &json!("it died"))
        );
    }

    #[test]
    fn a_program_that_takes_over_from_living_processes_is_upgraded_or_refused() {
        let living = Legacy { last: Some(5), ..legacy(Goal::Upgrade) };
        let mut upgrades = Upgrades::<char>::default();
        upgrades.give_way(Yielding::new(vec![], Mono(0)), living.clone(), 'i');
        assert!(upgrades.try_out().is_err() && !upgrades.is_packing() && upgrades.yielding().is_some());
        assert_eq!(upgrades.gives_way(), Some((living.clone(), 'i')));
        assert!(upgrades.gives_way().is_none() && upgrades.is_packing());
        let mut next = Upgrades::<char>::default();
        next.succeed(living.clone());
        assert!(next.try_out().is_err());
        next.succession().unwrap().moved(1, Duration::ZERO);
        assert_eq!(next.succeeded(9, Mono(5)).map(|outcome| outcome.counts.closed), Some(1));
        assert!(next.is_settled(Mono(5)) && next.succeeded(9, Mono(5)).is_none());
        assert_eq!((next.try_out(), &next.json()["outcome"]), (Ok(8), &json!("upgraded")));
        let mut next = Upgrades::<char>::default();
        next.succeed(living);
        let back = next.gives_back("no".into()).unwrap();
        assert!(next.is_packing() && next.gives_back("no".into()).is_none());
        let mut before = Upgrades::<char>::default();
        before.goes_on(back, 9, Duration::ZERO);
        assert_eq!((&before.json()["outcome"], &before.json()["held"]), (&json!("refused"), &json!(9)));
        assert_eq!(before.try_out(), Ok(8));
    }
}
