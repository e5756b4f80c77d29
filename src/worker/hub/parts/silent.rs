//! Sessions over WebSockets whose clients have said nothing yet, not even a pong. Where there is little room, each is
//! asked by a ping, and ends if it does not answer. Pure.

use super::absent::Absent;
use super::sessions::SessionRef;
use crate::model::Mono;
use std::time::Duration;

/// Sessions that are asked at one look.
const ASKED: usize = 16;
/// Sessions that end at one look: more than one newcomer, so that there is room again.
const ENDED: usize = 2;

/// What a look leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// To be pinged.
    pub ask: Vec<SessionRef>,
    /// To be ended.
    pub end: Vec<SessionRef>,
}

/// The sessions.
#[derive(Debug, Default)]
pub struct Silent {
    unheard: Absent,
    asked: Absent,
}

impl Silent {
    /// A session has begun. `is_silent` tells whether one is there whose client was never heard.
    pub fn add(&mut self, at: SessionRef, now: Mono, is_silent: impl Fn(SessionRef) -> bool) {
        self.unheard.add(at, now, |at, _| is_silent(at));
    }

    /// Looks at those that are wanted: some are asked, and some of those end that were asked so long before.
    pub fn look(
        &mut self,
        now: Mono,
        patience: Duration,
        is_silent: impl Fn(SessionRef) -> bool,
        is_wanted: impl Fn(SessionRef) -> bool,
    ) -> Looked {
        let mut looked = Looked::default();
        let is_there = |at: SessionRef, _: Mono| is_silent(at);
        let patience = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let until = Mono(now.0.saturating_sub(patience));
        let those = std::iter::from_fn(|| self.asked.take_wanted(until, is_there, &is_wanted));
        looked.end.extend(those.take(ENDED));
        let those = std::iter::from_fn(|| self.unheard.take_wanted(now, is_there, &is_wanted));
        looked.ask.extend(those.take(ASKED));
        looked.ask.iter().for_each(|at| self.asked.add(*at, now, is_there));
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn at(key: u32) -> SessionRef {
        SessionRef::invented(key, 1)
    }

    #[test]
    fn who_does_not_answer_ends_and_who_does_stays() {
        let (mut silent, start) = (Silent::default(), Mono(1 << 40));
        let mut quiet: BTreeSet<u32> = (0..20).collect();
        for key in 0..20 {
            silent.add(at(key), start, |_| true);
        }
        let odd = silent.look(start, PATIENCE, |at| quiet.contains(&at.key()), |at| at.key() % 2 == 1);
        assert_eq!(odd, Looked { ask: (0..10).map(|n| at(2 * n + 1)).collect(), end: vec![] });
        let all = silent.look(start, PATIENCE, |at| quiet.contains(&at.key()), |_| true);
        assert_eq!(all, Looked { ask: (0..10).map(|n| at(2 * n)).collect(), end: vec![] });
        let soon =
            silent.look(start.after(PATIENCE - Duration::from_millis(1)), PATIENCE, |_| true, |_| true);
        assert_eq!(soon, Looked::default(), "all may answer");
        quiet.retain(|key| ![1, 5].contains(key));
        let mut ended = vec![];
        for _ in 0..20 {
            let looked =
                silent.look(start.after(PATIENCE), PATIENCE, |at| quiet.contains(&at.key()), |_| true);
            assert!(looked.ask.is_empty() && looked.end.len() <= ENDED);
            looked.end.iter().for_each(|at| assert!(quiet.remove(&at.key())));
            ended.extend(looked.end);
        }
        assert_eq!((ended.len(), ended[0]), (18, at(3)), "each once, the one asked first before others");
    }
}
