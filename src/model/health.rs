//! Whether a price is fresh, stale or gone.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The age limits of a price: `price.fresh_for`, `price.max_age`, `price.forget_after`, `price.on_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// A price up to this age is fresh.
    pub fresh_for: Duration,
    /// A price past this age is stale, whatever its source's interval; if `refuse_stale` is set, it is gone.
    pub max_age: Duration,
    /// A price past this age is gone.
    pub forget_after: Duration,
    /// `on_stale = "refuse"`.
    pub refuse_stale: bool,
}

/// Fitness of a price to be shown at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Younger than the limits.
    Fresh,
    /// Shown as old.
    Stale,
    Gone,
}

impl Rules {
    /// Judges a price of this age from a source that gives one each `interval` (zero: at any time).
    #[must_use]
    pub fn health(&self, age: Duration, interval: Duration) -> Health {
        if age > self.gone_after() {
            Health::Gone
        } else if age > self.stale_after(interval) {
            Health::Stale
        } else {
            Health::Fresh
        }
    }

    /// Past this age there is no price.
    #[must_use]
    pub fn gone_after(&self) -> Duration {
        if self.refuse_stale { self.max_age.min(self.forget_after) } else { self.forget_after }
    }

    /// The age past which such a price is stale.
    #[must_use]
    pub fn stale_after(&self, interval: Duration) -> Duration {
        self.fresh_for.max(interval * 2).min(self.max_age)
    }
}
