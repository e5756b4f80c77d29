//! How long a source rests after a fault. Pure.

use super::Fault;
use crate::config::PriceSection;
use crate::model::Backoff;
use std::time::Duration;

const PASSING_MIN: Duration = Duration::from_millis(250);
const PASSING_MAX: Duration = Duration::from_secs(30);
/// First pause after the refusal of something that was served a moment ago.
const SURPRISE: Duration = Duration::from_secs(1);
/// A refusal that comes this soon after a price contradicts the source itself.
const MOMENT: Duration = Duration::from_secs(300);

/// The pauses that an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PauseLimits {
    /// First pause after a refusal.
    pub refused_min: Duration,
    /// Longest pause after a refusal.
    pub refused_max: Duration,
    /// Longest wait that a source may demand.
    pub wait_max: Duration,
}

impl PauseLimits {
    /// The part of `[price]`.
    #[must_use]
    pub fn of(price: &PriceSection) -> Self {
        let PriceSection { refused_min, refused_max, wait_max, .. } = *price;
        Self { refused_min, refused_max, wait_max }
    }
}

impl Default for PauseLimits {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self { refused_min: Duration::from_secs(30), refused_max: hour, wait_max: hour }
    }
}

/// A session that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    pub fault: &'a Fault,
    /// Whether it gave a price and lasted: pauses start anew.
    pub good: bool,
    /// Time since the last price, if there was one.
    pub priced: Option<Duration>,
}

/// The pauses of one leg.
#[derive(Debug)]
pub struct Pauses {
    limits: PauseLimits,
    passing: Backoff,
    /// Refusals in a row.
    refused: Option<Backoff>,
}

impl Pauses {
    /// Pauses of a leg that has not failed.
    #[must_use]
    pub fn new(limits: PauseLimits) -> Self {
        Self { limits, passing: Backoff::new(PASSING_MIN, PASSING_MAX), refused: None }
    }

    /// Starts all pauses anew.
    pub fn reset(&mut self, limits: PauseLimits) {
        *self = Self::new(limits);
    }

    /// The pause before the next session; `chance` is in `0.0..1.0`.
    ///
    /// A passing fault doubles from a quarter of a second. A refusal doubles from `refused_min`, or from a second if
    /// the source gave prices a moment ago. What a source never serves is asked for once in `refused_max`; a symbol
    /// that it served a moment ago is a refusal like others.
    pub fn next(&mut self, ended: Ended<'_>, chance: f64) -> Duration {
        if ended.good {
            self.passing.reset();
            self.refused = None;
        }
        let surprising = ended.priced.is_some_and(|since| since < MOMENT);
        match ended.fault {
            Fault::Wait(time, _) => {
                let time = (*time).min(self.limits.wait_max);
                time + time.min(MOMENT).mul_f64(chance / 10.0)
            }
            Fault::Barred(_) => self.longest(chance),
            Fault::Unknown(_) if !surprising && self.refused.is_none() => self.longest(chance),
            Fault::Refused(_) | Fault::Unknown(_) => self.refusal(surprising, chance),
            Fault::Reconnect(_) if ended.good => Duration::ZERO,
            Fault::Reconnect(_) | Fault::Retry(_) | Fault::Skip(_) => self.passing.next(chance),
        }
    }

    fn longest(&self, chance: f64) -> Duration {
        self.limits.refused_max.mul_f64(0.9 + chance.clamp(0.0, 1.0) / 10.0)
    }

