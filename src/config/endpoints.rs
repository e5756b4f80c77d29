//! The sections of the smaller endpoints: what they hold, and how it is read.

use super::build::LARGEST;
use super::fault;
use super::layers::{NAME_RULE, is_name};
use super::providers::program;
use super::reader::{ANY, Broken, Reader, SOME, Wrong, list, must_be, place, text, wrong};
use super::valid::Config;
use super::value::{Item, Value, bare_or_quoted};
use crate::model::{Interval, Symbol};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
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
    /// What of.
    pub carries: Carries,
}

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carries {
    /// A state channel: `price:BTC-USD`, `price:BTC-USD@1s`, `candle:BTC-USD@1m`, `stats`.
    Channel(String),
    /// Lines, each of which counts.
    Lines(Lines),
}

/// Where lines come from. The feeder reads each of them once, however many streams carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    /// What is appended to a file; a whole path.
    File(PathBuf),
    /// What a program prints: its whole path, and its arguments.
    Command(Vec<String>),
}

impl Lines {
    /// The name of their channel, between processes and in a worker. No client may say it, and no other file or
    /// program has it: what is still on its way from one that is no more reaches nobody.
    #[must_use]
    pub fn channel(&self) -> String {
        match self {
            Self::File(path) => format!("lines:file:{}", path.display()),
            Self::Command(words) => format!("lines:command:{words:?}"),
        }
    }
}

impl Stream {
    /// The name of the channel that it carries.
    #[must_use]
    pub fn channel(&self) -> Cow<'_, str> {
        match &self.carries {
            Carries::Channel(name) => name.into(),
            Carries::Lines(lines) => lines.channel().into(),
        }
    }
}

impl Config {
    /// The stream of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// The files and programs that streams carry; one that two of them carry stands twice.
    pub fn lines(&self) -> impl Iterator<Item = &Lines> {
        self.streams.iter().filter_map(|stream| match &stream.carries {
            Carries::Lines(lines) => Some(lines),
            Carries::Channel(_) => None,
        })
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
    let base = r.base("streams");
    let streams = r.get("streams", |item| match &item.value {
        Value::List(_) => list(item, |item| stream(item, &base)),
        _ => Err(wrong(item, "must be a list of sections, [[streams]]")),
    })?;
    for (i, one) in streams.iter().enumerate() {
        if streams.iter().take(i).any(|other| other.name == one.name) {
            r.fault("streams", format!("name \"{}\" stands twice", one.name));
        }
    }
    Ok(streams)
}

/// The keys that say what a stream carries: one of them stands there.
const CARRIED: [&str; 3] = ["channel", "file", "command"];

fn stream(item: &Item, base: &Path) -> Result<Stream, Wrong> {
    let Value::Table(entries) = &item.value else {
        return Err(must_be(item, "a section with name and one of channel, file and command"));
    };
    let (mut name, mut carries, mut bad) = (None, None, vec![]);
    let mut said = None;
    for (key, item) in entries {
        let word = item.as_text().unwrap_or_default();
        let mut no = |line: u32, why: String| bad.push((line, format!("{}: {why}", bare_or_quoted(key))));
        match key.as_str() {
            "name" if ROUTES.contains(&word) => {
                no(item.line, format!("\"{word}\" is a path of the server's own"))
            }
            "name" if is_name(word) => name = Some(word.to_owned()),
            "name" => no(item.line, format!("{}: {NAME_RULE}", item.value)),
            known if CARRIED.contains(&known) => match (said.replace(known), carried(known, item, base)) {
                (Some(other), _) => {
                    no(
                        item.key_line,
                        format!("a stream carries one thing, and {other} stands there already"),
                    );
                }
                (None, Ok(one)) => carries = Some(one),
                (None, Err(wrong)) => wrong.into_iter().for_each(|(line, why)| no(line, why)),
            },
            key => no(item.key_line, fault::unknown("key", key, ["name"].into_iter().chain(CARRIED))),
        }
    }
    match (name, carries) {
        (Some(name), Some(carries)) if bad.is_empty() => Ok(Stream { name, carries }),
        (None, _) if bad.is_empty() => Err(wrong(item, "a stream without a name")),
        (_, None) if bad.is_empty() => Err(wrong(item, "a stream without channel, file or command")),
        _ => Err(bad),
    }
}

/// What one of the [`CARRIED`] says. Whether a file is there is no matter: the feeder waits for it.
fn carried(key: &str, item: &Item, base: &Path) -> Result<Carries, Wrong> {
    Ok(match key {
        "file" => {
            let path = place(item, base)?.ok_or_else(|| must_be(item, "the path of a file"))?;
            Carries::Lines(Lines::File(path))
        }
        "command" => match program(item)? {
            words if words.is_empty() => {
                return Err(must_be(item, "a program's whole path and its arguments"));
            }
            words => Carries::Lines(Lines::Command(words)),
        },
        _ => match item.as_text() {
            Some(name) if !name.is_empty() => Carries::Channel(name.to_owned()),
            _ => return Err(must_be(item, "the name of a channel")),
        },
    })
}

/// What streams carry is there, and so is what `ws.root` names.
pub(super) fn check(r: &mut Reader<'_>, config: &Config) {
    // That price.symbol is one of them is a rule of its own.
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
