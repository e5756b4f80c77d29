//! Whether a price is fresh, stale or gone.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How old a price may get: `price.fresh_for`, `price.max_age`, `price.forget_after`, `price.on_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Up to this age a price is fresh.
    pub fresh_for: Duration,
    /// Past this age it is stale whatever its source's interval, and refused where `refuse_stale`.
    pub max_age: Duration,
    /// Past this age there is no price.
    pub forget_after: Duration,
    /// `on_stale = "refuse"`.
    pub refuse_stale: bool,
}

/// What may be said of a price at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Young enough.
    Fresh,
    /// To be shown as old.
    Stale,
    /// Not to be shown at all.
    Gone,
}

impl Rules {
    /// Fresh, stale or gone: a price of that age, from a source that gives one each `interval` (zero: at any time).
    #[must_use]
    pub fn health(&self, age: Duration, interval: Duration) -> Health {
        if age > self.forget_after || (self.refuse_stale && age > self.max_age) {
            Health::Gone
        } else if age > self.stale_after(interval) {
            Health::Stale
        } else {
            Health::Fresh
        }
    }

    pub(super) fn stale_after(&self, interval: Duration) -> Duration {
        self.fresh_for.max(interval * 2).min(self.max_age)
    }
}
