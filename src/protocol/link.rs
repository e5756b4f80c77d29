//! The link between master and child: a Unix socket pair that carries length-prefixed postcard messages both ways,
//! with descriptors beside them. What is said within one turn of the loop leaves in one write.

use crate::os::descriptors;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// Longest message. Rosters and statistics of a large cluster are the long ones.
const MESSAGE: usize = 32 << 20;
/// Most bytes that wait to be written before the link counts as full.
const WAITING: usize = 64 << 20;
const READ: usize = 128 << 10;
const PREFIX: usize = 4;
/// A write buffer that grew past this is given back after the burst.
const KEEP: usize = 256 << 10;

/// Why nothing more can be said or heard.
#[derive(Debug)]
pub enum LinkError {
    /// The other side is gone.
    Closed,
    /// Too much waits already: the message was not taken.
    Full,
    /// What came is no message.
    Garbage(postcard::Error),
    /// A message longer than any should be, in bytes.
    Oversized(usize),
    /// The socket says so.
    Io(io::Error),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side is gone"),
            Self::Full => f.write_str("the link is full"),
            Self::Garbage(error) => write!(f, "not a message: {error}"),
            Self::Oversized(len) => write!(f, "a message of {len} bytes"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}

/// The saying side. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct LinkSender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// They leave with the next write, so no later than their message.
    descriptors: Vec<OwnedFd>,
    /// Bytes that the writer has taken and the kernel has not.
    leaving: usize,
    closed: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkSender {
    /// Says `message`, as soon as the socket takes it and in order.
    ///
    /// # Errors
    /// The link is closed or full; nothing of the message was taken.
    pub fn send<M: Serialize>(&self, message: &M) -> Result<(), LinkError> {
        self.send_with(message, Vec::new())
    }

    /// The same with descriptors beside it. They arrive no later than the message.
    ///
    /// # Errors
    /// The link is closed or full; nothing of the message was taken.
    pub fn send_with<M: Serialize>(&self, message: &M, with: Vec<OwnedFd>) -> Result<(), LinkError> {
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(LinkError::Closed);
        }
        if queue.bytes.len() > WAITING {
            return Err(LinkError::Full);
        }
        let start = queue.bytes.len();
        queue.bytes.extend_from_slice(&[0; PREFIX]);
        let result = postcard::to_extend(message, Appender(&mut queue.bytes)).map(|_| ());
        let len = queue.bytes.len() - start - PREFIX;
        if let Err(error) = result {
            queue.bytes.truncate(start);
            return Err(LinkError::Garbage(error));
        }
        if len > MESSAGE {
            queue.bytes.truncate(start);
            return Err(LinkError::Oversized(len));
        }
        let prefix = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        queue.bytes[start..start + PREFIX].copy_from_slice(&prefix);
        queue.descriptors.extend(with);
        drop(queue);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Bytes that the kernel has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queue = self.shared.queue();
        queue.bytes.len() + queue.leaving
    }
}

/// Lets postcard append to bytes that are there already.
struct Appender<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appender<'_> {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.0.extend(bytes);
    }
}

/// The hearing side.
#[derive(Debug)]
pub struct LinkReceiver {
    stream: Arc<UnixStream>,
    buffer: Box<[u8]>,
    input: BytesMut,
    descriptors: Vec<OwnedFd>,
}

/// Whole messages that came together.
#[derive(Debug)]
pub struct Batch {
    bytes: BytesMut,
    at: usize,
    end: usize,
    /// The descriptors that came with them.
    pub descriptors: Vec<OwnedFd>,
}

impl Batch {
    /// The next message.
    ///
    /// # Errors
    /// [`LinkError::Garbage`]: drop that peer.
    pub fn next<'a, M: Deserialize<'a>>(&'a mut self) -> Option<Result<M, LinkError>> {
        if self.at >= self.end {
            return None;
        }
        let len = prefix(&self.bytes[self.at..])?;
        let body = self.at + PREFIX;
        self.at = body + len;
        Some(postcard::from_bytes(&self.bytes[body..self.at]).map_err(LinkError::Garbage))
    }
}

fn prefix(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..PREFIX)?;
    usize::try_from(u32::from_le_bytes([head[0], head[1], head[2], head[3]])).ok()
}

impl LinkReceiver {
    /// Waits for at least one whole message and takes all there are. Cancel-safe.
    ///
    /// # Errors
    /// The other side is gone, or says nonsense.
    pub async fn receive(&mut self) -> Result<Batch, LinkError> {
        loop {
            let end = self.whole()?;
            if end > 0 {
                // The reads before this one were complete messages; a started one stays behind.
                let bytes = self.input.split_to(end);
                return Ok(Batch { bytes, at: 0, end, descriptors: std::mem::take(&mut self.descriptors) });
            }
            self.read().await?;
        }
    }

