//! Defaults that depend on other values: the socket's place, the page's address, the symbols, each provider's keys.

use super::entry::Table;
use super::fault::{Faults, distance, unknown};
use super::layers::Layers;
use super::read::one_of;
use super::source::Source;
use super::units::Environment;
use super::valid::{default_streams, kinds};
use super::value::{Item, Value, quoted};
use crate::model::Symbol;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Completes the layers and gives the kind of every provider that has a good one.
pub(crate) fn derive(source: &Source, layers: &mut Layers, faults: &mut Faults) -> BTreeMap<String, String> {
    let socket = Item::text(source.socket.to_string_lossy());
    set(layers, "control.socket", socket);
    if source.environment == Environment::Development
        && let Some(url) = page_ws_url(layers)
    {
        set(layers, "http.page_ws_url", Item::text(url));
    }
    let symbol = text(layers, "price.symbol").filter(|symbol| Symbol::new(symbol).is_ok());
    let symbol = symbol.unwrap_or_else(|| "BTC-USD".to_owned());
    let bare = |value| Item { value, line: 0, key_line: 0 };
    let stream = |(name, channel): (&str, String)| {
        let entry = |key: &str, text: &str| (key.to_owned(), Item::text(text));
        bare(Value::Table(vec![entry("name", name), entry("channel", &channel)]))
    };
    set(layers, "streams", bare(Value::List(default_streams(&symbol).map(stream).into())));
    set(layers, "channels", bare(Value::List(vec![])));
    set(layers, "price.symbols", bare(Value::List(vec![Item::text(symbol)])));
    providers(layers, faults)
}

fn set(layers: &mut Layers, key: &str, item: Item) {
    layers.set_default(key.to_owned(), item);
}

fn text(layers: &Layers, key: &str) -> Option<String> {
    layers.keys.get(key)?.item.as_text().map(str::to_owned)
}

/// A list of texts, or a text alone.
fn texts(layers: &Layers, key: &str) -> Vec<String> {
    match layers.keys.get(key).map(|layered| &layered.item.value) {
        Some(Value::Text(text)) => vec![text.clone()],
        Some(Value::List(items)) => items.iter().filter_map(Item::as_text).map(str::to_owned).collect(),
        _ => vec![],
    }
}

/// The page of a development cluster uses the WebSocket port, as long as that is known beforehand.
fn page_ws_url(layers: &Layers) -> Option<String> {
    let first: SocketAddr = texts(layers, "ws.listen").first()?.parse().ok()?;
    (first.port() != 0).then(|| format!("ws://{{host}}:{}/ws", first.port()))
}

fn providers(layers: &mut Layers, faults: &mut Faults) -> BTreeMap<String, String> {
    let tables = kinds();
    let of = |kind: &str| tables.iter().find(|table| table.name == kind);
    let mut names: Vec<String> = layers.providers.keys().cloned().collect();
    names.extend(texts(layers, "price.providers").into_iter().filter(|name| of(name).is_some()));
    names.sort();
    names.dedup();
    let mut kinds = BTreeMap::new();
    for name in names {
        let section = format!("provider.{name}");
        // A kind that is no text is told when the key is read.
        let kind = text(layers, &format!("{section}.kind")).unwrap_or_else(|| name.clone());
        if let Some(table) = of(&kind) {
            set(layers, &format!("{section}.kind"), Item::text(&kind));
            layers.set_defaults(&section, table, Environment::Production);
            refuse_unknown(layers, &name, faults);
            kinds.insert(name, kind);
        } else {
            refuse_kind(layers, &name, &kind, &tables, faults);
        }
    }
    kinds
}

fn refuse_unknown(layers: &Layers, name: &str, faults: &mut Faults) {
    let section = format!("provider.{name}");
    for (key, layered) in layers.section(&section).filter(|(_, layered)| layered.default.is_none()) {
        faults.add_with(layered.origin.clone(), format!("{section}.{key}"), || {
            let known = layers.keys_of(&section);
            unknown("key", key.trim_matches('"'), known.iter().map(String::as_str))
        });
    }
}

fn refuse_kind(layers: &Layers, name: &str, kind: &str, tables: &[Table], faults: &mut Faults) {
    let key = format!("provider.{name}.kind");
    let (key, origin) = match (layers.keys.get(&key), layers.providers.get(name)) {
        (Some(layered), _) => (key, layered.origin.clone()),
        (None, Some(origin)) => (format!("provider.{name}"), origin.clone()),
        (None, None) => return,
    };
    let mut words: Vec<_> = tables.iter().map(|table| table.name).collect();
    words.sort_unstable();
    let near = words.iter().find(|known| distance(kind, known) <= 2);
    let text = match near {
        Some(near) => format!("unknown kind {}; did you mean \"{near}\"?", quoted(kind)),
        None => format!("needs a kind, {}", one_of(words.into_iter())),
    };
    faults.add(origin, key, text);
}
