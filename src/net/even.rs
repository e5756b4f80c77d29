//! Evens out workers that share a listening socket. The worker that wakes first could take most connections; so a
//! worker that holds more than the emptiest leaves a waiting connection to the others for some moments, and takes it
//! only if they do not.

use crate::model::Mono;
use std::time::Duration;

/// The time between two looks at a waiting connection.
pub const MOMENT: Duration = Duration::from_micros(500);
/// How many moments a connection waits for other workers.
const MOMENTS: u32 = 16;
/// After waiting in vain (for instance because the emptiest worker hangs), no connection waits for this time.
const IN_VAIN: Duration = Duration::from_millis(10);

/// The state that one worker keeps between two connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Even {
    waited: u32,
    /// The emptiest worker's count when the wait began.
    least: u32,
    impatient_until: Mono,
}

impl Even {
    /// Whether to leave the waiting connection to the others; ask again after a [`MOMENT`]. `counts` are those of all
    /// workers that accept, `own` among them.
    pub fn yields(&mut self, own: u32, counts: impl IntoIterator<Item = u32>, now: Mono) -> bool {
        let (mut least, mut sum, mut workers) = (own, 0u64, 0u64);
        for count in counts {
            least = least.min(count);
            sum += u64::from(count);
            workers += 1;
        }
        // With 24 sessions on four workers the difference stays at one or two, with thousands at some per cent.
        let slack = u32::try_from(sum / workers.max(1) / 50).unwrap_or(u32::MAX);
        if own <= least.saturating_add(slack) || now < self.impatient_until {
            self.waited = 0;
            return false;
        }
        if self.waited == 0 || least != self.least {
            // The first moment, or the others have accepted meanwhile: they are awake.
            (self.waited, self.least) = (0, least);
        }
        self.waited += 1;
        if self.waited > MOMENTS {
            self.waited = 0;
            self.impatient_until = now.after(IN_VAIN);
            return false;
        }
        true
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
        let (mut even, now) = (Even::default(), Mono(0));
        assert_eq!((0..20).take_while(|_| even.yields(2, [2, 0], now)).count(), 16);
        assert!(!even.yields(3, [3, 0], now), "waiting was in vain just now");
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
}
