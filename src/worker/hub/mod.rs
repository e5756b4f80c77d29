//! All sessions of this worker and everything that is sent to them, in one place behind one lock that is never held
//! across a wait. The process has one thread: the lock is never contended, it only satisfies the compiler.

mod announced;
mod answers;
mod arrive;
mod charts;
mod commands;
mod connections;
mod deliver;
mod ending;
mod endpoints;
mod entrances;
mod forwards;
mod greeting;
mod inbound;
mod later;
mod opening;
mod peers;
mod policy;
mod poll;
mod polling;
mod prices;
mod quotes;
mod requests;
mod rooms;
mod send;
mod session;
mod sessions;
mod settings;
mod state;
mod suspend;
mod suspended;
mod takes;
#[cfg(test)]
mod tests;
mod tick;
mod tickets;
mod timers;
mod uplink;
mod walks;

pub(super) use crate::session::Framing;
pub(super) use announced::Refused;
pub(super) use arrive::{Arrival, arrive};
pub(super) use charts::Wanted;
pub(super) use deliver::Push;
pub(super) use greeting::Greeting;
pub(super) use opening::Opening;
pub(super) use peers::poll_anywhere;
pub(super) use requests::Reply;
pub(super) use session::Request as SessionRequest;
pub(super) use state::{Hub, Me, Phase, State};
pub(super) use timers::TICK;
