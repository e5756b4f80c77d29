//! Rules over several keys.

use super::kind::Listen;
use super::reader::Reader;
use super::units::{Environment, human};
use super::valid::{AuthMode, Carries, Config, Policy, ProviderKind, is_state};
use std::net::{IpAddr, SocketAddr};

/// Checks them all; each is told only where its keys are good in themselves.
pub(crate) fn check(r: &mut Reader<'_>, config: &Config) {
    times(r, config);
    prices(r, config);
    addresses(r, config);
    places(r, config);
    streams(r, config);
    tokens(r, config);
    tls(r, config);
    proxies(r, config);
    r.rule(
        &["ws.root", "ws.echo"],
        config.ws.root != "echo" || config.ws.echo,
        "ws.root = \"echo\" needs ws.echo = true",
    );
}

/// A server that asks for tokens and can check none refuses everybody.
fn tokens(r: &mut Reader<'_>, config: &Config) {
    let is_open = config.auth.mode == AuthMode::Open;
    r.rule(
        &["auth.mode", "auth.secret_file", "auth.public_key_file", "auth.jwks_url"],
        is_open || config.auth.has_keys(),
        "auth.mode = \"token\" needs auth.secret_file, auth.public_key_file or auth.jwks_url",
    );
}

fn times(r: &mut Reader<'_>, config: &Config) {
    let (heartbeat, cluster, price) = (&config.heartbeat, &config.cluster, &config.price);
    let ordered = [
        ("heartbeat.timeout", heartbeat.timeout, "heartbeat.interval", heartbeat.interval, true),
        ("cluster.restart_max", cluster.restart_max, "cluster.restart_min", cluster.restart_min, false),
        ("price.max_age", price.max_age, "price.fresh_for", price.fresh_for, false),
        ("price.forget_after", price.forget_after, "price.max_age", price.max_age, false),
    ];
    for (large, a, small, b, strictly) in ordered {
        let holds = if strictly { a > b } else { a >= b };
        let than = if strictly { "more than" } else { "at least" };
        let text = format!("{large} ({}) must be {than} {small} ({})", human(a), human(b));
        r.rule(&[large, small], holds, &text);
    }
}

fn prices(r: &mut Reader<'_>, config: &Config) {
    let price = &config.price;
    r.rule(
        &["price.symbols", "price.symbol"],
        price.symbols.contains(&price.symbol),
        &format!("price.symbol ({}) is not in price.symbols", price.symbol),
    );
    r.rule(&["price.providers"], !price.providers.is_empty(), "must name at least one provider");
    let off = |name: &String| {
        matches!(
            config.providers.get(name).map(|p| &p.kind),
            Some(ProviderKind::Coindesk { api_key: None, .. })
        )
    };
    let all_off = !price.providers.is_empty() && price.providers.iter().all(off);
    for name in price.providers.iter().filter(|name| off(name)) {
        let key_file = format!("provider.{name}.api_key_file");
        let text = format!("\"{name}\" is off: it needs {key_file}");
        if all_off {
            r.rule(&["price.providers", &key_file], false, &text);
        } else {
            r.warn("price.providers", text);
        }
    }
    slow(r, config);
    unstamped(r, config);
    median(r, config);
    let mock = |name: &String| {
        matches!(config.providers.get(name).map(|p| &p.kind), Some(ProviderKind::Mock { .. }))
    };
    if config.environment == Environment::Production && price.providers.iter().any(mock) {
        r.warn("price.providers", "a mock in production: its prices are made up");
    }
}

/// A source that is asked too seldom is stale by nature: its price grows older than `price.max_age` each time.
fn slow(r: &mut Reader<'_>, config: &Config) {
    for name in &config.price.providers {
        let (key, every) = match config.providers.get(name).map(|provider| &provider.kind) {
            Some(ProviderKind::HttpJson { every, .. }) => (format!("provider.{name}.every"), *every),
            Some(ProviderKind::Coindesk { .. }) => ("price.refresh".to_owned(), config.price.refresh),
            _ => continue,
        };
        if every > config.price.max_age {
            let (every, age) = (human(every), human(config.price.max_age));
            r.warn(
                &key,
                format!("\"{name}\" is asked every {every}, its price is stale after {age} (price.max_age)"),
            );
        }
    }
}

