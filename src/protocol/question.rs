//! Questions of a worker to the master, for requests that it serves, and the answers.

use super::endpoint::Endpoint;
use crate::model::{Interval, SessionId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The form of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exposition {
    /// Prometheus text 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

/// A question of a worker, for a request that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question<'a> {
    /// The statistics object as JSON.
    Stats,
    /// The metrics as text.
    Metrics(Exposition),
    /// Sessions as JSON objects with commas between them, answered by an [`Answer::Page`].
    Sessions {
        /// Only those of this user.
        user: Option<&'a str>,
        /// Begin of the page: 0, or the `next` of the page before.
        from: u32,
    },
    /// Disconnects a session (close code 4006).
    Kick(SessionId),
    /// Whether a new session at the endpoint, of that user from that address, would be accepted now. The answer is a
    /// [`super::cluster::Verdict`] as JSON.
    Admission(Endpoint, &'a str, IpAddr),
    /// The price sources as a JSON object.
    Sources,
    /// Candles of a symbol, as the JSON of `GET /api/v1/history`. The master passes on the feeder's answer; there is
    /// none if there is no feeder, or no such symbol.
    History {
        symbol: &'a str,
        interval: Interval,
        /// The most candles to answer with.
        limit: u32,
    },
    /// Revokes tokens, as `access/tokens/revocations.rs` writes them. Answered by [`Answer::Done`], or by
    /// [`Answer::NotFound`] where there is no room.
    Revoke(#[serde(with = "serde_bytes")] &'a [u8]),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<'a> {
    /// Ready-made text.
    Text(&'a str),
    Done,
    /// The named thing does not exist.
    NotFound,
    /// A part of a list.
    Page {
        /// Ready-made text.
        text: &'a str,
        /// Begin of the next page; `None`: this page is the last.
        next: Option<u32>,
    },
}
