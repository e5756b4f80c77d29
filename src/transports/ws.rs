//! The connection of a session, a WebSocket or a stream of events: written straight to the socket, and read through a
//! buffer that all connections of a worker share.

use crate::net::tls::secured::Secured;
use crate::net::tls::stream::{Now, Stream};
use crate::os::socket;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for the last bytes of a closed session, and then again for the client's own close.
const LINGER: Duration = Duration::from_secs(3);

/// Pause between two looks at whether the last bytes are acknowledged.
const GLANCE: Duration = Duration::from_millis(5);

/// The connection of a living session.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// The TLS side of the connection, if it has one.
    secured: Option<Box<Secured>>,
    waker: Option<Waker>,
    /// Bytes that the kernel has taken.
    sent: u64,
    /// The client has shut down its side.
    said_all: bool,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The kernel took all bytes.
    Whole,
    /// The kernel took the first so many bytes; the socket is full.
    Part(usize),
    /// The connection is gone.
    Broken,
}

impl Wire {
    /// Wraps an upgraded connection.
    #[must_use]
    pub fn new(stream: impl Into<Stream>) -> Self {
        let (stream, secured) = stream.into().into_parts();
        Self { stream, secured: secured.map(Box::new), waker: None, sent: 0, said_all: false }
    }

    /// Whether the connection is one of TLS: no other process can go on with it.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    /// The socket, which this process gives away.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn into_socket(self) -> io::Result<OwnedFd> {
        self.stream.into_std().map(OwnedFd::from)
    }

    /// The connection of a session that comes from another process, which has sent so many bytes over it.
    #[must_use]
    pub fn resumed(stream: TcpStream, sent: u64, said_all: bool) -> Self {
        Self { stream, secured: None, waker: None, sent, said_all }
    }

    /// Whether the client has shut down its side.
    #[must_use]
    pub fn has_said_all(&self) -> bool {
        self.said_all
    }

    /// Writes once, without waiting.
    pub fn write(&mut self, bytes: &[u8]) -> Written {
        let written = match &mut self.secured {
            None => self.stream.try_write(bytes),
            Some(secured) => secured.write(&mut Now(&self.stream), bytes),
        };
        match written {
            Ok(n) => {
                self.sent += n as u64;
                if n == bytes.len() { Written::Whole } else { Written::Part(n) }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Written::Part(0),
            Err(_) => Written::Broken,
        }
    }

    /// Writes several pieces at once, without waiting.
    ///
    /// # Errors
    /// As `writev(2)`; `WouldBlock` when the socket is full.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = match &mut self.secured {
            None => self.stream.try_write_vectored(slices)?,
            Some(secured) => write_each(secured, &self.stream, slices)?,
        };
        self.sent += n as u64;
        Ok(n)
    }

    /// The descriptor of the connection.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Bytes that the kernel has taken.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes of [`Wire::sent`] that the client's kernel has acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let unacknowledged = socket::unacknowledged(&self.stream).unwrap_or(0);
        match &self.secured {
            None => self.sent.saturating_sub(unacknowledged),
            Some(secured) => secured.acknowledged(unacknowledged),
        }
    }

    /// Ends the connection when the client acknowledges nothing for this time.
    pub fn lose_after(&self, time: Duration) {
        socket::lose_after(&self.stream, time);
    }

    /// Notes that the client has shut down its side: there is nothing more to read.
    pub fn hear_no_more(&mut self) {
        self.said_all = true;
    }

    /// Waits for something to read.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.said_all {
            return Poll::Pending;
        }
        if self.secured.as_ref().is_some_and(|secured| secured.has_more()) {
            return Poll::Ready(Ok(()));
        }
        self.stream.poll_read_ready(cx)
    }

    /// Waits for room to write.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// Reads once, without waiting.
    ///
    /// # Errors
    /// As `read(2)`; `WouldBlock` when there is nothing.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secured {
            None => self.stream.try_read(buffer),
            Some(secured) => secured.read(&mut Now(&self.stream), buffer),
        }
    }

    /// Sets the task that [`Wire::wake`] wakes.
    pub fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes the connection's task: bytes wait to be written, or the session has ended.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Ends the session; `last` are its last bytes.
    #[must_use]
    pub fn finish(self, last: Vec<u8>) -> Closing {
        Closing { stream: self.stream, secured: self.secured, last }
    }
}

/// Writes one piece after the other, each in records of its own, so that none has begun before all of it is counted.
fn write_each(secured: &mut Secured, stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut written = 0;
    for slice in slices {
        match secured.write(&mut Now(stream), slice) {
            Ok(n) => {
                written += n;
                if n < slice.len() {
                    break;
                }
            }
            Err(_) if written > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// The last bytes of a session that has ended, its close frame among them.
#[derive(Debug)]
pub struct Closing {
    stream: TcpStream,
    secured: Option<Box<Secured>>,
    last: Vec<u8>,
}

impl Closing {
    /// For a connection that never got a session.
    #[must_use]
    pub fn new(stream: impl Into<Stream>, last: Vec<u8>) -> Self {
        let (stream, secured) = stream.into().into_parts();
        Self { stream, secured: secured.map(Box::new), last }
    }

    /// Hands the last bytes to the kernel.
    async fn say(&mut self) -> io::Result<()> {
        let Some(secured) = &mut self.secured else {
            self.stream.write_all(&self.last).await?;
            self.last.clear();
            return Ok(());
        };
        loop {
            let written = match secured.write(&mut Now(&self.stream), &self.last) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.last.drain(..written);
            if self.last.is_empty() {
                return Ok(());
            }
            self.stream.writable().await?;
        }
    }

    /// Says the last bytes, and that nothing follows.
    async fn say_all(&mut self) -> io::Result<()> {
        self.say().await?;
        if let Some(secured) = &mut self.secured {
            let mut closed = secured.close(&mut Now(&self.stream));
            while closed.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                self.stream.writable().await?;
                closed = secured.flush(&mut Now(&self.stream));
            }
            closed?;
        }
        self.stream.shutdown().await
    }

    /// Sends them; true when the client's kernel has acknowledged them all. To be followed by [`Closing::send`].
    pub async fn is_heard(&mut self) -> bool {
        let heard = timeout(LINGER, async {
            self.say().await?;
            while socket::unacknowledged(&self.stream) != Some(0) {
                if let Some(error) = self.stream.take_error()? {
                    return Err(error);
                }
                tokio::time::sleep(GLANCE).await;
            }
            io::Result::Ok(())
        });
        matches!(heard.await, Ok(Ok(())))
    }

    /// Sends them, then waits for the client to close: closing first would make the kernel answer what is still on
    /// its way with a reset, and a reset throws away what the client has not read.
    pub async fn send(mut self) {
        if !matches!(timeout(LINGER, self.say_all()).await, Ok(Ok(()))) {
            // The client does not read: a reset frees what the kernel holds for it.
            let _ = self.stream.set_zero_linger();
            return;
        }
        let mut rest = [0; 512];
        let _ =
            timeout(LINGER, async { while matches!(self.stream.read(&mut rest).await, Ok(1..)) {} }).await;
        // What is not acknowledged then is the kernel's to send, as long as the client takes some of it.
        socket::lose_after(&self.stream, LINGER);
    }
}
