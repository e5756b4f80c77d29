//! Sessions without a connection: how long they are kept, and who has a copy of which. Pure: the hub carries what is
//! decided here.
//!
//! The worker that holds a session, its *home*, gives out copies, each under a *lease*. The session stays here, and
//! collects what is published. The first copy that a client accepts is the only one: the others are revoked. The session
//! is discarded when the lease is settled: the client is known to have heard of the copy. If the copy ends before that,
//! or the process that had it, the session is as if nobody had asked for it.

use super::sessions::SessionRef;
use crate::access::{Hold, Measure, Pool};
use crate::model::{Mono, give_back, is_roomy};
use crate::protocol::client::Token;
use crate::protocol::cluster::{Generation, TokenName};
use crate::protocol::peer::Lease;
use foldhash::quality::RandomState;
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes that may be kept for clients before a pong is enough to let them go.
const KEPT: usize = 32 << 20;
/// Entries of sessions that have gone, beside as many as are here.
const PASSED: usize = 64;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Suspended sessions, and endings that are remembered.
    pub sessions: usize,
    /// Bytes of memory of all suspended sessions.
    pub bytes: usize,
    /// How long a session is kept without its client.
    pub window: Duration,
    /// How long an ending is remembered.
    pub memory: Duration,
}

/// A copy of a session that was given out.
#[derive(Clone, Copy, Debug)]
struct Lent {
    session: SessionRef,
    /// The client polls: until its next poll it may not have heard of the copy.
    polls: bool,
    /// A client waits for the copy.
    accepted: bool,
}

/// The suspended sessions of this worker, and endings that clients may not have heard of.
#[derive(Debug, Default)]
pub struct Suspended {
    /// Each with the leases of its copies; of them, one at most is accepted.
    all: HashMap<SessionRef, Vec<Lease>, foldhash::fast::RandomState>,
    leases: HashMap<Lease, Lent, foldhash::fast::RandomState>,
    /// Whose they are: who holds most of them gives way first.
    pool: Pool<SessionRef>,
    /// The one suspended longest ago first. Those that are not suspended any more are passed by.
    order: VecDeque<(Mono, SessionRef)>,
    /// Close codes of sessions that ended for good, by their secrets.
    endings: HashMap<u128, u16, RandomState>,
    /// The oldest first.
    ended: VecDeque<(Mono, Token)>,
    /// Digest of the tokens that the master was told to lead here.
    kept: u64,
    tight: bool,
}

/// What becomes of the tokens when an ending is remembered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Buried {
    /// Nothing was remembered of that token.
    pub is_new: bool,
    /// Older endings, remembered no more.
    pub forgotten: Vec<Token>,
}

impl Suspended {
    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// A session has lost its connection.
    pub fn add(&mut self, session: SessionRef, hold: Hold, now: Mono) {
        self.all.insert(session, Vec::new());
        self.pool.add(session, hold);
        self.order.push_back((now, session));
    }

    /// A session has so many bytes of memory now.
    pub fn grew(&mut self, session: SessionRef, bytes: usize) {
        self.pool.weigh(session, bytes);
    }

    /// Bytes of memory of all suspended sessions.
    pub fn bytes(&self) -> usize {
        self.pool.bytes()
    }

    /// A session is no longer here.
    pub fn remove(&mut self, session: SessionRef) {
        self.pool.remove(session);
        for lease in self.all.remove(&session).unwrap_or_default() {
            self.leases.remove(&lease);
        }
    }

    /// The sessions to be forgotten: their time is over, or there is too much of them.
    pub fn overdue(&mut self, now: Mono, limits: Limits) -> Vec<SessionRef> {
        let mut over = Vec::new();
        while let Some((since, session)) = self.order.front().copied() {
            let is_here = self.all.contains_key(&session);
            if is_here && now.since(since) < limits.window {
                break;
            }
            self.order.pop_front();
            self.remove(session);
            over.extend(is_here.then_some(session));
        }
        while let Some(session) = self.too_much(limits) {
            self.remove(session);
            over.push(session);
        }
        if self.order.len() > 2 * self.all.len() + PASSED {
            let all = &self.all;
            self.order.retain(|(_, session)| all.contains_key(session));
        }
        over
    }

    /// The session that gives way to the others.
    fn too_much(&self, limits: Limits) -> Option<SessionRef> {
        if self.pool.len() > limits.sessions {
            self.pool.next(Measure::Things)
        } else if self.pool.bytes() > limits.bytes {
            self.pool.next(Measure::Bytes)
        } else {
            None
        }
    }

