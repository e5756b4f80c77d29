//! Memory that all workers share: how many connections each of them holds at this moment.

use super::shared::Shared;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

/// Number of places.
pub const PLACES: usize = 257;
/// Content of a place where nobody accepts.
const NOBODY: u64 = 0;

/// The shared counts.
#[derive(Debug)]
pub struct Board(Shared);

impl Board {
    /// An empty board.
    ///
    /// # Errors
    /// As `memfd_create(2)` and `mmap(2)`.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Shared::new("btc-cluster-board", PLACES)?))
    }

    /// The board of another process.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn from_descriptor(file: OwnedFd) -> io::Result<Self> {
        Ok(Self(Shared::from_descriptor(file)?))
    }

    /// The descriptor, for another process.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }

    /// Writes how many connections a place holds; `None`: nobody accepts there.
    pub fn set(&self, place: u16, count: Option<u32>) {
        if let Some(word) = self.0.words().get(usize::from(place)) {
            word.store(count.map_or(NOBODY, |count| u64::from(count) + 1), Relaxed);
        }
    }

    /// Reads all places where somebody accepts.
    #[must_use]
    pub fn counts(&self) -> Vec<(u16, u32)> {
        let words = self.0.words().iter().map(|word| word.load(Relaxed));
        let counts = (0..).zip(words).filter(|(_, word)| *word != NOBODY);
        counts.map(|(place, word)| (place, u32::try_from(word - 1).unwrap_or(u32::MAX))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_the_other_reads() {
        let board = Board::new().unwrap();
        let other = Board::from_descriptor(board.descriptor().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(other.counts(), []);
        board.set(1, Some(0));
        other.set(256, Some(7));
        assert_eq!(board.counts(), [(1, 0), (256, 7)]);
        board.set(1, None);
        assert_eq!(other.counts(), [(256, 7)]);
    }
}
