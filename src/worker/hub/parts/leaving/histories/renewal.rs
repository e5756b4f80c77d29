//! Another master takes the place of the one before: workers read what that one said to its end, and what they said to
//! it since is lost. Then each tells who is there, and which batches were on their way.

use super::{Down, Value, World};
use crate::model::SessionId;
use crate::protocol::cluster::{BatchId, Generation};
use std::collections::BTreeMap;

/// What a worker tells of batches.
#[derive(Default)]
struct Told {
    sent: Option<(u32, Generation)>,
    waiting: Vec<BatchId>,
}

impl World {
    pub(super) fn renew(&mut self) {
        let workers: Vec<_> = self.workers.keys().copied().collect();
        workers.iter().for_each(|at| self.deliver_all(*at));
        (self.owners, self.batches, self.tickets) = Default::default();
        let mut told = BTreeMap::new();
        for at in workers {
            self.up.insert(at, Default::default());
            told.insert(at, self.tell_again(at));
        }
        for (at, Told { sent, waiting }) in told {
            self.finish(at, sent, waiting);
        }
        self.check_owners();
    }

    fn tell_again(&mut self, at: Generation) -> Told {
        let worker = self.worker(at);
        (worker.said, worker.tickets) = Default::default();
        if let Some(asked) = worker.leaving.master_lost() {
            self.handed(at, asked, None);
        }
        let worker = self.worker(at);
        let told = Told { sent: worker.leaving.sent(), waiting: worker.expected.waiting().collect() };
        worker.complete.clear();
        for batch in worker.expected.whole() {
            let landed = self.worker(at).expected.land(batch).expect("it is complete");
            self.live(at, landed.values.into_iter().map(|(_, value)| value).collect(), landed.meanwhile);
        }
        let worker = self.worker(at);
        worker.said.clear();
        let here: Vec<SessionId> = worker.here.keys().copied().collect();
        here.into_iter().for_each(|session| assert_eq!(self.owners.insert(session, at), None, "two owners"));
        told
    }

    fn finish(&mut self, at: Generation, sent: Option<(u32, Generation)>, dropped: Vec<BatchId>) {
        let mut back = None;
        if let Some((number, to)) = sent {
            let came = self.workers.get(&to).and_then(|target| target.came.get(&at));
            if came == Some(&BatchId { from: at, number }) {
                self.tell(at, Down::Arrived { batch: number });
            } else {
                let kept: Vec<_> = self.worker(at).leaving.kept().map(|value| value.id).collect();
                kept.iter()
                    .for_each(|session| assert_eq!(self.owners.insert(*session, at), None, "two owners"));
                back = Some(number);
            }
        }
        if back.is_some() || !dropped.is_empty() {
            self.tell(at, Down::Unfinished { back, dropped });
        }
    }

    pub(super) fn unfinished(&mut self, at: Generation, back: Option<u32>, dropped: &[BatchId]) {
        for batch in dropped {
            if self.worker(at).expected.drop_batch(*batch) {
                self.complete(at, *batch);
            }
        }
        if let Some(back) = back.and_then(|number| self.worker(at).leaving.came_to_nothing(number)) {
            let values: Vec<Value> = back.kept.into_iter().map(|(_, value)| value).collect();
            self.live(at, values, back.meanwhile);
        }
    }

    /// From the first moment on the master knows all that live.
    fn check_owners(&self) {
        for (at, worker) in &self.workers {
            assert!(
                worker.here.keys().all(|session| self.owners.get(session) == Some(at)),
                "{:?}",
                self.owners
            );
        }
        for (session, owner) in &self.owners {
            let worker = &self.workers[owner];
            let is_kept = worker.leaving.kept().any(|value| value.id == *session);
            assert!(worker.here.contains_key(session) || is_kept, "{session} lives nowhere");
        }
    }
}
