//! Bytes and descriptors become whole messages, however the socket cuts them. Pure: `D` is a descriptor.

use super::error::LinkError;
use super::head::Head;
use bytes::BytesMut;
use serde::Deserialize;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/links.rs"]
pub mod fuzzed;

/// A read buffer that grew past this is given back after the burst.
const KEEP: usize = 256 << 10;

/// Bytes that are no whole message yet, and descriptors that came with them.
#[derive(Debug)]
pub(super) struct Input<D> {
    bytes: BytesMut,
    /// The descriptors of one message each: the kernel hands them over with the message's first byte.
    sets: VecDeque<Vec<D>>,
}

impl<D> Default for Input<D> {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), sets: VecDeque::new() }
    }
}

impl<D> Input<D> {
    /// Takes what one read gave. A set may be short, even empty, when the kernel had no room for all of it.
    pub(super) fn push(&mut self, bytes: &[u8], set: Option<Vec<D>>) {
        self.bytes.extend_from_slice(bytes);
        self.sets.extend(set);
    }

    /// The messages that are whole by now; a message that has only begun stays behind.
    pub(super) fn whole(&mut self) -> Result<Option<Batch<D>>, LinkError> {
        let (mut end, mut with) = (0, 0);
        while let Some(head) = Head::read(&self.bytes[end..])? {
            if self.bytes.len() < end + head.size() {
                break;
            }
            end += head.size();
            with += usize::from(head.descriptors > 0);
        }
        let sets: VecDeque<_> = self.sets.drain(..with.min(self.sets.len())).collect();
        // Only the message that has begun may have a set here.
        let begun = usize::from(self.bytes.len() > end);
        if self.sets.len() > begun {
            return Err(LinkError::TooManyDescriptors(self.sets.iter().map(Vec::len).sum()));
        }
        let batch = (end > 0).then(|| Batch { bytes: self.bytes.split_to(end), at: 0, sets });
        if end > KEEP {
            // The rest would hold all of the memory for as long as it is there itself.
            self.bytes = BytesMut::from(&self.bytes[..]);
        }
        Ok(batch)
    }
}

/// Whole messages that came together. Descriptors that nobody takes are closed with it.
#[derive(Debug)]
pub struct Batch<D = OwnedFd> {
    bytes: BytesMut,
    at: usize,
    sets: VecDeque<Vec<D>>,
}

impl<D> Batch<D> {
    /// The next message. Its descriptors, if any, are closed.
    ///
    /// # Errors
    /// As [`Batch::next_with`].
    pub fn next<'a, M: Deserialize<'a>>(&'a mut self) -> Option<Result<M, LinkError>> {
        self.next_with().map(|result| result.map(|(message, _)| message))
    }

    /// The next message with exactly its descriptors.
    ///
    /// # Errors
    /// [`LinkError::Garbage`]; [`LinkError::MissingDescriptors`] and [`LinkError::TooManyDescriptors`]: the message is
    /// refused, and its descriptors are closed.
    pub fn next_with<'a, M: Deserialize<'a>>(&'a mut self) -> Option<Result<(M, Vec<D>), LinkError>> {
        let (body, announced, set) = self.step()?;
        let received = set.len();
        Some(if received < announced {
            Err(LinkError::MissingDescriptors { announced, received })
        } else if received > announced {
            Err(LinkError::TooManyDescriptors(received - announced))
        } else {
            let message = postcard::from_bytes(&self.bytes[body]).map_err(LinkError::Garbage);
            message.map(|message| (message, set))
        })
    }

    /// The next message with its descriptors, or with none if not exactly these have come: its reader knows how many
    /// there must be, and can do without.
    ///
    /// # Errors
    /// [`LinkError::Garbage`].
    pub fn next_with_some<'a, M: Deserialize<'a>>(&'a mut self) -> Option<Result<(M, Vec<D>), LinkError>> {
        let (body, announced, mut set) = self.step()?;
        if set.len() != announced {
            set.clear();
        }
        let message = postcard::from_bytes(&self.bytes[body]).map_err(LinkError::Garbage);
        Some(message.map(|message| (message, set)))
    }

    /// Steps over the next message: where its body is, how many descriptors it has, and those that have come.
    fn step(&mut self) -> Option<(Range<usize>, usize, Vec<D>)> {
        // Only whole messages are in a batch: a head that cannot be read is its end.
        let head = Head::read(&self.bytes[self.at..]).ok()??;
        let body = self.at + Head::SIZE;
        self.at += head.size();
        let announced = usize::from(head.descriptors);
        let set = if announced > 0 { self.sets.pop_front().unwrap_or_default() } else { Vec::new() };
        Some((body..self.at, announced, set))
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
