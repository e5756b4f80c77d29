//! The body of a request, which tells its connection's phase whether it has come to its end.

use crate::net::phase::Phase;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body that does not come to its end lets its connection give way.
pub(super) struct Receiving {
    body: Incoming,
    phase: Phase,
}

impl Receiving {
    /// Wraps a body; an empty one needs nothing.
    pub(super) fn new(body: Incoming, phase: Phase) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        phase.receives(true);
        Body::new(Self { body, phase })
    }
}

impl http_body::Body for Receiving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.phase.receives(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