    /// Gives memory back after many sessions have gone.
    pub fn tidy(&mut self) {
        give_back(&mut self.all);
        give_back(&mut self.leases);
        give_back(&mut self.endings);
        if is_roomy(self.order.capacity(), self.order.len()) {
            self.order.shrink_to(self.order.len() * 2);
        }
        if is_roomy(self.ended.capacity(), self.ended.len()) {
            self.ended.shrink_to(self.ended.len() * 2);
        }
    }

    /// Whether the token of a session holds: no client that would know better has accepted a copy.
    pub fn is_free(&self, session: SessionRef) -> bool {
        let mut lent =
            self.all.get(&session).into_iter().flatten().filter_map(|lease| self.leases.get(lease));
        !lent.any(|lent| lent.accepted && !lent.polls)
    }

    /// Whether somebody has a copy, or may have it soon.
    pub fn is_lent(&self, session: SessionRef) -> bool {
        self.all.get(&session).is_some_and(|leases| !leases.is_empty())
    }

    /// Gives out a copy.
    pub fn lend(&mut self, session: SessionRef, lease: Lease, polls: bool) {
        if let Some(leases) = self.all.get_mut(&session) {
            leases.push(lease);
            self.leases.insert(lease, Lent { session, polls, accepted: false });
        }
    }

    /// A client waits for a copy. Returns the other copies, which are to be revoked.
    pub fn accept(&mut self, lease: Lease) -> Vec<Lease> {
        // Unknown: another client was quicker, and this copy has been revoked already.
        let Some(lent) = self.leases.get_mut(&lease) else { return Vec::new() };
        lent.accepted = true;
        let session = lent.session;
        self.end_others(session, lease)
    }

    /// A copy is no more, or is `settled`: then it is the session from now on. Returns the one here in that case, which
    /// is to be discarded, and the other copies, which are to be revoked.
    pub fn give_up(&mut self, lease: Lease, settled: bool) -> Option<(SessionRef, Vec<Lease>)> {
        let session = self.leases.get(&lease)?.session;
        let others = if settled { self.end_others(session, lease) } else { Vec::new() };
        self.leases.remove(&lease);
        self.all.entry(session).or_default().retain(|own| *own != lease);
        settled.then_some((session, others))
    }

    fn end_others(&mut self, session: SessionRef, lease: Lease) -> Vec<Lease> {
        let all = std::mem::replace(self.all.entry(session).or_default(), vec![lease]);
        let others: Vec<_> = all.into_iter().filter(|other| *other != lease).collect();
        others.iter().for_each(|other| _ = self.leases.remove(other));
        others
    }

    /// A process that had copies is gone.
    pub fn holder_gone(&mut self, holder: Generation) {
        for (lease, lent) in self.leases.extract_if(|lease, _| lease.holder == holder) {
            self.all.entry(lent.session).or_default().retain(|own| *own != lease);
        }
    }

    #[cfg(test)]
    pub fn lent(&self) -> impl Iterator<Item = Lease> {
        self.leases.keys().copied()
    }

    /// Remembers how a session has ended.
    pub fn bury(&mut self, token: Token, code: u16, now: Mono, limits: Limits) -> Buried {
        let is_new = self.endings.insert(token.secret, code).is_none();
        self.ended.push_back((now, token));
        let old = |(at, _): &(Mono, Token)| now.since(*at) > limits.memory;
        let mut forgotten = Vec::new();
        while self.ended.len() > limits.sessions || self.ended.front().is_some_and(old) {
            let Some((_, token)) = self.ended.pop_front() else { break };
            forgotten.extend(self.endings.remove(&token.secret).map(|_| token));
        }
        Buried { is_new, forgotten }
    }

    /// The close code of a session that has ended for good.
    pub fn ending(&self, token: &Token) -> Option<u16> {
        self.endings.get(&token.secret).copied()
    }

    /// The tokens of the sessions whose endings are remembered. One that was buried twice comes once.
    pub fn endings(&self) -> impl Iterator<Item = Token> {
        let mut once: HashSet<_, RandomState> = HashSet::default();
        let all = self.ended.iter().map(|(_, token)| *token);
        all.filter(move |token| self.endings.contains_key(&token.secret) && once.insert(token.secret))
    }

    /// The master was told that a token leads here, or does so no more.
    pub fn note(&mut self, name: TokenName) {
        self.kept ^= name.digest();
    }

    /// Digest of the tokens that lead here, as the master computes it too.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// So many bytes are kept for clients that may have missed them.
    pub fn weigh(&mut self, bytes: usize) {
        self.tight = bytes > KEPT;
    }

