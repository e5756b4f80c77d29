//! The loop around [`Turns`]: handshakes wait here until it is their turn.

use super::turns::{Fate, Turn, Turns};
use crate::os::clock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// More than any configuration allows at once.
const STEPS: u32 = 1 << 16;

struct Inner<K> {
    turns: Turns<K>,
    /// Who waits for each answer.
    waiting: HashMap<Turn, oneshot::Sender<Option<Step>>>,
}

/// Handshakes of one worker, by address.
pub struct Queue<K>(Arc<Shared<K>>);

struct Shared<K> {
    inner: Mutex<Inner<K>>,
    asked: Notify,
    /// All but those of the steps that are being computed.
    steps: Arc<Semaphore>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The right to compute. To be dropped as soon as that is done.
#[derive(Debug)]
pub struct Step {
    _permit: OwnedSemaphorePermit,
}

/// Leaves the queue when its connection ends while it waits.
struct Place<'q, K: Ord + Clone> {
    queue: &'q Queue<K>,
    of: &'q K,
    turn: Turn,
}

impl<K: Ord + Clone> Drop for Place<'_, K> {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        if inner.waiting.remove(&self.turn).is_some() {
            inner.turns.leave(self.of, self.turn);
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// As [`Turns::new`].
    #[must_use]
    pub fn new(most: u32, limit: Duration) -> Self {
        let inner = Inner { turns: Turns::new(most, limit), waiting: HashMap::new() };
        let steps = Arc::new(Semaphore::new(STEPS as usize));
        Self(Arc::new(Shared { inner: Mutex::new(inner), asked: Notify::new(), steps }))
    }

    /// As [`Turns::adopt`].
    pub fn adopt(&self, most: u32, limit: Duration) {
        self.lock().turns.adopt(most, limit);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a handshake from this address; `None`: it is too late for it.
    pub async fn turn(&self, of: &K) -> Option<Step> {
        let (tell, told) = oneshot::channel();
        let place = {
            let mut inner = self.lock();
            let turn = inner.turns.ask(of, clock::mono());
            inner.waiting.insert(turn, tell);
            Place { queue: self, of, turn }
        };
        self.0.asked.notify_one();
        let step = told.await.ok().flatten();
        drop(place);
        step
    }

    /// Gives the turns: one after the other, with a look at everything else between two of them.
    pub async fn run(&self) {
        loop {
            self.0.asked.notified().await;
            while !self.lock().turns.is_empty() {
                // Those of the turn before have computed, and so have others in between.
                drop(self.0.steps.acquire_many(STEPS).await);
                tokio::task::yield_now().await;
                self.give();
            }
        }
    }

    fn give(&self) {
        let mut inner = self.lock();
        for (turn, fate) in inner.turns.next(clock::mono()) {
            let step = match fate {
                Fate::Begin => self.0.steps.clone().try_acquire_owned().ok().map(|_permit| Step { _permit }),
                Fate::Late => None,
            };
            if let Some(tell) = inner.waiting.remove(&turn) {
                let _ = tell.send(step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    const LIMIT: Duration = Duration::from_secs(10);

    /// One task that stands for all sessions, and many handshakes: how many steps there are between two of its turns.
    #[tokio::test]
    async fn a_turn_of_the_loop_has_a_few_steps() {
        let work = async {
            let queue = Queue::new(4, LIMIT);
            let log = Rc::new(RefCell::new(vec![]));
            let (driver, steps) = (queue.clone(), log.clone());
            let driver = spawn_local(async move { driver.run().await });
            let handshakes: Vec<_> = (0..200)
                .map(|nth| {
                    let (queue, steps) = (queue.clone(), steps.clone());
                    spawn_local(async move {
                        let step = queue.turn(&(nth % 3)).await;
                        assert!(step.is_some());
                        steps.borrow_mut().push(true);
                    })
                })
                .collect();
            while !handshakes.iter().all(tokio::task::JoinHandle::is_finished) {
                log.borrow_mut().push(false);
                yield_now().await;
            }
            driver.abort();
            let log = log.borrow();
            assert_eq!(log.iter().filter(|is_step| **is_step).count(), 200);
            let most = log.split(|is_step| !is_step).map(<[_]>::len).max();
            assert!(most <= Some(4), "{most:?} at once");
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn who_leaves_takes_nobodys_turn() {
        let queue = Queue::new(1, LIMIT);
        let driver = {
            let queue = queue.clone();
            tokio::spawn(async move { queue.run().await })
        };
        let held = queue.turn(&1).await.unwrap();
        // As long as somebody computes nobody else begins.
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_millis(20), queue.turn(&1)).await.is_err());
        }
        assert!(queue.lock().waiting.is_empty() && queue.lock().turns.is_empty());
        drop(held);
        queue.adopt(2, LIMIT);
        assert!(queue.turn(&2).await.is_some());
        driver.abort();
    }
}
