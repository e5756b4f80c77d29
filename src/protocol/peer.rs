//! Messages between workers. The master passes them on as bytes that it does not decode ([`Peer::encode`]); a worker
//! knows another one only by the number of its process.

use super::admission::Verdict;
use super::client::{Resume, Token};
use super::cluster::Generation;
use super::relay::Notice;
use crate::model::{Device, Mono, UserId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

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
    /// The session has ended with the close of this number, and its client was told not to come back.
    Ended(u16),
    /// The session was on its way to the worker that was asked, and is there now, or stays where it was: the question is
    /// to be asked again. An answer would have in it what the asker has noted since.
    Again,
}

/// A poll, for the home of its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    pub user: UserId,
    /// The client's name of its device.
    pub device: Option<Device>,
    /// Channels that a new session would be subscribed to.
    pub channels: Vec<String>,
    /// The client's address, IPv6 cut to its /64.
    pub address: IpAddr,
    /// The session to resume, and how far its client is; `None`: a new one.
    pub resume: Option<Resume>,
    /// Longest time that the client wants to wait for news; `None`: as long as `poll.wait` allows.
    pub wait: Option<Duration>,
    /// The pass of its token, encoded.
    pub pass: Option<Vec<u8>>,
}

/// Outcome of a poll.
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
        resume: Resume,
        user: UserId,
        /// The client polls: until its next poll it may not have heard of the copy.
        polls: bool,
    },
    /// The answer to a `Take`.
    Taken {
        /// The asker's number.
        request: u64,
        taken: Taken,
    },
    /// Passes on a poll of a session that the other worker holds.
    Poll {
        /// The asker's number for it.
        request: u64,
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
        polled: Polled,
    },
    /// Ends a lease: the copy is no more, or its client has heard of it.
    GiveUp {
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
    Accept { lease: Lease },
    /// Sessions of a batch that was announced by [`super::cluster::ToWorker::Expect`], in one or more of these
    /// messages. The descriptors are the sockets of those that have one, in their order.
    Arrive {
        /// The sender's number for the batch.
        batch: u32,
        /// When the sender stopped reading them.
        stopped: Mono,
        items: Vec<Item>,
        /// The batch ends here: sessions that have not come have ended.
        last: bool,
    },
}

/// A session on its way to another worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// As `session::Snapshot` writes it.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// Whether a socket comes with it.
    pub has_socket: bool,
    /// Bytes that its client has acknowledged.
    pub acknowledged: u64,
    /// The master knows the session as suspended.
    pub was_away: bool,
}

impl Peer {
    /// The bytes that the master passes on unread.
    ///
    /// # Errors
    /// None that its types could cause.
    pub fn encode(&self) -> postcard::Result<Vec<u8>> {
        postcard::to_allocvec(self)
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// They are no such message.
    pub fn decode(bytes: &[u8]) -> postcard::Result<Self> {
        postcard::from_bytes(bytes)
    }

    /// The token of the session that is asked for.
    #[must_use]
    pub fn wanted(&self) -> Option<Token> {
        match self {
            Self::Take { resume, .. } => Some(resume.token),
            Self::Poll { poll, .. } => poll.resume.map(|resume| resume.token),
            _ => None,
        }
    }

    /// Replaces an answer that is longer than a message may be: the client begins anew.
    #[must_use]
    pub fn shortened(&self) -> Option<Self> {
        match self {
            Self::Taken { request, taken: Taken::Session(_) } => {
                Some(Self::Taken { request: *request, taken: Taken::Gap })
            }
            Self::Polled { request, polled: Polled::Answer(_) } => {
                Some(Self::Polled { request: *request, polled: Polled::Gone })
            }
            _ => None,
        }
    }

    /// The master's notice to the sender: questions must not wait for a worker that is gone, whoever asks must know whom
    /// it has asked, and the taker of a session which publications are in it.
    #[must_use]
    pub fn notice(&self) -> Notice {
        match self {
            Self::Take { request, .. } | Self::Poll { request, .. } => Notice::Passed(*request),
            Self::Taken { .. }
            | Self::PollGone { .. }
            | Self::Polled { .. }
            | Self::GiveUp { .. }
            | Self::Revoke { .. }
            | Self::Accept { .. }
            | Self::Arrive { .. } => Notice::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::cluster::{To, ToMaster};

    #[test]
    fn what_is_said_instead_of_a_long_answer_is_short_and_has_nothing_instead() {
        let long = "x".repeat(99);
        let answer = Peer::Polled { request: 1, polled: Polled::Answer(long) };
        let shorter = answer.shortened().unwrap();
        assert_eq!(shorter, Peer::Polled { request: 1, polled: Polled::Gone });
        assert_eq!(shorter.shortened(), None);
        assert_eq!(Peer::Taken { request: 1, taken: Taken::Gap }.shortened(), None);
    }

    #[test]
    fn a_relayed_message_is_passed_on_as_bytes_of_the_message_that_it_came_in() {
        let peer = Peer::Revoke { request: 7 };
        let (to, notice) = (To::Process(3), peer.notice());
        let relay = ToMaster::Relay { to, notice, payload: &peer.encode().unwrap() };
        let bytes = postcard::to_allocvec(&relay).unwrap();
        let Ok(ToMaster::Relay { payload, .. }) = postcard::from_bytes(&bytes) else { panic!("{bytes:?}") };
        assert!(bytes.as_ptr_range().contains(&payload.as_ptr()), "not copied");
        assert_eq!(Peer::decode(payload), Ok(peer));
        assert!(Peer::decode(&[250]).is_err());
    }
}
