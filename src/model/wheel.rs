//! Deadlines of many things in one structure: a wheel of coarse slots with a single sleeper.

use super::{Mono, is_roomy};
use std::time::Duration;

/// A hashed timing wheel: a key inserted for a moment comes out, with all others due, within one `tick` after it. A key
/// cannot be removed: its receiver checks whether it still applies. An entry costs the size of its key.
#[derive(Debug)]
pub struct Wheel<K> {
    slots: Vec<Vec<(u64, K)>>,
    tick: u64,
    /// The next tick to hand out.
    at: u64,
}

impl<K> Wheel<K> {
    /// A wheel that starts at `now`. `tick` is its resolution; `slots` ticks make one turn.
    #[must_use]
    pub fn new(tick: Duration, slots: usize, now: Mono) -> Self {
        let tick = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { slots: (0..slots.max(1)).map(|_| Vec::new()).collect(), tick, at: now.0 / tick }
    }

    /// Inserts `key` for the moment `due`.
    pub fn insert(&mut self, due: Mono, key: K) {
        let tick = due.0.div_ceil(self.tick).max(self.at);
        let slot = self.slot(tick);
        self.slots[slot].push((tick, key));
    }

    /// Moves all keys due by `now` into `due`.
    pub fn expire(&mut self, now: Mono, due: &mut Vec<K>) {
        let until = now.0 / self.tick;
        // After a long pause one turn visits every slot; more turns would find nothing new.
        let turns = (until + 1).saturating_sub(self.at).min(self.slots.len() as u64);
        for step in 0..turns {
            let slot = self.slot(self.at + step);
            let keys = &mut self.slots[slot];
            due.extend(keys.extract_if(.., |(tick, _)| *tick <= until).map(|(_, key)| key));
            if is_roomy(keys.capacity(), keys.len()) {
                keys.shrink_to(keys.len() * 2);
            }
        }
        self.at = self.at.max(until + 1);
    }

    fn slot(&self, tick: u64) -> usize {
        // The remainder is smaller than the number of slots, which is a usize.
        usize::try_from(tick % self.slots.len() as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_comes_out_once_and_in_time(
            dues in proptest::collection::vec(0u64..5_000, 0..200),
            steps in proptest::collection::vec(1u64..700, 1..40),
        ) {
            let ms = |n: u64| Mono(n * 1_000_000);
            let mut wheel = Wheel::new(Duration::from_millis(50), 16, ms(0));
            for (key, due) in dues.iter().enumerate() {
                wheel.insert(ms(*due), key);
            }
            let (mut now, mut seen, mut last) = (0, vec![0u32; dues.len()], 0);
            for step in steps.into_iter().chain([10_000]) {
                now += step;
                let mut out = Vec::new();
                wheel.expire(ms(now), &mut out);
                for key in out {
                    seen[key] += 1;
                    prop_assert!(dues[key] <= now, "not before its time");
                    prop_assert!(dues[key] + 50 >= last / 50 * 50, "not a tick too late");
                }
                last = now;
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
            prop_assert!(wheel.slots.iter().all(Vec::is_empty));
        }
    }
}
