//! Messages that wait to be written, and the descriptors that go with them.

use super::error::LinkError;
use super::head::Head;
use serde::Serialize;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// A write buffer that grew past this is given back after the burst.
const KEEP: usize = 256 << 10;

/// Messages that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    /// Messages with descriptors: where they begin, and these.
    pub(super) sets: VecDeque<(usize, Vec<OwnedFd>)>,
}

impl Output {
    pub(super) fn push<M: Serialize>(&mut self, message: &M, with: Vec<OwnedFd>) -> Result<(), LinkError> {
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
    pub(super) fn piece(&self, at: usize) -> (&[u8], &[OwnedFd]) {
        let begins = |set: &&(usize, Vec<OwnedFd>)| set.0 == at;
        let own = self.sets.front().filter(begins);
        let next = self.sets.get(usize::from(own.is_some())).map_or(self.bytes.len(), |(start, _)| *start);
        (&self.bytes[at..next], own.map_or(&[], |(_, set)| set))
    }

    /// Ready for the next messages.
    pub(super) fn clear(&mut self) {
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
