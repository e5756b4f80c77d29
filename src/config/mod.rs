//! The configuration: the file as written, the valid one, the layers between them, what a change means.
//! Data only: what is built from it is built in the room that uses it.

mod valid;

pub use valid::{
    Admin, Channel, Cluster, Config, Control, Environment, Heartbeat, Http, Limits, Listen, Log, LogFormat,
    OnStale, PriceConfig, Provider, ProviderKind, Publish, Quotes, Secret, Shutdown, Stats, WorkerCount, Ws,
};
