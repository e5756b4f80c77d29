//! The sections of the smaller endpoints: what they hold, and how it is read.

use super::layers::{NAME_RULE, is_name};
use super::reader::{ANY, Broken, Reader, SOME, Wrong, list, must_be, text, wrong};
use super::valid::Config;
use super::value::{Item, Value, bare_or_quoted};
use super::{fault, keys};
use crate::model::{Interval, Symbol};
use serde::{Deserialize, Serialize};
use std::time::Duration;

type Built<T> = Result<T, Broken>;

/// `[chat]`: the endpoint `/chat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// Longest message in Unicode scalar values; a longer one is cut there.
    pub max_length: u32,
}

/// `[command]`: the endpoint `/command`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// What a newcomer hears; empty: nothing.
    pub greeting: String,
    /// What stands before an `ECHO`.
    pub prefix: String,
    /// From a `PING` to its `PONG`.
    pub ping_delay: Duration,
}

/// `[broadcast]`: the endpoint `/broadcast`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broadcast {
    /// From one heartbeat to the next.
    pub heartbeat: Duration,
}

/// `[[streams]]`: one stream, at the path of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// `[a-z0-9_-]{1,32}`
    pub name: String,
    /// The state channel that it carries: `price:BTC-USD`, `price:BTC-USD@1s`, `candle:BTC-USD@1m`, `stats`.
    pub channel: String,
}

impl Config {
    /// The stream of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// Whether that is a channel of state.
    #[must_use]
    pub fn has_state(&self, channel: &str) -> bool {
        is_state(channel, &self.price.symbols)
    }
}

fn is_state(channel: &str, symbols: &[Symbol]) -> bool {
    let priced = channel.strip_prefix("price:").map(|rest| rest.strip_suffix("@1s").unwrap_or(rest));
    let candles = channel.strip_prefix("candle:").and_then(|rest| rest.split_once('@'));
    let candles = candles.filter(|(_, interval)| Interval::parse(interval).is_some());
    let symbol = priced.or(candles.map(|(symbol, _)| symbol));
    channel == "stats" || symbol.is_some_and(|symbol| symbols.iter().any(|s| s.as_str() == symbol))
}

/// Names and channels of the streams when nobody writes any.
pub(super) fn default_streams(symbol: &str) -> [(&'static str, String); 4] {
    [
        ("stream1", format!("price:{symbol}")),
        ("stream2", format!("price:{symbol}@1s")),
        ("stream3", format!("candle:{symbol}@1s")),
        ("stream4", "stats".to_owned()),
    ]
}

/// Paths of the server's own.
const ROUTES: [&str; 10] =
    ["ws", "echo", "broadcast", "command", "chat", "api", "healthz", "livez", "readyz", "metrics"];

pub(super) fn streams(r: &mut Reader<'_>) -> Built<Vec<Stream>> {
    let streams = r.get("streams", |item| match &item.value {
        Value::List(_) => list(item, stream),
        _ => Err(wrong(item, "must be a list of sections, [[streams]]")),
    })?;
    for (i, one) in streams.iter().enumerate() {
        if streams.iter().take(i).any(|other| other.name == one.name) {
            r.fault("streams", format!("name \"{}\" stands twice", one.name));
        }
    }
    Ok(streams)
}

fn stream(item: &Item) -> Result<Stream, Wrong> {
    let Value::Table(entries) = &item.value else {
        return Err(must_be(item, "a section with name and channel"));
    };
    let (mut name, mut channel, mut bad) = (None, None, vec![]);
    for (key, item) in entries {
        let word = item.as_text().unwrap_or_default();
        let mut no = |line: u32, why: String| bad.push((line, format!("{}: {why}", bare_or_quoted(key))));
        match key.as_str() {
            "name" if ROUTES.contains(&word) => {
                no(item.line, format!("\"{word}\" is a path of the server's own"))
            }
            "name" if is_name(word) => name = Some(word.to_owned()),
            "name" => no(item.line, format!("{}: {NAME_RULE}", item.value)),
            "channel" if !word.is_empty() => channel = Some(word.to_owned()),
            "channel" => no(item.line, format!("must be the name of a channel, not {}", item.value)),
            "file" | "command" => no(item.key_line, keys::LATER.to_owned()),
            key => no(item.key_line, fault::unknown("key", key, ["name", "channel"])),
        }
    }
    match (name, channel) {
        (Some(name), Some(channel)) if bad.is_empty() => Ok(Stream { name, channel }),
        (None, _) if bad.is_empty() => Err(wrong(item, "a stream without a name")),
        (_, None) if bad.is_empty() => Err(wrong(item, "a stream without a channel")),
        _ => Err(bad),
    }
}

/// What streams carry is there, and so is what `ws.root` names.
pub(super) fn check(r: &mut Reader<'_>, config: &Config) {
    // That price.symbol is one of them is a rule of its own.
    let own = std::slice::from_ref(&config.price.symbol);
    let known = |stream: &&Stream| config.has_state(&stream.channel) || is_state(&stream.channel, own);
    for stream in config.streams.iter().filter(|stream| !known(stream)) {
        let shown: String = stream.channel.chars().take(64).collect();
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

/// Longest `command.ping_delay`: what waits is kept in memory.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Most characters that `chat.max_length` may allow.
const LONGEST_CHAT: u32 = 65_536;

pub(super) fn chat(r: &mut Reader<'_>) -> Built<Chat> {
    Ok(Chat { max_length: r.whole("chat.max_length", 1..=LONGEST_CHAT)? })
}

pub(super) fn broadcast(r: &mut Reader<'_>) -> Built<Broadcast> {
    Ok(Broadcast { heartbeat: r.duration("broadcast.heartbeat", SOME)? })
}

pub(super) fn command(r: &mut Reader<'_>) -> Built<Command> {
    let plain = |item: &super::value::Item| text(item).map(str::to_owned);
    Ok(Command {
        greeting: r.get("command.greeting", plain)?,
        prefix: r.get("command.prefix", plain)?,
        ping_delay: r.duration("command.ping_delay", *ANY.start()..=LONGEST_DELAY)?,
    })
}
