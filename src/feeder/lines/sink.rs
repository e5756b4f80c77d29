//! Where the lines of one file or program go.

use crate::protocol::cluster::{FromFeeder, Mark};
use crate::protocol::link::LinkSender;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// While so many bytes wait for the master nothing more is read: prices go the same way.
const WAITING: usize = 1 << 20;

/// Where lines go.
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

    /// As long a line may be, by now.
    pub(super) fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// Says a line. One that the link does not take is lost with the link, and this process.
    pub(super) fn say(&self, text: Box<str>, mark: Option<Mark>) {
        let _ = self.link.send(&FromFeeder::Line { of: Box::from(&*self.of), text, mark });
    }

    /// Whether the master is behind.
    pub(super) fn is_full(&self) -> bool {
        self.link.waiting() > WAITING
    }
}
