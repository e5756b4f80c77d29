//! Sessions without a connection: how long they are kept, and who has a copy of which. Pure: the hub carries what is
//! decided here.
//!
//! The worker that holds a session, its *home*, gives out copies under a *lease*. The session stays here, and collects
//! what is published, until the lease is settled: the client is known to have heard of the copy. If the copy ends before
//! that, or the process that had it, the session is as if nobody had asked for it.

use crate::model::Mono;
use crate::protocol::cluster::Generation;
use crate::protocol::peer::Lease;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

type SessionRef = (u32, u32);

/// Bytes that may be kept for clients before a pong is enough to let them go.
const KEPT: usize = 32 << 20;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Suspended sessions, and endings that are remembered.
    pub(super) sessions: usize,
    /// How long a session is kept without its client.
    pub(super) window: Duration,
    /// How long an ending is remembered.
    pub(super) memory: Duration,
}

/// A copy of a session that was given out.
#[derive(Clone, Copy, Debug)]
struct Lent {
    lease: Lease,
    /// The client polls: until its next poll it may not have heard of the copy.
    polls: bool,
    /// A client waits for the copy.
    accepted: bool,
}

/// The suspended sessions of this worker, and endings that clients may not have heard of.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    all: HashMap<SessionRef, Option<Lent>, foldhash::fast::RandomState>,
    leases: HashMap<Lease, SessionRef, foldhash::fast::RandomState>,
    /// The one suspended longest ago first. Those that are not suspended any more are passed by.
    order: VecDeque<(Mono, SessionRef)>,
    /// Close codes by the secrets of sessions that ended for good.
    endings: HashMap<u128, u16, RandomState>,
    /// The oldest first.
    ended: VecDeque<(Mono, u128)>,
    tight: bool,
}

impl Suspended {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// A session has lost its connection.
    pub(super) fn add(&mut self, session: SessionRef, now: Mono) {
        self.all.insert(session, None);
        self.order.push_back((now, session));
        if self.order.len() > 2 * self.all.len() + 64 {
            let all = &self.all;
            self.order.retain(|(_, session)| all.contains_key(session));
        }
    }

    /// A session is no longer here.
    pub(super) fn remove(&mut self, session: SessionRef) {
        if let Some(Some(lent)) = self.all.remove(&session) {
            self.leases.remove(&lent.lease);
        }
    }

    /// The sessions to be forgotten: their time is over, or there are too many.
    pub(super) fn overdue(&mut self, now: Mono, limits: Limits) -> Vec<SessionRef> {
        let mut over = Vec::new();
        while let Some((since, session)) = self.order.front().copied() {
            let is_here = self.all.contains_key(&session);
            if is_here && self.all.len() <= limits.sessions && now.since(since) < limits.window {
                break;
            }
            self.order.pop_front();
            self.remove(session);
            over.extend(is_here.then_some(session));
        }
        over
    }

    /// Whether the token of a suspended session holds: no client has a copy of it for sure.
    pub(super) fn is_free(&self, session: SessionRef) -> bool {
        let lent = self.all.get(&session).copied().flatten();
        lent.is_none_or(|lent| lent.polls || !lent.accepted)
    }

    /// Gives out a copy. Returns the lease that ends by that: whoever has that copy is told.
    pub(super) fn lend(&mut self, session: SessionRef, lease: Lease, polls: bool) -> Option<Lease> {
        let lent = self.all.get_mut(&session)?;
        let before = lent.replace(Lent { lease, polls, accepted: false }).map(|lent| lent.lease);
        before.iter().for_each(|before| _ = self.leases.remove(before));
        self.leases.insert(lease, session);
        before
    }

    /// A client waits for the copy: the token holds no more, unless the client polls.
    pub(super) fn accept(&mut self, lease: Lease) {
        let session = self.leases.get(&lease).and_then(|session| self.all.get_mut(session));
        if let Some(Some(lent)) = session {
            lent.accepted = true;
        }
    }

    /// A copy is no more, or is `settled`: then it is the session from now on, and the one here, which is returned, is
    /// to be discarded.
    pub(super) fn give_up(&mut self, lease: Lease, settled: bool) -> Option<SessionRef> {
        let session = self.leases.remove(&lease)?;
        self.all.insert(session, None);
        settled.then_some(session)
    }

