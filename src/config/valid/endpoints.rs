//! Sections of the smaller endpoints, streams and channels.

use super::provider::PROGRAM;
use super::web::LARGEST;
use crate::config::kind::{At, Choice, Own, PATH, SOME, Size, TEXT, Time, Whole, one, seconds};
use crate::config::read::{Wrong, must_be, wrong};
use crate::config::table::{self, row, section};
use crate::config::units::{NAME_RULE, is_name};
use crate::config::value::Item;
use crate::model::{Interval, Symbol};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// /chat: what one client says goes to all of them. And rooms: the channels "chat:ROOM" of sessions.
    pub struct ChatSection {
        /// Longest message in characters (Unicode scalar values); a longer one is cut there.
        max_length: u32 = row(Whole(1..=65_536), "50"),
        /// Messages of one room that are kept for newcomers; 0 keeps none.
        history: u32 = row(Whole(0..=1000), "50"),
        /// Rooms at one time in the whole cluster. A new one takes the place of one of the address that made most: first
        /// of a room in which nobody is present, the one that was used longest ago. The address that has most itself gets
        /// no more while somebody is in each of its own, except, up to a half, rooms of those who have all gone, and in
        /// place of a room of another of its sessions that made more.
        rooms: u32 = row(Whole(1..=10_000), "1000"),
        /// Bytes of the histories of all rooms together, without some 50 for each message; beyond it the oldest message
        /// of the largest room goes, of the address whose rooms have most.
        history_bytes: usize = row(Size(0..=1 << 30), "16MiB"),
    }
}

section! {
    /// /command: ECHO and PING, answered in plain text.
    pub struct CommandSection {
        /// Greeting of a newcomer; an empty text is none.
        greeting: String = row(TEXT, "Вы подключились"),
        /// Text before the answer to an ECHO.
        prefix: String = row(TEXT, "Сервер услышал: "),
        /// Time from a PING to its PONG. What waits is kept in memory.
        ping_delay: Duration = row(seconds(0, 60), "0s"),
    }
}

section! {
    /// /broadcast: what one client says goes to all others.
    pub struct BroadcastSection {
        /// Time between two heartbeats: a message with the number of connections, the memory of all processes, the uptime.
        heartbeat: Duration = row(SOME, "30s"),
    }
}

section! {
    /// Long polling, GET /api/v1/poll.
    pub struct PollSection {
        /// Time that a poll waits for a message before it is answered without one. Less than the patience of the proxies
        /// between.
        wait: Duration = row(seconds(1, 600), "25s"),
        /// Longest time from the answer of a poll to the next one. Past it the session counts as left; resume.window
        /// says how long it is kept.
        gap: Duration = row(seconds(1, 3600), "10s"),
        /// Longest time from the first answer of a session to the poll that brings its cursor back, if that is less than
        /// gap. Until then the session gives way to any other where there is no room. Where there is little room for
        /// connections, a WebSocket of which nothing has ever come has as long to answer a ping.
        take_up: Duration = row(seconds(1, 3600), "5s"),
        /// Polling sessions of the cluster, which use memory and, between two polls, no descriptor; beyond it 503. One
        /// address (not a loopback one) has a quarter where limits.sessions_per_address is "auto".
        sessions: u32 = row(Whole(1..=10_000_000), "50000"),
    }
}

section! {
    /// Sessions whose client is not connected, kept so that it can come back and misses nothing.
    pub struct ResumeSection {
        /// Time that such a session is kept; "0s": not at all, a client that comes back has a new session.
        window: Duration = row(Time(Duration::ZERO..=Duration::from_secs(86_400)), "2m"),
        /// Most messages that are kept for one session. A client that has missed more is told that there is a gap.
        messages: u32 = row(Whole(0..=10_000), "64"),
        /// Most bytes that are kept for one session.
        bytes: usize = row(Size(0..=LARGEST), "64KiB"),
        /// Suspended sessions that one worker keeps. Beyond it, and beyond resume.memory, the address that has most of
        /// them loses one: first those that were hardly used.
        sessions: u32 = row(Whole(0..=1_000_000), "10000"),
        /// Memory of all suspended sessions of one worker, with what is kept for them. A message that several sessions
        /// miss counts for each of them.
        memory: usize = row(Size(0..=1 << 34), "64MiB"),
    }
}