/// Without a stamp of its own, a price that stands still is taken for a market that does.
fn unstamped(r: &mut Reader<'_>, config: &Config) {
    for name in &config.price.providers {
        let kind = config.providers.get(name).map(|provider| &provider.kind);
        if let Some(ProviderKind::HttpJson { time_pointer, url, .. }) = kind
            && time_pointer.is_empty()
            && !url.is_empty()
        {
            let text = format!(
                "\"{name}\" tells no time stamp: if its server repeats an old price, nobody can see it; name the stamp's place"
            );
            r.warn(&format!("provider.{name}.time_pointer"), text);
        }
    }
}

/// Only sources of the symbol's own pair can be in its median.
fn median(r: &mut Reader<'_>, config: &Config) {
    let price = &config.price;
    if price.policy != Policy::Median {
        return;
    }
    let kind = |name: &String| config.providers.get(name).map(|provider| &provider.kind);
    let real: Vec<_> = price
        .providers
        .iter()
        .filter(|name| !matches!(kind(name), Some(ProviderKind::Mock { .. })))
        .collect();
    for symbol in &price.symbols {
        let other = |name: &&String| kind(name).is_some_and(|kind| kind.pair(symbol) != *symbol);
        for name in real.iter().copied().filter(other) {
            let pair = kind(name).map_or_else(|| symbol.clone(), |kind| kind.pair(symbol));
            r.warn("price.policy", format!("\"{name}\" quotes {pair}: it is in no median of {symbol}"));
        }
        let good = real.iter().filter(|name| !other(name)).count();
        r.rule(
            &["price.policy", "price.min_sources", "price.providers", "price.symbols"],
            real.is_empty() || good >= price.min_sources as usize,
            &format!(
                "a median of {symbol} needs price.min_sources ({}) sources that quote {symbol}, there are {good}",
                price.min_sources
            ),
        );
    }
}

/// Channels of streams exist, and so does the endpoint of `ws.root`.
fn streams(r: &mut Reader<'_>, config: &Config) {
    // A rule of its own refuses a price.symbol that is not in price.symbols.
    let own = std::slice::from_ref(&config.price.symbol);
    for stream in &config.streams {
        let Carries::Channel(channel) = &stream.carries else { continue };
        if config.has_state(channel) || is_state(channel, own) {
            continue;
        }
        let shown: String = channel.chars().take(64).collect();
        let text = format!(
            "\"{}\" carries {shown:?}: it must be price:SYMBOL, price:SYMBOL@1s, candle:SYMBOL@1s, @1m, @1h or stats, \
             of price.symbols",
            stream.name
        );
        r.rule(&["streams", "price.symbols"], false, &text);
    }
    let root = config.ws.root.as_str();
    let known =
        ["broadcast", "command", "chat", "ws", "echo"].contains(&root) || config.stream(root).is_some();
    r.rule(
        &["ws.root", "streams"],
        known,
        &format!("ws.root = {root:?} is neither \"broadcast\", \"command\", \"chat\", \"ws\", \"echo\" nor a stream"),
    );
}

/// Refuses addresses that are bound twice. Port 0 is another port each time.
fn addresses(r: &mut Reader<'_>, config: &Config) {
    let mut seen: Vec<(&str, SocketAddr)> = vec![];
    let admin = config.admin.listen.iter().map(|listen| ("admin.listen", listen));
    let all = [("http.listen", &config.http.listen), ("ws.listen", &config.ws.listen)]
        .into_iter()
        .chain(admin)
        .chain(listening_for_tls(config));
    for (key, listen) in all {
        for &address in &listen.addresses {
            let clash = seen.iter().find(|(_, other)| address.port() != 0 && overlap(address, *other));
            if let Some(&(other, taken)) = clash {
                let text = if taken == address {
                    format!("{address} is listened on twice ({other}, {key})")
                } else {
                    format!(
                        "{address} ({key}) and {taken} ({other}) are one address: the wider one takes both"
                    )
                };
                r.rule(&[other, key], false, &text);
            }
            seen.push((key, address));
        }
    }
}

