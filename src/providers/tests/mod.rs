//! A battery for all sources, every fault for all exchanges, and the verdict on each recorded message.

pub(crate) mod battery;
mod faults;
mod lists;
mod recordings;
mod remotes;
#[path = "../../../tests/standin/mod.rs"]
pub(crate) mod standin;
mod verdicts;
