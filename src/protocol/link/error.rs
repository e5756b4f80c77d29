//! Why a link carries nothing more, or not this message.

use std::fmt;
use std::io;

/// Why a message was not sent or not received.
#[derive(Debug)]
pub enum LinkError {
    /// The other side is gone.
    Closed,
    /// Too much waits already: the message was not taken.
    Full,
    /// Received bytes are no message.
    Garbage(postcard::Error),
    /// A message longer than any may be, in bytes.
    Oversized(usize),
    /// More descriptors than one message may carry, or than were announced.
    TooManyDescriptors(usize),
    /// Fewer descriptors came than the message announced; the message is refused, those that came are closed.
    MissingDescriptors {
        /// The count that the message announced.
        announced: usize,
        /// The count that came.
        received: usize,
    },
    /// The socket failed.
    Io(io::Error),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side is gone"),
            Self::Full => f.write_str("the link is full"),
            Self::Garbage(error) => write!(f, "not a message: {error}"),
            Self::Oversized(len) => write!(f, "a message of {len} bytes"),
            Self::TooManyDescriptors(count) => write!(f, "{count} descriptors too many"),
            Self::MissingDescriptors { announced, received } => {
                write!(f, "{received} of {announced} descriptors came (is the limit of open files too low?)")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LinkError {}
