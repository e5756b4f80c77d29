//! Sessions that wait for the verdict of the master, and clients that wait for a session of another worker.

use super::session::Request;
use super::sessions::SessionRef;
use crate::model::SessionId;
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
pub(super) type Before = (Vec<String>, Vec<String>);

/// A session that waits for the verdict of the master. It ends when an [`Opening`](super::Opening) of it is dropped.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) at: SessionRef,
    pub(super) id: SessionId,
    pub(super) framing: Framing,
    pub(super) verdict: oneshot::Receiver<Verdict>,
    /// Where the session was before; `None`: it is new.
    pub(super) before: Option<Before>,
}

/// A client that waits for a session of another worker.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) waiter: oneshot::Sender<Result<Announced, u16>>,
}
