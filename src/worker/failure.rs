//! Why a worker ends unasked.

use crate::os::loops::LoopEnded;
use crate::protocol::link::LinkError;
use std::fmt;
use std::io;

/// Why a worker could not live.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Link(LinkError),
    Config(serde_json::Error),
    /// The master spoke otherwise than agreed.
    Strange(&'static str),
    /// Something that must run for as long as the worker lives does not.
    Loop(LoopEnded),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Link(error) => write!(f, "link to the master: {error}"),
            Self::Config(error) => write!(f, "configuration from the master: {error}"),
            Self::Strange(what) => f.write_str(what),
            Self::Loop(ended) => ended.fmt(f),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LoopEnded> for Failure {
    fn from(ended: LoopEnded) -> Self {
        Self::Loop(ended)
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}
