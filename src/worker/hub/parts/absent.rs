//! Polling sessions between two polls, in the order in which their clients went. Pure.

use super::sessions::SessionRef;
use crate::model::Mono;
use std::collections::VecDeque;

/// Old entries beside as many as there are sessions.
const PASSED: usize = 64;

/// The sessions, some of which have ended or are polled again.
#[derive(Debug, Default)]
pub struct Absent {
    order: VecDeque<(Mono, SessionRef)>,
    /// Entries after which the old ones are looked for.
    most: usize,
}

impl Absent {
    /// A client has its answer, or has gone without. `is_absent` tells whether one has been away since a moment.
    pub fn add(&mut self, at: SessionRef, now: Mono, is_absent: impl Fn(SessionRef, Mono) -> bool) {
        self.order.push_back((now, at));
        if self.order.len() > self.most.max(PASSED) {
            self.order.retain(|(since, at)| is_absent(*at, *since));
            self.order.shrink_to(self.order.len() * 4);
            self.most = self.order.len() * 2 + PASSED;
        }
    }

    /// Takes the session whose client has been away longest, since `until` at least.
    pub fn take(&mut self, until: Mono, is_absent: impl Fn(SessionRef, Mono) -> bool) -> Option<SessionRef> {
        while let Some((since, at)) = self.order.front().copied().filter(|(since, _)| *since <= until) {
            self.order.pop_front();
            if is_absent(at, since) {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Steps: a session's client goes, comes back, or the one away longest is wanted.
        #[test]
        fn the_one_away_longest_is_first_and_the_list_is_bounded(steps in proptest::collection::vec((0..8u32, 0..3u8), 1..400)) {
            let (mut absent, mut away) = (Absent::default(), BTreeMap::<u32, Mono>::new());
            for (now, (session, step)) in (1..).zip(steps) {
                let (now, at) = (Mono(now), SessionRef::invented(session, 1));
                match step {
                    0 => {
                        away.insert(session, now);
                        absent.add(at, now, |at, since| away.get(&at.key()) == Some(&since));
                    }
                    1 => _ = away.remove(&session),
                    _ => {
                        let until = Mono(now.0.saturating_sub(3));
                        let first = away.iter().min_by_key(|(_, since)| **since).filter(|(_, since)| **since <= until);
                        let first = first.map(|(session, _)| *session);
                        let taken = absent.take(until, |at, since| away.get(&at.key()) == Some(&since));
                        prop_assert_eq!(taken.map(SessionRef::key), first);
                        first.into_iter().for_each(|session| _ = away.remove(&session));
                    }
                }
                prop_assert!(absent.order.len() <= 2 * 8 + PASSED + 1);
            }
        }
    }
}