    fn refusal(&mut self, surprising: bool, chance: f64) -> Duration {
        let PauseLimits { refused_min, refused_max, .. } = self.limits;
        let first = if surprising { SURPRISE.min(refused_min) } else { refused_min };
        self.refused.get_or_insert_with(|| Backoff::new(first, refused_max)).next(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn why() -> String {
        "why".to_owned()
    }

    /// The pauses, at their longest, of a leg that ends so again and again.
    fn row(fault: &Fault, priced: Option<u64>, times: usize) -> Vec<u64> {
        let mut pauses = Pauses::new(PauseLimits::default());
        let mut since = priced.map(Duration::from_secs);
        let pause = |_| {
            let pause = pauses.next(Ended { fault, good: false, priced: since }, 1.0);
            since = since.map(|since| since + pause);
            pause.as_secs()
        };
        (0..times).map(pause).collect()
    }

    #[test]
    fn a_refusal_is_tried_again_later_and_later() {
        let refused = Fault::Refused(why());
        assert_eq!(row(&refused, None, 9), [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(row(&refused, Some(3), 6), [1, 2, 4, 8, 16, 32], "it was well a moment ago");
        assert_eq!(row(&refused, Some(4000), 2), [30, 60]);
    }

    #[test]
    fn what_is_never_served_is_left_at_once_and_what_was_served_a_moment_ago_is_not() {
        assert_eq!(row(&Fault::Barred(why()), None, 2), [3600, 3600]);
        assert_eq!(row(&Fault::Barred(why()), Some(3), 2), [3600, 3600]);
        assert_eq!(row(&Fault::Unknown(why()), None, 2), [3600, 3600]);
        assert_eq!(row(&Fault::Unknown(why()), Some(60), 12)[..5], [1, 2, 4, 8, 16]);
        assert_eq!(row(&Fault::Unknown(why()), Some(60), 15)[12..], [3600, 3600, 3600]);
    }

    #[test]
    fn a_good_session_and_an_operator_start_the_pauses_anew() {
        let mut pauses = Pauses::new(PauseLimits::default());
        let refused = Fault::Refused(why());
        let mut next = |good| pauses.next(Ended { fault: &refused, good, priced: None }, 1.0);
        assert_eq!([next(false), next(false), next(true), next(false)], [30 * S, 60 * S, 30 * S, 60 * S]);
        pauses.reset(PauseLimits { refused_min: 5 * S, ..PauseLimits::default() });
        assert_eq!(pauses.next(Ended { fault: &refused, good: false, priced: None }, 1.0), 5 * S);
    }

    #[test]
    fn a_wait_has_a_limit() {
        let mut pauses = Pauses::new(PauseLimits::default());
        let mut next =
            |time| pauses.next(Ended { fault: &Fault::Wait(time, why()), good: false, priced: None }, 0.0);
        assert_eq!([next(7 * S), next(72 * HOUR), next(Duration::MAX)], [7 * S, HOUR, HOUR]);
    }

    fn fault() -> impl Strategy<Value = Fault> {
        prop_oneof![
            Just(Fault::Retry(why())),
            Just(Fault::Reconnect(why())),
            Just(Fault::Refused(why())),
            Just(Fault::Unknown(why())),
            Just(Fault::Barred(why())),
            any::<u64>().prop_map(|ms| Fault::Wait(Duration::from_millis(ms), why())),
        ]
    }

    proptest! {
        /// Whatever happens: no pause above the limits, no storm, and a source that recovers is asked in time.
        #[test]
        fn no_history_ends_in_a_storm_or_in_silence(
            history in prop::collection::vec((fault(), any::<bool>(), prop::option::of(0u64..10_000), 0.0..1.0), 1..200)
        ) {
            let limits = PauseLimits::default();
            let mut pauses = Pauses::new(limits);
            for (fault, good, priced, chance) in history {
                let ended = Ended { fault: &fault, good, priced: priced.map(Duration::from_secs) };
                let pause = pauses.next(ended, chance);
                prop_assert!(pause <= HOUR + 30 * S);
                prop_assert!(good || pause >= Duration::from_millis(125) || matches!(fault, Fault::Wait(..)));
                if good && matches!(fault, Fault::Refused(_)) {
                    prop_assert!(pause <= limits.refused_min, "the first refusal after prices");
                }
            }
        }
    }
}
