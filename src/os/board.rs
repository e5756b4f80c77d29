//! A page that all workers share: how many connections each of them holds at this moment. It is a memory file, read
//! and written by system calls: a third of a microsecond each, and no unsafe code.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Number of places.
pub const PLACES: usize = 257;
const CELL: usize = size_of::<u32>();
/// Content of a place where nobody accepts.
const NOBODY: u32 = 0;

/// The shared page.
#[derive(Debug)]
pub struct Board(OwnedFd);

impl Board {
    /// An empty board.
    ///
    /// # Errors
    /// As `memfd_create(2)`.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create("btc-cluster-board", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, (PLACES * CELL) as u64)?;
        Ok(Self(file))
    }

    /// The board of another process.
    #[must_use]
    pub fn from_descriptor(file: OwnedFd) -> Self {
        Self(file)
    }

    /// The descriptor, for another process.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Writes how many connections a place holds; `None`: nobody accepts there.
    pub fn set(&self, place: u16, count: Option<u32>) {
        let cell = count.map_or(NOBODY, |count| count.saturating_add(1)).to_le_bytes();
        let at = usize::from(place) * CELL;
        if at < PLACES * CELL {
            // A memory file takes four bytes whole; if it ever fails, only evenness suffers.
            let _ = pwrite(&self.0, &cell, at as u64);
        }
    }

    /// Reads all places where somebody accepts.
    #[must_use]
    pub fn counts(&self) -> Vec<(u16, u32)> {
        let mut bytes = [0; PLACES * CELL];
        let got = pread(&self.0, &mut bytes, 0).unwrap_or(0);
        let cells = bytes[..got].chunks_exact(CELL).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
        (0..).zip(cells).filter(|(_, cell)| *cell != NOBODY).map(|(place, cell)| (place, cell - 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_the_other_reads() {
        let board = Board::new().unwrap();
        let other = Board::from_descriptor(board.descriptor().try_clone_to_owned().unwrap());
        assert_eq!(other.counts(), []);
        board.set(1, Some(0));
        other.set(256, Some(7));
        assert_eq!(board.counts(), [(1, 0), (256, 7)]);
        board.set(1, None);
        assert_eq!(other.counts(), [(256, 7)]);
    }
}
