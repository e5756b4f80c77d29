//! The form in which a client gets its frames.

use crate::protocol::cluster::Transport;
use serde::{Deserialize, Serialize};

/// The form in which a client gets its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    Websocket,
    /// Server-Sent Events.
    Events(Body),
    /// JSON in the answers to polls.
    Poll,
}

/// Framing of the body of an HTTP response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// HTTP/1.1: chunks (RFC 9112, section 7.1).
    Chunked,
    /// HTTP/1.0: as it is, until the connection closes.
    Plain,
}

impl Framing {
    /// The transport, as the master counts it.
    #[must_use]
    pub fn transport(self) -> Transport {
        match self {
            Self::Websocket => Transport::Websocket,
            Self::Events(_) => Transport::Sse,
            Self::Poll => Transport::Poll,
        }
    }
}
