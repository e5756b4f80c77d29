//! The master: holds what must not die, decides what only one may decide.
//!
//! ```text
//! links ─┐                    ┌─ router + directory (pure): orders to deliver, sessions, limits
//! exits ─┤                    ├─ fleet (pure): who is started, drained, killed
//! files ─┼─▶ one loop (life) ─┼─ reload: which configuration is in force
//! ctl   ─┤                    └─ report: statistics, metrics, lists
//! clock ─┘
//! ```
//!
//! The master parses no byte that came from a client or an exchange, and waits for nothing but the next event.

mod adopt;
mod announce;
mod announcer;
mod balance;
mod certificates;
mod children;
mod command;
mod control;
mod control_socket;
mod core;
pub mod directory;
mod estates;
mod event;
mod feed;
mod gate;
mod handovers;
mod headline;
mod hear;
mod in_force;
mod journal;
mod key_set;
mod keys;
mod life;
mod moves;
mod moving;
mod orphans;
mod packing;
mod past;
mod peers;
mod place;
mod placing;
mod predecessor;
mod processes;
mod refusals;
mod reload;
mod reloads;
mod renewal;
mod report;
mod revocations;
mod revoke;
mod roles;
mod rooms;
pub mod router;
mod service;
mod succession;
mod tls;
mod trial;
mod unpacking;
mod untold;
mod upgrade;
mod upgrades;
mod watching;

#[cfg(any(test, fuzzing))]
pub use journal::fuzzed;
pub use life::{Failure, run};
pub use trial::try_this;
