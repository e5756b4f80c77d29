//! Keys that the feeder fetches (JWKS): written down for the next master, then told to all workers.

use super::core::Master;
use super::journal::Record;
use crate::protocol::cluster::{KeySet, ToFeeder, ToWorker};

impl Master {
    /// The feeder has fetched keys, or could not.
    pub(super) fn take_keys(&mut self, set: KeySet) {
        let is_news = self.keys.take(set);
        if is_news {
            self.journal.write(&Record::Keys(self.keys.bytes()));
        }
        let bytes = if is_news { self.keys.bytes() } else { &[] };
        self.children.tell_workers(&ToWorker::Keys(bytes));
    }

    /// A worker has a token whose key is unknown.
    pub(super) fn want_keys(&mut self) {
        self.children.tell_feeders(&ToFeeder::WantKeys);
    }

    /// Tells all workers: the master before may have written keys down and told nobody.
    pub(super) fn tell_keys(&mut self) {
        if !self.keys.bytes().is_empty() {
            self.children.tell_workers(&ToWorker::Keys(self.keys.bytes()));
        }
    }
}
