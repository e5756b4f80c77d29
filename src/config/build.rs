//! From keys to the valid configuration, section by section.

use super::layers::{NAME_RULE, is_name};
use super::reader::{ANY, Broken, Reader, SOME, distinct, list, must_be, symbol, text, whole, wrong};
use super::units;
use super::valid::{
    Admin, Channel, Cluster, Config, Control, Heartbeat, Http, Limits, Listen, Log, LogFormat, OnStale,
    Policy, PriceConfig, Publish, Quotes, Shutdown, Stats, WorkerCount, Ws,
};
use super::value::{Item, Value};
use super::{endpoints, fault, keys, providers, rules};
use std::collections::BTreeMap;
use std::path::PathBuf;

type Built<T> = Result<T, Broken>;

/// Most bytes that a size may name: enough for any message, little enough for any machine.
pub(super) const LARGEST: u64 = 64 << 20;

/// Reads everything. The faults are the reader's.
pub(crate) fn config(r: &mut Reader<'_>, kinds: &BTreeMap<String, String>) -> Built<Config> {
    let socket = socket(r)?;
    let config = Config {
        environment: r.source.environment,
        cluster: cluster(r)?,
        http: http(r)?,
        ws: ws(r)?,
        admin: Admin { listen: r.listen("admin.listen")? },
        state: r.source.state.clone().unwrap_or_else(|| socket.with_extension("state")),
        control: Control { socket },
        heartbeat: Heartbeat {
            interval: r.duration("heartbeat.interval", SOME)?,
            timeout: r.duration("heartbeat.timeout", SOME)?,
        },
        quotes: Quotes { timeout: r.duration("quotes.timeout", SOME)? },
        stats: Stats { interval: r.duration("stats.interval", SOME)?, users: r.flag("stats.users")? },
        price: price(r)?,
        providers: providers::all(r, kinds)?,
        streams: endpoints::streams(r)?,
        channels: channels(r)?,
        limits: limits(r)?,
        chat: endpoints::chat(r)?,
        command: endpoints::command(r)?,
        broadcast: endpoints::broadcast(r)?,
        poll: endpoints::poll(r)?,
        resume: endpoints::resume(r)?,
        log: log(r)?,
        shutdown: Shutdown {
            delay: r.duration("shutdown.delay", ANY)?,
            grace: r.duration("shutdown.grace", SOME)?,
        },
    };
    fixed(r)?;
    rules::check(r, &config);
    Ok(config)
}

/// Keys with one value in this version.
fn fixed(r: &mut Reader<'_>) -> Built<()> {
    let only = |key: &str, later: &[&str], good: &'static str, r: &mut Reader<'_>| {
        r.get(key, |item| match text(item)? {
            word if word == good => Ok(()),
            word if later.contains(&word) => Err(wrong(item, format!("\"{word}\" is {}", keys::LATER))),
            _ => Err(must_be(item, &format!("\"{good}\""))),
        })
    };
    only("auth.mode", &["token"], "open", r)?;
    r.get("handover.crash_cover", |item| match &item.value {
        Value::Flag(false) => Ok(()),
        Value::Flag(true) => Err(wrong(item, format!("true is {}", keys::LATER))),
        Value::Text(word) if word == "auto" => Ok(()),
        _ => Err(must_be(item, "\"auto\" or false")),
    })
}

fn cluster(r: &mut Reader<'_>) -> Built<Cluster> {
    Ok(Cluster {
        workers: r.get("cluster.workers", |item| match &item.value {
            Value::Text(word) if word == "auto" => Ok(WorkerCount::Auto),
            Value::Whole(n @ 1..=256) => u16::try_from(*n).map(WorkerCount::Exactly).map_err(|_| vec![]),
            _ => Err(must_be(item, "\"auto\" or a number from 1 to 256")),
        })?,
        worker_timeout: r.duration("cluster.worker_timeout", SOME)?,
        start_timeout: r.duration("cluster.start_timeout", SOME)?,
        drain: r.duration("cluster.drain", ANY)?,
        restart_min: r.duration("cluster.restart_min", SOME)?,
        restart_max: r.duration("cluster.restart_max", SOME)?,
        stable_after: r.duration("cluster.stable_after", ANY)?,
        give_up_after: r.whole("cluster.give_up_after", 1..=u32::MAX)?,
        give_up_within: r.duration("cluster.give_up_within", SOME)?,
    })
}

