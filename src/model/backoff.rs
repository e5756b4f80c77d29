//! The only back-off of the project: exponential, with full jitter.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Waits that double from `min` to `max`. Each is drawn between half of it and all of it, so that things that failed
/// together do not retry together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off without failures.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    /// Returns the wait after one more failure; `chance` is in `0.0..1.0`.
    pub fn next(&mut self, chance: f64) -> Duration {
        let ceiling =
            self.min.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1).min(31);
        ceiling.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// Records a success: the next failure waits `min` again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_ceiling_and_starts_anew() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1500));
        let waits: Vec<_> = (0..6).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), ms(1500), ms(1500)]);
        assert_eq!(backoff.next(0.0), ms(750));
        backoff.reset();
        assert_eq!(backoff.next(1.0), ms(100));
    }

    #[test]
    fn it_never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        assert!((0..1000).all(|_| backoff.next(0.5) <= Duration::from_secs(30)));
    }
}
