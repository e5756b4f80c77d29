//! Memory that containers keep after a peak.

use hashbrown::HashMap;
use std::hash::{BuildHasher, Hash};

/// Smaller containers are not worth shrinking.
const SMALL: usize = 64;

/// Whether a container has so much more room than it needs that it should shrink, to twice its length. The work is
/// bounded by the removals since the last time.
#[must_use]
pub fn is_roomy(capacity: usize, len: usize) -> bool {
    capacity > SMALL.max(len.saturating_mul(8))
}

/// Shrinks a table after a peak.
pub fn give_back<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
    if is_roomy(table.capacity(), table.len()) {
        table.shrink_to(table.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foldhash::fast::RandomState;

    #[test]
    fn a_table_shrinks_after_a_peak_and_not_while_it_is_used() {
        let mut table: HashMap<u32, u32, RandomState> = (0..10_000).map(|n| (n, n)).collect();
        table.retain(|key, _| *key < 5_000);
        give_back(&mut table);
        assert!(table.capacity() >= 10_000, "{}", table.capacity());
        table.retain(|key, _| *key < 10);
        give_back(&mut table);
        assert!(table.capacity() <= SMALL && table.len() == 10, "{}", table.capacity());
    }
}
