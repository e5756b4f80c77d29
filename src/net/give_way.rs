//! Which connections end when there is no room for a newcomer. A session is never among them: those are counted
//! elsewhere. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

/// How little a connection loses by its end, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// No request is complete: kept after the last one, silent, or slow with the head of one.
    Idle,
    /// The body of a request does not come to its end.
    Receiving,
    /// The client does not read its answer, or the last bytes of its session.
    Unread,
    /// A poll is held: it is answered with nothing, and its client asks again.
    Held,
}

/// A connection that may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The caller's name for it.
    pub key: usize,
    /// The client's address, as limits count it.
    pub address: IpAddr,
    /// A trusted proxy: its connections are those of many clients, and end after all others.
    pub trusted: bool,
    pub rank: Rank,
    /// Since when it waits, in nanoseconds.
    pub since: u64,
}

/// The first `most` of those that end, in order: by rank; among equals of the address that has most of them left, the
/// one that has waited longest.
#[must_use]
pub fn order(candidates: Vec<Candidate>, most: usize) -> Vec<Candidate> {
    let mut groups: BTreeMap<(bool, Rank), BTreeMap<IpAddr, Vec<Candidate>>> = BTreeMap::new();
    for candidate in candidates {
        let group = groups.entry((candidate.trusted, candidate.rank)).or_default();
        group.entry(candidate.address).or_default().push(candidate);
    }
    let mut first = Vec::new();
    for (_, mut addresses) in groups {
        for of_one in addresses.values_mut() {
            of_one.sort_unstable_by_key(|candidate| Reverse((candidate.since, candidate.key)));
        }
        let size = |(address, of_one): (&IpAddr, &Vec<Candidate>)| {
            Some((of_one.len(), Reverse(of_one.last()?.since), *address))
        };
        let mut fullest: BinaryHeap<_> = addresses.iter().filter_map(size).collect();
        while let Some((_, _, address)) = fullest.pop() {
            if first.len() >= most {
                return first;
            }
            let Some(of_one) = addresses.get_mut(&address) else { continue };
            first.extend(of_one.pop());
            fullest.extend(size((&address, of_one)));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RANKS: [Rank; 4] = [Rank::Idle, Rank::Receiving, Rank::Unread, Rank::Held];

    fn candidate(key: usize, (address, trusted, rank, since): (u8, bool, usize, u64)) -> Candidate {
        let address = IpAddr::from([10, 0, 0, address]);
        Candidate { key, address, trusted, rank: RANKS[rank], since }
    }

    fn keys(candidates: &[(u8, bool, usize, u64)], most: usize) -> Vec<usize> {
        let all = candidates.iter().enumerate().map(|(key, one)| candidate(key, *one)).collect();
        order(all, most).iter().map(|candidate| candidate.key).collect()
    }

    #[test]
    fn the_longest_wait_of_the_fullest_address_ends_first() {
        assert_eq!(keys(&[(1, false, 0, 30), (1, false, 0, 10), (1, false, 0, 20)], 9), [1, 2, 0]);
        let one_and_many = [(1, false, 0, 1), (2, false, 0, 5), (2, false, 0, 4), (2, false, 0, 6)];
        assert_eq!(keys(&one_and_many, 9), [2, 1, 0, 3], "a single one is spared while others have more");
        assert_eq!(keys(&one_and_many, 1), [2]);
        assert_eq!(
            keys(&[(1, false, 3, 1), (1, false, 1, 2), (1, false, 2, 3), (1, false, 0, 9)], 9),
            [3, 1, 2, 0]
        );
        assert_eq!(keys(&[(1, true, 0, 1), (2, false, 3, 9)], 9), [1, 0], "a trusted proxy comes last");
        assert_eq!(keys(&[], 9), [0; 0]);
    }

    proptest! {
        #[test]
        fn each_pick_is_what_a_look_at_all_that_are_left_would_pick(
            all in proptest::collection::vec((0..4u8, any::<bool>(), 0..4usize, 0..50u64), 0..40),
            most in 0..50usize,
        ) {
            let picked = keys(&all, most);
            prop_assert_eq!(picked.len(), all.len().min(most));
            let mut left: Vec<usize> = (0..all.len()).collect();
            for key in picked {
                let group = |at: usize| (all[at].1, all[at].2);
                let first = left.iter().map(|at| group(*at)).min().unwrap();
                prop_assert_eq!(group(key), first);
                let of = |address: u8| left.iter().filter(|at| group(**at) == first && all[**at].0 == address).count();
                prop_assert!(left.iter().filter(|at| group(**at) == first).all(|at| of(all[*at].0) <= of(all[key].0)));
                let own = left.iter().filter(|at| group(**at) == first && all[**at].0 == all[key].0);
                prop_assert!(own.map(|at| all[*at].3).min() == Some(all[key].3));
                left.retain(|at| *at != key);
            }
        }
    }
}
