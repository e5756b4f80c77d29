//! What is believed of a source's stamps and numbers, over its sessions and over both of its legs. Pure, but for the
//! handle that the sessions share.
//!
//! - *Old*: a price that is older by its own stamp than one that was believed, beyond some jitter, or whose number is
//!   not above the newest one, is no news: it enters neither price nor candles, and keeps nothing fresh.
//! - *Late*: how late a price is, is measured against the time that the sources and our clock agree on
//!   (`witnesses.rs`), and against the source's own best (`own_clock.rs`).
//! - *Ahead*: a stamp of the future is never the newest one, so right ones after it count at once.

mod memory;
mod numbers;
mod offsets;
mod own_clock;
mod wall;
mod witnesses;

pub(super) use memory::{Belief, Said, Verdict};
pub(super) use wall::WallWatch;
pub(super) use witnesses::Witnesses;