/// A port that every worker serves: it cannot be none.
fn port(r: &mut Reader<'_>, key: &str) -> Built<Listen> {
    if let Some(listen) = r.listen(key)? {
        return Ok(listen);
    }
    r.fault(key, "must name at least one address");
    Ok(Listen { addresses: vec![], best_effort: false })
}

fn http(r: &mut Reader<'_>) -> Built<Http> {
    let checked = |check: fn(&str) -> Result<String, String>| {
        move |item: &Item| check(text(item)?).map_err(|why| wrong(item, format!("{}: {why}", item.value)))
    };
    Ok(Http {
        listen: port(r, "http.listen")?,
        max_body: r.size("http.max_body", 1..=LARGEST)?,
        header_timeout: r.duration("http.header_timeout", SOME)?,
        body_timeout: r.duration("http.body_timeout", SOME)?,
        idle_timeout: r.duration("http.idle_timeout", SOME)?,
        static_dir: r.path("http.static_dir")?,
        allowed_origins: r.get("http.allowed_origins", |item| distinct(item, checked(units::origin)))?,
        hosts: r.get("http.hosts", |item| distinct(item, checked(units::host)))?,
        trusted_proxies: r.get("http.trusted_proxies", |item| {
            list(item, |item| {
                units::network(text(item)?).map_err(|why| wrong(item, format!("{}: {why}", item.value)))
            })
        })?,
        page_ws_url: r.get("http.page_ws_url", |item| match text(item)? {
            "" => Ok(None),
            url => units::base_url(url, &["ws", "wss"]).map(Some).map_err(|why| wrong(item, why)),
        })?,
    })
}

fn ws(r: &mut Reader<'_>) -> Built<Ws> {
    Ok(Ws {
        listen: port(r, "ws.listen")?,
        // That there is such an endpoint is looked at when the streams are known.
        root: r.get("ws.root", |item| text(item).map(str::to_owned))?,
        echo: r.flag("ws.echo")?,
        max_message: r.size("ws.max_message", 1..=LARGEST)?,
        outbox: r.size("ws.outbox", 1024..=LARGEST)?,
        slow_timeout: r.duration("ws.slow_timeout", SOME)?,
        handshake_timeout: r.duration("ws.handshake_timeout", SOME)?,
    })
}

fn socket(r: &mut Reader<'_>) -> Built<PathBuf> {
    // sun_path of unix(7): 108 bytes with the final NUL.
    const LONGEST: usize = 107;
    match r.path("control.socket")? {
        Some(path) => {
            if path.as_os_str().len() > LONGEST {
                r.fault("control.socket", format!("must have at most {LONGEST} bytes, as a path from /"));
            }
            Ok(path)
        }
        None => Ok(r.source.socket.clone()),
    }
}

fn price(r: &mut Reader<'_>) -> Built<PriceConfig> {
    let layers = r.layers;
    let known = |item: &Item| {
        let name = text(item)?;
        // What is wrong with a section is told there.
        if keys::kind_defaults(name).is_some() || layers.providers.contains_key(name) {
            return Ok(name.to_owned());
        }
        let names = layers.providers.keys().map(String::as_str).chain(keys::KINDS.map(|(kind, _)| kind));
        let why = fault::unknown("provider", name, names);
        Err(wrong(item, format!("{}: {why}", item.value)))
    };
    Ok(PriceConfig {
        symbol: r.get("price.symbol", symbol)?,
        symbols: r.get("price.symbols", |item| distinct(item, symbol))?,
        providers: r.get("price.providers", |item| distinct(item, known))?,
        policy: r.choice("price.policy", &[("failover", Policy::Failover), ("median", Policy::Median)])?,
        min_sources: r.whole("price.min_sources", 1..=64)?,
        max_deviation: r.get("price.max_deviation", |item| {
            let part = units::percent(text(item)?);
            part.ok_or_else(|| must_be(item, "a part of a price, more than \"0%\" and at most \"50%\""))
        })?,
        publish_interval: r.duration("price.publish_interval", ANY)?,
        refresh: r.duration("price.refresh", SOME)?,
        start_wait: r.duration("price.start_wait", ANY)?,
        fresh_for: r.duration("price.fresh_for", SOME)?,
        max_age: r.duration("price.max_age", SOME)?,
        forget_after: r.duration("price.forget_after", SOME)?,
        on_stale: r.choice("price.on_stale", &[("serve", OnStale::Serve), ("refuse", OnStale::Refuse)])?,
        record: r.path("price.record")?,
        record_max: r.size("price.record_max", (64 << 10)..=(1 << 40))? as u64,
    })
}

