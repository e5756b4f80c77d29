//! The sending side: messages are queued by whoever has something to say, and written by one task.

use super::error::LinkError;
use super::output::Output;
use crate::os::descriptors;
use serde::Serialize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// Bytes that wait to be written before the link counts as full.
const WAITING: usize = 64 << 20;

/// Sends messages. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct LinkSender {
    stream: Arc<UnixStream>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    output: Output,
    /// Bytes that were ever queued, and those of them that the kernel has taken.
    said: u64,
    written: u64,
    closed: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkSender {
    /// Sends `message` as soon as the socket takes it, in order.
    ///
    /// # Errors
    /// The link is closed or full, or this is no message for it; nothing of it was taken.
    pub fn send<M: Serialize>(&self, message: &M) -> Result<(), LinkError> {
        self.send_with(message, Vec::new())
    }

    /// Does the same with descriptors, which belong to this message: the receiver gets all of them with it.
    ///
    /// # Errors
    /// As [`LinkSender::send`].
    pub fn send_with<M: Serialize>(&self, message: &M, with: Vec<OwnedFd>) -> Result<(), LinkError> {
        drop(self.queue(message, with)?);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Does the same, and gives the message to the kernel at once where nothing waits and the socket takes it: a system
    /// call for each message, but none is lost if the process dies in its turn.
    ///
    /// # Errors
    /// As [`LinkSender::send`].
    pub fn send_at_once<M: Serialize>(&self, message: &M, with: Vec<OwnedFd>) -> Result<(), LinkError> {
        if !self.queue(message, with)?.write(&self.stream) {
            self.shared.filled.notify_one();
        }
        Ok(())
    }

    fn queue<M: Serialize>(
        &self,
        message: &M,
        with: Vec<OwnedFd>,
    ) -> Result<MutexGuard<'_, Queue>, LinkError> {
        if with.len() > descriptors::MOST {
            return Err(LinkError::TooManyDescriptors(with.len() - descriptors::MOST));
        }
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(LinkError::Closed);
        }
        if queue.output.bytes.len() > WAITING {
            return Err(LinkError::Full);
        }
        let before = queue.output.bytes.len();
        queue.output.push(message, with)?;
        queue.said += (queue.output.bytes.len() - before) as u64;
        Ok(queue)
    }

    /// Bytes that the kernel has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queue = self.shared.queue();
        if queue.closed { 0 } else { usize::try_from(queue.said - queue.written).unwrap_or(usize::MAX) }
    }

    /// Bytes that were ever queued: what was said so far is written when [`LinkSender::written`] has reached this.
    #[must_use]
    pub fn said(&self) -> u64 {
        self.shared.queue().said
    }

    /// Bytes that the kernel has taken.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.shared.queue().written
    }
}

impl Queue {
    /// Writes what waits, if that is one piece and the writer has begun none. False: the writer has to.
    fn write(&mut self, stream: &UnixStream) -> bool {
        let begun = self.said - self.written != self.output.bytes.len() as u64;
        if begun || self.output.sets.iter().any(|(start, _)| *start > 0) {
            return false;
        }
        let (bytes, set) = self.output.piece(0);
        let borrowed: Vec<_> = set.iter().map(AsFd::as_fd).collect();
        // The writer meets what is wrong with the socket.
        let Ok(written) = descriptors::send(stream, bytes, &borrowed) else { return false };
        self.written += written as u64;
        self.output.sets.clear();
        self.output.bytes.drain(..written);
        self.output.bytes.is_empty()
    }
}

/// Carries the queue to the socket; runs as a task of its own and ends with the link.
#[derive(Debug)]
pub struct LinkWriter {
    stream: Arc<UnixStream>,
    shared: Arc<Shared>,
}

impl LinkWriter {
    /// Writes until the other side is gone.
    pub async fn run(self) {
        let (mut writing, mut at) = (Output::default(), 0);
        loop {
            if at == writing.bytes.len() {
                writing.clear();
                at = 0;
                let mut queue = self.shared.queue();
                std::mem::swap(&mut writing, &mut queue.output);
            }
            if writing.bytes.is_empty() {
                self.shared.filled.notified().await;
                continue;
            }
            let (bytes, set) = writing.piece(at);
            let borrowed: Vec<_> = set.iter().map(AsFd::as_fd).collect();
            let send = || descriptors::send(self.stream.as_fd(), bytes, &borrowed);
            let Ok(written) = self.stream.async_io(Interest::WRITABLE, send).await else { break };
            if !borrowed.is_empty() {
                writing.sets.pop_front();
            }
            at += written;
            self.shared.queue().written += written as u64;
        }
        let mut queue = self.shared.queue();
        queue.closed = true;
        queue.output = Output::default();
    }
}

/// The sending half of a link.
pub(super) fn sender(stream: Arc<UnixStream>) -> (LinkSender, LinkWriter) {
    let shared = Arc::<Shared>::default();
    (LinkSender { stream: stream.clone(), shared: shared.clone() }, LinkWriter { stream, shared })
}
