//! The body of a request that was answered before the body was read. A short rest is read and dropped, so that the
//! connection serves the next request; a longer one ends the connection after the answer.

use super::answer;
use crate::net::phase::Phase;
use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// A longer rest is not worth its bandwidth: a new connection costs less.
const SHORT: u64 = 64 << 10;

/// Where a body comes back to when its route drops it.
#[derive(Clone, Debug, Default)]
pub(super) struct Rest(Arc<Mutex<Option<Incoming>>>);

/// A request's body, lent to its route.
#[derive(Debug)]
struct Lent {
    body: Option<Incoming>,
    back: Rest,
    /// A connection whose body does not come to its end may give way.
    phase: Phase,
}

impl Rest {
    /// Lends the body of a request. `None` in the second place: there is no body.
    pub(super) fn lend(body: Incoming, phase: &Phase) -> (axum::body::Body, Option<Self>) {
        if body.is_end_stream() {
            return (axum::body::Body::empty(), None);
        }
        let back = Self::default();
        phase.receives(true);
        let lent = Lent { body: Some(body), back: back.clone(), phase: phase.clone() };
        (axum::body::Body::new(lent), Some(back))
    }

    fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Decides what becomes of the unread rest of an answered request: a short one is read and dropped by the future
    /// that this returns; else the answer says that the connection ends.
    pub(super) fn settle<B>(
        &self,
        asked: Asked,
        response: &mut Response<B>,
        within: Duration,
    ) -> Option<impl Future<Output = ()> + use<B>> {
        let mut body = self.take()?;
        let is_short = body.size_hint().upper().is_some_and(|rest| rest <= SHORT);
        // A client that was to be told to go on may send the body now, or its next request (RFC 9110, section 10.1.1).
        if !is_short || asked.expects || response.status() == StatusCode::REQUEST_TIMEOUT {
            answer::ends(response.headers_mut());
            return None;
        }
        Some(async move {
            let all = async { while let Some(Ok(_)) = body.frame().await {} };
            let _ = tokio::time::timeout(within, all).await;
        })
    }
}

/// What a request's head says about its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The client waits for a 100 before it sends its body.
    expects: bool,
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self { expects: headers.contains_key(header::EXPECT) }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        // A body that breaks off comes back with its rest, which has no end: the connection ends after the answer.
        if matches!(frame, Poll::Ready(None)) {
            self.body = None;
        }
        if self.is_end_stream() {
            self.phase.receives(false);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        *self.back.0.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }
}
