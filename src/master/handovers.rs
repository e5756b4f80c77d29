//! Changes of the process of sessions, as events: what came of each, for the log, `ctl status`, and the next master.
//!
//! An event begins, hears what becomes of its sessions, and ends with one line in the log.

use crate::model::{Mono, Wall, words};
use crate::protocol::cluster::{Handover, Handovers as Counts, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Events under way. Beyond it the oldest is ended: who began it has forgotten it.
const OPEN: usize = 1024;
/// Ended events that are kept.
const KEPT: usize = 16;

words! {
    /// Why sessions change their process.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Why {
        /// `ctl move`
        Move = "move",
        /// `ctl drain`, or fewer workers.
        Drain = "drain",
        /// `ctl rebalance`, or `cluster.rebalance`.
        Rebalance = "rebalance",
        /// The worker is replaced.
        Replacement = "replacement",
        /// The worker has died.
        Death = "death",
        /// The master has died, or was replaced: the sessions stay where they are.
        Renewal = "renewal",
        /// Another program.
        Upgrade = "upgrade",
        /// A restart of the daemon.
        Restart = "restart",
    }
}

/// Names an event under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventId(u64);

/// What is known of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) why: Why,
    /// `None`: several processes, or the daemon as a whole.
    pub(super) from: Option<Role>,
    pub(super) to: Option<Role>,
    pub(super) sessions: Counts,
    /// The longest time in which a session that was held heard nothing.
    pub(super) silence: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    id: EventId,
    begun: Mono,
    facts: Facts,
}

/// An event that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    facts: Facts,
    took: Duration,
    at: Wall,
}

/// The events of handovers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handovers {
    last: u64,
    /// In the order of their beginnings.
    open: VecDeque<Open>,
    ended: VecDeque<Ended>,
}

impl Handovers {
    /// An event begins. Whoever begins it must end it.
    pub(super) fn begun(&mut self, why: Why, from: Option<Role>, to: Option<Role>, now: Mono) -> EventId {
        self.last += 1;
        let id = EventId(self.last);
        if self.open.len() >= OPEN {
            self.open.pop_front();
        }
        let facts = Facts { why, from, to, sessions: Counts::default(), silence: Duration::ZERO };
        self.open.push_back(Open { id, begun: now, facts });
        id
    }

    /// Sessions of an event have come to this.
    pub(super) fn came_to(&mut self, id: EventId, result: Handover, sessions: u64) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.facts.sessions.add(result, sessions);
        }
    }

    /// A session of an event has heard nothing for so long.
    pub(super) fn silence(&mut self, id: EventId, silence: Duration) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.facts.silence = open.facts.silence.max(silence);
        }
    }

    /// An event ends. The answer is to be logged; `None`: it was not under way, or there were no sessions.
    pub(super) fn ended(&mut self, id: EventId, now: Mono, at: Wall) -> Option<&Ended> {
        let place = self.open.iter().position(|open| open.id == id)?;
        let Open { begun, facts, .. } = self.open.remove(place)?;
        self.happened(facts, now.since(begun), at)
    }

    /// An event of which all is known has taken so long. The answer is to be logged; `None`: there were no sessions.
    pub(super) fn happened(&mut self, facts: Facts, took: Duration, at: Wall) -> Option<&Ended> {
        if facts.sessions == Counts::default() {
            return None;
        }
        if self.ended.len() >= KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { facts, took, at });
        self.ended.back()
    }

    /// The last events, the newest last.
    pub(super) fn json(&self) -> Value {
        self.ended.iter().map(Ended::json).collect()
    }
}