    /// Whether much is kept: what clients say that they have is let go.
    pub fn is_tight(&self) -> bool {
        self.tight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const LIMITS: Limits = Limits {
        sessions: 3,
        bytes: 100_000,
        window: Duration::from_secs(10),
        memory: Duration::from_secs(20),
    };

    fn hold(owner: u8, bytes: usize) -> Hold {
        Hold { owner: [192, 0, 2, owner].into(), used: 1, bytes }
    }

    fn at(key: u32, turn: u32) -> SessionRef {
        SessionRef::invented(key, turn)
    }

    fn second(n: u64) -> Mono {
        Mono(n * 1_000_000_000)
    }

    fn lease(holder: Generation, request: u64) -> Lease {
        Lease { holder, request }
    }

    #[test]
    fn the_longest_away_are_forgotten_first() {
        let mut suspended = Suspended::default();
        (0..5).for_each(|n| suspended.add(at(n, 1), hold(1, 1), second(n.into())));
        suspended.remove(at(1, 1));
        assert_eq!(suspended.overdue(second(5), LIMITS), [at(0, 1)]);
        assert_eq!(suspended.overdue(second(12), LIMITS), [at(2, 1)]);
        assert_eq!((suspended.overdue(second(12), LIMITS).len(), suspended.len()), (0, 2));
    }

    #[test]
    fn who_has_most_of_them_or_of_their_memory_loses_first() {
        let mut suspended = Suspended::default();
        suspended.add(at(0, 1), hold(1, 1), second(0));
        (1..4).for_each(|n| suspended.add(at(n, 1), hold(2, 1), second(1)));
        assert_eq!(suspended.overdue(second(1), LIMITS), [at(1, 1)], "the oldest of the one with three");
        suspended.grew(at(3, 1), 150_000);
        assert_eq!(suspended.overdue(second(1), LIMITS), [at(2, 1), at(3, 1)], "that has the memory");
        suspended.grew(at(0, 1), 100_000);
        assert_eq!((suspended.overdue(second(1), LIMITS), suspended.bytes()), (vec![], 100_000));
    }

    #[test]
    fn a_token_holds_until_a_client_has_a_copy_and_again_when_that_is_given_up() {
        let mut suspended = Suspended::default();
        let (session, first, second) = (at(1, 1), lease(2, 7), lease(3, 7));
        suspended.add(session, hold(1, 1), Mono(0));
        suspended.lend(session, first, false);
        suspended.lend(session, second, false);
        assert!(suspended.is_free(session), "nobody waits for the copies yet");
        assert_eq!(suspended.accept(second), [first], "which is revoked");
        assert!(!suspended.is_free(session));
        assert_eq!(suspended.accept(first), [], "it is late");
        assert_eq!((suspended.give_up(first, true), suspended.give_up(second, false)), (None, None));
        assert!(suspended.is_free(session));
        suspended.lend(session, first, true);
        assert_eq!(suspended.accept(first), []);
        assert!(suspended.is_free(session), "a poll may not have heard");
        suspended.lend(session, second, true);
        assert_eq!(suspended.give_up(second, false), None, "the first is as it was");
        assert_eq!(suspended.give_up(first, true), Some((session, vec![])));
    }

    #[test]
    fn an_ending_is_remembered_for_a_while() {
        let mut suspended = Suspended::default();
        let token = |secret| Token { session: SessionId(secret + 100), secret };
        for n in 0..4 {
            let forgotten = if n == 3 { vec![token(0)] } else { vec![] };
            assert_eq!(suspended.bury(token(n), 4005, second(1), LIMITS), Buried { is_new: true, forgotten });
        }
        assert_eq!((suspended.ending(&token(0)), suspended.ending(&token(1))), (None, Some(4005)));
        let again = Buried { is_new: false, forgotten: vec![token(1)] };
        assert_eq!(suspended.bury(token(2), 4006, second(2), LIMITS), again);
        assert_eq!(suspended.endings().collect::<Vec<_>>(), [2, 3].map(token));
        let last = Buried { is_new: true, forgotten: vec![token(2), token(3)] };
        assert_eq!(suspended.bury(token(9), 1000, second(30), LIMITS), last);
        assert_eq!((suspended.ending(&token(3)), suspended.ending(&token(9))), (None, Some(1000)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Wait(u64),
        Suspend(u8),
        Return(usize),
        Lend { session: usize, holder: Generation, polls: bool },
        Accept(usize),
        GiveUp(usize, bool),
        Die(Generation),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => (0u64..4).prop_map(Act::Wait),
            4 => (0..3u8).prop_map(Act::Suspend),
            2 => any::<usize>().prop_map(Act::Return),
            4 => (any::<usize>(), 1u32..4, any::<bool>())
                .prop_map(|(session, holder, polls)| Act::Lend { session, holder, polls }),
            3 => any::<usize>().prop_map(Act::Accept),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(which, settled)| Act::GiveUp(which, settled)),
            1 => (1u32..4).prop_map(Act::Die),
        ]
    }

    /// The same, said plainly: who is here since when, and all that were ever lent.
    #[derive(Default)]
    struct Model {
        here: BTreeMap<SessionRef, (Mono, u8)>,
        lent: Vec<(Lease, SessionRef, bool, State)>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum State {
        Offered,
        Accepted,
        Over,
    }

    impl Model {
        fn pick(&self, which: usize) -> Option<SessionRef> {
            self.here.keys().nth(which % self.here.len().max(1)).copied()
        }

        fn end(&mut self, is_it: impl Fn(Lease, SessionRef) -> bool) -> Vec<Lease> {
            let own = self
                .lent
                .iter_mut()
                .filter(|(lease, at, _, state)| *state != State::Over && is_it(*lease, *at));
            own.map(|(lease, .., state)| {
                *state = State::Over;
                *lease
            })
            .collect()
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_leaks(acts in proptest::collection::vec(act(), 0..200)) {
            let (mut suspended, mut model, mut now, mut turn) = (Suspended::default(), Model::default(), Mono(0), 0);
            for act in acts {
                match act {
                    Act::Wait(seconds) => now = now.after(Duration::from_secs(seconds)),
                    Act::Suspend(owner) => {
                        turn += 1;
                        suspended.add(at(turn % 4, turn), hold(owner, 1), now);
                        model.here.insert(at(turn % 4, turn), (now, owner));
                    }
                    Act::Return(which) => {
                        let Some(session) = model.pick(which) else { continue };
                        suspended.remove(session);
                        model.here.remove(&session);
                        model.end(|_, at| at == session);
                    }
                    Act::Lend { session, holder, polls } => {
                        let Some(session) = model.pick(session) else { continue };
                        let lease = lease(holder, model.lent.len() as u64);
                        model.lent.push((lease, session, polls, State::Offered));
                        suspended.lend(session, lease, polls);
                    }
                    Act::Accept(which) => {
                        let all = model.lent.len().max(1);
                        let Some((lease, session, _, state)) = model.lent.get_mut(which % all) else { continue };
                        let (lease, session) = (*lease, *session);
                        let others = if *state == State::Over {
                            vec![]
                        } else {
                            *state = State::Accepted;
                            model.end(|other, at| at == session && other != lease)
                        };
                        prop_assert_eq!(suspended.accept(lease), others);
                    }
                    Act::GiveUp(which, settled) => {
                        let all = model.lent.len().max(1);
                        let Some((lease, session, ..)) = model.lent.get(which % all).copied() else { continue };
                        let was = !model.end(|other, _| other == lease).is_empty();
                        let others = if was && settled { model.end(|_, at| at == session) } else { vec![] };
                        let discarded = (was && settled).then_some((session, others));
                        prop_assert_eq!(suspended.give_up(lease, settled), discarded);
                    }
                    Act::Die(holder) => {
                        suspended.holder_gone(holder);
                        model.end(|lease, _| lease.holder == holder);
                    }
                }
                for session in suspended.overdue(now, LIMITS) {
                    let (since, owner) = model.here[&session];
                    let of = |owner| model.here.values().filter(|(_, own)| *own == owner).count();
                    if now.since(since) >= LIMITS.window {
                        prop_assert!(model.here.values().all(|(other, _)| *other >= since), "the longest away first");
                    } else {
                        prop_assert!(model.here.len() > LIMITS.sessions);
                        prop_assert!((0..3).all(|other| of(other) <= of(owner)), "of the one that has most");
                    }
                    model.here.remove(&session);
                    model.end(|_, at| at == session);
                }
                let lent = model.lent.iter().filter(|(.., state)| *state != State::Over);
                prop_assert_eq!((suspended.len(), suspended.leases.len()), (model.here.len(), lent.count()));
                prop_assert_eq!(suspended.all.values().map(Vec::len).sum::<usize>(), suspended.leases.len());
                prop_assert!(suspended.len() <= LIMITS.sessions && suspended.order.len() <= 2 * suspended.len() + PASSED);
                prop_assert_eq!(suspended.pool.len(), suspended.len());
                for (session, (since, _)) in &model.here {
                    prop_assert!(now.since(*since) < LIMITS.window);
                    let taken = model.lent.iter().any(|(_, at, polls, state)| {
                        at == session && *state == State::Accepted && !polls
                    });
                    prop_assert_eq!(suspended.is_free(*session), !taken);
                }
            }
        }
    }
}
