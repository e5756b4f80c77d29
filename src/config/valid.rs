//! The valid configuration: every value checked, every default filled in. It is immutable, replaced whole, and
//! goes to the children as JSON.

use super::endpoints::{Broadcast, Chat, Command, Poll, Resume, Stream};
use crate::model::{Price, Rate, Rules, Symbol};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Which defaults apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A checkout: loopback only, admin port open, users shown.
    Development,
    /// An installed daemon.
    Production,
    /// The test suite: the mock source, nothing else.
    Test,
}

impl Environment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Development, Self::Production, Self::Test];

    /// The word for it, as in `BTC_CLUSTER_ENV`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
            Self::Test => "test",
        }
    }
}

/// Everything an operator may set, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each section says what it is")]
pub struct Config {
    pub environment: Environment,
    pub cluster: Cluster,
    pub http: Http,
    pub ws: Ws,
    pub admin: Admin,
    pub control: Control,
    pub heartbeat: Heartbeat,
    pub quotes: Quotes,
    pub stats: Stats,
    pub price: PriceConfig,
    /// By name; every name in `price.providers` is here.
    pub providers: BTreeMap<String, Provider>,
    /// Where the feeder keeps what must outlive it: `$STATE_DIRECTORY`, else beside the control socket.
    pub state: PathBuf,
    pub streams: Vec<Stream>,
    pub channels: Vec<Channel>,
    pub limits: Limits,
    pub chat: Chat,
    pub command: Command,
    pub broadcast: Broadcast,
    pub poll: Poll,
    pub resume: Resume,
    pub log: Log,
    pub shutdown: Shutdown,
}

/// `cluster.workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerCount {
    /// One per core.
    Auto,
    /// That many, at least one.
    Exactly(u16),
}

/// `[cluster]`: processes and how they are kept alive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// How many workers.
    pub workers: WorkerCount,
    /// A child that has sent no beat for so long is killed and replaced.
    pub worker_timeout: Duration,
    /// A child that is not ready after so long is killed.
    pub start_timeout: Duration,
    /// How long a replaced worker may take to send its sessions away.
    pub drain: Duration,
    /// First pause before a dead child is started again.
    pub restart_min: Duration,
    /// Longest such pause.
    pub restart_max: Duration,
    /// Ready for so long, the pause and the count of deaths start anew.
    pub stable_after: Duration,
    /// So many deaths of a slot ...
    pub give_up_after: u32,
    /// ... within this time, and it is given up.
    pub give_up_within: Duration,
}

/// An address to listen on. Port 0 takes a free port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// One or more addresses (development: 127.0.0.1 and, where there is one, `[::1]`).
    pub addresses: Vec<SocketAddr>,
    /// Whether an address of this machine that cannot be had (no IPv6) is left out with a warning, as long as
    /// one is left.
    pub best_effort: bool,
}

/// `[http]`: the page and REST.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Http {
    /// Where.
    pub listen: Listen,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Folder of the page's files; `None`: the ones compiled in.
    pub static_dir: Option<PathBuf>,
    /// Foreign origins that are allowed, `https://example.com` for instance.
    pub allowed_origins: Vec<String>,
    /// Host names that are served; empty: any.
    pub hosts: Vec<String>,
    /// Networks of reverse proxies whose `X-Forwarded-*` are believed, as address and prefix length.
    pub trusted_proxies: Vec<(std::net::IpAddr, u8)>,
    /// Where the page connects to; `{host}` stands for the page's host name. `None`: its own origin.
    pub page_ws_url: Option<String>,
}

/// `[ws]`: the WebSocket port and what all sessions share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ws {
    /// Where.
    pub listen: Listen,
    /// Name of the endpoint that answers at `/`.
    pub root: String,
    /// Whether `/echo` is there.
    pub echo: bool,
    /// Largest message from a client in bytes.
    pub max_message: usize,
    /// Most bytes that wait for one session.
    pub outbox: usize,
    /// A session to which nothing could be written for so long is closed with 4102.
    pub slow_timeout: Duration,
    /// How long a handshake may take, from the connection to the 101.
    pub handshake_timeout: Duration,
}

/// `[admin]`: the port for operators' programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admin {
    /// Where; `None`: no admin port.
    pub listen: Option<Listen>,
}

