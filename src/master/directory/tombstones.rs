//! Sessions that count for a worker until it says that they have ended.

use super::{Directory, Worker};
use crate::model::SessionId;
use crate::protocol::cluster::{Open, digest};

impl Directory {
    /// A session has ended that may have moved from another worker, where it has not: it lives on there.
    pub(super) fn revive(&mut self, id: SessionId) {
        let mut others = self.workers.iter_mut().rev();
        let other = others.find_map(|(worker, process)| Some((*worker, process.take_moved(id)?)));
        if let Some((worker, announced)) = other
            && let Ok(open) = postcard::from_bytes::<Open<'_>>(&announced)
        {
            self.insert(worker, &open);
        }
    }
}

impl Worker {
    /// An announcement that is kept. Nothing in it can fail to be written.
    pub(super) fn encoded(open: &Open<'_>) -> Box<[u8]> {
        postcard::to_allocvec(open).unwrap_or_default().into()
    }

    /// Counts an announced session that is not registered for this worker.
    pub(super) fn add_tombstone(&mut self, session: SessionId, announced: Option<Box<[u8]>>) {
        if self.tombstones.insert(session, announced).is_none() {
            self.digest ^= digest(session);
        }
    }

    /// Ends the tombstone of a session that has moved; returns its announcement.
    fn take_moved(&mut self, session: SessionId) -> Option<Box<[u8]>> {
        let announced = self.tombstones.get_mut(&session)?.take()?;
        self.remove_tombstone(session);
        Some(announced)
    }

    /// Ends that. True: the session had a tombstone.
    pub(super) fn remove_tombstone(&mut self, session: SessionId) -> bool {
        let was = self.tombstones.remove(&session).is_some();
        if was {
            self.digest ^= digest(session);
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, directory, limits, open};
    use super::*;
    use crate::protocol::cluster::Verdict;

    /// Two clients come back with one token, at two workers. Whichever copy ends first, the other one is reached.
    #[test]
    fn of_two_copies_the_one_that_stays_is_reached() {
        for (first, second) in [(1, 2), (2, 1)] {
            let mut directory = directory(2);
            let copy = open(9, "alice");
            for worker in [1, 2] {
                assert_eq!(directory.open(worker, &copy, &limits(), NOW), Verdict::Accepted);
            }
            let at = |directory: &Directory| -> Vec<_> {
                let places = directory.places(directory.user_key("alice"), "alice");
                places.iter().map(|place| place.worker).collect()
            };
            assert_eq!((at(&directory), directory.totals().sessions), (vec![2], 1));
            directory.closed(first, copy.session);
            assert_eq!((at(&directory), directory.totals().sessions), (vec![second], 1));
            assert_eq!(directory.announced(second), Some((1, digest(copy.session))));
            directory.closed(second, copy.session);
            assert_eq!((at(&directory), directory.totals().sessions), (vec![], 0));
            assert_eq!((directory.announced(1), directory.announced(2)), (Some((0, 0)), Some((0, 0))));
        }
    }
}
