//! Bytes with descriptors over a Unix socket (`SCM_RIGHTS`).

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most descriptors in one message: as many as the kernel allows.
pub const MOST: usize = 253;

/// Sends bytes and, with the first of them, descriptors. Returns how many bytes went out; the descriptors are
/// gone when that is not zero.
///
/// # Errors
/// As `sendmsg(2)`.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Result of one call of [`receive`].
#[derive(Debug)]
pub struct Received {
    /// Bytes that are in the buffer now.
    pub bytes: usize,
    /// Descriptors that came with them, closed on exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether the kernel closed descriptors that were sent, because this process may not have so many.
    pub truncated: bool,
}

impl Received {
    /// The descriptors, if any were sent: fewer than that when [`Received::truncated`].
    #[must_use]
    pub fn set(self) -> Option<Vec<OwnedFd>> {
        (self.truncated || !self.descriptors.is_empty()).then_some(self.descriptors)
    }
}

/// Receives bytes and the descriptors that came with them; never those of two calls of [`send`] at once.
///
/// # Errors
/// As `recvmsg(2)`.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    Ok(Received { bytes: got.bytes, descriptors, truncated: got.flags.contains(ReturnFlags::CTRUNC) })
}

/// Something like a descriptor: two of them can be the same open file.
pub trait Share: Sized {
    /// Another one of the same file; `None`: the process may not have so many.
    fn share(&self) -> Option<Self>;
}

impl Share for OwnedFd {
    fn share(&self) -> Option<Self> {
        self.try_clone().ok()
    }
}

/// Makes room for so many descriptors at once: the table of a process grows by doubling, and each growth copies it.
pub fn make_room(count: u64) {
    let highest = i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX);
    // The copy is closed at once; the table stays as large.
    let _ = rustix::io::fcntl_dupfd_cloexec(io::stderr(), highest);
}
