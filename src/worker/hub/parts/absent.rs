//! Sessions whose clients may not be there, in the order in which they were last heard. Pure.

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
        self.take_wanted(until, is_absent, |_| true)
    }

    /// The same among those that are wanted; the others stay.
    pub fn take_wanted(
        &mut self,
        until: Mono,
        is_absent: impl Fn(SessionRef, Mono) -> bool,
        is_wanted: impl Fn(SessionRef) -> bool,
    ) -> Option<SessionRef> {
        while self.order.front().is_some_and(|(since, at)| *since <= until && !is_absent(*at, *since)) {
            self.order.pop_front();
        }
        let mut long = self.order.iter().take_while(|(since, _)| *since <= until);
        let found = long.position(|(since, at)| is_absent(*at, *since) && is_wanted(*at))?;
        self.order.remove(found).map(|(_, at)| at)
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
        fn the_one_away_longest_is_first_and_the_list_is_bounded(steps in proptest::collection::vec((0..8u32, 0..4u8), 1..400)) {
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
                        // Of all, or of those with an odd number.
                        let is_wanted = |session: u32| step == 2 || session % 2 == 1;
                        let wanted = away.iter().filter(|(session, since)| is_wanted(**session) && **since <= until);
                        let first = wanted.min_by_key(|(_, since)| **since).map(|(session, _)| *session);
                        let is_absent = |at: SessionRef, since| away.get(&at.key()) == Some(&since);
                        let taken = absent.take_wanted(until, is_absent, |at| is_wanted(at.key()));
                        prop_assert_eq!(taken.map(SessionRef::key), first);
                        first.into_iter().for_each(|session| _ = away.remove(&session));
                    }
                }
                prop_assert!(absent.order.len() <= 2 * 8 + PASSED + 1);
            }
        }
    }
}
