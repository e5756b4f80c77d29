//! What this worker has heard already: a master that takes the place of another may say it again. Pure.

use crate::model::SessionId;
use crate::protocol::cluster::{BatchId, Generation};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// The newest numbers. Links are ordered, so each number is greater than the one before, unless it is repeated.
#[derive(Debug, Default)]
pub struct Heard {
    /// Of the publications of each worker.
    publications: HashMap<Generation, u64, RandomState>,
    /// Of the lines of each channel.
    lines: HashMap<Box<str>, u64, RandomState>,
    /// The last batch of sessions of each worker that has come, and which of them came without a connection.
    batches: HashMap<Generation, (BatchId, Vec<SessionId>), RandomState>,
}

impl Heard {
    /// A publication of a worker, with its number there. False: it is a repetition.
    pub fn is_new_publication(&mut self, (from, number): (Generation, u64)) -> bool {
        let newest = self.publications.entry(from).or_default();
        let is_new = number > *newest;
        *newest = number.max(*newest);
        is_new
    }

    /// Sessions that come from a dead worker have these publications. Who has heard of the same worker before has heard
    /// of them, too: links are ordered. Who has been born since has not, and must know them when they are repeated.
    pub fn adopt(&mut self, publications: impl Iterator<Item = (Generation, u64)>) {
        let mut newest = HashMap::<_, _, RandomState>::default();
        for (from, number) in publications {
            let known: &mut u64 = newest.entry(from).or_default();
            *known = number.max(*known);
        }
        for (from, number) in newest {
            self.publications.entry(from).or_insert(number);
        }
    }

    /// A line of a channel, with its number. False: it is a repetition.
    pub fn is_new_line(&mut self, of: &str, number: u64) -> bool {
        let Some(newest) = self.lines.get_mut(of) else {
            self.lines.insert(of.into(), number);
            return true;
        };
        let is_new = number > *newest;
        *newest = number.max(*newest);
        is_new
    }

    /// The number of the newest line of each channel.
    pub fn lines(&self) -> impl Iterator<Item = (&str, u64)> {
        self.lines.iter().map(|(of, number)| (&**of, *number))
    }

    /// A batch of sessions has come.
    pub fn came(&mut self, batch: BatchId, refused: Vec<SessionId>) {
        self.batches.insert(batch.from, (batch, refused));
    }

    /// The last batch of each worker that has come.
    pub fn batches(&self) -> impl Iterator<Item = &(BatchId, Vec<SessionId>)> {
        self.batches.values()
    }

    /// A worker is gone, and publishes nothing any more.
    pub fn peer_gone(&mut self, peer: Generation) {
        self.publications.remove(&peer);
        self.batches.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adopted_sessions_have_is_no_news_for_one_that_was_born_later() {
        let mut heard = Heard::default();
        assert!(heard.is_new_publication((4, 2)));
        heard.adopt([(3, 7), (3, 9), (3, 8), (4, 5)].into_iter());
        assert!(!heard.is_new_publication((3, 9)) && heard.is_new_publication((3, 10)));
        assert!(heard.is_new_publication((4, 3)), "it may not have come here, where it was sent, too");
    }
}
