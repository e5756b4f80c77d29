//! How stamps are compared with our boot clock, which nobody sets.

use crate::model::{Boot, Wall};

/// Two clocks that differ by at most so many milliseconds agree.
pub(super) const AGREE: i64 = 2_000;

/// The time by the source's stamp minus the time since our boot, in milliseconds.
pub(super) fn offset(stamp: Wall, boot: Boot) -> i64 {
    stamp.0.saturating_sub(i64::try_from(boot.0 / 1_000_000).unwrap_or(i64::MAX))
}
