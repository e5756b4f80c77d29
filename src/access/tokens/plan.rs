//! When the JWKS is fetched: at the start, at every refresh, sooner again after a failure, and for a token whose key is
//! unknown, but seldom: whoever can send such tokens must not make requests with them.

use crate::model::{Backoff, Boot};
use std::time::Duration;

/// Least time between two fetches for tokens of unknown keys.
const SELDOM: Duration = Duration::from_secs(30);
/// First wait after a failure.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait after failures, unless the refresh is sooner.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A question that is not answered after this time is lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Answer to a wish for new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is fetched now, for this wish.
    Started,
    /// It is under way already.
    Joined,
    /// It was fetched for another wish a moment ago: the key is unknown.
    TooSoon,
}

/// The feeder's plan: when to fetch.
#[derive(Clone, Debug)]
pub struct JwksPlan {
    refresh: Duration,
    backoff: Backoff,
    state: State,
    /// The last fetch for an unknown key.
    asked: Option<Boot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Boot },
    Fetching,
}

impl JwksPlan {
    /// Fetches at once, and then each `refresh`.
    #[must_use]
    pub fn new(refresh: Duration, now: Boot) -> Self {
        let backoff = Backoff::new(RETRY_MIN, RETRY_MAX.min(refresh));
        Self { refresh, backoff, state: State::Waiting { until: now }, asked: None }
    }

    /// When the next fetch is due; `None` while one is under way.
    #[must_use]
    pub fn next(&self) -> Option<Boot> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Fetching => None,
        }
    }

    /// Tells whether a fetch is to begin now. Its end must be said.
    pub fn begin(&mut self, now: Boot) -> bool {
        let due = self.next().is_some_and(|until| until <= now);
        if due {
            self.state = State::Fetching;
        }
        due
    }

    /// A token names a key that is unknown. [`Asked::Started`]: [`JwksPlan::begin`] says yes now.
    pub fn ask(&mut self, now: Boot) -> Asked {
        if self.state == State::Fetching {
            return Asked::Joined;
        }
        if self.asked.is_some_and(|asked| now < asked.after(SELDOM)) {
            return Asked::TooSoon;
        }
        self.asked = Some(now);
        self.state = State::Waiting { until: now };
        Asked::Started
    }

    /// A fetch has ended. After a failure the last good keys stay, and it is tried again; `chance` is in `0.0..1.0`.
    pub fn ended(&mut self, good: bool, now: Boot, chance: f64) {
        let wait = match good {
            true => {
                self.backoff.reset();
                self.refresh
            }
            false => self.backoff.next(chance),
        };
        self.state = State::Waiting { until: now.after(wait) };
    }
}

/// A worker's questions to the feeder: one at a time for all tokens of unknown keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyQuestions {
    /// When the last one was asked, and whether it is open.
    last: Option<(Boot, bool)>,
}

impl KeyQuestions {
    /// A token names a key that is unknown. [`Asked::Started`]: the feeder is to be asked.
    pub fn ask(&mut self, now: Boot) -> Asked {
        match self.last {
            Some((asked, true)) if now < asked.after(ANSWER_LIMIT) => Asked::Joined,
            Some((asked, _)) if now < asked.after(SELDOM) => Asked::TooSoon,
            _ => {
                self.last = Some((now, true));
                Asked::Started
            }
        }
    }

