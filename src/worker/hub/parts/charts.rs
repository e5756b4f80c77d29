//! Answers to questions for candles, shared by those who wait for the same: a crowd that wants charts must not keep the
//! feeder from its prices.

use crate::model::{Interval, Symbol};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Questions of one worker that are on their way at the same time. Other requests wait, and mostly take the answer to a
/// question that was asked meanwhile.
const AT_ONCE: usize = 2;
/// Answers that are kept while somebody waits.
const KEPT: usize = 8;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Wanted {
    pub(in crate::worker) symbol: Symbol,
    pub(in crate::worker) interval: Interval,
    pub(in crate::worker) limit: u32,
}

impl Wanted {
    /// The channel that tells the same as it happens.
    pub(in crate::worker) fn channel(&self) -> String {
        format!("candle:{}@{}", self.symbol, self.interval.as_str())
    }
}

/// The permits to ask, and the answers for requests that waited meanwhile.
#[derive(Debug)]
pub(in crate::worker) struct Charts {
    places: Arc<Semaphore>,
    /// Requests that are here: the answers are kept for them only.
    here: usize,
    /// With the moment of the question: an answer is good for those who were here before it, so that nobody sees less
    /// than somebody before.
    kept: Vec<(Wanted, Instant, Arc<str>)>,
}

impl Default for Charts {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), here: 0, kept: Vec::new() }
    }
}

impl Charts {
    /// A request has come; a permit to ask is awaited at what this returns. [`Charts::leave`] has to follow.
    pub(in crate::worker) fn come(&mut self) -> Arc<Semaphore> {
        self.here += 1;
        self.places.clone()
    }

    /// The answer to a question that was asked after the request `came`.
    pub(in crate::worker) fn find(&self, wanted: &Wanted, came: Instant) -> Option<Arc<str>> {
        let good = self.kept.iter().rev().find(|(known, asked, _)| known == wanted && *asked >= came);
        good.map(|(.., text)| text.clone())
    }

    /// Keeps an answer to a question.
    pub(in crate::worker) fn keep(&mut self, wanted: Wanted, asked: Instant, text: Arc<str>) {
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push((wanted, asked, text));
    }

    /// A request is answered.
    pub(in crate::worker) fn leave(&mut self) {
        self.here -= 1;
        if self.here == 0 {
            self.kept = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_those_who_were_there_before_its_question() {
        let wanted =
            |limit| Wanted { symbol: Symbol::new("BTC-USD").unwrap(), interval: Interval::Hour, limit };
        let now = Instant::now();
        let later = now + std::time::Duration::from_millis(1);
        let mut charts = Charts { here: 2, ..Charts::default() };
        charts.keep(wanted(1), now, "old".into());
        charts.keep(wanted(1), later, "new".into());
        assert_eq!(charts.find(&wanted(1), now).as_deref(), Some("new"));
        assert_eq!(charts.find(&wanted(1), later).as_deref(), Some("new"));
        assert_eq!(charts.find(&wanted(1), later + std::time::Duration::from_millis(1)), None);
        assert_eq!(charts.find(&wanted(2), now), None);
        (0..20).for_each(|limit| charts.keep(wanted(limit), now, "x".into()));
        assert_eq!(charts.kept.len(), KEPT);
        charts.leave();
        assert_eq!(charts.kept.len(), KEPT);
        charts.leave();
        assert!(charts.kept.is_empty(), "nobody waits: nothing is kept");
    }
}
