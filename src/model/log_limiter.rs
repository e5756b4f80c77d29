//! Limits log lines about things that may happen a thousand times: each at most once a minute, the last one always,
//! with the number of suppressed lines. Pure.

use super::Mono;
use std::collections::BTreeMap;
use std::time::Duration;

/// Least time between two lines about the same state.
const APART: Duration = Duration::from_secs(60);

/// Limits the lines about one thing that changes between a few states. Each state has its own minute, so that no state
/// hides another.
#[derive(Clone, Debug)]
pub struct LogLimiter<S> {
    said: BTreeMap<S, Mono>,
    /// Changes since the last logged one.
    hushed: u64,
    /// The newest change, if it is not logged yet.
    waiting: Option<S>,
}

impl<S> Default for LogLimiter<S> {
    fn default() -> Self {
        Self { said: BTreeMap::new(), hushed: 0, waiting: None }
    }
}

impl<S: Clone + Ord> LogLimiter<S> {
    /// Records a change to `state`. `Some`: log it now, with the number of suppressed changes before it.
    pub fn change(&mut self, state: S, now: Mono) -> Option<u64> {
        self.waiting = Some(state);
        let said = self.take(now).map(|(_, hushed)| hushed);
        if said.is_none() {
            self.hushed += 1;
        }
        said
    }

    /// When the waiting change may be logged.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        let said = self.said.get(self.waiting.as_ref()?);
        Some(said.map_or(Mono(0), |said| said.after(APART)))
    }

    /// Returns the waiting change if it is to be logged now, with the number of suppressed changes before it.
    pub fn wake(&mut self, now: Mono) -> Option<(S, u64)> {
        // The waiting change was counted as suppressed itself.
        self.take(now).map(|(state, hushed)| (state, hushed.saturating_sub(1)))
    }

    fn take(&mut self, now: Mono) -> Option<(S, u64)> {
        if self.due()? > now {
            return None;
        }
        let state = self.waiting.take()?;
        self.said.insert(state.clone(), now);
        Some((state, std::mem::take(&mut self.hushed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn the_first_of_each_is_said_at_once_and_the_last_for_sure() {
        let mut limiter = LogLimiter::default();
        assert_eq!((limiter.change('a', at(0)), limiter.change('b', at(1))), (Some(0), Some(0)));
        assert_eq!(
            (limiter.change('a', at(2)), limiter.change('b', at(3)), limiter.change('a', at(4))),
            (None, None, None)
        );
        assert_eq!((limiter.due(), limiter.wake(at(59))), (Some(at(60)), None));
        assert_eq!((limiter.wake(at(60)), limiter.due()), (Some(('a', 2)), None));
        assert_eq!(limiter.change('b', at(61)), Some(0));
    }

    proptest! {
        #[test]
        fn no_more_than_one_a_minute_and_nothing_is_lost(story in prop::collection::vec((0u64..90, 0u8..4), 1..200)) {
            let (mut limiter, mut now) = (LogLimiter::default(), at(1));
            let mut said: Vec<(Mono, u8, u64)> = Vec::new();
            let mut changes = 0;
            for (pause, state) in story {
                let next = now.after(Duration::from_secs(pause));
                if let Some(due) = limiter.due().filter(|due| *due <= next) {
                    let due = due.max(now);
                    said.extend(limiter.wake(due).map(|(state, hushed)| (due, state, hushed)));
                }
                now = next;
                changes += 1;
                said.extend(limiter.change(state, now).map(|hushed| (now, state, hushed)));
                // The last logged state is the current one, or the current one is logged within a minute.
                let told = said.last().map(|(_, told, _)| *told) == Some(state);
                prop_assert!(told || limiter.due().is_some_and(|due| due <= now.after(APART)));
            }
            let rest = limiter.due().map(|due| due.max(now)).and_then(|due| Some((due, limiter.wake(due)?)));
            said.extend(rest.map(|(due, (state, hushed))| (due, state, hushed)));
            for state in 0..4 {
                let times: Vec<_> = said.iter().filter(|(_, told, _)| *told == state).map(|(at, ..)| *at).collect();
                prop_assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= APART));
            }
            let hushed: u64 = said.iter().map(|(.., hushed)| hushed).sum();
            prop_assert_eq!(hushed + said.len() as u64, changes);
        }
    }
}
