//! Moves of sessions from one worker to another. The master says who owns a session: it switches its directory in one
//! turn, and tells both workers between the same two orders.

use super::relay::TokenName;
use super::role::Generation;
use crate::model::SessionId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Most sessions of one batch.
pub const BATCH: usize = 32;

/// The sessions that a worker hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    All,
    /// So many, whichever.
    Count(u32),
    One(SessionId),
}

/// Names a batch of sessions that move together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId {
    /// The worker that hands the sessions over.
    pub from: Generation,
    /// Its number for the batch.
    pub number: u32,
}

/// `7/1`
impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.from, self.number)
    }
}

/// A session that its worker wants to hand over, and the chat rooms that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaver<'a> {
    pub session: SessionId,
    #[serde(borrow)]
    pub rooms: Vec<&'a str>,
    /// Set if the session is suspended: the name of its token.
    pub away: Option<TokenName>,
}

/// How an order to hand over sessions has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Sessions that go on at the other worker.
    pub held: u32,
    /// Sessions whose connection could not go with them: closed with 1012, suspended at the other worker.
    pub closed: u32,
    /// Sessions that could not be moved in time, and stay.
    pub left: u32,
    /// The longest time in which a session was not read.
    pub silence: Duration,
    /// The other worker has ended, or takes none.
    pub target_gone: bool,
}
