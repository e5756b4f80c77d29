//! The pace of reading a stream: no source may take more than its share of the feeder's thread, whatever it sends.
//!
//! A stream is read in pieces. Between two of them the reader lets everybody else have a turn if it has worked for a
//! [`SLICE`], and rests if it has worked for its [`SHARE`] of a [`WINDOW`]: the rest waits in the socket, and slows
//! down its sender.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Longest work without letting others have a turn.
const SLICE: Duration = Duration::from_micros(500);
/// Most work in a window: half of it.
const SHARE: Duration = Duration::from_millis(10);
const WINDOW: Duration = Duration::from_millis(20);
/// Bytes of one piece: even the smallest frames in it are read within a slice.
const PIECE: usize = 8 * 1024;

/// What to do before the next piece.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Go,
    /// Let others have a turn.
    Yield,
    /// Wait until then.
    Rest(Instant),
}

/// Measures the work of one stream: the time from getting a piece to asking for the next. Pure.
#[derive(Debug)]
struct ReadPace {
    /// The beginning of the window, and the work in it.
    window: Instant,
    spent: Duration,
    /// Work since others had a turn.
    slice: Duration,
    /// When the last piece was handed over.
    working: Option<Instant>,
}

impl ReadPace {
    fn new(now: Instant) -> Self {
        Self { window: now, spent: Duration::ZERO, slice: Duration::ZERO, working: None }
    }

    /// The next piece is wanted.
    fn ask(&mut self, now: Instant) -> Turn {
        let worked = self.working.take().map_or(Duration::ZERO, |since| now - since);
        (self.spent, self.slice) = (self.spent + worked, self.slice + worked);
        // Work beyond the share counts in the windows that follow.
        let windows = (now - self.window).as_nanos() / WINDOW.as_nanos();
        if windows > 0 {
            let paid = SHARE.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX));
            (self.window, self.spent) = (now, self.spent.saturating_sub(paid));
        }
        if self.spent >= SHARE {
            self.slice = Duration::ZERO;
            return Turn::Rest(self.window + WINDOW);
        }
        if self.slice >= SLICE {
            self.slice = Duration::ZERO;
            return Turn::Yield;
        }
        Turn::Go
    }

    /// A piece was handed over.
    fn begin(&mut self, now: Instant) {
        self.working = Some(now);
    }

    /// There was nothing to read: others have their turn.
    fn idle(&mut self) {
        self.slice = Duration::ZERO;
    }
}

/// A connection whose bytes are read at the pace.
pub(in crate::providers) struct Paced<S> {
    inner: S,
    pace: ReadPace,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Paced<S> {
    pub(in crate::providers) fn new(inner: S) -> Self {
        Self { inner, pace: ReadPace::new(Instant::now()), pause: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pause.is_none() {
            self.pause = match self.pace.ask(Instant::now()) {
                Turn::Go => None,
                // Unlike waking oneself, this lets timers and sockets have their turn, too.
                Turn::Yield => Some(Box::pin(tokio::task::yield_now())),
                Turn::Rest(until) => Some(Box::pin(sleep_until(until))),
            };
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let room = buf.remaining().min(PIECE);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(room));
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut piece);
        let count = piece.filled().len();
        match read {
            Poll::Pending => {
                self.pace.idle();
                Poll::Pending
            }
            Poll::Ready(read) => {
                buf.advance(count);
                self.pace.begin(Instant::now());
                Poll::Ready(read)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works at pieces that take that long, for a second; returns the part of the time that was work, and the longest
    /// work without a turn for others.
    fn second(piece: Duration) -> (f64, Duration) {
        let begin = Instant::now();
        let (mut pace, mut now) = (ReadPace::new(begin), begin);
        let (mut worked, mut slice, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        while now - begin < Duration::from_secs(1) {
            match pace.ask(now) {
                Turn::Go => {
                    pace.begin(now);
                    (now, worked, slice) = (now + piece, worked + piece, slice + piece);
                    longest = longest.max(slice);
                    continue;
                }
                Turn::Yield => {}
                Turn::Rest(until) => now = until,
            }
            slice = Duration::ZERO;
        }
        (worked.as_secs_f64() / (now - begin).as_secs_f64(), longest)
    }

    #[test]
    fn work_never_takes_more_than_its_share_and_lets_others_in_between() {
        for micros in [1, 50, 499, 3000, 15_000] {
            let piece = Duration::from_micros(micros);
            let (part, longest) = second(piece);
            assert!((0.4..0.56).contains(&part), "{micros} us: {part}");
            assert!(longest <= SLICE + piece, "{micros} us: {longest:?}");
        }
    }

    #[test]
    fn little_work_never_rests() {
        let begin = Instant::now();
        let mut pace = ReadPace::new(begin);
        for ms in 0..1000 {
            let now = begin + Duration::from_millis(ms);
            assert_eq!(pace.ask(now), Turn::Go);
            pace.begin(now);
            let done = now + Duration::from_micros(300);
            assert_eq!(pace.ask(done), Turn::Go);
            pace.idle();
        }
    }

    #[tokio::test]
    async fn bytes_come_through_in_pieces() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut one, other) = tokio::io::duplex(1 << 20);
        let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        one.write_all(&sent).await.unwrap();
        drop(one);
        let (mut paced, mut read) = (Paced::new(other), Vec::new());
        let first = paced.read_buf(&mut Vec::<u8>::with_capacity(1 << 20)).await.unwrap();
        assert_eq!(first, PIECE);
        paced.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, sent[PIECE..]);
    }
}
