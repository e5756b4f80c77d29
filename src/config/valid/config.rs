//! The valid configuration as a whole.

use super::endpoints::{CHANNELS, Carries, Channel, Lines, STREAMS, Stream, is_state};
use super::provider::{self, Provider, ProviderKind};
use super::{auth, endpoints, price, process, tls, web};
use crate::config::entry::{Effect, Table};
use crate::config::reader::Reader;
use crate::config::table::{Built, Layered, Section};
use crate::config::units::Environment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Declares [`Config`]: a field for each section, in the order of the documentation.
macro_rules! config {
    ($($name:ident: $section:ty,)*) => {
        /// Everything an operator may set, checked.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct Config {
            pub environment: Environment,
            $(pub $name: $section,)*
            /// By name; every name in `price.providers` is here.
            pub providers: BTreeMap<String, Provider>,
            pub streams: Vec<Stream>,
            pub channels: Vec<Channel>,
            /// Folder for what outlives the feeder: `$STATE_DIRECTORY`, else beside the control socket.
            pub state: PathBuf,
        }

        /// All sections but the lists and the providers.
        pub(crate) fn sections() -> Vec<Table> {
            vec![$(<$section>::table(stringify!($name)),)*]
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
    cluster: process::ClusterSection,
    http: web::HttpSection,
    ws: web::WsSection,
    admin: web::AdminSection,
    control: process::ControlSection,
    heartbeat: web::HeartbeatSection,
    quotes: web::QuotesSection,
    stats: web::StatsSection,
    price: price::PriceSection,
    limits: web::LimitsSection,
    chat: endpoints::ChatSection,
    command: endpoints::CommandSection,
    broadcast: endpoints::BroadcastSection,
    poll: endpoints::PollSection,
    resume: endpoints::ResumeSection,
    handover: process::HandoverSection,
    auth: auth::AuthSection,
    tls: tls::TlsSection,
    log: process::LogSection,
    shutdown: process::ShutdownSection,
}

/// Effect of a change of a key.
#[must_use]
pub fn effect_of(key: &str) -> Effect {
    let row = key.split_once('.').and_then(|(section, name)| {
        let table = sections().into_iter().find(|table| table.name == section)?;
        table.entries.into_iter().find(|entry| entry.name == name)
    });
    row.map_or(Effect::Live, |entry| entry.effect)
}

/// The kinds of providers, each with its rows.
pub(crate) fn kinds() -> Vec<Table> {
    ProviderKind::tables()
}

impl Config {
    /// The stream of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// The files and programs that streams carry; one that two of them carry stands twice.
    pub fn lines(&self) -> impl Iterator<Item = &Lines> {
        self.streams.iter().filter_map(|stream| match &stream.carries {
            Carries::Lines(lines) => Some(lines),
            Carries::Channel(_) => None,
        })
    }

    /// Tells whether a channel is one of state.
    #[must_use]
    pub fn has_state(&self, channel: &str) -> bool {
        is_state(channel, &self.price.symbols)
    }
}
