//! A file in memory, which another process can go on with.

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The file; all of its handles have the same content.
#[derive(Debug)]
pub struct MemoryFile(OwnedFd);

impl MemoryFile {
    /// An empty file. The name is shown in `/proc`.
    ///
    /// # Errors
    /// As `memfd_create(2)`.
    pub fn new(name: &str) -> io::Result<Self> {
        Ok(Self(memfd_create(name, MemfdFlags::CLOEXEC)?))
    }

    /// A file of these bytes.
    ///
    /// # Errors
    /// As `memfd_create(2)` and `pwrite(2)`.
    pub fn with(name: &str, bytes: &[u8]) -> io::Result<Self> {
        let file = Self::new(name)?;
        file.write(0, bytes)?;
        Ok(file)
    }

    /// The whole file.
    ///
    /// # Errors
    /// As [`MemoryFile::read`].
    pub fn whole(&self) -> io::Result<Vec<u8>> {
        self.read(0, u64::try_from(fstat(&self.0)?.st_size).unwrap_or(0))
    }

    /// The descriptor, to be given away.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// The file of another process.
    #[must_use]
    pub fn from_descriptor(file: OwnedFd) -> Self {
        Self(file)
    }

    /// The descriptor, for another process.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Writes all bytes at a place.
    ///
    /// # Errors
    /// As `pwrite(2)`: there is no memory.
    pub fn write(&self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match pwrite(&self.0, bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => (at, bytes) = (at + count as u64, &bytes[count..]),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads so many bytes at a place.
    ///
    /// # Errors
    /// As `pread(2)`; `UnexpectedEof`: the file is shorter.
    pub fn read(&self, at: u64, count: u64) -> io::Result<Vec<u8>> {
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let size = fstat(&self.0)?.st_size;
        if at.checked_add(count).is_none_or(|last| i64::try_from(last).map_or(true, |last| last > size)) {
            return Err(end());
        }
        let mut bytes = vec![0; usize::try_from(count).map_err(|_| end())?];
        let mut got = 0;
        while got < bytes.len() {
            match pread(&self.0, &mut bytes[got..], at + got as u64) {
                Ok(0) => return Err(end()),
                Ok(count) => got += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    }

    /// Gives the memory of a part back. Without it the memory stays taken, which harms nobody.
    pub fn free(&self, at: u64, count: u64) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = fallocate(&self.0, flags, at, count);
    }

    /// Cuts the file off.
    pub fn cut(&self, len: u64) {
        let _ = ftruncate(&self.0, len);
    }
}