    /// Length of the whole messages at the start of the input.
    fn whole(&self) -> Result<usize, LinkError> {
        let mut end = 0;
        while let Some(len) = prefix(&self.input[end..]) {
            if len > MESSAGE {
                return Err(LinkError::Oversized(len));
            }
            if self.input.len() < end + PREFIX + len {
                break;
            }
            end += PREFIX + len;
        }
        Ok(end)
    }

    async fn read(&mut self) -> Result<(), LinkError> {
        let Self { stream, buffer, input, descriptors } = self;
        let had = descriptors.len();
        let result = stream
            .async_io(Interest::READABLE, || descriptors::receive(stream.as_fd(), buffer, descriptors))
            .await;
        let got = result.as_ref().map_or(0, |n| *n);
        input.extend_from_slice(&buffer[..got]);
        if got < buffer.len() && descriptors.len() == had {
            // That was all there is (a read ends after a message with descriptors, too: unix(7)). Saying so saves a call that would find nothing; what comes from now on is told by
            // a new event.
            let _ = stream
                .try_io(Interest::READABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
        }
        match result {
            Ok(0) => Err(LinkError::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(LinkError::Closed),
            Err(error) => Err(LinkError::Io(error)),
        }
    }
}

/// The side that carries what was said to the socket; runs as a task of its own and ends with the link.
#[derive(Debug)]
pub struct LinkWriter {
    stream: Arc<UnixStream>,
    shared: Arc<Shared>,
}

impl LinkWriter {
    /// Writes until the other side is gone.
    pub async fn run(self) {
        let (mut writing, mut at) = (Vec::new(), 0);
        let mut descriptors = Vec::new();
        loop {
            if at == writing.len() {
                (writing.len() > KEEP).then(|| writing = Vec::new());
                writing.clear();
                at = 0;
                let mut queue = self.shared.queue();
                std::mem::swap(&mut writing, &mut queue.bytes);
                descriptors.append(&mut queue.descriptors);
                queue.leaving = writing.len();
            }
            if writing.is_empty() {
                self.shared.filled.notified().await;
                continue;
            }
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            let send = || descriptors::send(self.stream.as_fd(), &writing[at..], &borrowed);
            let Ok(written) = self.stream.async_io(Interest::WRITABLE, send).await else { break };
            at += written;
            descriptors.clear();
            if at == writing.len() {
                self.shared.queue().leaving = 0;
            }
        }
        let mut queue = self.shared.queue();
        (queue.closed, queue.leaving) = (true, 0);
        queue.bytes = Vec::new();
    }
}

/// Makes a link of one end of a socket pair. The writer must be run.
#[must_use]
pub fn link(stream: UnixStream) -> (LinkSender, LinkReceiver, LinkWriter) {
    let stream = Arc::new(stream);
    let shared = Arc::new(Shared { queue: Mutex::default(), filled: Notify::new() });
    (
        LinkSender { shared: shared.clone() },
        LinkReceiver {
            stream: stream.clone(),
            buffer: vec![0; READ].into(),
            input: BytesMut::new(),
            descriptors: Vec::new(),
        },
        LinkWriter { stream, shared },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::cluster::ToMaster;
    use std::os::fd::AsFd;

    #[tokio::test]
    async fn messages_and_descriptors_arrive_in_order() {
        let (left, right) = UnixStream::pair().unwrap();
        let (sender, _keep, writer) = link(left);
        let (_other, mut receiver, _writer) = link(right);
        tokio::spawn(writer.run());
        let file = tempfile::tempfile().unwrap();
        for ticket in 0..10_000u64 {
            let fds = if ticket == 5_000 { vec![file.as_fd().try_clone_to_owned().unwrap()] } else { vec![] };
            sender.send_with(&ToMaster::Published { ticket, sessions: 1 }, fds).unwrap();
        }
        let (mut next, mut fds) = (0, 0);
        while next < 10_000 {
            let mut batch = receiver.receive().await.unwrap();
            fds += batch.descriptors.len();
            while let Some(message) = batch.next::<ToMaster<'_>>() {
                assert_eq!(message.unwrap(), ToMaster::Published { ticket: next, sessions: 1 });
                next += 1;
            }
        }
        assert_eq!(fds, 1);
    }

    #[tokio::test]
    async fn garbage_and_an_end_are_told() {
        let (left, right) = UnixStream::pair().unwrap();
        let (_sender, mut receiver, _writer) = link(right);
        left.try_write(&[1, 0, 0, 0, 250]).unwrap();
        let mut batch = receiver.receive().await.unwrap();
        assert!(matches!(batch.next::<ToMaster<'_>>(), Some(Err(LinkError::Garbage(_)))));
        left.try_write(&u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(receiver.receive().await, Err(LinkError::Oversized(_))));
        drop(left);
        let (left, right) = UnixStream::pair().unwrap();
        drop(left);
        let (_sender, mut receiver, _writer) = link(right);
        assert!(matches!(receiver.receive().await, Err(LinkError::Closed)));
    }
}
