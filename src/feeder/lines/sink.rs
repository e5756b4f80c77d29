//! Sends the lines of one file or program to the master.

use crate::protocol::cluster::{FromFeeder, Mark};
use crate::protocol::link::LinkSender;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reading pauses while more bytes than this wait for the master: prices go the same way.
const WAITING: usize = 1 << 20;

/// Receiver of the lines of a file or program.
#[derive(Clone)]
pub(super) struct LineSink {
    of: Arc<str>,
    longest: Arc<AtomicUsize>,
    link: LinkSender,
}

impl LineSink {
    pub(super) fn new(of: &str, longest: Arc<AtomicUsize>, link: LinkSender) -> Self {
        Self { of: of.into(), longest, link }
    }

    /// Longest line in bytes, by the current configuration.
    pub(super) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Sends a line. If the link does not take it, the link is lost, and this process with it.
    pub(super) fn say(&self, text: Box<str>, mark: Option<Mark>) {
        let _ = self.link.send(&FromFeeder::Line { of: Box::from(&*self.of), text, mark });
    }

    /// Whether the master is behind.
    pub(super) fn is_full(&self) -> bool {
        self.link.waiting() > WAITING
    }
}
