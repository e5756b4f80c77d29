//! The valid configuration: every value checked, every default filled in. It is immutable, replaced whole, and goes to
//! the children as JSON, in which each value stands under its key.

mod endpoints;
mod price;
mod process;
mod provider;
mod web;

pub use endpoints::{
    BroadcastSection, Carries, Channel, ChatSection, CommandSection, Lines, PollSection, Publish,
    ResumeSection, Stream, StreamSection,
};
pub use price::{OnStale, Policy, PriceConfig};
pub use process::{
    Cluster, ControlSection, CrashCover, HandoverSection, Log, LogFormat, ShutdownSection, WorkerCount,
};
pub use provider::{Exchange, Provider, ProviderKind, Secret};
pub use web::{
    AdminSection, AuthMode, AuthSection, HeartbeatSection, HttpSection, Limits, QuotesSection, StatsSection,
    WsSection,
};

pub(crate) use endpoints::{CHANNELS, STREAMS, check_streams, default_streams};

use super::reader::Reader;
use super::table::{Built, Effect, Entry, Layered, Section, Table};
use super::units::Environment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Declares [`Config`]: a field for each section, in the order of the documentation.
macro_rules! config {
    ($($name:ident: $section:ty,)*) => {
        /// Everything an operator may set, checked.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "each section says what it is")]
        pub struct Config {
            pub environment: Environment,
            $(pub $name: $section,)*
            /// By name; every name in `price.providers` is here.
            pub providers: BTreeMap<String, Provider>,
            pub streams: Vec<Stream>,
            pub channels: Vec<Channel>,
            /// Where the feeder keeps what must outlive it: `$STATE_DIRECTORY`, else beside the control socket.
            pub state: PathBuf,
        }

        /// All sections but the lists and the providers.
        pub(crate) fn sections() -> Vec<Table> {
            vec![$(Table::of::<$section>(stringify!($name)),)*]
        }

        impl Config {
            /// Reads everything; the faults are the reader's. `kinds`: the kind of each provider.
            pub(crate) fn read(r: &mut Reader<'_>, kinds: &BTreeMap<String, String>) -> Built<Self> {
                $(let $name = <$section>::read(&mut Layered { reader: r, section: stringify!($name).to_owned() })?;)*
                let mut config = Self {
                    environment: r.source.environment,
                    state: r.source.state.clone().unwrap_or_default(),
                    providers: provider::all(r, kinds)?,
                    streams: r.get("streams", &STREAMS)?,
                    channels: r.get("channels", &CHANNELS)?,
                    $($name,)*
                };
                if r.source.state.is_none() {
                    config.state = config.control.socket.with_extension("state");
                }
                Ok(config)
            }
        }
    };
}

config! {
    cluster: Cluster,
    http: HttpSection,
    ws: WsSection,
    admin: AdminSection,
    control: ControlSection,
    heartbeat: HeartbeatSection,
    quotes: QuotesSection,
    stats: StatsSection,
    price: PriceConfig,
    limits: Limits,
    chat: ChatSection,
    command: CommandSection,
    broadcast: BroadcastSection,
    poll: PollSection,
    resume: ResumeSection,
    handover: HandoverSection,
    auth: AuthSection,
    log: Log,
    shutdown: ShutdownSection,
}

/// Sections that hold other sections, behind all others.
pub(crate) const FOLDERS: [&str; 3] = ["provider", "streams", "channels"];

/// Keys and sections of later versions, with the capability that brings each. A key of this version has a row instead.
pub(crate) const LATER_KEYS: [(&str, &str); 21] = [
    ("http.listen_tls", "access"),
    ("ws.listen_tls", "access"),
    ("admin.listen_tls", "access"),
    ("tls", "access"),
    ("auth.secret_file", "access"),
    ("auth.public_key_file", "access"),
    ("auth.jwks_url", "access"),
    ("auth.jwks_refresh", "access"),
    ("auth.audience", "access"),
    ("auth.issuer", "access"),
    ("auth.leeway", "access"),
    ("auth.notice", "access"),
    ("auth.cookie", "access"),
    ("auth.anonymous", "access"),
    ("channels.subscribe", "access"),
    ("channels.history", "backends"),
    ("quotes.idempotency", "backends"),
    ("presence", "backends"),
    ("webhooks", "backends"),
    ("cluster.core_dumps", "sessions"),
    ("bridge", "hosts"),
];

/// Whether a key or section is one of a later version.
pub(crate) fn is_later(key: &str) -> bool {
    LATER_KEYS.iter().any(|(later, _)| *later == key)
}

/// What a change of a key needs.
#[must_use]
pub fn effect_of(key: &str) -> Effect {
    let row = key.split_once('.').and_then(|(section, name)| {
        let table = sections().into_iter().find(|table| table.name == section)?;
        table.entries.into_iter().find(|entry: &Entry| entry.name == name)
    });
    row.map_or(Effect::Live, |entry| entry.effect)
}

/// The kinds of providers, each with its rows.
pub(crate) fn kinds() -> Vec<Table> {
    ProviderKind::tables()
}