impl Ended {
    /// Writes its line: a warning if a connection was lost.
    pub(super) fn log(&self) {
        let Facts { why, from, to, sessions, silence } = &self.facts;
        let (from, to) = (from.map(tracing::field::display), to.map(tracing::field::display));
        let (held, returned) = (sessions.of(Handover::Held), sessions.of(Handover::Returned));
        let (closed, silence, took) = (sessions.closed(), silence.as_millis(), self.took.as_millis());
        macro_rules! line {
            ($level:ident, event = $event:literal) => {
                tracing::$level!(
                    event = $event, %why, from, to, held, returned, closed, silence_ms = silence, took_ms = took
                )
            };
        }
        match (why, closed) {
            (Why::Death, 0) => line!(info, event = "sessions-adopted"),
            (Why::Death, _) => line!(warn, event = "sessions-adopted"),
            (Why::Renewal, 0) => line!(info, event = "sessions-kept"),
            (Why::Renewal, _) => line!(warn, event = "sessions-kept"),
            (_, 0) => line!(info, event = "sessions-moved"),
            (_, _) => line!(warn, event = "sessions-moved"),
        }
    }

    fn json(&self) -> Value {
        let Facts { why, from, to, sessions, silence } = &self.facts;
        let name = |role: &Option<Role>| role.map(|role| role.to_string());
        let results = Handover::ALL.map(|result| (result.to_string(), Value::from(sessions.of(result))));
        let results: Map<_, _> = results.into_iter().filter(|(_, n)| n.as_u64() != Some(0)).collect();
        json!({
            "time": self.at.to_string(),
            "why": why,
            "from": name(from),
            "to": name(to),
            "held": sessions.of(Handover::Held),
            "closed": sessions.closed(),
            "results": results,
            "silence_ms": ms(*silence),
            "took_ms": ms(self.took),
        })
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono(1_000_000_000);

    fn at(ms: u64) -> Mono {
        START.after(Duration::from_millis(ms))
    }

    #[test]
    fn an_event_ends_once_with_all_that_came_of_it() {
        let mut all = Handovers::default();
        let one = all.begun(Why::Replacement, Some(Role::Worker(2)), Some(Role::Worker(2)), at(0));
        let other = all.begun(Why::Death, Some(Role::Worker(1)), None, at(1));
        assert_ne!(one, other);
        all.came_to(one, Handover::Held, 128);
        all.came_to(one, Handover::Held, 20);
        all.came_to(one, Handover::Suspended, 2);
        all.silence(one, Duration::from_millis(12));
        all.silence(one, Duration::from_millis(3));
        let ended = all.ended(one, at(40), Wall(0)).unwrap().clone();
        ended.log();
        let expected = json!({
            "time": "1970-01-01T00:00:00.000Z", "why": "replacement", "from": "worker 2", "to": "worker 2",
            "held": 148, "closed": 2, "results": { "held": 148, "suspended": 2 }, "silence_ms": 12, "took_ms": 40,
        });
        assert_eq!(ended.json(), expected);
        assert_eq!(all.json(), json!([expected]));
        assert_eq!(all.ended(one, at(50), Wall(0)), None, "once");
        all.came_to(one, Handover::Held, 1);
        let kept: Handovers = postcard::from_bytes(&postcard::to_allocvec(&all).unwrap()).unwrap();
        assert_eq!(kept, all, "the next master goes on with it");
        all.came_to(other, Handover::Dirty, 1);
        assert_eq!(all.ended(other, at(60), Wall(0)).unwrap().json()["to"], Value::Null);
        let nobody = all.begun(Why::Drain, None, None, at(0));
        assert_eq!(all.ended(nobody, at(1), Wall(0)), None, "without sessions it is none");
    }

    #[test]
    fn what_is_kept_has_bounds() {
        let mut all = Handovers::default();
        let first = all.begun(Why::Move, None, None, at(0));
        let ids: Vec<_> = (0..OPEN).map(|_| all.begun(Why::Rebalance, None, None, at(0))).collect();
        assert_eq!(all.ended(first, at(1), Wall(0)), None, "forgotten");
        assert_eq!(all.open.len(), OPEN);
        for id in ids {
            all.came_to(id, Handover::Held, 1);
            assert!(all.ended(id, at(1), Wall(0)).is_some());
        }
        assert_eq!((all.open.len(), all.json().as_array().unwrap().len()), (0, KEPT));
    }
}
