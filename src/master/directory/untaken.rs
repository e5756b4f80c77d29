//! Polling sessions whose cursor has not come back yet: nobody may be there. They give way where there is no room.

use crate::model::SessionId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The sessions by address, each address's in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    places: HashMap<SessionId, (IpAddr, u64), RandomState>,
    queues: HashMap<IpAddr, BTreeMap<u64, SessionId>, RandomState>,
    /// Addresses by their number of sessions.
    fullest: BTreeSet<(usize, IpAddr)>,
    next: u64,
}

impl Untaken {
    /// Adds a session, once.
    pub(super) fn add(&mut self, session: SessionId, address: IpAddr) {
        self.remove(session);
        self.next += 1;
        self.places.insert(session, (address, self.next));
        self.change(address, |queue, next| _ = queue.insert(next, session));
    }

    /// A session has ended, or its client has come back.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some((address, place)) = self.places.remove(&session) {
            self.change(address, |queue, _| _ = queue.remove(&place));
        }
    }

    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut BTreeMap<u64, SessionId>, u64)) {
        let queue = self.queues.entry(address).or_default();
        self.fullest.remove(&(queue.len(), address));
        change(queue, self.next);
        if queue.is_empty() {
            self.queues.remove(&address);
        } else {
            self.fullest.insert((queue.len(), address));
        }
    }

    /// The oldest session of an address.
    pub(super) fn oldest_of(&self, address: IpAddr) -> Option<SessionId> {
        self.queues.get(&address)?.values().next().copied()
    }

    /// The oldest session of the address that has most.
    pub(super) fn first(&self) -> Option<SessionId> {
        self.oldest_of(self.fullest.last()?.1)
    }

    /// Gives memory back after a crowd has left.
    pub(super) fn shrink(&mut self) {
        self.places.shrink_to_fit();
        self.queues.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Steps: a session comes from one of three addresses, or goes.
        #[test]
        fn the_oldest_of_the_fullest_is_first(steps in proptest::collection::vec((0..20u8, 0..3u8, any::<bool>()), 1..120)) {
            let address = |last: u8| IpAddr::from([10, 0, 0, last]);
            let (mut untaken, mut naive) = (Untaken::default(), Vec::<(SessionId, IpAddr)>::new());
            for (session, last, comes) in steps {
                let session = SessionId(session.into());
                naive.retain(|(other, _)| *other != session);
                if comes {
                    naive.push((session, address(last)));
                    untaken.add(session, address(last));
                } else {
                    untaken.remove(session);
                }
                let count = |of: IpAddr| naive.iter().filter(|(_, found)| *found == of).count();
                let oldest = |of: IpAddr| naive.iter().find(|(_, found)| *found == of).map(|(session, _)| *session);
                for last in 0..3 {
                    prop_assert_eq!(untaken.oldest_of(address(last)), oldest(address(last)));
                }
                let fullest = (0..3).map(address).max_by_key(|of| (count(*of), *of)).filter(|of| count(*of) > 0);
                prop_assert_eq!(untaken.first(), fullest.and_then(oldest));
            }
            naive.into_iter().for_each(|(session, _)| untaken.remove(session));
            prop_assert!(untaken.places.is_empty() && untaken.queues.is_empty() && untaken.fullest.is_empty());
        }
    }
}