    /// A process that had copies is gone: the sessions are here alone again.
    pub(super) fn holder_gone(&mut self, holder: Generation) {
        for (_, session) in self.leases.extract_if(|lease, _| lease.holder == holder) {
            self.all.insert(session, None);
        }
    }

    #[cfg(test)]
    pub(super) fn lent(&self) -> impl Iterator<Item = Lease> {
        self.leases.keys().copied()
    }

    /// Remembers how a session has ended.
    pub(super) fn bury(&mut self, secret: u128, code: u16, now: Mono, limits: Limits) {
        self.endings.insert(secret, code);
        self.ended.push_back((now, secret));
        let old = |(at, _): &(Mono, u128)| now.since(*at) > limits.memory;
        while self.ended.len() > limits.sessions || self.ended.front().is_some_and(old) {
            let Some((_, secret)) = self.ended.pop_front() else { break };
            self.endings.remove(&secret);
        }
    }

    /// The close code of a session that has ended for good.
    pub(super) fn ending(&self, secret: u128) -> Option<u16> {
        self.endings.get(&secret).copied()
    }

    /// So many bytes are kept for clients that may have missed them.
    pub(super) fn weigh(&mut self, bytes: usize) {
        self.tight = bytes > KEPT;
    }

    /// Whether much is kept: what clients say that they have is let go.
    pub(super) fn is_tight(&self) -> bool {
        self.tight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const LIMITS: Limits =
        Limits { sessions: 3, window: Duration::from_secs(10), memory: Duration::from_secs(20) };

    fn second(n: u64) -> Mono {
        Mono(n * 1_000_000_000)
    }

    fn lease(holder: Generation, request: u64) -> Lease {
        Lease { holder, request }
    }

    #[test]
    fn the_longest_away_are_forgotten_first() {
        let mut suspended = Suspended::default();
        (0..5).for_each(|n| suspended.add((n, 1), second(n.into())));
        suspended.remove((1, 1));
        assert_eq!(suspended.overdue(second(5), LIMITS), [(0, 1)]);
        assert_eq!(suspended.overdue(second(12), LIMITS), [(2, 1)]);
        assert_eq!((suspended.overdue(second(12), LIMITS).len(), suspended.len()), (0, 2));
    }

    #[test]
    fn a_token_holds_until_a_client_has_the_copy_and_again_when_it_is_given_up() {
        let mut suspended = Suspended::default();
        let (session, first, second) = ((1, 1), lease(2, 7), lease(3, 7));
        suspended.add(session, Mono(0));
        assert_eq!(suspended.lend(session, first, false), None);
        assert!(suspended.is_free(session), "nobody waits for the copy yet");
        assert_eq!(suspended.lend(session, second, false), Some(first), "which is to be revoked");
        suspended.accept(first);
        assert!(suspended.is_free(session), "that one is over");
        suspended.accept(second);
        assert!(!suspended.is_free(session));
        assert_eq!(suspended.give_up(first, true), None);
        assert_eq!(suspended.give_up(second, false), None);
        assert!(suspended.is_free(session));
        suspended.lend(session, first, true);
        suspended.accept(first);
        assert!(suspended.is_free(session), "a poll may not have heard");
        assert_eq!(suspended.give_up(first, true), Some(session));
    }

    #[test]
    fn an_ending_is_remembered_for_a_while() {
        let mut suspended = Suspended::default();
        (0..4).for_each(|n| suspended.bury(n, 4005, second(1), LIMITS));
        assert_eq!((suspended.ending(0), suspended.ending(1)), (None, Some(4005)));
        suspended.bury(9, 1000, second(30), LIMITS);
        assert_eq!((suspended.ending(3), suspended.ending(9)), (None, Some(1000)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Wait(u64),
        Suspend,
        Return(usize),
        Lend { session: usize, holder: Generation, polls: bool },
        Accept(usize),
        GiveUp(usize, bool),
        Die(Generation),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (0u64..4).prop_map(Act::Wait),
            4 => Just(Act::Suspend),
            2 => any::<usize>().prop_map(Act::Return),
            4 => (any::<usize>(), 1u32..4, any::<bool>())
                .prop_map(|(session, holder, polls)| Act::Lend { session, holder, polls }),
            3 => any::<usize>().prop_map(Act::Accept),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(which, settled)| Act::GiveUp(which, settled)),
            1 => (1u32..4).prop_map(Act::Die),
        ]
    }

    /// The same, said plainly.
    #[derive(Default)]
    struct Model {
        here: BTreeMap<SessionRef, (Mono, Option<(Lease, bool, bool)>)>,
        leases: Vec<Lease>,
    }

    impl Model {
        fn pick(&self, which: usize) -> Option<SessionRef> {
            self.here.keys().nth(which % self.here.len().max(1)).copied()
        }

        fn lent(&mut self, lease: Lease) -> Option<SessionRef> {
            let of = |(_, (_, lent)): &(&SessionRef, &(Mono, Option<(Lease, bool, bool)>))| {
                lent.is_some_and(|(own, ..)| own == lease)
            };
            self.here.iter().find(of).map(|(session, _)| *session)
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_leaks(acts in proptest::collection::vec(act(), 0..200)) {
            let (mut suspended, mut model, mut now, mut turn) = (Suspended::default(), Model::default(), Mono(0), 0);
            for act in acts {
                match act {
                    Act::Wait(seconds) => now = now.after(Duration::from_secs(seconds)),
                    Act::Suspend => {
                        turn += 1;
                        suspended.add((turn % 4, turn), now);
                        model.here.insert((turn % 4, turn), (now, None));
                    }
                    Act::Return(which) => {
                        let Some(session) = model.pick(which) else { continue };
                        suspended.remove(session);
                        model.here.remove(&session);
                    }
                    Act::Lend { session, holder, polls } => {
                        let Some(session) = model.pick(session) else { continue };
                        let lent = &mut model.here.get_mut(&session).unwrap().1;
                        prop_assert_eq!(
                            suspended.is_free(session),
                            lent.is_none_or(|(_, polls, accepted)| polls || !accepted)
                        );
                        let lease = lease(holder, model.leases.len() as u64);
                        model.leases.push(lease);
                        let before = lent.replace((lease, polls, false)).map(|(lease, ..)| lease);
                        prop_assert_eq!(suspended.lend(session, lease, polls), before);
                    }
                    Act::Accept(which) => {
                        let Some(lease) = model.leases.get(which % model.leases.len().max(1)).copied() else { continue };
                        suspended.accept(lease);
                        if let Some(session) = model.lent(lease) {
                            model.here.get_mut(&session).unwrap().1.as_mut().unwrap().2 = true;
                        }
                    }
                    Act::GiveUp(which, settled) => {
                        let Some(lease) = model.leases.get(which % model.leases.len().max(1)).copied() else { continue };
                        let session = model.lent(lease);
                        if let Some(session) = session {
                            model.here.get_mut(&session).unwrap().1 = None;
                        }
                        prop_assert_eq!(suspended.give_up(lease, settled), session.filter(|_| settled));
                    }
                    Act::Die(holder) => {
                        suspended.holder_gone(holder);
                        for (_, lent) in model.here.values_mut() {
                            lent.take_if(|(lease, ..)| lease.holder == holder);
                        }
                    }
                }
                for session in suspended.overdue(now, LIMITS) {
                    let (since, _) = model.here.remove(&session).unwrap();
                    let earlier = model.here.values().filter(|(other, _)| *other < since).count();
                    prop_assert_eq!(earlier, 0, "the longest away first");
                    prop_assert!(now.since(since) >= LIMITS.window || model.here.len() >= LIMITS.sessions);
                }
                let lent = model.here.values().filter(|(_, lent)| lent.is_some()).count();
                prop_assert_eq!((suspended.len(), suspended.leases.len()), (model.here.len(), lent));
                prop_assert!(suspended.len() <= LIMITS.sessions && suspended.order.len() <= 2 * suspended.len() + 64);
                prop_assert!(model.here.values().all(|(since, _)| now.since(*since) < LIMITS.window));
            }
        }
    }
}