/// `[control]`: the socket of `btc-cluster ctl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Its path.
    pub socket: PathBuf,
}

/// `[heartbeat]`: pings on WebSockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// A ping after so long without a byte from the client.
    pub interval: Duration,
    /// A session that has sent nothing for so long is closed with 4201.
    pub timeout: Duration,
}

/// `[quotes]`: the main job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quotes {
    /// From receipt of a POST to its answer at the latest.
    pub timeout: Duration,
}

/// `[stats]`: the statistics message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// At most one in this time.
    pub interval: Duration,
    /// Whether the users are in it.
    pub users: bool,
}

/// `price.on_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// Serve a price older than `max_age`, marked stale.
    Serve,
    /// There is no price then.
    Refuse,
}

/// `price.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The first source in the order of `price.providers` that is well.
    Failover,
    /// The median of the largest group of sources that agree.
    Median,
}

/// `[price]`: what is priced and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PriceConfig {
    /// The default symbol; one of `symbols`.
    pub symbol: Symbol,
    /// All symbols.
    pub symbols: Vec<Symbol>,
    /// Names of providers, the preferred one first.
    pub providers: Vec<String>,
    /// How one price is made of several sources.
    pub policy: Policy,
    /// Median: so many sources at least must agree.
    pub min_sources: u32,
    /// Median: so far the prices of sources that agree may lie apart, as a part of the price (0.01: 1 %).
    pub max_deviation: Decimal,
    /// At most one published price of a symbol in this time.
    pub publish_interval: Duration,
    /// Interval of sources that are polled.
    pub refresh: Duration,
    /// How long real sources have for their first price before a mock that is named beside them serves.
    pub start_wait: Duration,
    /// Up to this age a price is fresh.
    pub fresh_for: Duration,
    /// Past this age it is stale always, and refused with `on_stale = "refuse"`.
    pub max_age: Duration,
    /// Past this age there is no price.
    pub forget_after: Duration,
    /// What happens past `max_age`.
    pub on_stale: OnStale,
    /// Where what comes from the sources is recorded; `None`: nowhere.
    pub record: Option<PathBuf>,
    /// Most bytes of a recording, all its files together.
    pub record_max: u64,
}

impl PriceConfig {
    /// The part that [`crate::model::Quote::health`] needs.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            fresh_for: self.fresh_for,
            max_age: self.max_age,
            forget_after: self.forget_after,
            refuse_stale: self.on_stale == OnStale::Refuse,
        }
    }
}

/// A secret text. Prints as `***`; goes to the children in clear.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `[provider.NAME]`: one price source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// NAME.
    pub name: String,
    /// `kind` (default: the name) and what that kind needs.
    pub kind: ProviderKind,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProviderKind {
    /// Made-up prices, deterministic for a seed.
    Mock {
        /// The first price.
        price: Price,
        /// Relative size of a step (0.0005: half a thousandth); 0 keeps the price still, ticks come all the same.
        volatility: f64,
        /// Time between two ticks.
        tick: Duration,
        /// Seed of the random walk.
        seed: u64,
        /// A file of moves, stalls and faults.
        script: Option<PathBuf>,
    },
    /// A recording: raw lines, or one tick per line.
    Replay {
        /// The file.
        file: PathBuf,
        /// Whose raw lines are played, a name in the recording; lines that name none are read as this one's.
        source: Option<String>,
        /// Pairs that may stand for a symbol, as with an exchange.
        symbol_map: BTreeMap<Symbol, Symbol>,
        /// 1 is its own speed, 10 ten times faster; 0 as fast as it can be read.
        speed: f64,
        /// Whether to start again at its end.
        repeat: bool,
    },
    /// Binance spot.
    Binance(Exchange),
    /// Bitstamp.
    Bitstamp(Exchange),
    /// Coinbase Exchange.
    Coinbase(Exchange),
    /// Kraken.
    Kraken(Exchange),
    /// Any URL that answers JSON, asked again and again.
    HttpJson {
        /// With `{base}` and `{quote}` where the pair's two halves belong.
        url: String,
        /// Where the price stands in the answer (RFC 6901), `/data/0/price`; the same marks.
        pointer: String,
        /// From one question to the next.
        every: Duration,
        /// As with an exchange.
        symbol_map: BTreeMap<Symbol, Symbol>,
    },
    /// A program that prints one tick per line.
    Command {
        /// Its path and its arguments.
        program: Vec<String>,
        /// As with an exchange.
        symbol_map: BTreeMap<Symbol, Symbol>,
        /// Without a price for so long it is started anew.
        no_tick: Duration,
    },
    /// `CoinDesk` Data API. Off (never built) without a key.
    Coindesk {
        /// `https://data-api.coindesk.com`
        rest_url: String,
        /// The key; `None`: the provider is off.
        api_key: Option<Secret>,
        /// Index family, `cadli` for instance.
        market: String,
    },
}

