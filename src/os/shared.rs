//! Memory that processes share: a memory file, mapped, of words that are read and written whole. A store costs a
//! nanosecond, and what was stored outlives the process that stored it.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A mapped memory file.
pub struct Shared {
    file: OwnedFd,
    first: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to the value until it is dropped, and all access to it is by atomic words.
#[expect(unsafe_code, reason = "a pointer is not Send by itself")]
unsafe impl Send for Shared {}

impl Shared {
    /// A new file of so many words, all zero. Pages that are never written take no memory.
    ///
    /// # Errors
    /// As `memfd_create(2)` and `mmap(2)`.
    pub fn new(name: &str, words: usize) -> io::Result<Self> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, (words * size_of::<u64>()) as u64)?;
        // A file that another process has cut would kill whoever reads it.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::map(file, words)
    }

    /// The file of another process.
    ///
    /// # Errors
    /// As `fstat(2)` and `mmap(2)`; the file is no such one.
    pub fn from_descriptor(file: OwnedFd) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a memory file that may shrink"));
        }
        let bytes = usize::try_from(fstat(&file)?.st_size).unwrap_or(0);
        Self::map(file, bytes / size_of::<u64>())
    }

    #[expect(unsafe_code, reason = "memory of two processes cannot be had otherwise")]
    fn map(file: OwnedFd, words: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, placed by the kernel, touches no memory of this process. The file has that size and
        // is sealed against shrinking, so that every word of the mapping is there for as long as the mapping is.
        let start = unsafe {
            let len = words * size_of::<u64>();
            libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(first) = NonNull::new(start.cast::<AtomicU64>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        Ok(Self { file, first, words })
    }

    /// The words.
    #[expect(unsafe_code, reason = "the mapping is known by a pointer")]
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `first` begins a mapping of `words` words, aligned to a page, valid until `self` is dropped. Others
        // write to it, which atomic words allow; every value of a word is valid.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.words) }
    }

    /// The descriptor, for another process.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Shared {
    #[expect(unsafe_code, reason = "what was mapped must be unmapped")]
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrowed from it is left.
        unsafe {
            libc::munmap(self.first.as_ptr().cast(), self.words * size_of::<u64>());
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("words", &self.words).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn what_one_stores_the_other_loads_and_no_other_size_is_taken() {
        let ours = Shared::new("test", 1000).unwrap();
        let theirs = Shared::from_descriptor(ours.descriptor().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(theirs.words().len(), 1000);
        ours.words()[999].store(7, Relaxed);
        assert_eq!(theirs.words()[999].load(Relaxed), 7);
        assert!(ftruncate(ours.descriptor(), 8).is_err(), "sealed");
        drop(ours);
        assert_eq!(theirs.words()[999].load(Relaxed), 7, "it outlives the one who stored it");
        let plain = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(Shared::from_descriptor(plain.into()).is_err());
    }
}