    /// The feeder has answered, with new keys or without.
    pub fn answered(&mut self) {
        self.last = self.last.map(|(asked, _)| (asked, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REFRESH: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Boot {
        Boot(seconds * 1_000_000_000)
    }

    #[test]
    fn it_is_fetched_at_the_start_and_each_refresh() {
        let mut plan = JwksPlan::new(REFRESH, at(5));
        assert!(plan.begin(at(5)) && !plan.begin(at(5)));
        assert_eq!(plan.next(), None);
        plan.ended(true, at(6), 0.5);
        assert_eq!(plan.next(), Some(at(606)));
        assert!(!plan.begin(at(605)) && plan.begin(at(606)));
    }

    #[test]
    fn failures_are_tried_again_with_growing_waits() {
        let mut plan = JwksPlan::new(REFRESH, at(0));
        let mut now = at(0);
        let mut waits = vec![];
        for _ in 0..8 {
            assert!(plan.begin(now));
            plan.ended(false, now, 1.0);
            let next = plan.next().unwrap();
            waits.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(plan.begin(now));
        plan.ended(true, now, 1.0);
        assert_eq!(plan.next(), Some(now.after(REFRESH)));
    }

    #[test]
    fn a_thousand_unknown_keys_make_one_request() {
        let mut plan = JwksPlan::new(REFRESH, at(0));
        assert!(plan.begin(at(0)));
        plan.ended(true, at(0), 0.5);
        let answers: Vec<_> = (0..1000).map(|_| (plan.ask(at(100)), plan.begin(at(100)))).collect();
        assert_eq!(answers[0], (Asked::Started, true));
        assert!(answers[1..].iter().all(|answer| *answer == (Asked::Joined, false)));
        plan.ended(true, at(101), 0.5);
        assert_eq!(plan.ask(at(129)), Asked::TooSoon);
        assert_eq!(plan.next(), Some(at(701)), "a refused wish moves nothing");
        assert_eq!(plan.ask(at(130)), Asked::Started);
        assert!(plan.begin(at(130)));
        assert_eq!(plan.ask(at(130)), Asked::Joined);
    }

    #[test]
    fn a_worker_asks_once_for_all() {
        let mut questions = KeyQuestions::default();
        assert_eq!(questions.ask(at(10)), Asked::Started);
        assert!((0..1000).all(|_| questions.ask(at(11)) == Asked::Joined));
        questions.answered();
        assert_eq!(questions.ask(at(12)), Asked::TooSoon);
        assert_eq!(questions.ask(at(39)), Asked::TooSoon);
        assert_eq!(questions.ask(at(40)), Asked::Started);
        assert_eq!(questions.ask(at(44)), Asked::Joined);
        assert_eq!(questions.ask(at(45)), Asked::TooSoon, "the question is lost");
        assert_eq!(questions.ask(at(70)), Asked::Started);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Pass(u64),
        Ask,
        End(bool, u8),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..40_000u64).prop_map(Event::Pass),
            Just(Event::Ask),
            (any::<bool>(), any::<u8>()).prop_map(|(good, chance)| Event::End(good, chance)),
        ]
    }

    proptest! {
        #[test]
        fn wishes_make_one_fetch_in_half_a_minute_and_none_is_forgotten(
            events in proptest::collection::vec(event(), 1..200)
        ) {
            let (mut now, mut wished, mut fetching) = (at(0), Vec::<Boot>::new(), false);
            let mut plan = JwksPlan::new(REFRESH, now);
            for event in events {
                match event {
                    Event::Pass(millis) => now = now.after(Duration::from_millis(millis)),
                    Event::Ask => match plan.ask(now) {
                        Asked::Started => {
                            prop_assert!(!fetching && plan.next() == Some(now));
                            prop_assert!(wished.last().is_none_or(|last| now.since(*last) >= SELDOM));
                            wished.push(now);
                        }
                        Asked::Joined => prop_assert!(fetching),
                        Asked::TooSoon => prop_assert!(wished.last().is_some_and(|last| now.since(*last) < SELDOM)),
                    },
                    Event::End(good, chance) if fetching => {
                        fetching = false;
                        plan.ended(good, now, f64::from(chance) / 256.0);
                        let wait = plan.next().unwrap().since(now);
                        prop_assert!(wait <= RETRY_MAX || (good && wait == REFRESH));
                    }
                    Event::End(..) => {}
                }
                if plan.begin(now) {
                    prop_assert!(!fetching, "one at a time");
                    fetching = true;
                }
                // Either it runs, or it will.
                prop_assert_eq!(plan.next().is_none(), fetching);
            }
        }
    }
}
