//! Another program takes over from living processes: the master gives way at a moment when nothing is half done, and the
//! next one replaces all others, one after another. Pure.

use super::unpacking::Counts;
use crate::model::Mono;
use crate::protocol::cluster::{Generation, Role};
use std::time::Duration;

/// Longest wait for orders that are under way. No key: orders that come meanwhile wait as long.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// Longest wait for workers, and for sessions of dead ones. No key, as above.
const WORKERS: Duration = Duration::from_secs(2);

/// What is under way at a master that is to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// Orders wait for their receipts.
    pub(super) orders: bool,
    /// Sessions of dead workers wait for another one.
    pub(super) orphans: bool,
}

/// What a master that is to give way does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Wait,
    Now,
    /// A worker does not answer, or nobody takes the sessions of a dead one.
    Never,
}

/// A master that gives way.
#[derive(Debug)]
pub(super) struct Yielding {
    /// Workers that may still ask this master.
    waits: Vec<Generation>,
    since: Mono,
}

impl Yielding {
    /// These workers were told to keep orders for the next master.
    pub(super) fn new(waits: Vec<Generation>, now: Mono) -> Self {
        Self { waits, since: now }
    }

    /// A worker keeps its orders, or has ended.
    pub(super) fn held(&mut self, worker: Generation) {
        self.waits.retain(|waits| *waits != worker);
    }

    /// The moment of the next look, at the latest.
    pub(super) fn next_deadline(&self) -> Mono {
        self.since.after(if self.waits.is_empty() { UNDER_WAY } else { WORKERS })
    }

    pub(super) fn moment(&self, under_way: UnderWay, now: Mono) -> Moment {
        let UnderWay { orders, orphans } = under_way;
        let waits = orphans || !self.waits.is_empty();
        match now.since(self.since) {
            time if waits => {
                if time < WORKERS {
                    Moment::Wait
                } else {
                    Moment::Never
                }
            }
            time if orders && time < UNDER_WAY => Moment::Wait,
            _ => Moment::Now,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Not all living workers are heard.
    Gate,
    /// Workers are replaced.
    Workers,
    /// All are new; the old ones hand over their sessions and end.
    Old,
    Over,
}

/// A master of the program that takes over.
#[derive(Debug)]
pub(super) struct Succession {
    /// Later processes are of this program.
    last: Generation,
    at: At,
    counts: Counts,
}

impl Succession {
    pub(super) fn new(last: Generation) -> Self {
        Self { last, at: At::Gate, counts: Counts::default() }
    }

    /// All living workers are heard, after so long a time without a master. True: they are to be replaced.
    pub(super) fn opens(&mut self, silence: Duration) -> bool {
        self.moved(0, silence);
        let opens = self.at == At::Gate;
        if opens {
            self.at = At::Workers;
        }
        opens
    }

    /// All workers that serve are new. True: the feeder is to be replaced.
    pub(super) fn rolled(&mut self) -> bool {
        let rolled = self.at == At::Workers;
        if rolled {
            self.at = At::Old;
        }
        rolled
    }

    /// A process has died, or did not get ready. True: the program is refused.
    pub(super) fn fails(&mut self, generation: Generation) -> bool {
        let fails = self.at != At::Over && generation > self.last;
        if fails {
            self.at = At::Over;
        }
        fails
    }

    /// Sessions have moved: so many were closed; the others heard nothing for so long at most.
    pub(super) fn moved(&mut self, closed: u64, silence: Duration) {
        self.counts.closed += closed;
        self.counts.silence = self.counts.silence.max(silence);
    }

    /// Whether all is done, once: `all` lives and is ready or not.
    pub(super) fn is_done(&mut self, mut all: impl Iterator<Item = (Generation, Role, bool)>) -> bool {
        let mut feeds = false;
        let done = self.at == At::Old
            && all.all(|(generation, role, ready)| {
                feeds |= role == Role::Feeder;
                ready && generation > self.last
            });
        if done && feeds {
            self.at = At::Over;
        }
        done && feeds
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_master_gives_way_when_all_keep_their_orders_and_none_is_under_way() {
        let (orders, orphans) =
            (UnderWay { orders: true, orphans: false }, UnderWay { orders: false, orphans: true });
        let nothing = UnderWay { orders: false, orphans: false };
        let mut yielding = Yielding::new(vec![4, 5], Mono(0));
        yielding.held(4);
        assert_eq!(yielding.moment(nothing, Mono(1)), Moment::Wait);
        assert_eq!(yielding.moment(nothing, yielding.next_deadline()), Moment::Never, "worker 5 hangs");
        yielding.held(5);
        assert_eq!(yielding.moment(orders, Mono(1)), Moment::Wait);
        assert_eq!(yielding.moment(nothing, Mono(1)), Moment::Now);
        assert_eq!(
            yielding.moment(orders, yielding.next_deadline()),
            Moment::Now,
            "no order is waited for long"
        );
        assert_eq!(yielding.moment(orphans, yielding.next_deadline()), Moment::Wait);
        assert_eq!(yielding.moment(orphans, Mono(0).after(WORKERS)), Moment::Never);
    }

    const WORKER: Role = Role::Worker(1);

    #[test]
    fn it_is_done_when_all_that_live_are_new_and_ready() {
        let mut succession = Succession::new(5);
        assert!(!succession.rolled(), "nobody was heard");
        assert!(succession.opens(Duration::from_millis(30)));
        assert!(!succession.opens(Duration::ZERO), "once");
        assert!(!succession.is_done([(7, WORKER, true), (8, Role::Feeder, true)].into_iter()));
        assert!(succession.rolled());
        for living in [
            [(4, WORKER, true), (8, Role::Feeder, true)],
            [(7, WORKER, true), (8, Role::Feeder, false)],
            [(7, WORKER, true), (9, WORKER, true)],
        ] {
            assert!(!succession.is_done(living.into_iter()), "{living:?}");
        }
        succession.moved(2, Duration::from_millis(20));
        let all = [(7, WORKER, true), (8, Role::Feeder, true)];
        assert!(succession.is_done(all.into_iter()));
        assert!(!succession.is_done(all.into_iter()), "once");
        assert_eq!(succession.counts(), Counts { held: 0, closed: 2, silence: Duration::from_millis(30) });
        assert!(!succession.fails(7), "what dies later is an accident");
    }

    proptest! {
        #[test]
        fn a_program_is_refused_or_taken_once_and_never_for_a_death_of_the_old(
            steps in prop::collection::vec((0..6u8, 1..12u32), 0..60)
        ) {
            let (mut succession, mut living) = (Succession::new(5), BTreeMap::new());
            let (mut refused, mut done) = (0, 0);
            for (step, generation) in steps {
                match step {
                    0 => _ = succession.opens(Duration::ZERO),
                    1 => _ = succession.rolled(),
                    2 => _ = living.insert(generation, false),
                    3 => _ = living.insert(generation, true),
                    4 => _ = living.remove(&generation),
                    _ => {
                        let fails = succession.fails(generation);
                        prop_assert!(!fails || generation > 5);
                        refused += u32::from(fails);
                    }
                }
                let role = |generation| if generation % 3 == 0 { Role::Feeder } else { WORKER };
                let all = living.iter().map(|(generation, ready)| (*generation, role(*generation), *ready));
                if succession.is_done(all) {
                    prop_assert!(living.iter().all(|(generation, ready)| *generation > 5 && *ready));
                    done += 1;
                }
                prop_assert!(refused + done <= 1);
            }
        }
    }
}
