//! The valid configuration: every value checked, every default filled in. It is immutable, replaced whole, and goes to
//! the children as JSON, in which each value stands under its key.

mod auth;
mod config;
mod endpoints;
mod price;
mod process;
mod provider;
mod tls;
mod web;

pub use auth::{AnonymousKind, AuthMode, AuthSection};
pub use config::{Config, effect_of};
pub(crate) use config::{kinds, sections};
pub use endpoints::{
    BroadcastSection, Carries, Channel, ChatSection, CommandSection, Hearers, Lines, PollSection, Publish,
    ResumeSection, Stream, StreamSection,
};
pub(crate) use endpoints::{default_streams, is_state};
pub use price::{OnStale, Policy, PriceSection};
pub use process::{
    ClusterSection, ControlSection, CrashCover, HandoverSection, LogFormat, LogSection, ShutdownSection,
    WorkerCount,
};
pub use provider::{Exchange, Provider, ProviderKind, Secret};
pub use tls::{CertificateSection, TlsSection, TlsVersion};
pub use web::{
    AdminSection, ByteRate, ForwardedHeader, HeartbeatSection, HttpSection, LimitsSection, QuotesSection,
    Share, StatsSection, WsSection, is_local, quarter,
};
