//! The receiving side: reads all that is there, and hands over whole messages.

use super::error::LinkError;
use super::input::{Batch, Input};
use crate::os::descriptors;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes of one read.
const READ: usize = 128 << 10;

#[derive(Debug)]
pub struct LinkReceiver {
    stream: Arc<UnixStream>,
    buffer: Box<[u8]>,
    input: Input<OwnedFd>,
}

impl LinkReceiver {
    pub(super) fn new(stream: Arc<UnixStream>) -> Self {
        Self { stream, buffer: vec![0; READ].into(), input: Input::default() }
    }

    /// Waits for at least one whole message and takes all there are. Cancel-safe.
    ///
    /// # Errors
    /// The other side is gone, or sends what is no message.
    pub async fn receive(&mut self) -> Result<Batch, LinkError> {
        loop {
            if let Some(batch) = self.input.whole()? {
                return Ok(batch);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), LinkError> {
        let Self { stream, buffer, input } = self;
        let receive = || descriptors::receive(stream.as_fd(), buffer);
        let received = match stream.async_io(Interest::READABLE, receive).await {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(LinkError::Closed),
            Err(error) => return Err(LinkError::Io(error)),
        };
        let (got, set) = (received.bytes, received.set());
        if got < buffer.len() && set.is_none() {
            // A short read took all there is, unless descriptors ended it: unix(7). Saying so saves a read that would
            // find nothing; what comes from now on makes a new event.
            let nothing = || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) };
            let _ = stream.try_io(Interest::READABLE, nothing);
        }
        input.push(&buffer[..got], set);
        if got == 0 { Err(LinkError::Closed) } else { Ok(()) }
    }
}