fn listening_for_tls(config: &Config) -> impl Iterator<Item = (&'static str, &Listen)> {
    let all = [
        ("http.listen_tls", &config.http.listen_tls),
        ("ws.listen_tls", &config.ws.listen_tls),
        ("admin.listen_tls", &config.admin.listen_tls),
    ];
    all.into_iter().filter_map(|(key, listen)| Some((key, listen.as_ref()?)))
}

/// Who listens for TLS has a certificate, and a certificate has a key.
fn tls(r: &mut Reader<'_>, config: &Config) {
    let tls = &config.tls;
    let (cert, key) = (tls.cert.is_some(), tls.key.is_some());
    r.rule(&["tls.cert", "tls.key"], cert || !key, "tls.key is of no use without tls.cert");
    r.rule(&["tls.cert", "tls.key"], key || !cert, "tls.cert needs tls.key");
    let has_pair = cert != key || tls.pairs().next().is_some();
    for (key, _) in listening_for_tls(config) {
        let text = format!("{key} needs a certificate: tls.cert and tls.key");
        r.rule(&[key, "tls.cert", "tls.key", "tls.certificates"], has_pair, &text);
    }
    if tls.client_ca.is_some() && config.admin.listen_tls.is_none() {
        r.warn("tls.client_ca", "is of no use without admin.listen_tls");
    }
}

/// Only proxies that are trusted are asked whose connections they pass on.
fn proxies(r: &mut Reader<'_>, config: &Config) {
    let (http, ws) = (&config.http, &config.ws);
    let told = [("http.proxy_protocol", http.proxy_protocol), ("ws.proxy_protocol", ws.proxy_protocol)];
    for (key, _) in told.into_iter().filter(|(_, told)| *told) {
        r.rule(
            &[key, "http.trusted_proxies"],
            !http.trusted_proxies.is_empty(),
            &format!("{key} needs http.trusted_proxies: nobody else is believed"),
        );
    }
}

/// `[::]` is bound for IPv4 as well.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, other: IpAddr| match wide {
        IpAddr::V6(v6) => v6.is_unspecified(),
        IpAddr::V4(v4) => v4.is_unspecified() && other.to_canonical().is_ipv4(),
    };
    let (x, y) = (a.ip(), b.ip());
    a.port() == b.port() && (x.to_canonical() == y.to_canonical() || covers(x, y) || covers(y, x))
}

/// Folders that must be there. What may be done in them is left to who does it.
fn places(r: &mut Reader<'_>, config: &Config) {
    let is_folder = |path: &std::path::Path| match std::fs::metadata(path) {
        Ok(meta) => meta.is_dir(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    if let Some(folder) = config.http.static_dir.as_deref().filter(|folder| !is_folder(folder)) {
        r.rule(&["http.static_dir"], false, &format!("{}: no such folder", folder.display()));
    }
    if let Some(file) = &config.log.file {
        let parent = file.parent().filter(|parent| !is_folder(parent));
        if let Some(parent) = parent {
            r.rule(&["log.file"], false, &format!("{}: no such folder", parent.display()));
        } else if file.is_dir() {
            r.rule(&["log.file"], false, &format!("{}: is a folder", file.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_one() {
        let overlap = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        for (a, b) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "127.0.0.1:1"),
            ("[::1]:1", "[::]:1"),
            ("[::]:1", "0.0.0.0:1"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
        ] {
            assert!(overlap(a, b) && overlap(b, a), "{a} {b}");
        }
        for (a, b) in [("127.0.0.1:1", "127.0.0.1:2"), ("127.0.0.1:1", "[::1]:1"), ("0.0.0.0:1", "[::1]:1")] {
            assert!(!overlap(a, b) && !overlap(b, a), "{a} {b}");
        }
    }
}
