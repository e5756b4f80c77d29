//! The sections of the smaller endpoints: what they hold, and how it is read.

use super::reader::{ANY, Broken, Reader, SOME, text};
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
