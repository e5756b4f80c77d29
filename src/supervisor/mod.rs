//! Children: started, watched, restarted, replaced.
//!
//! [`Fleet`] decides and touches nothing; [`spawn`] starts processes; the master's loop carries events to the one
//! and actions to the other.

mod action;
mod child;
mod fleet;
mod place;
mod rolling;

pub use action::{Action, Why};
pub use child::{End, Exit, SUBCOMMAND, Spawned, spawn};
pub use fleet::Fleet;
pub use place::{Row, State};
