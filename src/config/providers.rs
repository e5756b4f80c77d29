//! `[provider.NAME]` by kind, and the secrets that they need.

use super::build::seed;
use super::file::{self, Content};
use super::reader::{ANY, Broken, Reader, SOME, list, must_be, real, symbol, text, wrong};
use super::units;
use super::valid::{Exchange, Provider, ProviderKind, Secret};
use super::value::{Item, Value};
use crate::model::{Price, Symbol};
use std::collections::BTreeMap;
use std::path::PathBuf;

type Built<T> = Result<T, Broken>;

/// All of them, whether `price.providers` names them or not.
pub(crate) fn all(r: &mut Reader<'_>, kinds: &BTreeMap<String, String>) -> Built<BTreeMap<String, Provider>> {
    let mut all = BTreeMap::new();
    for (name, kind) in kinds {
        r.get(&format!("provider.{name}.kind"), |item| text(item).map(|_| ()))?;
        let kind = match kind.as_str() {
            "mock" => mock(r, name)?,
            "replay" => replay(r, name)?,
            "coindesk" => coindesk(r, name)?,
            "http_json" => http_json(r, name)?,
            "command" => command(r, name)?,
            "bitstamp" => ProviderKind::Bitstamp(exchange(r, name)?),
            "coinbase" => ProviderKind::Coinbase(exchange(r, name)?),
            "kraken" => ProviderKind::Kraken(exchange(r, name)?),
            _ => ProviderKind::Binance(exchange(r, name)?),
        };
        all.insert(name.clone(), Provider { name: name.clone(), kind });
    }
    Ok(all)
}

fn mock(r: &mut Reader<'_>, name: &str) -> Built<ProviderKind> {
    let key = |key: &str| format!("provider.{name}.{key}");
    Ok(ProviderKind::Mock {
        price: r.get(&key("price"), price)?,
        volatility: r.get(&key("volatility"), |item| real(item, &(0.0..=1.0)))?,
        tick: r.duration(&key("tick"), SOME)?,
        seed: r.get(&key("seed"), seed)?,
        script: existing(r, &key("script"))?,
    })
}

fn replay(r: &mut Reader<'_>, name: &str) -> Built<ProviderKind> {
    let key = |key: &str| format!("provider.{name}.{key}");
    let file = existing(r, &key("file"))?;
    if file.is_none() {
        missing(r, name, "file", "a replay needs a file");
    }
    Ok(ProviderKind::Replay {
        file: file.unwrap_or_default(),
        source: r
            .get(&key("source"), |item| Ok(Some(text(item)?.to_owned()).filter(|name| !name.is_empty())))?,
        symbol_map: r.get(&key("symbol_map"), symbol_map)?,
        speed: r.get(&key("speed"), |item| real(item, &(0.0..=1_000_000.0)))?,
        repeat: r.flag(&key("loop"))?,
    })
}

/// What a source cannot be without. An unused section is told, too: it can never work.
fn missing(r: &mut Reader<'_>, name: &str, key: &str, why: &str) {
    let (section, key) = (format!("provider.{name}"), format!("provider.{name}.{key}"));
    if r.is_bad(&key) {
        return;
    }
    let at = if r.origin(&key).is_fixed() { key } else { section };
    let origin = r.layers.providers.get(name).cloned().unwrap_or_else(|| r.origin("price.providers"));
    r.faults.add(origin, at, why);
}

fn exchange(r: &mut Reader<'_>, name: &str) -> Built<Exchange> {
    let key = |key: &str| format!("provider.{name}.{key}");
    Ok(Exchange {
        rest_url: url(r, &key("rest_url"), &["https", "http"])?,
        stream_url: url(r, &key("stream_url"), &["wss", "ws"])?,
        symbol_map: r.get(&key("symbol_map"), symbol_map)?,
        silence: r.duration(&key("silence"), SOME)?,
        no_tick: r.duration(&key("no_tick"), SOME)?,
        renew_after: r.duration(&key("renew_after"), ANY)?,
    })
}

fn http_json(r: &mut Reader<'_>, name: &str) -> Built<ProviderKind> {
    let key = |key: &str| format!("provider.{name}.{key}");
    let url = r.get(&key("url"), |item| {
        let url = text(item)?;
        if url.is_empty() {
            return Ok(String::new());
        }
        // The marks are none of a URL's characters.
        let plain = url.replace("{base}", "b").replace("{quote}", "q");
        if plain.contains(['{', '}']) {
            return Err(must_be(item, "a URL in which nothing but {base} and {quote} stands in braces"));
        }
        units::any_url(&plain, &["https", "http"]).map_err(|why| wrong(item, why))?;
        Ok(url.to_owned())
    })?;
    if url.is_empty() {
        missing(r, name, "url", "an http_json source needs a url");
    }
    let pointer = r.get(&key("pointer"), |item| match text(item)? {
        pointer if pointer.is_empty() || pointer.starts_with('/') => Ok(pointer.to_owned()),
        _ => Err(must_be(item, "a JSON pointer (\"/data/0/price\"), or empty where the answer is the price")),
    })?;
    Ok(ProviderKind::HttpJson {
        url,
        pointer,
        every: r.duration(&key("every"), SOME)?,
        symbol_map: r.get(&key("symbol_map"), symbol_map)?,
    })
}

