//! Dialects without their drivers: how a source's bytes read, for who has the bytes from elsewhere.

use super::wire::poll::Poll;
use super::wire::push::MessageReader;
use super::wire::reply::Reply;
use super::{Fault, Sink};

/// How one leg of a source reads. It keeps what the dialect keeps over a session.
pub(super) enum Dialect {
    /// Messages of a stream.
    Push(Box<dyn MessageReader>),
    /// Answers over HTTP.
    Poll(Box<dyn Poll>),
}

impl Dialect {
    /// Reads what came; without a `status`, an answer was a good one.
    ///
    /// # Errors
    /// As the dialect says.
    pub(super) fn read(
        &mut self,
        status: Option<u16>,
        bytes: &[u8],
        out: &mut dyn Sink,
    ) -> Result<(), Fault> {
        match self {
            Self::Push(dialect) => dialect.read(bytes, out),
            Self::Poll(dialect) => {
                let reply = Reply { status: status.unwrap_or(200), retry_after: None, body: bytes };
                dialect.read(&reply, out)
            }
        }
    }
}
