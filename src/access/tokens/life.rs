//! The rest of a token's life, on the clock that also runs in sleep.

use crate::model::Boot;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Until when a session may go on with its token. Taken at admission, and not asked of the wall clock again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    ends: Boot,
    /// The bearer was told that the end is near.
    told: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// `system` `token-expiring`.
    Notice,
    /// The session ends, with 4002.
    End,
}

impl Life {
    /// A life that was just admitted, with so much left.
    #[must_use]
    pub fn new(left: Duration, now: Boot) -> Self {
        Self { ends: now.after(left), told: false }
    }

    /// The time that is left, for `expires_in_ms`.
    #[must_use]
    pub fn left(&self, now: Boot) -> Duration {
        self.ends.since(now)
    }

    /// The moment at which something is due next.
    #[must_use]
    pub fn next(&self, notice: Duration) -> Boot {
        match self.told {
            true => self.ends,
            false => self.notice(notice),
        }
    }

    /// What is due, each once. A token that was admitted within the notice is announced at once.
    pub fn due(&mut self, notice: Duration, now: Boot) -> Option<Due> {
        if now >= self.ends {
            return Some(Due::End);
        }
        let is_due = !self.told && now >= self.notice(notice);
        self.told |= is_due;
        is_due.then_some(Due::Notice)
    }

    fn notice(&self, notice: Duration) -> Boot {
        Boot(self.ends.0.saturating_sub(u64::try_from(notice.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOTICE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Boot {
        Boot(seconds * 1_000_000_000)
    }

    #[test]
    fn a_notice_comes_once_and_then_the_end() {
        let mut life = Life::new(Duration::from_secs(100), at(1000));
        assert_eq!((life.next(NOTICE), life.due(NOTICE, at(1069))), (at(1070), None));
        assert_eq!(life.due(NOTICE, at(1070)), Some(Due::Notice));
        assert_eq!((life.next(NOTICE), life.due(NOTICE, at(1099))), (at(1100), None));
        assert_eq!(life.left(at(1099)), Duration::from_secs(1));
        assert_eq!(life.due(NOTICE, at(1100)), Some(Due::End));
        assert_eq!(life.left(at(2000)), Duration::ZERO);
    }

    #[test]
    fn who_wakes_past_the_end_hears_of_no_notice() {
        let mut life = Life::new(Duration::from_secs(100), at(0));
        assert_eq!(life.due(NOTICE, at(86_400)), Some(Due::End));
        let mut short = Life::new(Duration::from_secs(5), at(50));
        assert_eq!(short.due(NOTICE, at(50)), Some(Due::Notice));
        assert_eq!(short.due(NOTICE, at(50)), None);
    }

    proptest! {
        #[test]
        fn a_sleeper_that_wakes_when_asked_does_all_in_two_steps(left in 0..10_000_u64, notice in 0..10_000_u64, from in 0..1000_u64) {
            let notice = Duration::from_secs(notice);
            let (mut life, mut now) = (Life::new(Duration::from_secs(left), at(from)), at(from));
            let mut seen = vec![];
            for _ in 0..3 {
                seen.extend(life.due(notice, now));
                if seen.last() == Some(&Due::End) {
                    break;
                }
                now = now.max(life.next(notice));
            }
            prop_assert_eq!(now, at(from + left));
            prop_assert_eq!(seen.last(), Some(&Due::End));
            prop_assert!(seen.iter().filter(|due| **due == Due::Notice).count() <= 1);
        }
    }
}
