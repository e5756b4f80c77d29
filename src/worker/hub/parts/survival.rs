//! What makes sessions survive this worker, and what it does for those of others.

use super::adoption::Adoption;
use super::cover::Cover;
use crate::protocol::keeper::ToKeeper;
use crate::protocol::link::LinkSender;
use crate::session::Key;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Survival {
    pub cover: Cover,
    /// The line to the keeper; `None`: nobody is covered.
    line: Option<LinkSender>,
    /// Sessions of dead workers on their way here.
    pub adoptions: Vec<Adoption>,
    /// Rings when something was said that must be on its way before a session is clean.
    bell: Arc<Notify>,
    /// Sessions with a connection that are not covered.
    pub uncovered: u64,
}

impl Survival {
    /// Sessions can be covered from now on: this is the line to the keeper.
    pub fn begin(&mut self, line: LinkSender) {
        self.line = Some(line);
    }

    /// The line to the keeper.
    pub fn line(&self) -> Option<&LinkSender> {
        self.line.as_ref()
    }

    /// Gives the keeper a spare of a session's socket. False: it does not take it.
    pub fn keep(&self, key: Key, spare: OwnedFd) -> bool {
        let line = self.line.as_ref();
        line.is_some_and(|line| line.send_with(&ToKeeper::Keep { key }, vec![spare]).is_ok())
    }

    /// A session is not covered any more.
    pub fn release(&mut self, key: Key) {
        if self.cover.release(key)
            && let Some(line) = &self.line
            && let Err(error) = line.send(&ToKeeper::Drop { key })
        {
            tracing::warn!(%error, "the keeper did not hear");
        }
    }

    /// A session is clean only when all that was said is on its way.
    pub fn says(&mut self, key: Key) {
        self.cover.says(key);
        self.bell.notify_one();
    }

    /// Bytes that the keeper has not been sent yet.
    pub fn waiting(&self) -> usize {
        self.line.as_ref().map_or(0, LinkSender::waiting)
    }

    pub fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }
}
