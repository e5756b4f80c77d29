//! What a change of each key needs.

use super::source;
use btc_cluster::config::{Change, Config, Effect, Loaded, diff, load, needs};

/// A value for every key that is not its default.
const OTHERS: &str = r#"
cluster.workers = 3
cluster.worker_timeout = 6s
cluster.start_timeout = 11s
cluster.kill_timeout = 6s
cluster.drain = 6s
cluster.restart_min = 101ms
cluster.restart_max = 31s
cluster.stable_after = 6s
cluster.give_up_after = 6
cluster.give_up_within = 61s
cluster.rebalance = 0
cluster.core_dumps = true
http.listen = 127.0.0.1:0
http.max_body = 17KiB
http.max_discard = 17MiB
http.header_timeout = 11s
http.body_timeout = 11s
http.idle_timeout = 76s
http.file_timeout = 3s
http.static_dir = src
http.allowed_origins = https://a.example
http.hosts = a.example
http.trusted_proxies = 10.0.0.0/8
http.forwarded_header = forwarded
http.proxy_protocol = true
http.page_ws_url = ws://a.example/ws
ws.listen = 127.0.0.1:0
ws.proxy_protocol = true
ws.root = ws
ws.echo = false
ws.max_message = 65KiB
ws.outbox = 65KiB
ws.send_buffer = 129KiB
ws.receive_buffer = 65KiB
ws.slow_timeout = 11s
ws.handshake_timeout = 11s
admin.listen = 127.0.0.1:0
control.socket = /x
heartbeat.interval = 24s
heartbeat.timeout = 41s
quotes.timeout = 3s
stats.interval = 2s
stats.users = false
price.symbols = ["BTC-USD", "ETH-USD"]
price.providers = ["mock", "binance"]
price.publish_interval = 101ms
price.refresh = 61s
price.start_wait = 3s
price.fresh_for = 11s
price.max_age = 3m
price.forget_after = 11m
price.on_stale = refuse
price.policy = median
price.min_sources = 3
price.max_deviation = 2%
price.record = x.rec
price.record_max = 1MiB
price.resolve_timeout = 11s
price.connect_timeout = 5s
price.tls_timeout = 6s
price.answer_timeout = 6s
price.refused_min = 31s
price.refused_max = 2h
price.wait_max = 2h
provider.binance.rest_url = https://a.example
provider.binance.stream_url = wss://a.example
provider.binance.symbol_map = {}
provider.coindesk.rest_url = https://a.example
provider.coindesk.api_key_file = tests/config/valid/coindesk_with_a_key.key
provider.coindesk.market = ccix
provider.mock.price = 1
provider.mock.volatility = 0
provider.mock.tick = 2s
provider.mock.seed = 2
provider.mock.script = Cargo.toml
provider.recorded.file = clippy.toml
provider.recorded.source = kraken
provider.recorded.symbol_map = { "BTC-USD" = "BTC-EUR" }
provider.binance.silence = 1s
provider.binance.no_tick = 1s
provider.binance.renew_after = 1s
provider.bitstamp.rest_url = http://127.0.0.1:1
provider.bitstamp.stream_url = ws://127.0.0.1:1
provider.bitstamp.symbol_map = { "BTC-USD" = "BTC-EUR" }
provider.bitstamp.silence = 1s
provider.bitstamp.no_tick = 1s
provider.bitstamp.renew_after = 1s
provider.coinbase.rest_url = http://127.0.0.1:1
provider.coinbase.stream_url = ws://127.0.0.1:1
provider.coinbase.symbol_map = { "BTC-USD" = "BTC-EUR" }
provider.coinbase.silence = 1s
provider.coinbase.no_tick = 1s
provider.coinbase.renew_after = 1s
provider.kraken.rest_url = http://127.0.0.1:1
provider.kraken.stream_url = ws://127.0.0.1:1
provider.kraken.symbol_map = { "BTC-USD" = "BTC-EUR" }
provider.kraken.silence = 1s
provider.kraken.no_tick = 1s
provider.kraken.renew_after = 1s
provider.asked.url = http://127.0.0.1:1/{base}
provider.asked.pointer = /price
provider.asked.time_pointer = /at
provider.asked.every = 1s
provider.asked.symbol_map = { "BTC-USD" = "BTC-EUR" }
provider.program.program = ["/bin/true", "-v"]
provider.program.no_tick = 1s
provider.program.symbol_map = { "BTC-USD" = "BTC-EUR" }
provider.recorded.speed = 2
provider.recorded.loop = true
streams = [{ name = "mine", channel = "stats" }]
channels = [{ name = "news" }]
limits.connections_per_user = 4
limits.sessions = 1
limits.sessions_per_user = 1
limits.sessions_per_address = 1
limits.connections_per_address = 1
limits.connects_per_address = 1/s
limits.channels_per_session = 129
limits.messages_per_session = 6/s
limits.messages_burst = 21
limits.bytes_per_session = 1MiB/s
limits.bytes_burst = 1MiB
limits.quotes_per_user = 11/s
limits.quotes_per_poster = 12/s
chat.max_length = 51
chat.history = 51
chat.rooms = 1001
chat.history_bytes = 17MiB
command.greeting = hello
command.prefix = heard
command.ping_delay = 1s
broadcast.heartbeat = 31s
poll.wait = 26s
poll.gap = 11s
poll.take_up = 6s
poll.sessions = 50001
resume.window = 0
resume.messages = 65
resume.bytes = 65KiB
resume.sessions = 10001
resume.memory = 65MiB
handover.crash_cover = false
auth.secret_file = tests/fixtures/tokens/secret
auth.public_key_file = ["tests/fixtures/tokens/es256.public.pem", "tests/fixtures/tokens/eddsa.public.pem"]
auth.jwks_url = https://issuer.example/jwks.json
auth.jwks_refresh = 11m
auth.audience = btc-cluster
auth.issuer = ["https://issuer.example", "https://old.example"]
auth.leeway = 0
auth.notice = 31s
auth.cookie = __Host-token
auth.anonymous = ["price", "stats"]
log.format = json
log.level = debug
log.file = x.log
log.queue = 257KiB
log.max_size = 1MiB
log.keep = 7
log.hash_ids = true
tls.cert = tests/fixtures/tls/listening/renewed.crt
tls.key = tests/fixtures/tls/listening/renewed.key
tls.certificates = [{ cert = "tests/fixtures/tls/listening/wild.crt", key = "tests/fixtures/tls/listening/wild.key" }]
tls.client_ca = tests/fixtures/tls/listening/client-ca.crt
tls.min_version = 1.3
tls.handshakes_at_once = 5
shutdown.delay = 1s
shutdown.grace = 11s
"#;

