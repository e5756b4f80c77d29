//! Sends the lines of one file or program to the master.

use crate::feeder::uplink::Uplink;
use crate::protocol::cluster::Mark;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Receiver of the lines of a file or program.
#[derive(Clone)]
pub(super) struct LineSink {
    of: Arc<str>,
    longest: Arc<AtomicUsize>,
    uplink: Uplink,
}

impl LineSink {
    pub(super) fn new(of: &str, longest: Arc<AtomicUsize>, uplink: Uplink) -> Self {
        Self { of: of.into(), longest, uplink }
    }

    /// Longest line in bytes, by the current configuration.
    pub(super) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Sends a line.
    pub(super) fn say(&self, text: Box<str>, mark: Option<Mark>) {
        self.uplink.line(&self.of, text, mark);
    }

    /// Whether the master is behind, or there is none.
    pub(super) fn is_full(&self) -> bool {
        self.uplink.is_full()
    }
}