fn channels(r: &mut Reader<'_>) -> Built<Vec<Channel>> {
    let channels = r.get("channels", |item| match &item.value {
        Value::List(_) => list(item, channel),
        _ => Err(wrong(item, "must be a list of sections, [[channels]]")),
    })?;
    for (i, one) in channels.iter().enumerate() {
        if channels.iter().take(i).any(|other| other.name == one.name) {
            r.fault("channels", format!("name \"{}\" stands twice", one.name));
        }
    }
    Ok(channels)
}

fn channel(item: &Item) -> Result<Channel, super::reader::Wrong> {
    let Value::Table(entries) = &item.value else {
        return Err(must_be(item, "a section with name and publish"));
    };
    let (mut name, mut publish, mut bad) = (None, Publish::Admin, vec![]);
    for (key, item) in entries {
        let word = item.as_text().unwrap_or_default();
        match key.as_str() {
            "name" if RESERVED.contains(&word) => {
                bad.push((item.line, format!("name: \"{word}\" is a channel of the server's own")));
            }
            "name" if is_name(word) => name = Some(word.to_owned()),
            "name" => bad.push((item.line, format!("name: {}: {NAME_RULE}", item.value))),
            "publish" if word == "admin" => publish = Publish::Admin,
            "publish" if word == "anyone" => publish = Publish::Anyone,
            "publish" => {
                bad.extend(
                    must_be(item, "\"admin\" or \"anyone\"")
                        .into_iter()
                        .map(|(l, t)| (l, format!("publish: {t}"))),
                );
            }
            key => {
                let why = fault::unknown("key", key, ["name", "publish"]);
                bad.push((item.key_line, format!("{}: {why}", super::value::bare_or_quoted(key))));
            }
        }
    }
    match name {
        Some(name) if bad.is_empty() => Ok(Channel { name, publish }),
        None if bad.is_empty() => Err(wrong(item, "a channel without a name")),
        _ => Err(bad),
    }
}

/// Words that a client's list of channels gives a meaning.
const RESERVED: [&str; 6] = ["price", "candle", "stats", "presence", "chat", "none"];

fn limits(r: &mut Reader<'_>) -> Built<Limits> {
    const COUNT: std::ops::RangeInclusive<u32> = 0..=u32::MAX;
    Ok(Limits {
        connections_per_user: r.whole("limits.connections_per_user", COUNT)?,
        sessions: r.whole("limits.sessions", COUNT)?,
        sessions_per_user: r.whole("limits.sessions_per_user", COUNT)?,
        sessions_per_address: r.whole("limits.sessions_per_address", COUNT)?,
        connects_per_address: r.rate("limits.connects_per_address")?,
        channels_per_session: r.whole("limits.channels_per_session", COUNT)?,
        messages_per_session: r.rate("limits.messages_per_session")?,
        messages_burst: r.whole("limits.messages_burst", 1..=u32::MAX)?,
        quotes_per_user: r.rate("limits.quotes_per_user")?,
    })
}

fn log(r: &mut Reader<'_>) -> Built<Log> {
    let formats = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    Ok(Log {
        format: r.choice("log.format", &formats)?,
        level: r.get("log.level", level)?,
        file: r.path("log.file")?,
    })
}

/// A filter. A lone word that is almost a level would be taken for the name of a module and silence the rest.
fn level(item: &Item) -> Result<String, super::reader::Wrong> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = text(item)?;
    for word in level.split(',').map(str::trim) {
        let lower = word.to_lowercase();
        let near = LEVELS.into_iter().find(|known| fault::distance(&lower, known) <= 2);
        match near {
            Some(near) if near != lower => {
                return Err(wrong(
                    item,
                    format!("{}: unknown level; did you mean \"{near}\"?", super::value::quoted(word)),
                ));
            }
            _ => {}
        }
    }
    if level.trim().is_empty() || tracing_subscriber::EnvFilter::try_new(level).is_err() {
        return Err(must_be(item, "a level or a filter (\"info\", \"info,btc_cluster::feeder=debug\")"));
    }
    Ok(level.to_owned())
}

/// A whole number of any size that fits 64 bits.
pub(crate) fn seed(item: &Item) -> Result<u64, super::reader::Wrong> {
    let number = whole(item)?;
    u64::try_from(number).map_err(|_| must_be(item, "between 0 and 2^64 - 1"))
}
