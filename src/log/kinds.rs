//! Limits the lines of one kind (one place in the code), and counts those that are left out.

use crate::model::{Gcra, Rate};
use crate::os::clock;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tracing::callsite::Identifier;

/// Lines of one kind that may be written at once, and per minute in the long run. A rolling replacement of 256 workers
/// fits.
pub(super) const BURST: u32 = 300;
const RATE: Rate = Rate { count: 300, per: Duration::from_secs(60) };

/// The recent lines of each kind.
#[derive(Default)]
pub(super) struct LineKinds(Mutex<HashMap<Identifier, LineKind>>);

#[derive(Default)]
struct LineKind {
    bucket: Gcra,
    left_out: u64,
}

impl LineKinds {
    /// Returns the number of lines of this kind that were left out before this one; `None`: leave it out, too.
    pub(super) fn admit(&self, kind: Identifier) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_default();
        if kind.bucket.take(RATE, BURST, clock::mono()).is_err() {
            kind.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut kind.left_out))
    }

    /// Counts an admitted line that could not be sent, and those that it would have told of.
    pub(super) fn lost(&self, kind: Identifier, with_it: u64) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.entry(kind).or_default().left_out += 1 + with_it;
    }
}
