//! All sessions of this worker and everything that is sent to them, in one place behind one lock that is never held
//! across a wait. The process has one thread: the lock is never contended, it only satisfies the compiler.

mod parts;

// The hub: all parts, and the lock around them.
mod state;

// Events of clients, the master and the clock: each tells the parts, and carries out what they say.
mod adopt;
mod answers;
mod arrive;
mod cover;
mod deliver;
mod ending;
mod endpoints;
mod entry;
mod inbound;
mod keys;
mod land;
mod lines;
mod offload;
mod opening;
mod packs;
mod passes;
mod peers;
#[cfg(debug_assertions)]
mod poison;
mod poll;
mod quotes;
mod renewal;
mod rooms;
mod send;
mod settings;
mod suspend;
mod tick;

#[cfg(test)]
mod tests;

pub(super) use crate::session::Framing;
pub(super) use adopt::take_in_all;
pub(super) use arrive::{Arrival, arrive};
pub(super) use deliver::Push;
pub(super) use entry::Entrance;
pub(super) use opening::Opening;
pub(super) use parts::announced::Refused;
pub(super) use parts::charts::Wanted;
pub(super) use parts::connections::Leaving;
pub(super) use parts::greeting::Greeting;
pub(super) use parts::known_keys::PATIENCE;
pub(super) use parts::requests::Reply;
pub(super) use parts::session::Request as SessionRequest;
pub(super) use parts::timers::TICK;
pub(super) use parts::unpacking::Part;
pub(super) use parts::uplink::Uplink;
pub(super) use peers::poll_anywhere;
pub(super) use renewal::hello;
pub(super) use state::{Hub, Me, Phase, State};
