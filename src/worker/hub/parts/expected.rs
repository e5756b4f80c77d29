//! Sessions of other workers that belong to this one and have not come yet. What comes for them meanwhile is kept for
//! them. Pure: the hub carries what is decided here.
//!
//! A batch that is *complete* is confirmed to the master, and begins to live once the kernel has the confirmation: until
//! then nothing is written to its sockets, so that the other worker can go on with them if this one ends.

use super::meanwhile::{Came, HeldPush, Meanwhile};
use crate::model::{Mono, SessionId, UserId};
use crate::protocol::cluster::{BatchId, Generation, TokenName, digest};
use bytes::Bytes;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// A session that is expected, as the master announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub session: SessionId,
    pub user: UserId,
    /// Whether answers to POSTs reach it.
    pub reached: bool,
    /// Set if it is suspended: the name of its token.
    pub away: Option<TokenName>,
}

/// A batch on its way; `V` is a session that has come.
#[derive(Debug)]
struct Batch<V> {
    due: BTreeMap<SessionId, Due>,
    /// By user: how many of them answers reach.
    users: HashMap<UserId, u32, RandomState>,
    since: Mono,
    meanwhile: Meanwhile,
    values: Vec<(SessionId, V)>,
    complete: bool,
}

/// A batch that begins to live.
#[derive(Debug)]
pub struct Landed<V> {
    pub values: Vec<(SessionId, V)>,
    /// Sessions that have not come: they have ended.
    pub gone: Vec<Due>,
    /// When they were announced.
    pub since: Mono,
    pub meanwhile: Meanwhile,
}

/// Where the answer to a POST stands with the sessions that are expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// It is kept for so many.
    pub waiting: u32,
    /// There is no room to keep it for so many.
    pub slow: u32,
}

/// The batches.
#[derive(Debug)]
pub struct Expected<V> {
    batches: BTreeMap<BatchId, Batch<V>>,
    /// How many are expected that are present.
    present: usize,
    digest: u64,
}

impl<V> Default for Expected<V> {
    fn default() -> Self {
        Self { batches: BTreeMap::new(), present: 0, digest: 0 }
    }
}

impl<V> Expected<V> {
    /// Whether none is expected.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many are expected that are present.
    pub fn present(&self) -> usize {
        self.present
    }

    /// Exclusive or of their ids, as in a beat.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// A batch is announced.
    pub fn expect(&mut self, id: BatchId, due: impl IntoIterator<Item = Due>, now: Mono) {
        let mut batch = Batch {
            due: BTreeMap::new(),
            users: HashMap::default(),
            since: now,
            meanwhile: Meanwhile::default(),
            values: Vec::new(),
            complete: false,
        };
        for due in due {
            if due.reached {
                *batch.users.entry(due.user.clone()).or_default() += 1;
            }
            batch.due.insert(due.session, due);
        }
        self.present += batch.due.values().filter(|due| due.away.is_none()).count();
        self.digest ^= digests(&batch.due);
        self.batches.insert(id, batch);
    }

    /// An answer to a POST for sessions of a user.
    pub fn push(&mut self, push: &HeldPush) -> Held {
        let mut held = Held::default();
        for batch in self.batches.values_mut() {
            let Some(sessions) = batch.users.get(&*push.user).copied() else { continue };
            if batch.meanwhile.push(push.clone()) {
                held.waiting += sessions;
            } else {
                held.slow += sessions;
            }
        }
        held
    }

    /// Whether an answer to a POST for that user would be kept.
    pub fn has_user(&self, user: &str) -> bool {
        self.batches.values().any(|batch| batch.users.contains_key(user))
    }

    /// An order about one session. False: it is not expected.
    pub fn order(&mut self, session: SessionId, order: Came) -> bool {
        let batch = self.batches.values_mut().find(|batch| batch.due.contains_key(&session));
        let is_due = batch.is_some();
        batch.into_iter().for_each(|batch| batch.meanwhile.order(order.clone()));
        is_due
    }

    /// Messages to a channel.
    pub fn published(&mut self, channel: &str, frames: &[u8]) {
        self.batches.values_mut().for_each(|batch| batch.meanwhile.published(channel, frames));
    }

    /// Presence in a room.
    pub fn presence(&mut self, channel: &str, frame: &Bytes) {
        self.batches.values_mut().for_each(|batch| batch.meanwhile.presence(channel, frame));
    }

    /// Sessions of a batch have come. Those that are not due are left out: they are given back.
    pub fn come(&mut self, id: BatchId, values: Vec<(SessionId, V)>) -> Vec<V> {
        let Some(batch) = self.batches.get_mut(&id).filter(|batch| !batch.complete) else {
            return values.into_iter().map(|(_, value)| value).collect();
        };
        let mut others = Vec::new();
        for (session, value) in values {
            let is_twin = batch.values.iter().any(|(other, _)| *other == session);
            if batch.due.contains_key(&session) && !is_twin {
                batch.values.push((session, value));
            } else {
                others.push(value);
            }
        }
        others
    }

    /// The sessions of a batch that have come.
    pub fn values(&self, id: BatchId) -> impl Iterator<Item = &(SessionId, V)> {
        self.batches.get(&id).into_iter().flat_map(|batch| &batch.values)
    }

