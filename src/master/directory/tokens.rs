//! The homes of tokens, as the rest of the directory knows them.

use super::Directory;
use crate::protocol::cluster::{Generation, TokenName};

impl Directory {
    /// The worker keeps something for the client that brings that token.
    pub fn away(&mut self, worker: Generation, token: TokenName) {
        if self.workers.contains_key(&worker) {
            self.homes.add(worker, token);
        }
    }

    /// The worker keeps nothing for that token any more.
    pub fn gone(&mut self, worker: Generation, token: TokenName) {
        self.homes.remove(worker, token);
    }

    /// The worker that has what a token leads to.
    #[must_use]
    pub fn home(&self, token: TokenName) -> Option<Generation> {
        let present = self.find(token.session).map(|at| &self.sessions[at as usize]);
        let present = present.filter(|entry| entry.tag == token.tag).map(|entry| entry.worker);
        present.or_else(|| self.homes.find(token))
    }
}
