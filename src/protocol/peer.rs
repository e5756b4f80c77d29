//! Messages between workers. They go over the master, which does not read them: a worker knows another one only by the
//! number of its process.

use super::client::Resume;
use super::cluster::{Generation, Verdict};
use crate::model::{Device, UserId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Names a copy of a session that its home has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The worker that asked for the copy.
    pub holder: Generation,
    /// The number of its question.
    pub request: u64,
}

/// The answer to a question for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// A copy, as `session::Snapshot` writes it. The session stays where it is until the asker says what has become of
    /// the copy ([`Peer::GiveUp`]).
    Session(Vec<u8>),
    /// The session is not here, or its client missed messages that are no longer kept.
    Gap,
    /// The session has ended with this close code, and its client was told not to come back.
    Ended(u16),
}

/// A poll, for the home of its session.
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
    /// The master refuses the session; `None`: the master has not answered in time.
    Refused(Option<Verdict>),
    /// The worker that was asked is gone, or takes no polls any more.
    Gone,
}

/// From one worker to another. `request` is a number of the worker that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// Asks for a copy of a session.
    Take {
        /// The asker's number for it.
        request: u64,
        /// Which.
        resume: Resume,
        /// Whose.
        user: UserId,
        /// The client polls: until its next poll it may not have heard of the copy.
        polls: bool,
    },
    /// The answer to a `Take`.
    Taken {
        /// The asker's number.
        request: u64,
        /// The session.
        taken: Taken,
    },
    /// Passes on a poll of a session that the other worker holds.
    Poll {
        /// The asker's number for it.
        request: u64,
        /// What it says.
        poll: Poll,
    },
    /// The client of a poll has gone: nobody waits for the answer.
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
    /// Ends a lease: the copy is no more, or its client has heard of it.
    GiveUp {
        /// Which copy.
        lease: Lease,
        /// The client has heard of the copy: the home discards its session.
        settled: bool,
    },
    /// Ends a copy: another one was accepted.
    Revoke {
        /// The number of the `Take` that it answered.
        request: u64,
    },
    /// Accepts a copy: a client waits for it. Its home revokes the others.
    Accept {
        /// Which copy.
        lease: Lease,
    },
}

impl Peer {
    /// The answer when there is nobody to ask.
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