section! {
    /// Channels that an administrator may publish to, one section each; there are none when nothing is said.
    pub struct Channel {
        /// Name of the channel.
        name: String = row(Own("1 to 32 of a-z 0-9 _ -", channel_name), ""),
        /// Publishers: "admin" (the admin routes and `ctl publish`), or "anyone" (every session, too).
        publish: Publish = row(PUBLISH, "admin"),
        /// Subscribers: "anyone" (with auth.mode = "token", without a token only if auth.anonymous has "message"), "token"
        /// (every token that its own channels do not exclude), or "admin" (tokens with the scope admin).
        hearers as "subscribe": Hearers = row(HEARERS, "anyone"),
    }
}

/// `channel.subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hearers {
    /// Everybody, in the kinds of `auth.anonymous` also without a token.
    Anyone,
    /// Who has a token.
    Token,
    /// Who has an administrator's token.
    Admin,
}

const HEARERS: Choice<Hearers> =
    one(&[("anyone", Hearers::Anyone), ("token", Hearers::Token), ("admin", Hearers::Admin)]);

/// `channel.publish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Only the admin routes and the control socket.
    Admin,
    /// Every session, too.
    Anyone,
}

const PUBLISH: Choice<Publish> = one(&[("admin", Publish::Admin), ("anyone", Publish::Anyone)]);

pub(crate) const CHANNELS: Own<Vec<Channel>> = Own("a list of sections", |item, at| {
    let read = |item: &Item, entries: &[_]| table::listed("channel", item, entries, at);
    table::tables(item, "channels", |channel: &Channel| channel.name.as_str(), read)
});

/// Words that a client's list of channels gives a meaning.
const RESERVED: [&str; 6] = ["price", "candle", "stats", "presence", "chat", "none"];
/// Paths of the server's own.
const ROUTES: [&str; 10] =
    ["ws", "echo", "broadcast", "command", "chat", "api", "healthz", "livez", "readyz", "metrics"];

fn channel_name(item: &Item, _: &mut At<'_>) -> Result<String, Wrong> {
    free_name(item, &RESERVED, "is a channel of the server's own")
}

fn stream_name(item: &Item, _: &mut At<'_>) -> Result<String, Wrong> {
    free_name(item, &ROUTES, "is a path of the server's own")
}

fn free_name(item: &Item, taken: &[&str], why: &str) -> Result<String, Wrong> {
    match item.as_text() {
        Some(word) if taken.contains(&word) => Err(wrong(item, format!("\"{word}\" {why}"))),
        Some(word) if is_name(word) => Ok(word.to_owned()),
        _ => Err(wrong(item, format!("{}: {NAME_RULE}", item.value))),
    }
}

section! {
    /// Streams, one section each, at the path of the name: the newest message of one channel, or the lines of a file or a
    /// program, to everybody who connects. Sections that are written take the place of these four; all are read anew with a
    /// reload, and one that is gone ends its sessions. A stream carries one thing: channel, file or command.
    pub struct StreamSection {
        /// Path of the stream, and no path of the server's own.
        name: String = row(Own("1 to 32 of a-z 0-9 _ -", stream_name), ""),
        /// State channel: every price ("price:BTC-USD"), at most one a second ("price:BTC-USD@1s"), candles
        /// ("candle:BTC-USD@1s", @1m, @1h), or the statistics ("stats").
        channel: Option<String> = row(Own("a channel", state_name), ""),
        /// File of which each line that is appended goes to every session, the last one there is at once. It may be rotated,
        /// cut or not there yet. 1000 lines and 1 MiB a second are read at most, a line longer than ws.max_message is cut.
        file: Option<PathBuf> = row(PATH, ""),
        /// Program of which each line that it prints goes to every session. It runs once, not once for each client, and is
        /// started again when it ends; its lines are limited as those of a file. Everybody who connects sees them.
        command: Vec<String> = row(PROGRAM, "[]"),
    }
}

