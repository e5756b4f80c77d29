//! A response that never ends: hyper writes its head, and then the connection is the session's own. So a listener of
//! events costs what a WebSocket does, and the hub knows what the kernel has taken.

use crate::worker::hub::{Greeting, Opening};
use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Travels with a response whose connection a session takes over.
#[derive(Clone)]
pub(super) struct Takeover {
    session: Arc<Mutex<Option<(Opening, Greeting)>>>,
    /// hyper has asked for the body: the head is written, or in its buffer.
    begun: Arc<AtomicBool>,
}

impl Takeover {
    /// By that session; and the body for its response.
    pub(super) fn by(opening: Opening, greeting: Greeting) -> (Self, Body) {
        let begun = Arc::new(AtomicBool::new(false));
        let body = Body::new(Endless(begun.clone()));
        (Self { session: Arc::new(Mutex::new(Some((opening, greeting)))), begun }, body)
    }

    /// Whether the head has been made.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// The session, once.
    pub(super) fn take(&self) -> Option<(Opening, Greeting)> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A body of which nothing ever comes.
struct Endless(Arc<AtomicBool>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.store(true, Ordering::Release);
        // Nobody is to be woken: the connection is taken away instead.
        Poll::Pending
    }
}
