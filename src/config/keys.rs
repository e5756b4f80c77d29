//! Every key of this version with its default, and every key of a later one. The defaults are a layer like any
//! other, in TOML: what stands here is known, what does not is refused.

use super::valid::Environment;

/// Sections in the order of the documentation.
pub(crate) const SECTIONS: [&str; 22] = [
    "cluster",
    "http",
    "ws",
    "admin",
    "control",
    "heartbeat",
    "quotes",
    "stats",
    "price",
    "provider",
    "streams",
    "channels",
    "limits",
    "chat",
    "command",
    "broadcast",
    "poll",
    "resume",
    "handover",
    "auth",
    "log",
    "shutdown",
];

/// Defaults of every environment. An empty text or list is "none".
pub(crate) const DEFAULTS: &str = r#"
streams = []
channels = []
[cluster]
workers = "auto"
worker_timeout = "5s"
start_timeout = "10s"
drain = "5s"
restart_min = "100ms"
restart_max = "30s"
stable_after = "5s"
give_up_after = 5
give_up_within = "60s"
[http]
listen = ["[::]:3000"]
max_body = "16KiB"
header_timeout = "10s"
body_timeout = "10s"
idle_timeout = "75s"
static_dir = ""
allowed_origins = []
hosts = []
trusted_proxies = []
page_ws_url = ""
[ws]
listen = ["[::]:8080"]
root = "broadcast"
echo = false
max_message = "64KiB"
outbox = "64KiB"
slow_timeout = "10s"
handshake_timeout = "10s"
[admin]
listen = []
[control]
socket = ""
[heartbeat]
interval = "25s"
timeout = "40s"
[quotes]
timeout = "2s"
[stats]
interval = "1s"
users = false
[price]
symbol = "BTC-USD"
symbols = []
providers = ["binance", "coinbase", "kraken", "bitstamp"]
policy = "failover"
min_sources = 2
max_deviation = "1%"
publish_interval = "100ms"
refresh = "60s"
start_wait = "2s"
fresh_for = "10s"
max_age = "2m"
forget_after = "10m"
on_stale = "serve"
record = ""
record_max = "64MiB"
[limits]
connections_per_user = 3
sessions = 0
sessions_per_user = 0
sessions_per_address = 0
connects_per_address = "0"
channels_per_session = 128
messages_per_session = "5/s"
messages_burst = 20
quotes_per_user = "10/s"
[chat]
max_length = 50
history = 50
rooms = 1000
history_bytes = "16MiB"
[command]
greeting = "Вы подключились"
prefix = "Сервер услышал: "
ping_delay = "0s"
[broadcast]
heartbeat = "30s"
[poll]
wait = "25s"
gap = "10s"
[resume]
window = "2m"
messages = 64
bytes = "64KiB"
sessions = 10000
[handover]
crash_cover = "auto"
[auth]
mode = "open"
[log]
format = "auto"
level = "info"
file = ""
[shutdown]
delay = "0s"
grace = "10s"
"#;

const DEVELOPMENT: &str = r#"
[http]
listen = ["127.0.0.1:3000", "[::1]:3000"]
[ws]
listen = ["127.0.0.1:8080", "[::1]:8080"]
echo = true
[admin]
listen = ["127.0.0.1:3001"]
[stats]
users = true
[price]
providers = ["binance", "coinbase", "kraken", "bitstamp", "mock"]
"#;

/// Prices are made up and users shown: nothing for the outside, so loopback only.
const TEST: &str = r#"
[http]
listen = ["127.0.0.1:3000", "[::1]:3000"]
[ws]
listen = ["127.0.0.1:8080", "[::1]:8080"]
echo = true
[stats]
users = true
[price]
providers = ["mock"]
"#;

/// What an environment changes in [`DEFAULTS`].
pub(crate) fn defaults_of(environment: Environment) -> &'static str {
    match environment {
        Environment::Development => DEVELOPMENT,
        Environment::Production => "",
        Environment::Test => TEST,
    }
}

/// Defaults of `[provider.NAME]` by kind.
pub(crate) const KINDS: [(&str, &str); 9] = [
    ("binance", BINANCE),
    ("bitstamp", BITSTAMP),
    ("coinbase", COINBASE),
    ("coindesk", COINDESK),
    ("command", "program = []\nsymbol_map = {}\nno_tick = \"30s\"\n"),
    ("http_json", "url = \"\"\npointer = \"\"\nevery = \"10s\"\nsymbol_map = {}\n"),
    ("kraken", KRAKEN),
    ("mock", MOCK),
    ("replay", REPLAY),
];

const BINANCE: &str = r#"
rest_url = "https://data-api.binance.vision"
stream_url = "wss://data-stream.binance.vision"
symbol_map = { "BTC-USD" = "BTC-USDT" }
silence = "45s"
no_tick = "10s"
renew_after = "23h"
"#;
const BITSTAMP: &str = r#"
rest_url = "https://www.bitstamp.net"
stream_url = "wss://ws.bitstamp.net"
symbol_map = {}
silence = "30s"
no_tick = "5m"
renew_after = "23h"
"#;
const COINBASE: &str = r#"
rest_url = "https://api.exchange.coinbase.com"
stream_url = "wss://ws-feed.exchange.coinbase.com"
symbol_map = {}
silence = "15s"
no_tick = "30s"
renew_after = "23h"
"#;
const KRAKEN: &str = r#"
rest_url = "https://api.kraken.com"
stream_url = "wss://ws.kraken.com/v2"
symbol_map = {}
silence = "15s"
no_tick = "30s"
renew_after = "23h"
"#;
const REPLAY: &str = r#"
file = ""
source = ""
speed = 1.0
loop = false
symbol_map = {}
"#;
const COINDESK: &str = r#"
rest_url = "https://data-api.coindesk.com"
api_key_file = ""
market = "cadli"
"#;
const MOCK: &str = r#"
price = "64250.00"
volatility = 0.0005
tick = "1s"
seed = 1
script = ""
"#;

/// The defaults of a kind; `None` when there is no such kind.
pub(crate) fn kind_defaults(kind: &str) -> Option<&'static str> {
    KINDS.iter().find(|(name, _)| *name == kind).map(|(_, defaults)| *defaults)
}

/// Sections of later versions.
pub(crate) const LATER_SECTIONS: [&str; 1] = ["tls"];
/// Keys of later versions in sections of this one.
pub(crate) const LATER_KEYS: [&str; 3] = ["auth.secret_file", "auth.public_key_file", "auth.jwks_url"];

/// The words of every refusal of something that a later version has.
pub(crate) const LATER: &str = "not supported in this version";

/// What a changed value needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The processes take it while they run.
    Live,
    /// New workers, replaced one by one.
    Workers,
    /// A restart of the daemon.
    Restart,
}

/// The letter of a key in the documentation's table.
#[must_use]
pub fn effect_of(key: &str) -> Effect {
    match key {
        "http.listen" | "ws.listen" | "admin.listen" => Effect::Workers,
        "control.socket" => Effect::Restart,
        _ => Effect::Live,
    }
}
