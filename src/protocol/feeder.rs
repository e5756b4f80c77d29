//! The part of [`super::cluster`]'s language that feeder and master speak.

use super::beat::Counters;
use super::role::{Generation, Hello};
use crate::model::{Candles, Interval, Quote, Symbol, Wall};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// From the feeder to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromFeeder {
    /// The first message.
    Hello(Hello),
    /// The feeder is at work.
    Ready,
    /// A sign of life, each second.
    Beat(Box<Counters>),
    /// A price to publish; the master sets its `seq`.
    Tick(Quote),
    /// All sources in their order, as JSON: at once when a state changes, else at most one message a second.
    Sources(Box<str>),
    /// All symbols for which the sources do not agree on a new price, and why.
    Refused(BTreeMap<Symbol, String>),
    /// The newest candles of a symbol, at most once a second.
    Candles(Candles),
    /// The answer to a [`ToFeeder::Ask`].
    Answer {
        /// The process that asked.
        to: Generation,
        /// The number that it gave the question.
        request: u64,
        /// The candles as JSON; `None`: there is no such symbol.
        text: Option<Box<str>>,
    },
    /// A line of a file or a program, within a rate.
    Line {
        /// The channel of its lines.
        of: Box<str>,
        text: Box<str>,
        /// The end of the line, if it is of a file.
        mark: Option<Mark>,
        /// Its number, which grows within the channel, also from one feeder to the next.
        number: u64,
    },
    /// Follows [`FromFeeder::Hello`] on every link but the first, which has another master at its end. What it must know
    /// follows.
    Again {
        /// [`super::renewal::fingerprint`] of the configuration; `None`: there was none yet.
        config: Option<u64>,
    },
    /// A key set was fetched, or could not be; or what is known of it, at the start and when somebody asks.
    Keys(Box<KeySet>),
}

/// The keys of an endpoint (JWKS), for those who pass them on unread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// The last good ones with their address, as `access/tokens/kept.rs` writes them; empty: there are none.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// Keys that can be used, and entries that cannot.
    pub keys: u32,
    pub ignored: u32,
    /// When they were fetched last; `None`: not since the feeder began.
    pub fetched: Option<Wall>,
    /// Why the last fetch has failed; `None`: it has not.
    pub trouble: Option<Box<str>>,
}

/// The end of a line in a file: the next feeder continues there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Device of the file.
    pub device: u64,
    /// Number of the file on that device.
    pub inode: u64,
    /// Bytes of the file before the end of the line.
    pub offset: u64,
}

/// From the master to the feeder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToFeeder<'a> {
    /// The configuration: the first message, and again whenever it changes.
    Config {
        /// The configuration as JSON.
        config: &'a str,
        /// Whether this daemon has ever served a real price. If so, a mock is no fallback.
        real_before: bool,
    },
    /// Ends the feeder.
    Stop,
    /// Opens `log.file` again.
    ReopenLog,
    /// Asks for candles; answered by [`FromFeeder::Answer`].
    Ask {
        /// The process that asks.
        to: Generation,
        /// The number that it gives the question.
        request: u64,
        symbol: &'a str,
        interval: Interval,
        /// The most candles to answer with.
        limit: u32,
    },
    /// Read position of a file, from a feeder before this one; sent before the first configuration.
    Resume {
        /// The channel of its lines.
        of: &'a str,
        /// The end of the last line that was read.
        mark: Mark,
    },
    /// Tries a source now, or all of them, whatever they said before.
    Retry {
        /// Its name; `None`: all.
        source: Option<&'a str>,
    },
    /// Says how far lines are known, to a feeder that has sent [`FromFeeder::Again`]. It repeats those that come after
    /// and goes on reading. `None`: nobody knows; nothing is repeated.
    Heard {
        /// The number of the newest line by channel. Of a channel that is not named nothing is known.
        lines: Option<Vec<(&'a str, u64)>>,
    },
    /// A token names a key that is unknown: keys are fetched again, if that is not too soon. Answered by
    /// [`FromFeeder::Keys`].
    WantKeys,
}
