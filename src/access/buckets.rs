//! A rate for many counted things: a bucket for each user or address that was seen lately, none for the others.

use crate::model::{Gcra, Mono, Rate};
use hashbrown::HashTable;
use std::time::Duration;

/// More than so many are not remembered, and what is not remembered is not limited: an attacker with a million
/// names is met by other limits, and must not fill the memory by asking.
const MOST: usize = 1 << 20;
/// A table that small is not worth shrinking.
const SMALL: usize = 1024;

/// Buckets by a seeded 64-bit hash of what they count, 16 bytes each: the name itself is not kept, as an unknown
/// user's may be 128 bytes long and two names that share a hash are not to be found by chance.
#[derive(Debug, Default)]
pub struct Buckets {
    table: HashTable<(u64, Gcra)>,
}

impl Buckets {
    /// Takes one from the bucket of `key`; `Err` says how long to wait for the next.
    ///
    /// # Errors
    /// The bucket is empty.
    pub fn take(&mut self, key: u64, rate: Rate, now: Mono) -> Result<(), Duration> {
        if rate.count == 0 {
            return Ok(());
        }
        if let Some((_, bucket)) = self.table.find_mut(key, |(other, _)| *other == key) {
            return bucket.take(rate, rate.count, now);
        }
        let mut bucket = Gcra::default();
        bucket.take(rate, rate.count, now)?;
        if self.table.len() < MOST {
            self.table.insert_unique(key, (key, bucket), |(key, _)| *key);
        }
        Ok(())
    }

    /// Answers as [`Buckets::take`], without taking.
    ///
    /// # Errors
    /// As for [`Buckets::take`].
    pub fn peek(&self, key: u64, rate: Rate, now: Mono) -> Result<(), Duration> {
        if rate.count == 0 {
            return Ok(());
        }
        let known = self.table.find(key, |(other, _)| *other == key).map(|(_, bucket)| *bucket);
        known.unwrap_or_default().take(rate, rate.count, now)
    }

    /// Forgets the full buckets. To be called about once a second.
    pub fn tidy(&mut self, now: Mono) {
        if self.table.is_empty() {
            return;
        }
        self.table.retain(|(_, bucket)| !bucket.idle(now));
        if self.table.capacity() > SMALL.max(self.table.len() * 8) {
            self.table.shrink_to(self.table.len() * 2, |(key, _)| *key);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_bucket_and_is_forgotten_when_full() {
        let (mut buckets, rate) = (Buckets::default(), Rate::parse("3/s").unwrap());
        let start = Mono(1_000_000_000_000);
        for key in 0..5000 {
            assert!(buckets.peek(key, rate, start).is_ok());
            assert_eq!((0..9).filter(|_| buckets.take(key, rate, start).is_ok()).count(), 3);
            assert_eq!(buckets.peek(key, rate, start), buckets.take(key, rate, start));
        }
        assert_eq!(buckets.len(), 5000);
        buckets.tidy(start.after(Duration::from_millis(999)));
        assert_eq!(buckets.len(), 5000);
        buckets.tidy(start.after(Duration::from_secs(1)));
        assert_eq!(buckets.len(), 0);
        assert!(buckets.table.capacity() <= SMALL, "the memory is given back");
    }

    #[test]
    fn no_limit_remembers_nothing_and_the_memory_is_bounded() {
        let (mut buckets, now) = (Buckets::default(), Mono(1_000_000_000_000));
        assert!((0..100).all(|_| buckets.take(1, Rate::OFF, now).is_ok()));
        assert_eq!(buckets.len(), 0);
        let rate = Rate::parse("1/h").unwrap();
        assert!((0..MOST as u64 + 100).all(|key| buckets.take(key, rate, now).is_ok()));
        assert_eq!(buckets.len(), MOST);
        assert!(buckets.take(7, rate, now).is_err());
    }
}
