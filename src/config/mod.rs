//! The configuration: the file as written, the valid one, the layers between them, what a change means.
//! Data only: what is built from it is built in the room that uses it.
//!
//! [`Source`] says where to look; [`load()`] reads the files into a [`Snapshot`], lays the layers on each other and
//! gives a [`Config`] with the origin of each value, or every fault at once.

mod check;
mod derive;
mod diff;
mod entry;
mod fault;
mod file;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/config.rs"]
pub mod fuzzed;
mod kind;
mod layers;
mod level;
mod load;
mod read;
mod reader;
mod reference;
mod rules;
mod snapshot;
mod source;
mod table;
mod units;
mod valid;
mod value;
mod watch;

pub use check::render;
pub use diff::{Change, diff, needs};
pub use entry::Effect;
pub use fault::{Fault, Faults, Origin};
pub use kind::Listen;
pub use load::{Loaded, Setting, control_socket, load, load_snapshot};
pub use reference::Reference;
pub use snapshot::Snapshot;
pub use source::{Source, Surroundings};
pub use units::Environment;
pub(crate) use units::duration;
pub use valid::{
    AdminSection, AnonymousKind, AuthMode, AuthSection, BroadcastSection, ByteRate, Carries,
    CertificateSection, Channel, ChatSection, ClusterSection, CommandSection, Config, ControlSection,
    CrashCover, Exchange, ForwardedHeader, HandoverSection, Hearers, HeartbeatSection, HttpSection,
    LimitsSection, Lines, LogFormat, LogSection, OnStale, Policy, PollSection, PriceSection, Provider,
    ProviderKind, Publish, QuotesSection, ResumeSection, Secret, Share, ShutdownSection, StatsSection,
    Stream, StreamSection, TlsSection, TlsVersion, WorkerCount, WsSection, effect_of, is_local, quarter,
};
pub use watch::{Timing, Watcher};