/// A written name; no name is none.
fn state_name(item: &Item, _: &mut At<'_>) -> Result<Option<String>, Wrong> {
    match item.as_text() {
        Some(name) => Ok(Some(name.to_owned()).filter(|name| !name.is_empty())),
        _ => Err(must_be(item, "the name of a channel")),
    }
}

/// `[[streams]]`: one stream, at the path of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// `[a-z0-9_-]{1,32}`
    pub name: String,
    /// Content of the stream.
    pub carries: Carries,
}

/// Content of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carries {
    /// A state channel: `price:BTC-USD`, `price:BTC-USD@1s`, `candle:BTC-USD@1m`, `stats`.
    Channel(String),
    /// Lines, each of which counts.
    Lines(Lines),
}

/// Source of lines. The feeder reads each source once, however many streams carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    /// Lines appended to a file, by its whole path.
    File(PathBuf),
    /// Lines printed by a program: its whole path, and its arguments.
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

pub(crate) const STREAMS: Own<Vec<Stream>> = Own("a list of sections", |item, at| {
    let read = |item: &Item, entries: &[_]| stream(item, entries, at);
    table::tables(item, "streams", |stream: &Stream| stream.name.as_str(), read)
});

/// Keys of which a stream has one, and what an empty value of each should have been.
const CARRIED: [(&str, &str); 3] = [
    ("channel", "the name of a channel"),
    ("file", "the path of a file"),
    ("command", "a program's whole path and its arguments"),
];

fn stream(item: &Item, entries: &[(String, Item)], at: &mut At<'_>) -> Result<Stream, Wrong> {
    let carried = |key: &str| CARRIED.iter().find(|(name, _)| *name == key);
    let (mut bad, mut said, mut read) = (vec![], None::<&(String, Item)>, vec![]);
    for entry in entries {
        match said {
            Some((before, _)) if carried(&entry.0).is_some() => bad.push((
                entry.1.key_line,
                format!("{}: a stream carries one thing, and {before} stands there already", entry.0),
            )),
            _ => read.push(entry.clone()),
        }
        if carried(&entry.0).is_some() {
            said = Some(entry);
        }
    }
    let section: StreamSection = match table::listed("stream", item, &read, at) {
        Ok(section) if bad.is_empty() => section,
        Ok(_) => return Err(bad),
        Err(wrong) => return Err(bad.into_iter().chain(wrong).collect()),
    };
    let carries = match section {
        StreamSection { channel: Some(name), .. } => Carries::Channel(name),
        StreamSection { file: Some(path), .. } => Carries::Lines(Lines::File(path)),
        StreamSection { command, .. } if !command.is_empty() => Carries::Lines(Lines::Command(command)),
        _ => {
            let empty = said.and_then(|(key, item)| Some((key, carried(key)?.1, item)));
            return Err(empty.map_or_else(
                || wrong(item, "a stream without channel, file or command"),
                |(key, what, item)| {
                    must_be(item, what).into_iter().map(|(l, t)| (l, format!("{key}: {t}"))).collect()
                },
            ));
        }
    };
    Ok(Stream { name: section.name, carries })
}

/// Names and channels of the streams when nobody writes any.
pub(crate) fn default_streams(symbol: &str) -> [(&'static str, String); 4] {
    [
        ("stream1", format!("price:{symbol}")),
        ("stream2", format!("price:{symbol}@1s")),
        ("stream3", format!("candle:{symbol}@1s")),
        ("stream4", "stats".to_owned()),
    ]
}

/// Tells whether a channel is one of state of one of these symbols.
pub(crate) fn is_state(channel: &str, symbols: &[Symbol]) -> bool {
    let priced = channel.strip_prefix("price:").map(|rest| rest.strip_suffix("@1s").unwrap_or(rest));
    let candles = channel.strip_prefix("candle:").and_then(|rest| rest.split_once('@'));
    let candles = candles.filter(|(_, interval)| Interval::parse(interval).is_some());
    let symbol = priced.or(candles.map(|(symbol, _)| symbol));
    channel == "stats" || symbol.is_some_and(|symbol| symbols.iter().any(|s| s.as_str() == symbol))
}
