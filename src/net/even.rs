//! Evenness among workers that share a listening socket. Whoever wakes first could take most; so one that holds more
//! than the emptiest lets a waiting connection to the others for some moments, and takes it only when they do not.

use crate::model::Mono;
use std::time::Duration;

/// The time between two looks. tokio's timer knows whole milliseconds and adds up to one.
pub const MOMENT: Duration = Duration::from_millis(1);
/// A connection waits so long for the others, and two moments more at most: 8 ms on a machine that is not overloaded.
const PATIENCE: Duration = Duration::from_millis(6);
/// After a wait in vain (the emptiest is hung, say), connections are taken at once for so long...
const IN_VAIN: Duration = Duration::from_millis(10);
/// ...and after waits in vain in a row so many, twice as many each time: on a busy machine the emptiest may be about to
/// wake, and a burst is more than its share.
const AT_ONCE: [u32; 5] = [1, 2, 4, 8, 16];

/// Memory of one worker between two connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Even(Mood);

/// `least` is the emptiest's count when the mood began. When that changes, the emptiest is awake. `vain` counts waits
/// in vain since then.
#[derive(Clone, Copy, Debug, Default)]
enum Mood {
    #[default]
    Calm,
    /// A connection waits for the others; `waited` is time in which they could have taken it.
    Patient { least: u32, looked: Mono, waited: Duration, vain: usize },
    /// A wait was in vain.
    Impatient { least: u32, until: Mono, left: u32, vain: usize },
}

impl Even {
    /// Whether to let the others have the connection that waits: to be asked again after a [`MOMENT`]. `counts` are
    /// those of all workers that accept, `own` among them.
    pub fn yields(&mut self, own: u32, counts: impl IntoIterator<Item = u32>, now: Mono) -> bool {
        let (mut least, mut sum, mut workers) = (own, 0u64, 0u64);
        for count in counts {
            least = least.min(count);
            sum += u64::from(count);
            workers += 1;
        }
        // With 24 sessions on four workers the difference stays at one or two, with thousands at some per cent.
        let slack = u32::try_from(sum / workers.max(1) / 50).unwrap_or(u32::MAX);
        self.0 = if own <= least.saturating_add(slack) { Mood::Calm } else { self.0.next(least, now) };
        matches!(self.0, Mood::Patient { .. })
    }
}

impl Mood {
    /// The mood of a worker that holds more than the emptiest, which holds `least`.
    fn next(self, least: u32, now: Mono) -> Self {
        match self {
            Self::Impatient { least: before, until, left, vain } if before == least => {
                if left > 0 && now < until {
                    Self::Impatient { least, until, left: left - 1, vain }
                } else {
                    Self::Patient { least, looked: now, waited: Duration::ZERO, vain }
                }
            }
            Self::Patient { least: before, looked, waited, vain } if before == least => {
                // On a busy machine this worker looks late, and the others are late as well.
                let waited = waited + now.since(looked).min(MOMENT * 2);
                if waited >= PATIENCE {
                    let left = AT_ONCE[vain.min(AT_ONCE.len() - 1)] - 1;
                    Self::Impatient { least, until: now.after(IN_VAIN), left, vain: vain + 1 }
                } else {
                    Self::Patient { least, looked: now, waited, vain }
                }
            }
            _ => Self::Patient { least, looked: now, waited: Duration::ZERO, vain: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emptiest_takes_at_once() {
        let mut even = Even::default();
        assert!(!even.yields(0, [0, 0, 0], Mono(0)));
        assert!(!even.yields(5, [5, 9, 7], Mono(0)));
        assert!(!even.yields(1020, [1000, 1020], Mono(0)), "two per cent are even");
        assert!(even.yields(1022, [1000, 1022], Mono(0)));
    }

    #[test]
    fn a_fuller_one_waits_while_that_helps_and_not_for_the_hung() {
        let (mut even, mut now, mut own) = (Even::default(), Mono(0), 2);
        // Looks come up to two milliseconds apart.
        let late = MOMENT * 2;
        for most in [1, 2, 4, 8, 16, 16] {
            let start = now;
            while even.yields(own, [own, 0], now) {
                now = now.after(late);
            }
            assert!(
                (PATIENCE..=Duration::from_millis(8)).contains(&now.since(start)),
                "{:?}",
                now.since(start)
            );
            for _ in 1..most {
                own += 1;
                assert!(!even.yields(own, [own, 0], now), "waiting was in vain just now");
            }
            own += 1;
            assert!(even.yields(own, [own, 0], now), "it may be awake by now");
        }
        assert!(even.yields(own, [own, 1], now), "it is awake");
        let mut even = Even(Mood::Impatient { least: 0, until: now.after(IN_VAIN), left: 9, vain: 5 });
        assert!(!even.yields(9, [9, 0], now));
        assert!(even.yields(9, [9, 1], now), "it is awake");
        let later = now.after(Duration::from_millis(11));
        assert!(even.yields(3, [3, 0], later));
        for least in 1..50 {
            assert!(even.yields(60, [60, least], later), "the others come");
        }
    }

    #[test]
    fn bursts_end_even() {
        // Workers wake in any order, several times in a row; each connection is there for all of them.
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut counts, mut even) = ([0u32; 4], [Even::default(); 4]);
        let (mut waiting, mut now) = (1000, Mono(0));
        while waiting > 0 {
            now = now.after(Duration::from_micros(100));
            let at = rng.usize(0..4);
            while waiting > 0 && !even[at].yields(counts[at], counts, now) {
                counts[at] += 1;
                waiting -= 1;
            }
        }
        assert!(counts.iter().all(|count| (240..=260).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_burst_on_a_busy_machine_is_nobodys_alone() {
        for seed in 0..500 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut counts, mut even, mut waiting) = ([0u32; 4], [Even::default(); 4], 24);
            // Workers get their turns late.
            let mut turns = [(); 4].map(|()| rng.u64(0..30));
            while waiting > 0 {
                let at = (0..4).min_by_key(|at| turns[*at]).unwrap();
                let now = Mono(turns[at] * 1_000_000);
                while waiting > 0 && !even[at].yields(counts[at], counts, now) {
                    counts[at] += 1;
                    waiting -= 1;
                }
                turns[at] += rng.u64(2..20);
            }
            assert!(counts.iter().all(|count| *count <= 12), "seed {seed}: {counts:?}");
        }
    }
}
