//! What workers say to each other. It goes over the master, which does not look into it: a worker knows another one only
//! by the number of its process.

use super::client::Resume;
use super::cluster::{Generation, Verdict};
use crate::model::{Device, UserId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A copy of a session that the worker which holds it has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The worker that asked for the copy.
    pub holder: Generation,
    /// The number of its question.
    pub request: u64,
}

/// What a worker says to one that asks for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// A copy, as `session::Snapshot` writes it. The session stays where it is until the asker says what has become of the copy ([`Peer::GiveUp`]).
    Session(Vec<u8>),
    /// Not here, or not all of what its client has not got: it begins anew.
    Gap,
    /// It has ended with this close code, and its client was told not to come back.
    Ended(u16),
}

/// A poll, for the worker that holds its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// Whose.
    pub user: UserId,
    /// What the client calls its device.
    pub device: Option<Device>,
    /// What a new session would be subscribed to.
    pub channels: Vec<String>,
    /// The client's address, IPv6 cut to its /64.
    pub address: IpAddr,
    /// Which session, and how far its client is; `None`: a new one.
    pub resume: Option<Resume>,
}

/// What becomes of a poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Polled {
    /// The answer's JSON.
    Answer(String),
    /// As [`Taken::Ended`].
    Ended(u16),
    /// No session may be opened now; `None`: the master did not say so in time.
    Refused(Option<Verdict>),
    /// That worker is no more.
    Gone,
}

/// From one worker to another. `request` is the number of the one that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// Give me the session.
    Take {
        /// The asker's number for it.
        request: u64,
        /// Which.
        resume: Resume,
        /// Whose.
        user: UserId,
        /// Whether its client polls: until its next poll it may not have heard of anything.
        polls: bool,
    },
    /// The answer to a `Take`.
    Taken {
        /// The asker's number.
        request: u64,
        /// The session.
        taken: Taken,
    },
    /// A poll has come here whose session you have.
    Poll {
        /// The asker's number for it.
        request: u64,
        /// What it says.
        poll: Poll,
    },
    /// Its client has gone: nobody waits for the answer.
    PollGone {
        /// The asker's number for it.
        request: u64,
    },
    /// The answer to a `Poll`.
    Polled {
        /// The asker's number.
        request: u64,
        /// What became of it.
        polled: Polled,
    },
    /// A copy that you gave out is no more, or its client has heard of it.
    GiveUp {
        /// Which copy.
        lease: Lease,
        /// Its client has heard of it: forget the session.
        settled: bool,
    },
    /// Forget a copy that you were given: another one was accepted.
    Revoke {
        /// The number of your `Take`.
        request: u64,
    },
    /// A client waits for a copy that you gave out: the others are revoked.
    Accept {
        /// Which copy.
        lease: Lease,
    },
}

impl Peer {
    /// What the one that asks is told where there is nobody to ask.
    #[must_use]
    pub fn unheard(&self) -> Option<Self> {
        match self {
            Self::Take { request, .. } => Some(Self::Taken { request: *request, taken: Taken::Gap }),
            Self::Poll { request, .. } => Some(Self::Polled { request: *request, polled: Polled::Gone }),
            Self::Taken { .. }
            | Self::PollGone { .. }
            | Self::Polled { .. }
            | Self::GiveUp { .. }
            | Self::Revoke { .. }
            | Self::Accept { .. } => None,
        }
    }
}
