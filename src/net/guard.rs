//! The time limits of an HTTP connection that hyper does not have: for the first byte, for a request's head, between
//! two requests, and for a client that does not read its answer. The guard sits between hyper and the socket; when a
//! connection becomes a WebSocket session the socket is taken out again.

use super::phase::Phase;
use crate::protocol::client::{Problem, ProblemKind};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The answer to a request whose head does not arrive in time, or that gives way. The guard writes it itself: for hyper,
/// and for the routes behind it, the request does not exist yet.
fn refusal(kind: ProblemKind) -> String {
    let problem = Problem::from(kind);
    let status = match kind {
        ProblemKind::HeaderTimeout => "408 Request Timeout",
        _ => "503 Service Unavailable",
    };
    let wait = problem.retry_after.map(|wait| format!("Retry-After: {wait}\r\n")).unwrap_or_default();
    let body = problem.json();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n{wait}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The client's time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the connection to the end of the first request's head, and from the first byte of a later head to its end.
    pub head: Duration,
    /// Between two requests; also how long a client may leave written data unread.
    pub idle: Duration,
}

/// The client's expected next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Send its first request. `begun`: at least one byte has arrived.
    First { begun: bool },
    /// Send another request.
    Next,
    /// Send the rest of a later request's head.
    Rest,
    /// Send nothing, or a body, which has limits elsewhere.
    Nothing,
}

/// The socket of one connection and its clock.
pub struct Guard<S> {
    socket: S,
    limits: Limits,
    phase: Phase,
    /// The phase that `expected` was derived from.
    seen: u64,
    expected: Expected,
    /// When `expected` began.
    since: Instant,
    /// Since when the socket takes no data although some waits.
    stalled: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The deadline has passed once; nothing is read any more.
    over: bool,
}

impl<S: fmt::Debug> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("socket", &self.socket).field("expected", &self.expected).finish()
    }
}

impl<S> Guard<S> {
    /// Guards an accepted connection, of which this is the phase. The service behind it tells that, too.
    pub fn new(socket: S, limits: Limits, phase: Phase) -> Self {
        Self {
            socket,
            limits,
            phase,
            seen: 0,
            expected: Expected::First { begun: false },
            since: Instant::now(),
            stalled: None,
            timer: None,
            over: false,
        }
    }

    /// Returns the socket, without limits.
    pub fn into_inner(self) -> S {
        self.phase.forget_task();
        self.socket
    }

    /// Derives the current expectation from the phase.
    fn observe(&mut self) {
        let now = self.phase.now();
        if now != self.seen {
            self.seen = now;
            self.since = Instant::now();
            self.expected = if Phase::is_served(now) { Expected::Nothing } else { Expected::Next };
        }
    }

    /// Records that the client has sent data.
    fn heard(&mut self) {
        self.observe();
        match self.expected {
            Expected::First { .. } => self.expected = Expected::First { begun: true },
            Expected::Next => {
                self.expected = Expected::Rest;
                self.since = Instant::now();
            }
            Expected::Rest | Expected::Nothing => (),
        }
    }

    /// The deadline for what is expected.
    fn deadline(&self) -> Option<Instant> {
        match self.expected {
            Expected::First { .. } | Expected::Rest => Some(self.since + self.limits.head),
            Expected::Next => Some(self.since + self.limits.idle),
            Expected::Nothing => None,
        }
    }

    /// Ready if the client is late, or the connection gives way to a newcomer.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.observe();
        if self.phase.gives_up(context) {
            return Poll::Ready(());
        }
        match self.deadline() {
            Some(deadline) => self.poll_timer(context, deadline),
            None => {
                // Polls again later, in case another task tells the end of serving.
                let later = Instant::now() + self.limits.idle;
                self.poll_timer(context, later)
            }
        }
    }

    /// Ready when `deadline` has passed. The timer is created for the first wait and moved only when it fires: a
    /// connection with many requests costs one timer, not one for each.
    fn poll_timer(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// The client is late, or gives way: the result that `read` gets.
    fn expire(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.over = true;
        match self.expected {
            Expected::Rest | Expected::First { begun: true } | Expected::Nothing => {
                // Nothing else may be written: an answer to the previous request could still be on its way.
                if self.stalled.is_none() {
                    let socket = Pin::new(&mut self.socket);
                    let kind =
                        if self.phase.yields() { ProblemKind::Full } else { ProblemKind::HeaderTimeout };
                    if let Poll::Ready(Ok(_)) = socket.poll_write(context, refusal(kind).as_bytes()) {
                        let _ = Pin::new(&mut self.socket).poll_shutdown(context);
                    }
                }
                Err(io::Error::new(io::ErrorKind::TimedOut, "the request took too long"))
            }
            // An end of file: no request is in progress. (Browsers open connections for later use; the next request
            // would take an unsolicited answer for its own.)
            _ => Ok(()),
        }
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.stalled = None;
            // Part of an answer that outlives its request, for instance an event stream: the connection is not idle.
            if self.expected == Expected::Next {
                self.since = Instant::now();
                self.phase.touch();
            }
            return result;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let gives_up = self.phase.gives_up(context);
        if gives_up || self.poll_timer(context, since + self.limits.idle).is_ready() {
            self.over = true;
            let error = io::Error::new(io::ErrorKind::TimedOut, "the client does not read");
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = &mut *self;
        if guard.over {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut guard.socket).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                guard.heard();
            }
            return Poll::Ready(result);
        }
        match guard.poll_deadline(context) {
            Poll::Ready(()) => Poll::Ready(guard.expire(context)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.phase.unflushed();
        let result = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.phase.unflushed();
        let result = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // After an answer hyper does not read before something arrives, so the wait begins here. (`over` is set before
        // only if hyper does not read at all.)
        if !self.over && self.poll_deadline(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = Pin::new(&mut self.socket).poll_flush(context);
        if matches!(result, Poll::Ready(Ok(()))) {
            self.phase.flushed();
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
