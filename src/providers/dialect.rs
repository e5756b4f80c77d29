//! Dialects without their drivers: they read bytes that come from elsewhere.

use super::wire::poll::Poll;
use super::wire::push::MessageReader;
use super::wire::reply::Reply;
use super::{Fault, Sink};

/// Reads what one leg of a source received. Keeps the dialect's state of a session.
pub(super) enum Dialect {
    /// Messages of a stream.
    Push(Box<dyn MessageReader>),
    /// Answers over HTTP.
    Poll(Box<dyn Poll>),
}

impl Dialect {
    /// Reads a message or an answer; without a `status` the answer counts as successful.
    ///
    /// # Errors
    /// The dialect's fault.
    pub(super) fn read(
        &mut self,
        status: Option<u16>,
        bytes: &[u8],
        out: &mut dyn Sink,
    ) -> Result<(), Fault> {
        match self {
            Self::Push(dialect) => dialect.read(bytes, out),
            Self::Poll(dialect) => {
                let reply = Reply { status: status.unwrap_or(200), body: bytes, ..Reply::default() };
                dialect.read(&reply, out)
            }
        }
    }
}
