//! What workers say to each other. The master passes it on as bytes that it does not decode ([`Peer::encode`]); a worker
//! knows another one only by the number of its process.

use super::admission::Verdict;
use super::client::Resume;
use super::relay::Notice;
use crate::model::{Device, RequestId, SessionId, Symbol, UserId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A session on its way from the worker that held it to the one where its client is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Its id, which it keeps.
    pub session: SessionId,
    /// What the client calls its device.
    pub device: Option<Device>,
    /// When it began: milliseconds since 1970.
    pub since: i64,
    /// What it is subscribed to.
    pub channels: Vec<String>,
    /// Rooms that it was about to enter.
    pub entering: Vec<String>,
    /// The numbered messages that its client has not got, in their order.
    pub missed: Vec<Missed>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The whole WebSocket frame.
    pub frame: Vec<u8>,
    /// The request that it answers and the symbol that it quotes.
    pub answer: Option<(RequestId, Symbol)>,
}

/// What a worker says to one that asks for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// Here is a copy. I keep mine until you say what has become of it ([`Peer::GiveUp`]).
    Parcel(Box<Parcel>),
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
    /// The copy that I was given is what counts (its client has heard of it), or is no more.
    GiveUp {
        /// Of which session: its secret with you.
        secret: u128,
        /// And its place.
        place: u32,
        /// Whether you are to forget it.
        settled: bool,
    },
    /// Forget the copy that you were given: its client has come with the old token again.
    Revoke {
        /// Of which session: its secret with me.
        secret: u128,
    },
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

    /// What is said instead of an answer that is longer than a message may be: the client begins anew.
    #[must_use]
    pub fn shortened(&self) -> Option<Self> {
        match self {
            Self::Taken { request, taken: Taken::Parcel(_) } => {
                Some(Self::Taken { request: *request, taken: Taken::Gap })
            }
            Self::Polled { request, polled: Polled::Answer(_) } => {
                Some(Self::Polled { request: *request, polled: Polled::Gone })
            }
            _ => None,
        }
    }

    /// What the master tells the sender: questions must not wait for a worker that is not there, and whoever takes a
    /// session must know which publications are in it.
    #[must_use]
    pub fn notice(&self) -> Notice {
        match self {
            Self::Take { request, .. } => Notice::Passed(*request),
            Self::Poll { request, .. } => Notice::Unheard(*request),
            Self::Taken { .. }
            | Self::PollGone { .. }
            | Self::Polled { .. }
            | Self::GiveUp { .. }
            | Self::Revoke { .. } => Notice::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::cluster::ToMaster;

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
        let peer = Peer::Revoke { secret: 7 };
        let relay = ToMaster::Relay { to: 3, notice: peer.notice(), payload: &peer.encode().unwrap() };
        let bytes = postcard::to_allocvec(&relay).unwrap();
        let Ok(ToMaster::Relay { payload, .. }) = postcard::from_bytes(&bytes) else { panic!("{bytes:?}") };
        assert!(bytes.as_ptr_range().contains(&payload.as_ptr()), "not copied");
        assert_eq!(Peer::decode(payload), Ok(peer));
        assert!(Peer::decode(&[250]).is_err());
    }
}
