//! The configuration: the file as written, the valid one, the layers between them, what a change means.
//! Data only: what is built from it is built in the room that uses it.
//!
//! [`Source`] says where to look; [`load()`] reads the files into a [`Snapshot`], lays the layers on each other and
//! gives a [`Config`] with the origin of each value, or every fault at once.

mod build;
mod check;
mod derive;
mod diff;
mod endpoints;
mod fault;
mod file;
mod keys;
mod layers;
mod load;
mod providers;
mod reader;
mod rules;
mod snapshot;
mod source;
mod units;
mod valid;
mod value;
mod watch;

pub use check::render;
pub use diff::{Change, diff, needs};
pub use endpoints::{Broadcast, Carries, Chat, Command, Lines, Poll, Resume, Stream};
pub use fault::{Fault, Faults, Origin};
pub use keys::{Effect, effect_of};
pub use load::{Loaded, Setting, control_socket, load, load_snapshot};
pub use snapshot::Snapshot;
pub use source::{Source, Surroundings};
pub use valid::{
    Admin, Channel, Cluster, Config, Control, Environment, Exchange, Heartbeat, Http, Limits, Listen, Log,
    LogFormat, OnStale, Policy, PriceConfig, Provider, ProviderKind, Publish, Quotes, Secret, Shutdown,
    Stats, WorkerCount, Ws,
};
pub use watch::{Timing, Watcher};
