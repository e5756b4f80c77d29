//! The body of an HTTP answer, within limits of size and time.

use crate::model::one_line;
use crate::providers::Fault;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Largest body and largest message. No encoding is requested, so nothing is inflated.
pub(in crate::providers) const LARGEST: usize = 256 * 1024;
/// Longest wait for the text of a refusal: its status is known.
pub(in crate::providers) const REFUSAL: Duration = Duration::from_secs(1);

/// An answer with its body.
pub(in crate::providers) struct Whole {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Whether the body was read to its end.
    pub complete: bool,
}

/// Reads an answer's body. Without success the status says enough: the body may be too large, broken off or endless.
///
/// # Errors
/// The body of a successful answer is too large, broken off, or not there in time.
pub(in crate::providers) async fn whole(
    response: Response<Incoming>,
    until: Instant,
) -> Result<Whole, Fault> {
    let (head, mut incoming) = response.into_parts();
    let (status, mut body) = (head.status, Vec::new());
    let until = if status.is_success() { until } else { until.min(Instant::now() + REFUSAL) };
    let late = |_| Err(Fault::Retry("answer: not whole in time (price.answer_timeout)".to_owned()));
    let read = timeout_at(until, fill(&mut body, &mut incoming)).await.unwrap_or_else(late);
    let complete = read.is_ok();
    if status.is_success() {
        read?;
    }
    Ok(Whole { status, headers: head.headers, body, complete })
}

async fn fill(body: &mut Vec<u8>, incoming: &mut Incoming) -> Result<(), Fault> {
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| told(&error))?;
        let chunk = frame.data_ref().map_or(&[][..], |chunk| chunk);
        if body.len() + chunk.len() > LARGEST {
            return Err(Fault::Retry(format!("an answer of more than {LARGEST} bytes")));
        }
        body.extend_from_slice(chunk);
    }
    Ok(())
}

/// The error down to its first cause.
pub(in crate::providers) fn causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    one_line(&text)
}

/// The fault of a request that failed.
pub(in crate::providers) fn told(error: &hyper::Error) -> Fault {
    Fault::Retry(format!("answer: {}", causes(error)))
}
