//! Limits the lines of one kind (one place in the code), counts those that are left out, and keeps the last of them: it is
//! written as soon as the limit allows, so that the end of a flood is told, too.

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

/// Writes a line, with the number of those left out before it.
pub(super) type Held = Box<dyn FnOnce(u64) + Send>;

/// The recent lines of each kind.
#[derive(Default)]
pub(super) struct LineKinds(Mutex<HashMap<Identifier, LineKind>>);

#[derive(Default)]
struct LineKind {
    bucket: Gcra,
    left_out: u64,
    /// The last line, if it was left out.
    last: Option<Held>,
}

impl LineKinds {
    /// Returns the number of lines of this kind that were left out before this one; `None`: leave it out, too, and
    /// `hold` it.
    pub(super) fn admit(&self, kind: Identifier, hold: impl FnOnce() -> Held) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_default();
        if kind.bucket.take(RATE, BURST, clock::mono()).is_err() {
            kind.left_out += 1;
            kind.last = Some(hold());
            return None;
        }
        kind.last = None;
        Some(std::mem::take(&mut kind.left_out))
    }

    /// Writes lines that were left out, where the limit allows it by now.
    pub(super) fn tell(&self) {
        let mut due = Vec::new();
        for kind in self.0.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            if kind.last.is_some()
                && kind.bucket.take(RATE, BURST, clock::mono()).is_ok()
                && let Some(write) = kind.last.take()
            {
                due.push((write, std::mem::take(&mut kind.left_out).saturating_sub(1)));
            }
        }
        due.into_iter().for_each(|(write, left_out)| write(left_out));
    }

    /// Counts an admitted line that could not be sent, and those that it would have told of.
    pub(super) fn lost(&self, kind: Identifier, with_it: u64) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.entry(kind).or_default().left_out += 1 + with_it;
    }
}
