//! The sections of the smaller endpoints: what they hold, and how it is read.

use super::build::LARGEST;
use super::layers::{NAME_RULE, is_name};
use super::reader::{ANY, Broken, Reader, SOME, Wrong, list, must_be, text, wrong};
use super::valid::Config;
use super::value::{Item, Value, bare_or_quoted};
use super::{fault, keys};
use crate::model::{Interval, Symbol};
use serde::{Deserialize, Serialize};
use std::time::Duration;

type Built<T> = Result<T, Broken>;

/// `[chat]`: the endpoint `/chat`, and the rooms of `/ws`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chat {
    /// Longest message in Unicode scalar values; a longer one is cut there.
    pub max_length: u32,
    /// Messages of one room that are kept for whoever enters it; 0: none.
    pub history: u32,
    /// Rooms at one time in the whole cluster.
    pub rooms: u32,
    /// Bytes of the histories of all rooms together.
    pub history_bytes: usize,
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

/// `[poll]`: long polling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// How long a poll waits for a message before it is answered without one.
    pub wait: Duration,
    /// From the answer of a poll to the next one at the latest; past it nobody is there.
    pub gap: Duration,
}

/// `[resume]`: sessions that nobody is connected to, and that may be come back to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// How long such a session is kept; zero: not at all.
    pub window: Duration,
    /// Most messages that are kept for one session.
    pub messages: u32,
    /// Most bytes that are kept for one session.
    pub bytes: usize,
    /// Suspended sessions that one worker keeps; past it the oldest is forgotten.
    pub sessions: u32,
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
/// Most bytes that all histories of rooms may have.
const LARGEST_HISTORY: u64 = 1 << 30;

pub(super) fn chat(r: &mut Reader<'_>) -> Built<Chat> {
    Ok(Chat {
        max_length: r.whole("chat.max_length", 1..=LONGEST_CHAT)?,
        history: r.whole("chat.history", 0..=1000)?,
        rooms: r.whole("chat.rooms", 1..=10_000)?,
        history_bytes: r.size("chat.history_bytes", 0..=LARGEST_HISTORY)?,
    })
}

/// Longest `poll.wait`: proxies give up on an answer long before.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Longest `poll.gap`: a session that nobody asks for any more costs memory for so long.
const LONGEST_GAP: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn poll(r: &mut Reader<'_>) -> Built<Poll> {
    Ok(Poll {
        wait: r.duration("poll.wait", SECOND..=LONGEST_WAIT)?,
        gap: r.duration("poll.gap", SECOND..=LONGEST_GAP)?,
    })
}

/// Longest `resume.window`.
const LONGEST_WINDOW: Duration = Duration::from_secs(86_400);

pub(super) fn resume(r: &mut Reader<'_>) -> Built<Resume> {
    Ok(Resume {
        window: r.duration("resume.window", Duration::ZERO..=LONGEST_WINDOW)?,
        messages: r.whole("resume.messages", 0..=10_000)?,
        bytes: r.size("resume.bytes", 0..=LARGEST)?,
        sessions: r.whole("resume.sessions", 0..=1_000_000)?,
    })
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
