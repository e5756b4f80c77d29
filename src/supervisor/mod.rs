//! Children: started, watched, restarted, replaced.
//!
//! [`Fleet`] decides and touches nothing, [`Spawner`] has the keeper start processes, and the master's loop carries events to the
//! first and orders to the second.

mod action;
mod child;
mod fleet;
mod place;
mod rolling;

pub use action::Action;
pub use child::{Spawned, Spawner};
pub use fleet::{Alive, Fleet};
pub use place::{Row, State};

use crate::config::{ClusterSection, WorkerCount};
use crate::protocol::cluster::Slot;

/// The count of workers that a configuration wants.
#[must_use]
pub fn workers(config: &ClusterSection) -> Slot {
    match config.workers {
        WorkerCount::Exactly(n) => n,
        WorkerCount::Auto => std::thread::available_parallelism()
            .ok()
            .and_then(|n| Slot::try_from(n.get()).ok())
            .map_or(1, |n| n.clamp(1, 256)),
    }
}
