//! A link for a loop without a runtime: whoever polls the socket reads when there is something, and writes when there
//! is room. No call waits.

use super::error::LinkError;
use super::input::{Batch, Input};
use super::output::Output;
use crate::os::descriptors;
use serde::Serialize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// One end of a socket pair.
#[derive(Debug)]
pub struct PolledLink {
    stream: UnixStream,
    input: Input<OwnedFd>,
    /// Messages that leave, and how much of them has left.
    leaving: Output,
    at: usize,
    /// Messages behind them.
    queue: Output,
    /// Bytes that may wait.
    most: usize,
}

impl PolledLink {
    /// Makes a link of a socket; at most so many bytes wait to be written.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn new(stream: UnixStream, most: usize) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (leaving, queue) = (Output::default(), Output::default());
        Ok(Self { stream, input: Input::default(), leaving, at: 0, queue, most })
    }

    /// Reads once, and gives the messages that are whole by now. `None`: nothing was there.
    ///
    /// # Errors
    /// The other side is gone, or sends what is no message.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<Option<Batch>>, LinkError> {
        let received = loop {
            match descriptors::receive(&self.stream, buffer) {
                Ok(received) => break received,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(LinkError::Closed);
                }
                Err(error) => return Err(LinkError::Io(error)),
            }
        };
        let got = received.bytes;
        self.input.push(&buffer[..got], received.set());
        if got == 0 { Err(LinkError::Closed) } else { self.input.whole().map(Some) }
    }

    /// Takes a message and its descriptors; [`PolledLink::write`] sends it.
    ///
    /// # Errors
    /// Too much waits already, or this is no message for a link; nothing of it was taken.
    pub fn send_with<M: Serialize>(&mut self, message: &M, with: Vec<OwnedFd>) -> Result<(), LinkError> {
        if with.len() > descriptors::MOST {
            return Err(LinkError::TooManyDescriptors(with.len() - descriptors::MOST));
        }
        if self.waiting() > self.most {
            return Err(LinkError::Full);
        }
        self.queue.push(message, with)
    }

    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn write(&mut self) -> Result<(), LinkError> {
        loop {
            if self.at == self.leaving.bytes.len() {
                self.leaving.clear();
                self.at = 0;
                std::mem::swap(&mut self.leaving, &mut self.queue);
            }
            if self.leaving.bytes.is_empty() {
                return Ok(());
            }
            let (bytes, set) = self.leaving.piece(self.at);
            let borrowed: Vec<_> = set.iter().map(AsFd::as_fd).collect();
            match descriptors::send(&self.stream, bytes, &borrowed) {
                Ok(written) => {
                    if !borrowed.is_empty() {
                        self.leaving.sets.pop_front();
                    }
                    self.at += written;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(LinkError::Closed),
            }
        }
    }

    /// Bytes that the kernel has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.leaving.bytes.len() - self.at + self.queue.bytes.len()
    }

    /// The socket, for poll(2).
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::link::link;

    #[tokio::test]
    async fn it_speaks_with_a_link_of_a_runtime() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut polled = PolledLink::new(ours, 1 << 20).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (sender, mut receiver, writer) = link(tokio::net::UnixStream::from_std(theirs).unwrap());
        tokio::spawn(writer.run());
        let (mut buffer, file) = ([0; 100], || OwnedFd::from(tempfile::tempfile().unwrap()));
        assert!(polled.receive(&mut buffer).unwrap().is_none());
        for n in 0..300u32 {
            sender.send_with(&n, (0..n % 3).map(|_| file()).collect()).unwrap();
            polled.send_with(&n, (0..n % 2).map(|_| file()).collect()).unwrap();
        }
        polled.write().unwrap();
        let (mut there, mut here) = (0u32, 0u32);
        while there < 300 || here < 300 {
            if here < 300 {
                tokio::task::yield_now().await;
                while let Some(batch) = polled.receive(&mut buffer).unwrap() {
                    let Some(mut batch) = batch else { continue };
                    while let Some(got) = batch.next_with::<u32>() {
                        let (n, with) = got.unwrap();
                        assert_eq!((n, with.len()), (here, (n % 3) as usize));
                        here += 1;
                    }
                }
            }
            if there < 300 {
                let mut batch = receiver.receive().await.unwrap();
                while let Some(got) = batch.next_with::<u32>() {
                    let (n, with) = got.unwrap();
                    assert_eq!((n, with.len()), (there, (n % 2) as usize));
                    there += 1;
                }
                polled.write().unwrap();
            }
        }
        drop((sender, receiver));
    }

    #[test]
    fn one_that_is_not_read_takes_no_more_than_its_bound_and_never_waits() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut polled = PolledLink::new(ours, 1 << 20).unwrap();
        let text = "x".repeat(1 << 16);
        let taken = (0..1000).take_while(|_| {
            polled.write().unwrap();
            polled.send_with(&text, Vec::new()).is_ok()
        });
        assert!((17..40).contains(&taken.count()), "{}", polled.waiting());
        assert!(matches!(polled.send_with(&text, Vec::new()), Err(LinkError::Full)));
        drop(theirs);
        assert!(matches!(polled.write(), Err(LinkError::Closed)));
    }
}
