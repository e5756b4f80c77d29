//! Sessions to look at as soon as nobody walks the table: until then it must not change.

use super::sessions::SessionRef;
use crate::protocol::client::Close;

/// Sessions to end, and polls to answer.
#[derive(Debug, Default)]
pub struct Later {
    doomed: Vec<(SessionRef, Close)>,
    /// Polling sessions for which something has come.
    news: Vec<SessionRef>,
}

impl Later {
    /// Marks a session that ends as soon as nobody walks the table.
    pub fn doom(&mut self, at: SessionRef, close: Close) {
        self.doomed.push((at, close));
    }

    /// Takes a session to end.
    pub fn doomed(&mut self) -> Option<(SessionRef, Close)> {
        self.doomed.pop()
    }

    /// Marks a polling session for which something has come.
    pub fn note(&mut self, at: SessionRef) {
        self.news.push(at);
    }

    /// Takes a polling session for which something has come.
    pub fn news(&mut self) -> Option<SessionRef> {
        self.news.pop()
    }
}
