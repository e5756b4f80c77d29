//! The sending side: messages are queued by whoever has something to say, and written by one task.

use super::error::LinkError;
use super::head::Head;
use crate::os::descriptors;
use serde::Serialize;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// Bytes that wait to be written before the link counts as full.
const WAITING: usize = 64 << 20;
/// A write buffer that grew past this is given back after the burst.
const KEEP: usize = 256 << 10;

/// Sends messages. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub struct LinkSender {
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
    /// Bytes that the writer has taken and the kernel has not.
    leaving: usize,
    closed: bool,
}

/// Messages that wait to be written.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// Messages with descriptors: where they begin, and these.
    sets: VecDeque<(usize, Vec<OwnedFd>)>,
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
        queue.output.push(message, with)?;
        drop(queue);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Bytes that the kernel has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queue = self.shared.queue();
        queue.output.bytes.len() + queue.leaving
    }
}

impl Output {
    fn push<M: Serialize>(&mut self, message: &M, with: Vec<OwnedFd>) -> Result<(), LinkError> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; Head::SIZE]);
        let written = postcard::to_extend(message, Appender(&mut self.bytes)).map(|_| ());
        let len = self.bytes.len() - start - Head::SIZE;
        let head = written.map_err(LinkError::Garbage).and_then(|()| Head::new(len, with.len()));
        match head {
            Ok(head) => self.bytes[start..start + Head::SIZE].copy_from_slice(&head.bytes()),
            Err(error) => {
                self.bytes.truncate(start);
                return Err(error);
            }
        }
        if !with.is_empty() {
            self.sets.push_back((start, with));
        }
        Ok(())
    }

    /// The bytes from `at` that one write may carry, and the descriptors that go with the first of them: those of a
    /// message that begins there. No write reaches into the next message that has some.
    fn piece(&self, at: usize) -> (&[u8], &[OwnedFd]) {
        let begins = |set: &&(usize, Vec<OwnedFd>)| set.0 == at;
        let own = self.sets.front().filter(begins);
        let next = self.sets.get(usize::from(own.is_some())).map_or(self.bytes.len(), |(start, _)| *start);
        (&self.bytes[at..next], own.map_or(&[], |(_, set)| set))
    }

    /// Ready for the next messages.
    fn clear(&mut self) {
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
    }
}

/// Lets postcard append to bytes that are there already.
struct Appender<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appender<'_> {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.0.extend(bytes);
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
                queue.leaving = writing.bytes.len();
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
            if at == writing.bytes.len() {
                self.shared.queue().leaving = 0;
            }
        }
        let mut queue = self.shared.queue();
        (queue.closed, queue.leaving) = (true, 0);
        queue.output = Output::default();
    }
}

/// The sending half of a link.
pub(super) fn sender(stream: Arc<UnixStream>) -> (LinkSender, LinkWriter) {
    let shared = Arc::<Shared>::default();
    (LinkSender { shared: shared.clone() }, LinkWriter { stream, shared })
}