fn command(r: &mut Reader<'_>, name: &str) -> Built<ProviderKind> {
    let key = |key: &str| format!("provider.{name}.{key}");
    let program = r.get(&key("program"), program)?;
    if program.is_empty() {
        missing(r, name, "program", "a command source needs a program");
    }
    Ok(ProviderKind::Command {
        program,
        symbol_map: r.get(&key("symbol_map"), symbol_map)?,
        no_tick: r.duration(&key("no_tick"), SOME)?,
    })
}

/// A program and its arguments; a text alone is a program without. Empty: none.
pub(super) fn program(item: &Item) -> Result<Vec<String>, super::reader::Wrong> {
    let words = list(item, |item| {
        let word = text(item)?;
        if word.contains('\0') { Err(wrong(item, "must not hold a NUL")) } else { Ok(word.to_owned()) }
    })?;
    match words.first() {
        Some(path) if !path.starts_with('/') => {
            Err(must_be(item, "a program's whole path (\"/usr/local/bin/price\") and its arguments"))
        }
        _ => Ok(words),
    }
}

fn coindesk(r: &mut Reader<'_>, name: &str) -> Built<ProviderKind> {
    let key = |key: &str| format!("provider.{name}.{key}");
    Ok(ProviderKind::Coindesk {
        rest_url: url(r, &key("rest_url"), &["https", "http"])?,
        api_key: secret(r, &key("api_key_file"))?,
        market: r.get(&key("market"), |item| {
            let market = text(item)?;
            let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if (1..=32).contains(&market.len()) && market.bytes().all(good) {
                Ok(market.to_owned())
            } else {
                Err(must_be(item, "1 to 32 letters and digits"))
            }
        })?,
    })
}

/// A price, exactly as written: a text or a number.
fn price(item: &Item) -> Result<Price, super::reader::Wrong> {
    let digits = match &item.value {
        Value::Text(digits) | Value::Real(digits) => digits.clone(),
        Value::Whole(number) => number.to_string(),
        _ => return Err(must_be(item, "a price (\"64250.12\")")),
    };
    Price::parse(&digits).map_err(|error| wrong(item, format!("{}: {error}", item.value)))
}

fn url(r: &mut Reader<'_>, key: &str, schemes: &[&str]) -> Built<String> {
    r.get(key, |item| units::base_url(text(item)?, schemes).map_err(|why| wrong(item, why)))
}

fn symbol_map(item: &Item) -> Result<BTreeMap<Symbol, Symbol>, super::reader::Wrong> {
    let Value::Table(entries) = &item.value else {
        return Err(must_be(item, "a table, { \"BTC-USD\" = \"BTC-USDT\" }"));
    };
    let (mut map, mut bad) = (BTreeMap::new(), vec![]);
    for (key, item) in entries {
        match (Symbol::new(key), symbol(item)) {
            (Ok(from), Ok(to)) => _ = map.insert(from, to),
            (Err(error), _) => bad.push((item.key_line, format!("{}: {error}", super::value::quoted(key)))),
            (_, Err(wrong)) => bad.extend(wrong),
        }
    }
    if bad.is_empty() { Ok(map) } else { Err(bad) }
}

/// A file that must be there. Whether it can be read is left to who reads it.
fn existing(r: &mut Reader<'_>, key: &str) -> Built<Option<PathBuf>> {
    let path = r.path(key)?;
    if let Some(path) = &path {
        match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() => r.fault(key, format!("{}: is not a regular file", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                r.fault(key, format!("{}: no such file", path.display()));
            }
            _ => {}
        }
    }
    Ok(path)
}

/// The content of a file of one line. A bare name is looked for among systemd's credentials first.
fn secret(r: &mut Reader<'_>, key: &str) -> Built<Option<Secret>> {
    let Some(beside) = r.path(key)? else { return Ok(None) };
    let name = r.layered(key).and_then(|layered| layered.item.as_text()).unwrap_or_default();
    let credential =
        r.source.credentials.as_ref().filter(|_| !name.contains('/')).map(|folder| folder.join(name));
    let path = credential.filter(|path| path.exists()).unwrap_or(beside);
    let reading = file::read(&path);
    let text = match &reading.content {
        Content::Text(text) => text.trim(),
        Content::Absent => {
            r.fault(key, format!("{}: no such file", path.display()));
            return Ok(None);
        }
        Content::Dangling => {
            r.fault(key, format!("{}: {}", path.display(), file::DANGLING));
            return Ok(None);
        }
        Content::Unreadable(_, why) => {
            r.fault(key, format!("{}: {why}", path.display()));
            return Ok(None);
        }
    };
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        // Nothing of it is shown.
        r.fault(key, format!("{}: must hold the key and nothing else", path.display()));
        return Ok(None);
    }
    if reading.public {
        r.warn(key, format!("{}: everybody may read this secret; chmod 600 it", path.display()));
    }
    let secret = Secret::new(text.to_owned());
    r.secrets.push((key.to_owned(), reading));
    Ok(Some(secret))
}
