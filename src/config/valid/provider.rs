//! `[provider.NAME]` by kind, and the secrets that they need.

use crate::config::entry::{Entry, Table};
use crate::config::file::{self, Content};
use crate::config::kind::{ANY, At, BaseUrl, FLAG, Map, Own, Real, SOME, TEXT};
use crate::config::read::{Wrong, list, must_be, place, symbol, text, whole, wrong};
use crate::config::reader::Reader;
use crate::config::table::{Built, Keys, Layered, Section, kinds, row, section};
use crate::config::units;
use crate::config::value::{Item, Value, quoted};
use crate::model::{Price, Symbol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[provider.NAME]`: one price source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// NAME.
    pub name: String,
    /// `kind` (default: the name) and what that kind needs.
    pub kind: ProviderKind,
}

kinds! {
    /// Kind of a source, with its keys.
    pub enum ProviderKind {
        /// Any URL that answers JSON: a source without code.
        "http_json" HttpJson {
            /// URL to ask. {base} and {quote} stand for the pair's two halves, each symbol being asked for on its own;
            /// without them the answer is a price of price.symbol.
            url: String = row(Own("a URL (https, http)", json_url), ""),
            /// Place of the price in the answer (RFC 6901), with the same marks.
            pointer: String = row(Own("a JSON pointer, empty for the answer itself", pointer), ""),
            /// Place of the answer's own time stamp, with the same marks: RFC 3339, or a number of seconds, milliseconds,
            /// microseconds or nanoseconds since 1970. Without it, a server that repeats an old price cannot be told from
            /// one that is current, unless a cache says how old its answer is.
            time_pointer: String = row(Own("a JSON pointer, empty for none", pointer), ""),
            /// Time from one question to the next.
            every: Duration = row(SOME, "10s"),
            /// As with an exchange.
            symbol_map: BTreeMap<Symbol, Symbol> = row(SYMBOL_MAP, "{}"),
        }
        /// A program that prints one tick per line, {"price": "64250.12"} or just 64250.12: a source in any language.
        /// docs/providers.md says how.
        "command" Command {
            /// Its whole path, then its arguments. It runs without environment, as the daemon's user.
            program: Vec<String> = row(PROGRAM, "[]"),
            /// As with an exchange.
            symbol_map: BTreeMap<Symbol, Symbol> = row(SYMBOL_MAP, "{}"),
            /// Without a price for this time it is ended and started anew.
            no_tick: Duration = row(SOME, "30s"),
        }
        /// CoinDesk Data API. Off until it has a key.
        "coindesk" Coindesk {
            /// Base URL.
            rest_url: String = row(BaseUrl(&["https", "http"]), "https://data-api.coindesk.com"),
            /// File that holds the key and nothing else, readable by the daemon only. A bare name is looked for among
            /// systemd's credentials first (LoadCredential=), then beside the file that names it.
            api_key as "api_key_file": Option<Secret> = row(Own("a path, empty for none", secret), ""),
            /// Index family.
            market: String = row(Own("1 to 32 letters and digits", market), "cadli"),
        }
        /// Made-up prices, the same for the same seed.
        "mock" Mock {
            /// First price. A changed one starts the walk again there.
            price: Price = row(Own("a price", price), r#""64250.00""#),
            /// Size of a step in relation to the price; 0 keeps it still, while ticks come all the same.
            volatility: f64 = row(Real(0.0..=1.0), "0.0005"),
            /// Time between two ticks.
            tick: Duration = row(SOME, "1s"),
            /// Seed of the random walk.
            seed: u64 = row(Own("a number, 0 to 2^64 - 1", seed), "1"),
            /// File of moves, stalls and faults.
            script: Option<PathBuf> = row(FILE, ""),
        }
        /// A recording (price.record), or a file with one tick per line.
        "replay" Replay {
            /// The file; without one this source cannot be.
            file: PathBuf = row(Map(FILE, Option::unwrap_or_default), ""),
            /// Name in the recording whose lines are played; lines that name nobody are read as this one's. None: the
            /// recording has lines of one source only, or plain ticks.
            source: Option<String> = row(Map(TEXT, |name| Some(name).filter(|name| !name.is_empty())), ""),
            /// As with an exchange.
            symbol_map: BTreeMap<Symbol, Symbol> = row(SYMBOL_MAP, "{}"),
            /// Speed of playing: 1 is its own, 10 is ten times as fast, 0 is as fast as it can be read.
            speed: f64 = row(Real(0.0..=1_000_000.0), "1.0"),
            /// Whether to start again at its end.
            repeat as "loop": bool = row(FLAG, "false"),
        }
        ;
        /// Binance spot, BTC-USDT for BTC-USD. No key.
        "binance" Binance []
        /// Bitstamp. It streams trades only, so its price may rest for minutes. No key.
        "bitstamp" Bitstamp [
            ("rest_url", "https://www.bitstamp.net"),
            ("stream_url", "wss://ws.bitstamp.net"),
            ("symbol_map", "{}"),
            ("silence", "30s"),
            ("no_tick", "5m")
        ]
        /// Coinbase Exchange. No key.
        "coinbase" Coinbase [
            ("rest_url", "https://api.exchange.coinbase.com"),
            ("stream_url", "wss://ws-feed.exchange.coinbase.com"),
            ("symbol_map", "{}"),
            ("silence", "15s"),
            ("no_tick", "30s")
        ]
        /// Kraken. No key.
        "kraken" Kraken [
            ("rest_url", "https://api.kraken.com"),
            ("stream_url", "wss://ws.kraken.com/v2"),
            ("symbol_map", "{}"),
            ("silence", "15s"),
            ("no_tick", "30s")
        ]
    }
}

section! {
    /// An exchange without a key: a stream, REST while the stream cannot be had. The defaults are those of Binance.
    pub struct Exchange {
        /// Base URL of REST.
        rest_url: String = row(BaseUrl(&["https", "http"]), "https://data-api.binance.vision"),
        /// Base URL of the stream.
        stream_url: String = row(BaseUrl(&["wss", "ws"]), "wss://data-stream.binance.vision"),
        /// Symbol to the pair that is asked for. A symbol that is not in it is asked for as it is, and no other pair ever
        /// stands for it. The price says its pair.
        symbol_map: BTreeMap<Symbol, Symbol> = row(SYMBOL_MAP, r#"{ BTC-USD = "BTC-USDT" }"#),
        /// A stream from which nothing has come for this time is dead.
        silence: Duration = row(SOME, "45s"),
        /// Without a price for this time the source is down, however alive its stream.
        no_tick: Duration = row(SOME, "10s"),
        /// A stream is replaced by a new one after this time, before the exchange cuts it (Binance does after 24 hours); the
        /// old one goes when the new one has given a price. "0s": never.
        renew_after: Duration = row(ANY, "23h"),
    }
}

fn exchange_entries(others: &[(&str, &'static str)]) -> Vec<Entry> {
    let default =
        |entry: &Entry| others.iter().find(|(name, _)| *name == entry.name).map(|(_, default)| *default);
    Exchange::entries()
        .into_iter()
        .map(|entry| Entry { default: default(&entry).unwrap_or(entry.default), ..entry })
        .collect()
}

impl ProviderKind {
    fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Binance(it) | Self::Bitstamp(it) | Self::Coinbase(it) | Self::Kraken(it) => Some(it),
            _ => None,
        }
    }

    /// The base addresses that a source of this kind talks to, by the names of its ways.
    #[must_use]
    pub fn places(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Coindesk { rest_url, .. } => vec![("rest", rest_url.clone())],
            Self::HttpJson { url, .. } => vec![("rest", url.replace(['{', '}'], ""))],
            _ => self.exchange().map_or(vec![], |exchange| {
                vec![("stream", exchange.stream_url.clone()), ("rest", exchange.rest_url.clone())]
            }),
        }
    }

    /// The pair that a source of this kind is asked for when `symbol` is wanted.
    #[must_use]
    pub fn pair(&self, symbol: &Symbol) -> Symbol {
        let map = match self {
            Self::HttpJson { symbol_map, .. }
            | Self::Command { symbol_map, .. }
            | Self::Replay { symbol_map, .. } => Some(symbol_map),
            _ => self.exchange().map(|exchange| &exchange.symbol_map),
        };
        map.and_then(|map| map.get(symbol)).unwrap_or(symbol).clone()
    }
}

/// Reads all of them, whether `price.providers` names them or not.
pub(super) fn all(r: &mut Reader<'_>, kinds: &BTreeMap<String, String>) -> Built<BTreeMap<String, Provider>> {
    let mut all = BTreeMap::new();
    for (name, word) in kinds {
        let section = format!("provider.{name}");
        r.get(&format!("{section}.kind"), &TEXT)?;
        let kind = ProviderKind::read(word, &mut Layered { reader: r, section })?;
        let missing = match &kind {
            ProviderKind::Replay { file, .. } => {
                (file == Path::new("")).then_some(("file", "a replay needs a file"))
            }
            ProviderKind::HttpJson { url, .. } => {
                url.is_empty().then_some(("url", "an http_json source needs a url"))
            }
            ProviderKind::Command { program, .. } => {
                program.is_empty().then_some(("program", "a command source needs a program"))
            }
            _ => None,
        };
        if let Some((key, why)) = missing {
            refuse(r, name, key, why);
        }
        all.insert(name.clone(), Provider { name: name.clone(), kind });
    }
    Ok(all)
}

/// Refuses a source that lacks what it cannot be without. An unused section is told, too: it can never work.
fn refuse(r: &mut Reader<'_>, name: &str, key: &str, why: &str) {
    let (section, key) = (format!("provider.{name}"), format!("provider.{name}.{key}"));
    if r.is_bad(&key) {
        return;
    }
    let at = if r.origin(&key).is_fixed() { key } else { section };
    let origin = r.layers.providers.get(name).cloned().unwrap_or_else(|| r.origin("price.providers"));
    r.faults.add(origin, at, why);
}

/// A secret text. Prints as `***`; goes to the children in clear.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
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

/// A program and its arguments; a text alone is a program without. Empty: none.
pub(super) const PROGRAM: Own<Vec<String>> = Own("a whole path, then arguments", |item, _| {
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
});

/// A file that must be there. Whether it can be read is left to its reader.
const FILE: Own<Option<PathBuf>> = Own("a path, empty for none", |item, at| {
    let Some(path) = place(item, at.base())? else { return Ok(None) };
    match std::fs::metadata(&path) {
        Ok(meta) if !meta.is_file() => Err(wrong(item, format!("{}: is not a regular file", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(wrong(item, format!("{}: no such file", path.display())))
        }
        _ => Ok(Some(path)),
    }
});

const SYMBOL_MAP: Own<BTreeMap<Symbol, Symbol>> = Own("a table of symbols", |item, _| {
    let Value::Table(entries) = &item.value else {
        return Err(must_be(item, "a table, { \"BTC-USD\" = \"BTC-USDT\" }"));
    };
    let (mut map, mut bad) = (BTreeMap::new(), vec![]);
    for (key, item) in entries {
        match (Symbol::new(key), symbol(item)) {
            (Ok(from), Ok(to)) => _ = map.insert(from, to),
            (Err(error), _) => bad.push((item.key_line, format!("{}: {error}", quoted(key)))),
            (_, Err(wrong)) => bad.extend(wrong),
        }
    }
    if bad.is_empty() { Ok(map) } else { Err(bad) }
});

fn json_url(item: &Item, _: &mut At<'_>) -> Result<String, Wrong> {
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
}

fn pointer(item: &Item, _: &mut At<'_>) -> Result<String, Wrong> {
    match text(item)? {
        pointer if pointer.is_empty() || pointer.starts_with('/') => Ok(pointer.to_owned()),
        _ => Err(must_be(item, "a JSON pointer (\"/data/0/price\"), or empty where the answer is the price")),
    }
}

fn market(item: &Item, _: &mut At<'_>) -> Result<String, Wrong> {
    let market = text(item)?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=32).contains(&market.len()) && market.bytes().all(good) {
        Ok(market.to_owned())
    } else {
        Err(must_be(item, "1 to 32 letters and digits"))
    }
}

/// A price, exactly as written: a text or a number.
fn price(item: &Item, _: &mut At<'_>) -> Result<Price, Wrong> {
    let digits = match &item.value {
        Value::Text(digits) | Value::Real(digits) => digits.clone(),
        Value::Whole(number) => number.to_string(),
        _ => return Err(must_be(item, "a price (\"64250.12\")")),
    };
    Price::parse(&digits).map_err(|error| wrong(item, format!("{}: {error}", item.value)))
}

fn seed(item: &Item, _: &mut At<'_>) -> Result<u64, Wrong> {
    u64::try_from(whole(item)?).map_err(|_| must_be(item, "between 0 and 2^64 - 1"))
}

fn secret(item: &Item, at: &mut At<'_>) -> Result<Option<Secret>, Wrong> {
    secret_file(item, at, &|text| {
        let good = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if good { Ok(()) } else { Err("must hold the key and nothing else".to_owned()) }
    })
}

/// The content of a file, without white space around it. A bare name is looked for among systemd's credentials first.
/// Nothing of it is shown.
pub(super) fn secret_file(
    item: &Item,
    at: &mut At<'_>,
    judge: &dyn Fn(&str) -> Result<(), String>,
) -> Result<Option<Secret>, Wrong> {
    let Some(beside) = place(item, at.base())? else { return Ok(None) };
    let name = text(item)?;
    let credential =
        at.source.credentials.as_ref().filter(|_| !name.contains('/')).map(|folder| folder.join(name));
    let path = credential.filter(|path| path.exists()).unwrap_or(beside);
    let reading = file::read(&path);
    let why = match &reading.content {
        Content::Text(text) => match judge(text.trim()) {
            Ok(()) => {
                if reading.public {
                    at.warnings
                        .push(format!("{}: everybody may read this secret; chmod 600 it", path.display()));
                }
                let secret = Secret::new(text.trim().to_owned());
                at.secrets.push(reading);
                return Ok(Some(secret));
            }
            Err(why) => why,
        },
        Content::Absent => "no such file".to_owned(),
        Content::Dangling => file::DANGLING.to_owned(),
        Content::Unreadable(_, why) => why.clone(),
    };
    Err(wrong(item, format!("{}: {why}", path.display())))
}