    /// No more sessions of a batch will come. Returns those that have not; `None`: there is no such batch.
    pub fn complete(&mut self, id: BatchId) -> Option<Vec<SessionId>> {
        let batch = self.batches.get_mut(&id).filter(|batch| !batch.complete)?;
        batch.complete = true;
        let missing = |session: &&SessionId| batch.values.iter().all(|(other, _)| other != *session);
        Some(batch.due.keys().filter(missing).copied().collect())
    }

    /// Takes out a batch that is complete.
    pub fn land(&mut self, id: BatchId) -> Option<Landed<V>> {
        self.batches.get(&id).filter(|batch| batch.complete)?;
        let Batch { mut due, since, meanwhile, values, .. } = self.batches.remove(&id)?;
        self.present -= due.values().filter(|due| due.away.is_none()).count();
        self.digest ^= digests(&due);
        values.iter().for_each(|(session, _)| _ = due.remove(session));
        Some(Landed { values, gone: due.into_values().collect(), since, meanwhile })
    }

    /// Batches that have not come whole.
    pub fn waiting(&self) -> impl Iterator<Item = BatchId> {
        self.batches.iter().filter(|(_, batch)| !batch.complete).map(|(id, _)| *id)
    }

    /// Batches that have come whole and do not live yet.
    pub fn whole(&self) -> Vec<BatchId> {
        self.batches.iter().filter(|(_, batch)| batch.complete).map(|(id, _)| *id).collect()
    }

    /// A batch will not come. False: it has come, or was not announced.
    pub fn drop_batch(&mut self, id: BatchId) -> bool {
        let batch = self.batches.get_mut(&id).filter(|batch| !batch.complete);
        let is_waiting = batch.is_some();
        batch.into_iter().for_each(|batch| batch.values.clear());
        is_waiting
    }

    /// A process has ended. What it has not sent whole never comes: these batches are complete now, without sessions.
    pub fn source_gone(&mut self, source: Generation) -> Vec<BatchId> {
        let own = self.batches.iter_mut().filter(|(id, batch)| id.from == source && !batch.complete);
        let own = own.map(|(id, batch)| {
            batch.values.clear();
            *id
        });
        own.collect()
    }
}

/// The digests of those that are present.
fn digests(due: &BTreeMap<SessionId, Due>) -> u64 {
    due.values().filter(|due| due.away.is_none()).fold(0, |all, due| all ^ digest(due.session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RequestId;

    const ONE: BatchId = BatchId { from: 7, number: 1 };

    fn due(session: u128, user: &str, reached: bool) -> Due {
        Due { session: SessionId(session), user: UserId::new(user).unwrap(), reached, away: None }
    }

    fn push(user: &str) -> HeldPush {
        let (frame, deadline) = (Bytes::from_static(b"x"), Mono(9));
        HeldPush { ticket: 1, id: RequestId(1), user: user.into(), symbol: "s".into(), frame, deadline }
    }

    #[test]
    fn orders_wait_for_those_that_they_are_for() {
        let mut expected = Expected::default();
        expected.expect(ONE, [due(1, "a", true), due(2, "a", true), due(3, "a", false)], Mono(5));
        assert_eq!((expected.present(), expected.has_user("a"), expected.has_user("b")), (3, true, false));
        assert_eq!(expected.digest(), (1..=3).fold(0, |all, id| all ^ digest(SessionId(id))));
        assert_eq!(expected.push(&push("a")), Held { waiting: 2, slow: 0 });
        assert_eq!(expected.push(&push("b")), Held::default());
        assert!(expected.order(SessionId(3), Came::Kick(SessionId(3), 4006)));
        assert!(!expected.order(SessionId(4), Came::GiveWay(SessionId(4))));
        assert_eq!(
            expected.come(ONE, vec![(SessionId(1), "1"), (SessionId(4), "4"), (SessionId(1), "11")]),
            ["4", "11"]
        );
        assert!(expected.land(ONE).is_none(), "there may come more");
        assert_eq!(expected.complete(ONE), Some(vec![SessionId(2), SessionId(3)]));
        assert_eq!(expected.complete(ONE), None);
        assert_eq!(expected.come(ONE, vec![(SessionId(2), "2")]), ["2"], "too late");
        let landed = expected.land(ONE).unwrap();
        assert_eq!((landed.values, landed.since), (vec![(SessionId(1), "1")], Mono(5)));
        assert_eq!(landed.gone.iter().map(|due| due.session.0).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(landed.meanwhile.came().len(), 2);
        assert_eq!((expected.is_empty(), expected.digest()), (true, 0));
    }

    #[test]
    fn what_a_dead_worker_has_not_sent_whole_never_comes() {
        let mut expected = Expected::default();
        let two = BatchId { from: 8, number: 1 };
        expected.expect(ONE, [due(1, "a", true)], Mono(0));
        expected.expect(two, [due(2, "b", true)], Mono(0));
        expected.come(ONE, vec![(SessionId(1), "1")]);
        assert_eq!(expected.source_gone(7), [ONE]);
        assert_eq!(expected.complete(ONE), Some(vec![SessionId(1)]));
        assert_eq!(expected.source_gone(7), [], "it is complete");
        assert!(expected.land(ONE).unwrap().values.is_empty());
        assert_eq!(expected.present(), 1, "the other worker lives");
    }
}
