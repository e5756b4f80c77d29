//! What feeder and master say to each other, a part of [`super::cluster`]'s language and under its rules.

use super::beat::Counters;
use super::role::{Generation, Hello};
use crate::model::{Candles, Interval, Quote, Symbol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// From the feeder to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromFeeder {
    /// Always first.
    Hello(Hello),
    /// It is at work.
    Ready,
    /// A second has passed.
    Beat(Box<Counters>),
    /// A price to publish; `seq` is given by the master.
    Tick(Quote),
    /// The sources and how they are, as JSON.
    Sources(Box<str>),
    /// For which symbols the sources do not agree on a new price, and why; all of them.
    Refused(BTreeMap<Symbol, String>),
    /// The newest candles of a symbol, at most once a second.
    Candles(Candles),
    /// The answer to a [`ToFeeder::Ask`].
    Answer {
        /// Who asked.
        to: Generation,
        /// Its number for it.
        request: u64,
        /// As JSON; `None`: there is no such symbol.
        text: Option<Box<str>>,
    },
    /// A line of a file or a program, at most so many a second.
    Line {
        /// The channel of its lines.
        of: Box<str>,
        /// The line.
        text: Box<str>,
        /// Where it ends, of a file.
        mark: Option<Mark>,
    },
}

/// Where a line of a file ends, so that the next feeder goes on right behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where the file is.
    pub device: u64,
    /// Which it is there.
    pub inode: u64,
    /// Bytes of it up to there.
    pub offset: u64,
}

/// From the master to the feeder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToFeeder<'a> {
    /// The first message, and again whenever the configuration changes.
    Config {
        /// As JSON.
        config: &'a str,
        /// Whether this daemon has ever served a real price: a mock is no fallback then.
        real_before: bool,
    },
    /// End.
    Stop,
    /// Open `log.file` anew.
    ReopenLog,
    /// A worker wants candles; answered by [`FromFeeder::Answer`].
    Ask {
        /// Which process asks.
        to: Generation,
        /// Its number for it.
        request: u64,
        /// Of which symbol.
        symbol: &'a str,
        /// Of which length.
        interval: Interval,
        /// At most so many.
        limit: u32,
    },
    /// So far a feeder before this one has read a file: go on there. Before the first configuration.
    Resume {
        /// The channel of its lines.
        of: &'a str,
        /// Up to there.
        mark: Mark,
    },
}
