//! Where resume tokens lead whose sessions are not present: to the worker that keeps the suspended session, or that
//! remembers how it ended. Pure.
//!
//! A session and its copies have one id and a token each, so a token is known by its session and a tag. Two workers may
//! claim the same token for a moment, when its session moves: the younger process is asked.

use crate::model::{SessionId, is_roomy};
use crate::protocol::cluster::{Generation, TokenName};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, HashTable};
use std::hash::BuildHasher;

/// The most tokens of one worker: whatever `resume.sessions` is, suspended and ended sessions are not more.
const MOST: usize = 2 * 1_000_000 + 2;

/// A token and the worker to which it leads, in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Home {
    session: SessionId,
    tag: u32,
    worker: Generation,
}

impl Home {
    fn new(TokenName { session, tag }: TokenName, worker: Generation) -> Self {
        Self { session, tag, worker }
    }

    fn token(&self) -> TokenName {
        TokenName { session: self.session, tag: self.tag }
    }
}

/// The tokens of one worker.
#[derive(Debug, Default)]
struct Kept {
    count: usize,
    digest: u64,
    /// Those that no page of an unfinished roster has named so far.
    unconfirmed: HashSet<TokenName, RandomState>,
}

/// All tokens of suspended and of ended sessions.
#[derive(Debug, Default)]
pub(super) struct Homes {
    table: HashTable<Home>,
    workers: HashMap<Generation, Kept, RandomState>,
    /// Seeded: ids come back from outside.
    hasher: RandomState,
}

impl Homes {
    /// A token leads to that worker. Nothing changes if it did.
    pub(super) fn add(&mut self, worker: Generation, token: TokenName) {
        let (home, hash) = (Home::new(token, worker), self.hasher.hash_one(token));
        let kept = self.workers.entry(worker).or_default();
        if kept.count >= MOST || self.table.find(hash, |other| *other == home).is_some() {
            return;
        }
        kept.count += 1;
        kept.digest ^= token.digest();
        let hasher = &self.hasher;
        self.table.insert_unique(hash, home, |home| hasher.hash_one(home.token()));
    }

    /// A token does not lead to that worker. Nothing changes if it did not.
    pub(super) fn remove(&mut self, worker: Generation, token: TokenName) {
        let home = Home::new(token, worker);
        let Ok(entry) = self.table.find_entry(self.hasher.hash_one(token), |other| *other == home) else {
            return;
        };
        entry.remove();
        if let Some(kept) = self.workers.get_mut(&worker) {
            kept.count -= 1;
            kept.digest ^= token.digest();
        }
    }

    /// Whether a token leads to that worker.
    pub(super) fn leads(&self, worker: Generation, token: TokenName) -> bool {
        let home = Home::new(token, worker);
        self.table.find(self.hasher.hash_one(token), |other| *other == home).is_some()
    }

    /// The worker to which a token leads.
    pub(super) fn find(&self, token: TokenName) -> Option<Generation> {
        let all = self.table.iter_hash(self.hasher.hash_one(token)).filter(|home| home.token() == token);
        all.map(|home| home.worker).max()
    }

    /// Forgets a worker that has ended.
    pub(super) fn worker_gone(&mut self, worker: Generation) {
        if self.workers.remove(&worker).is_some_and(|kept| kept.count > 0) {
            self.table.retain(|home| home.worker != worker);
        }
    }

    /// Makes all tokens of a worker doubtful until a page names them.
    pub(super) fn begin_roster(&mut self, worker: Generation) {
        let own = self.table.iter().filter(|home| home.worker == worker).map(Home::token).collect();
        self.workers.entry(worker).or_default().unconfirmed = own;
    }

    /// A page of a roster names a token.
    pub(super) fn confirm(&mut self, worker: Generation, token: TokenName) {
        let kept = self.workers.get_mut(&worker);
        if kept.is_none_or(|kept| !kept.unconfirmed.remove(&token)) {
            self.add(worker, token);
        }
    }

    /// Removes the tokens of a worker that no page has named.
    pub(super) fn end_roster(&mut self, worker: Generation) {
        let left = self.workers.get_mut(&worker).map(|kept| std::mem::take(&mut kept.unconfirmed));
        left.into_iter().flatten().for_each(|token| self.remove(worker, token));
    }

    /// Digest of the tokens that lead to that worker.
    pub(super) fn digest(&self, worker: Generation) -> u64 {
        self.workers.get(&worker).map_or(0, |kept| kept.digest)
    }

    /// Gives memory back after many have gone.
    pub(super) fn tidy(&mut self) {
        if is_roomy(self.table.capacity(), self.table.len()) {
            let hasher = &self.hasher;
            self.table.shrink_to(self.table.len() * 2, |home| hasher.hash_one(home.token()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Event {
        Add(Generation, TokenName),
        Remove(Generation, TokenName),
        Dies(Generation),
        Roster(Generation, Vec<TokenName>),
    }

    fn token() -> impl Strategy<Value = TokenName> {
        (0..4u128, 0..2u32).prop_map(|(session, tag)| TokenName { session: SessionId(session), tag })
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (1..4u32, token()).prop_map(|(worker, token)| Event::Add(worker, token)),
            4 => (1..4u32, token()).prop_map(|(worker, token)| Event::Remove(worker, token)),
            1 => (1..4u32).prop_map(Event::Dies),
            1 => (1..4u32, proptest::collection::vec(token(), 0..8))
                .prop_map(|(worker, roster)| Event::Roster(worker, roster)),
        ]
    }

    #[test]
    fn a_home_is_as_small_as_promised() {
        assert_eq!(size_of::<Home>(), 32);
    }

    proptest! {
        #[test]
        fn tokens_lead_where_workers_say(events in proptest::collection::vec(event(), 0..120)) {
            let (mut homes, mut model) = (Homes::default(), BTreeSet::new());
            for event in events {
                match event {
                    Event::Add(worker, token) => {
                        homes.add(worker, token);
                        model.insert((token, worker));
                    }
                    Event::Remove(worker, token) => {
                        homes.remove(worker, token);
                        model.remove(&(token, worker));
                    }
                    Event::Dies(worker) => {
                        homes.worker_gone(worker);
                        model.retain(|(_, other)| *other != worker);
                    }
                    Event::Roster(worker, roster) => {
                        homes.begin_roster(worker);
                        for (n, token) in roster.iter().enumerate() {
                            // Between two pages others are found where they were.
                            let found = homes.find(*token);
                            prop_assert_eq!(found.is_some(), model.iter().any(|(own, _)| own == token)
                                || roster[..n].contains(token));
                            homes.confirm(worker, *token);
                        }
                        homes.end_roster(worker);
                        model.retain(|(_, other)| *other != worker);
                        model.extend(roster.iter().map(|token| (*token, worker)));
                    }
                }
                homes.tidy();
                prop_assert_eq!(homes.table.len(), model.len());
                for worker in 1..4 {
                    let own = model.iter().filter(|(_, other)| *other == worker);
                    prop_assert_eq!(homes.digest(worker), own.fold(0, |sum, (token, _)| sum ^ token.digest()));
                }
                for n in 0..8u32 {
                    let token = TokenName { session: SessionId((n / 2).into()), tag: n % 2 };
                    let newest = model.iter().filter(|(own, _)| *own == token).map(|(_, worker)| *worker).max();
                    prop_assert_eq!(homes.find(token), newest);
                }
            }
        }
    }
}
