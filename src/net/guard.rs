//! stub
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[allow(missing_docs)]
pub struct Limits {
    pub head: Duration,
    pub idle: Duration,
}
#[allow(missing_docs)]
pub struct Guard<S>(S);
#[allow(missing_docs)]
#[derive(Clone)]
pub struct Phase;
#[allow(missing_docs)]
impl Phase {
    pub fn begin(&self) -> Phase {
        Phase
    }
}
#[allow(missing_docs)]
impl<S> Guard<S> {
    pub fn new(s: S, _l: Limits) -> (Self, Phase) {
        (Self(s), Phase)
    }
    pub fn into_inner(self) -> S {
        self.0
    }
}
impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        b: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, b)
    }
}
impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, b)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