/// Keys with one meaning or none in this version, and such as others follow.
const NOT_ALONE: [&str; 14] = [
    "http.listen_tls",
    "ws.listen_tls",
    "admin.listen_tls",
    "price.symbol",
    "auth.mode",
    "provider.asked.kind",
    "provider.binance.kind",
    "provider.bitstamp.kind",
    "provider.coinbase.kind",
    "provider.coindesk.kind",
    "provider.kraken.kind",
    "provider.mock.kind",
    "provider.program.kind",
    "provider.recorded.kind",
];

fn with(sets: &[(&str, &str)]) -> Loaded {
    let mut source = source("no/such/file");
    source.required = false;
    let base = [
        ("provider.binance.kind", "binance"),
        ("provider.coindesk.kind", "coindesk"),
        ("provider.bitstamp.kind", "bitstamp"),
        ("provider.coinbase.kind", "coinbase"),
        ("provider.kraken.kind", "kraken"),
        ("provider.asked.kind", "http_json"),
        ("provider.asked.url", "https://example.com/"),
        ("provider.program.kind", "command"),
        ("provider.program.program", "/bin/true"),
        ("provider.recorded.kind", "replay"),
        ("provider.recorded.file", "Cargo.toml"),
        ("http.trusted_proxies", "192.0.2.0/24"),
        ("tls.cert", "tests/fixtures/tls/listening/first.crt"),
        ("tls.key", "tests/fixtures/tls/listening/first.key"),
    ];
    source.overrides = base.iter().chain(sets).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    load(&source).unwrap()
}

fn changes(old: &Config, new: &Config) -> Vec<(String, Effect)> {
    diff(old, new).into_iter().map(|Change { key, effect }| (key, effect)).collect()
}

#[test]
fn each_key_alone_changes_itself_and_needs_what_its_letter_says() {
    let old = with(&[]);
    let mut named = vec![];
    for line in OTHERS.trim().lines() {
        let (key, value) = line.split_once(" = ").unwrap();
        let new = with(&[(key, value)]);
        let effect = match key {
            "http.listen" | "ws.listen" | "admin.listen" => Effect::Workers,
            "control.socket" => Effect::Restart,
            _ => Effect::Live,
        };
        assert_eq!(changes(&old.config, &new.config), [(key.to_owned(), effect)]);
        named.push(key);
    }
    for setting in &old.settings {
        let key = setting.key.as_str();
        assert!(named.contains(&key) != NOT_ALONE.contains(&key), "{key} is not tested");
    }
}

#[test]
fn nothing_changes_nothing() {
    let config = with(&[]).config;
    assert_eq!(diff(&config, &config.clone()), []);
    assert_eq!(needs(&[]), None);
}

#[test]
fn the_strongest_need_counts() {
    let old = with(&[]);
    let all = |sets: &[_]| diff(&old.config, &with(sets).config);
    let live = [("stats.interval", "3s"), ("ws.outbox", "1KiB")];
    assert_eq!(needs(&all(&live)), Some(Effect::Live));
    assert_eq!(needs(&all(&[live[0], ("ws.listen", "127.0.0.1:0")])), Some(Effect::Workers));
    assert_eq!(needs(&all(&[("control.socket", "/x"), ("ws.listen", "127.0.0.1:0")])), Some(Effect::Restart));
}

#[test]
fn providers_come_go_and_turn_into_others() {
    let old = with(&[("provider.spare.kind", "mock")]);
    let changed = |sets: &[_]| changes(&old.config, &with(sets).config);
    let live = |key: &str| (key.to_owned(), Effect::Live);
    assert_eq!(changed(&[]), [live("provider.spare")]);
    assert_eq!(changed(&[("provider.spare.kind", "binance")]), [live("provider.spare.kind")]);
    let more = [("provider.spare.kind", "mock"), ("provider.extra.kind", "mock")];
    assert_eq!(changed(&more), [live("provider.extra")]);
    let symbol = [("provider.spare.kind", "mock"), ("price.symbol", "BTC-EUR")];
    assert_eq!(changed(&symbol), ["price.symbol", "price.symbols", "streams"].map(live));
}
