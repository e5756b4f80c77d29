//! The client's socket as hyper sees it. Adds two things that hyper does not know: a client that has said all it will
//! say is still answered, and a kept connection of a worker that leaves ends only after a quiet time.

use crate::net::tls::stream::Stream;
use crate::worker::hub::Leaving;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

/// Set once a request has come.
const ASKED: u32 = 1 << 31;

/// Set once the client has shut down its side: nothing more comes from it.
const SAID_ALL: u32 = 1 << 30;

/// State of a connection, shared by its socket and its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Life(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Requests that are being served, [`ASKED`] and [`SAID_ALL`].
    state: AtomicU32,
    says_no_more: Notify,
}

/// Keeps a connection busy while it lives.
#[derive(Debug)]
pub(super) struct Busy(Life);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.state.fetch_sub(1, AcqRel);
    }
}

impl Life {
    /// Marks the beginning of a request; true for the first of the connection.
    pub(super) fn begin(&self) -> (Busy, bool) {
        let before = self.0.state.fetch_add(1, AcqRel);
        self.0.state.fetch_or(ASKED, AcqRel);
        (Busy(self.clone()), before & ASKED == 0)
    }

    /// Whether a request has come.
    pub(super) fn has_asked(&self) -> bool {
        self.0.state.load(Acquire) & ASKED != 0
    }

    /// Whether the client has shut down its side.
    pub(super) fn has_said_all(&self) -> bool {
        self.0.state.load(Acquire) & SAID_ALL != 0
    }

    /// Waits until the client has shut down its side.
    pub(super) async fn said_all(&self) {
        let told = self.0.says_no_more.notified();
        if !self.has_said_all() {
            told.await;
        }
    }

    fn says_no_more(&self) {
        self.0.state.fetch_or(SAID_ALL, AcqRel);
        self.0.says_no_more.notify_waiters();
    }

    fn is_busy(&self) -> bool {
        self.0.state.load(Acquire) & !(ASKED | SAID_ALL) != 0
    }
}

/// The socket of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    life: Life,
    leaving: Leaving,
    /// When the client was last heard; since the worker leaves, at least the moment at which that was seen.
    heard: Instant,
    /// Runs while a kept connection of a leaving worker is quiet.
    timer: Option<Pin<Box<Sleep>>>,
    /// A byte has come from the client.
    has_spoken: bool,
    /// The connection ends because it was quiet.
    is_over: bool,
}

impl Socket {
    pub(super) fn new(stream: Stream, life: Life, leaving: Leaving) -> Self {
        Self { stream, life, leaving, heard: Instant::now(), timer: None, has_spoken: false, is_over: false }
    }

    /// The connection itself.
    pub(super) fn into_inner(self) -> Stream {
        self.stream
    }

    /// Whether the connection was ended for being quiet: nothing is on its way from the client.
    pub(super) fn was_quiet(&self) -> bool {
        self.is_over
    }

    /// Whether no request has begun that was not answered.
    fn is_idle(&self) -> bool {
        !self.life.is_busy() && (self.life.has_asked() || !self.has_spoken)
    }

    /// Ready when the worker leaves and the client has been quiet for long enough. Reading comes first, so that a
    /// request that is here is served.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(quiet) = self.leaving.quiet().filter(|_| self.is_idle()) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| {
            self.heard = Instant::now();
            Box::pin(sleep_until(self.heard + quiet))
        });
        if timer.deadline() < self.heard + quiet {
            timer.as_mut().reset(self.heard + quiet);
        }
        let quiet = timer.as_mut().poll(cx);
        self.is_over = quiet.is_ready();
        quiet
    }

    /// Looks whether the client is there while it waits for an answer; hyper does not read meanwhile. A client that has
    /// shut down its side is there, one that has reset the connection is not.
    fn look(&self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.life.is_busy() || self.life.has_said_all() {
            return Ok(());
        }
        match self.stream.socket().poll_peek(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Ready(Ok(0)) => self.life.says_no_more(),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => {}
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                self.heard = Instant::now();
                self.has_spoken = true;
            }
            Poll::Ready(Ok(())) => self.life.says_no_more(),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // The end of the client's requests, for hyper.
            Poll::Pending => return self.poll_quiet(cx).map(Ok),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes in each of its rounds.
        self.look(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
