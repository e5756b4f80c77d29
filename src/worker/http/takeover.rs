//! A response that never ends: hyper writes its head, then a session takes the connection over. So a listener of events
//! costs as much as a WebSocket, and the hub knows which bytes the kernel has taken.

use crate::worker::hub::{Greeting, Opening};
use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Travels in the extensions of a response whose connection a session takes over.
#[derive(Clone)]
pub(super) struct Takeover {
    session: Arc<Mutex<Option<(Opening, Greeting)>>>,
    /// hyper has asked for the body: the head is written, or stands in hyper's buffer.
    begun: Arc<AtomicBool>,
}

impl Takeover {
    /// A takeover by a session, and the body for its response.
    pub(super) fn by(opening: Opening, greeting: Greeting) -> (Self, Body) {
        let begun = Arc::new(AtomicBool::new(false));
        let body = Body::new(Endless(begun.clone()));
        (Self { session: Arc::new(Mutex::new(Some((opening, greeting)))), begun }, body)
    }

    /// Whether hyper has made the head.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Takes the session, which is there once.
    pub(super) fn take(&self) -> Option<(Opening, Greeting)> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A body that never has a byte.
struct Endless(Arc<AtomicBool>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.store(true, Ordering::Release);
        // No waker is kept: the connection is taken from hyper instead.
        Poll::Pending
    }
}
