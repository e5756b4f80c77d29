//! Live bitcoin prices for browser tabs: a keeper, a master, a feeder and workers, all of them this program.
//!
//! ```text
//! a price:   exchange ─▶ feeder ─▶ master ─▶ every worker ─▶ the tabs that are subscribed
//! a quote:   POST ─▶ worker A ─▶ master ─▶ worker B ─▶ the user's tab; a receipt goes all the way back
//! ```
//!
//! In the order of the data's way: [`providers`] read what an exchange says; the [`feeder`] decides which of them is
//! served; a link of [`protocol`] carries the price to the [`master`], which numbers it, and on to each [`worker`],
//! which writes it once, as a frame of [`ws`], and sends the same bytes to all its sessions over [`transports`].
//! Back come clients: [`net`] accepts them, [`access`] judges them, the worker's HTTP routes serve them or make them
//! sessions, whose channels and outboxes are in [`session`]. An order to deliver goes from one worker through the
//! master's directory and router to another, and its receipt the same way back.
//!
//! Around that: the [`keeper`] starts all processes and holds what must outlive them; [`config`] turns files into one
//! valid value, of which every process gets all; the [`supervisor`] decides which processes there are; [`stats`] adds
//! up what they count; [`log`] writes lines; [`os`] is what Linux gives; [`programs`] runs the user's own; [`model`]
//! has the words that all of them use; [`cli`] is where it begins.
//!
//! Which room may use which is in `ARCHITECTURE.md`, and kept by `tests/architecture.rs`. Rooms are private to the
//! crate, so that the compiler names what nothing uses; `pub` inside a room means "for other rooms".

// Commands print by `cli::out`, everything else logs.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub(crate) mod model;
pub(crate) mod os;
pub(crate) mod ws;

pub mod config;
pub(crate) mod log;
pub(crate) mod protocol;

pub(crate) mod access;
pub(crate) mod net;
pub(crate) mod programs;
pub(crate) mod session;
pub(crate) mod stats;

pub(crate) mod providers;
pub(crate) mod supervisor;
pub(crate) mod transports;

pub(crate) mod feeder;
pub(crate) mod keeper;
pub(crate) mod master;
pub(crate) mod worker;

pub mod cli;

// See `tests/fuzz`.
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/targets/mod.rs"]
pub mod fuzzing;