impl ProviderKind {
    /// The base addresses that a source of this kind talks to, by the names of its ways.
    #[must_use]
    pub fn places(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Binance(exchange)
            | Self::Bitstamp(exchange)
            | Self::Coinbase(exchange)
            | Self::Kraken(exchange) => {
                vec![("stream", exchange.stream_url.clone()), ("rest", exchange.rest_url.clone())]
            }
            Self::Coindesk { rest_url, .. } => vec![("rest", rest_url.clone())],
            Self::HttpJson { url, .. } => vec![("rest", url.replace(['{', '}'], ""))],
            Self::Mock { .. } | Self::Replay { .. } | Self::Command { .. } => vec![],
        }
    }

    /// What a source of this kind is asked for when `symbol` is wanted.
    #[must_use]
    pub fn pair(&self, symbol: &Symbol) -> Symbol {
        let map = match self {
            Self::Binance(exchange)
            | Self::Bitstamp(exchange)
            | Self::Coinbase(exchange)
            | Self::Kraken(exchange) => &exchange.symbol_map,
            Self::HttpJson { symbol_map, .. }
            | Self::Command { symbol_map, .. }
            | Self::Replay { symbol_map, .. } => symbol_map,
            Self::Mock { .. } | Self::Coindesk { .. } => return symbol.clone(),
        };
        map.get(symbol).unwrap_or(symbol).clone()
    }
}

/// An exchange without a key: a stream, REST while the stream cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// `https://data-api.binance.vision`
    pub rest_url: String,
    /// `wss://data-stream.binance.vision`
    pub stream_url: String,
    /// Symbol to the exchange's pair (`BTC-USD` -> `BTC-USDT`). A symbol that is not in it has its own pair.
    pub symbol_map: BTreeMap<Symbol, Symbol>,
    /// A stream from which nothing at all has come for so long is dead.
    pub silence: Duration,
    /// Without a price for so long the source is down.
    pub no_tick: Duration,
    /// A stream is replaced by a new one after so long, before the exchange cuts it; zero: never.
    pub renew_after: Duration,
}

/// `channel.publish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Only the admin routes and the control socket.
    Admin,
    /// Every session, too.
    Anyone,
}

/// `[[channels]]`: a named channel for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// `[a-z0-9_-]{1,32}`
    pub name: String,
    /// Who may publish.
    pub publish: Publish,
}

/// `[limits]`: how much anybody may take. 0 is no limit unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Streams of one user.
    pub connections_per_user: u32,
    /// Sessions in all; 0: 95 % of what the descriptors allow.
    pub sessions: u32,
    /// Sessions of one user.
    pub sessions_per_user: u32,
    /// Sessions from one address (IPv6: one /64).
    pub sessions_per_address: u32,
    /// Session opens from one address.
    pub connects_per_address: Rate,
    /// Subscriptions of one session.
    pub channels_per_session: u32,
    /// Messages from one session.
    pub messages_per_session: Rate,
    /// So many of them at once.
    pub messages_burst: u32,
    /// Quotes of one user, counted for the whole cluster.
    pub quotes_per_user: Rate,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal where stderr is one, else text.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
    /// The journal's own protocol, with fields.
    Journald,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// How.
    pub format: LogFormat,
    /// A filter in the syntax of tracing's `EnvFilter`: `info`, or `info,btc_cluster::feeder=debug`.
    pub level: String,
    /// Where; `None`: standard error.
    pub file: Option<PathBuf>,
}

/// `[shutdown]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shutdown {
    /// Unready but still accepting for so long, for balancers.
    pub delay: Duration,
    /// Everything ends within this time.
    pub grace: Duration,
}
