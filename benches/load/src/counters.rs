//! Counters of a run beside losses and receipts.

use crate::decoder::End;
use crate::report::Latency;
use serde::Serialize;
use std::collections::BTreeMap;

/// Cuts and comebacks.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Comebacks {
    /// By this tool, by kind.
    pub(crate) cuts: BTreeMap<&'static str, u32>,
    /// Connections that ended otherwise, without a word.
    pub(crate) lost: u32,
    /// By close code.
    pub(crate) closed: BTreeMap<u16, u32>,
    /// By status.
    pub(crate) refused: BTreeMap<u16, u32>,
    /// Not the protocol.
    pub(crate) strange: u32,
    /// Welcomes with `resumed: true`.
    pub(crate) resumed: u32,
    /// Welcomes with `resumed: false` to who asked for more.
    pub(crate) gaps: u32,
    /// Polls that went on over another connection without a welcome.
    pub(crate) continued: u32,
    /// Sessions that the server has ended for good, and that began anew.
    pub(crate) ended: u32,
}

/// Times in which clients got the messages that they had missed, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// From the connection's first packet to the last missed message.
    pub(crate) whole: Vec<u32>,
    /// From the welcome to it.
    pub(crate) welcomed: Vec<u32>,
}

/// Replays as they are reported.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Replay {
    pub(crate) count: usize,
    /// From the connection's first packet to the last missed message.
    pub(crate) whole: Latency,
    /// From the welcome to the last missed message.
    pub(crate) from_welcome: Latency,
}

/// Questions over a session, and their answers.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Talks {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    /// Not answered for long, over a connection that was there.
    pub(crate) unanswered: u64,
}

/// Sessions of the other endpoints.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Guests {
    pub(crate) opened: u64,
    pub(crate) heard: u64,
    pub(crate) lost: u64,
    /// By close code.
    pub(crate) closed: BTreeMap<u16, u64>,
    /// By status.
    pub(crate) refused: BTreeMap<u16, u64>,
}

impl Guests {
    /// Counts the end of a connection.
    pub(crate) fn end(&mut self, end: End) {
        match end {
            End::Closed(code) => *self.closed.entry(code).or_default() += 1,
            End::Refused(status) => *self.refused.entry(status).or_default() += 1,
            _ => self.lost += 1,
        }
    }
}
