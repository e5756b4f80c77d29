//! The link between master and child: a Unix socket pair that carries length-prefixed postcard messages both ways.
//! Messages that are sent within one turn of the loop leave in one write. Descriptors belong to a message, which says
//! how many: whoever receives the message gets all of them with it, or an error.

mod error;
mod head;
mod input;
mod output;
mod polled;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

pub use error::LinkError;
pub use input::Batch;
#[cfg(any(test, fuzzing))]
pub use input::fuzzed;
pub use polled::PolledLink;
pub use receiver::LinkReceiver;
pub use sender::{LinkSender, LinkWriter};

use std::sync::Arc;
use tokio::net::UnixStream;

/// Makes a link of one end of a socket pair. The writer must be run.
#[must_use]
pub fn link(stream: UnixStream) -> (LinkSender, LinkReceiver, LinkWriter) {
    let stream = Arc::new(stream);
    let (sender, writer) = sender::sender(stream.clone());
    (sender, LinkReceiver::new(stream), writer)
}
