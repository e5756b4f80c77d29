//! Programs of the user's that run beside the daemon: a price source, a stream of lines.
//!
//! A program runs as a process [`Group`] with a clean environment, its output is read piece by piece, and it does not
//! outlive its owner. What it writes to standard error goes to the log, a few lines a minute ([`StderrLog`]). Out of
//! scope: when a program is started again, and what its output means.

mod group;
mod stderr;

pub use group::guard_programs;
pub(crate) use group::{Group, Outlet};
pub(crate) use stderr::StderrLog;
