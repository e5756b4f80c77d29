//! Sessions that wait for the verdict of the master, and clients that wait for a session of another worker.

use super::session::Request;
use super::sessions::SessionRef;
use crate::model::SessionId;
use crate::protocol::client::Resume;
use crate::protocol::cluster::Verdict;
use crate::session::Framing;
use tokio::sync::oneshot;

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Refused {
    /// The master refuses it; `None`: the master has not answered.
    Verdict(Option<Verdict>),
    /// The session has ended with that close code, for good.
    Ended(u16),
}

/// Channels, and rooms to be entered.
pub type Before = (Vec<String>, Vec<String>);

/// A session that waits for the verdict of the master. It ends when an `Opening` of it is dropped.
#[derive(Debug)]
pub struct Announced {
    pub at: SessionRef,
    pub id: SessionId,
    pub framing: Framing,
    pub verdict: oneshot::Receiver<Verdict>,
    /// Where the session was before; `None`: it is new.
    pub before: Option<Before>,
}

/// A client that waits for a session of another worker.
#[derive(Debug)]
pub struct Waiting {
    pub request: Request,
    pub resume: Resume,
    pub waiter: oneshot::Sender<Result<Announced, u16>>,
}
