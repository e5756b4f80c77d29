//! Polls between workers: ours that the homes of their sessions answer, and those of others that wait here. Pure: the
//! hub carries what is decided here.

use crate::model::give_back;
use crate::protocol::cluster::Generation;
use hashbrown::HashMap;

/// Polls on their way; `W` is how a client of this worker is told, `T` the task that answers a poll of another.
#[derive(Debug)]
pub struct Forwards<W, T> {
    /// By the number of the question.
    ours: HashMap<u64, Asked<W>, foldhash::fast::RandomState>,
    /// By the worker that asks and its number.
    theirs: HashMap<(Generation, u64), T, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Asked<W> {
    /// The worker that has the question, once the master has passed it on.
    home: Option<Generation>,
    /// `None`: the client has gone, and the home is not known yet.
    waiter: Option<W>,
}

impl<W, T> Default for Forwards<W, T> {
    fn default() -> Self {
        Self { ours: HashMap::default(), theirs: HashMap::default() }
    }
}

impl<W, T> Forwards<W, T> {
    /// Gives memory back after a peak.
    pub fn tidy(&mut self) {
        give_back(&mut self.ours);
        give_back(&mut self.theirs);
    }

    /// A client waits for the answer of another worker.
    pub fn ask(&mut self, request: u64, waiter: W) {
        self.ours.insert(request, Asked { home: None, waiter: Some(waiter) });
    }

    /// The master has passed the question on to that worker. True: the client has gone, the worker is to be told.
    pub fn passed_on(&mut self, request: u64, home: Generation) -> bool {
        let Some(asked) = self.ours.get_mut(&request) else { return false };
        asked.home = Some(home);
        let gone = asked.waiter.is_none();
        if gone {
            self.ours.remove(&request);
        }
        gone
    }

    /// The answer has come. `None`: nobody waits for it.
    pub fn answered(&mut self, request: u64) -> Option<W> {
        self.ours.remove(&request).and_then(|asked| asked.waiter)
    }

    /// The client has gone. Returns the worker that is to be told; `None`: it has answered already, or is told once it
    /// is known.
    pub fn abandon(&mut self, request: u64) -> Option<Generation> {
        let asked = self.ours.get_mut(&request)?;
        asked.waiter = None;
        let home = asked.home?;
        self.ours.remove(&request);
        Some(home)
    }

    /// The master is gone, and nobody knows what it has passed on: these clients are to be asked for anew.
    pub fn take_ours(&mut self) -> Vec<W> {
        self.ours.drain().filter_map(|(_, asked)| asked.waiter).collect()
    }

    /// A poll of another worker is being answered.
    pub fn serve(&mut self, from: Generation, request: u64, task: T) {
        self.theirs.insert((from, request), task);
    }

    /// A poll of another worker has its answer. False: nobody waits for that.
    pub fn served(&mut self, from: Generation, request: u64) -> bool {
        self.theirs.remove(&(from, request)).is_some()
    }

    /// The client of another worker has gone. Returns the task, which is to end.
    pub fn gone(&mut self, from: Generation, request: u64) -> Option<T> {
        self.theirs.remove(&(from, request))
    }

    /// A worker is gone. Returns the clients that wait for it, and the tasks that work for it.
    pub fn peer_gone(&mut self, peer: Generation) -> (Vec<W>, Vec<T>) {
        let ours =
            self.ours.extract_if(|_, asked| asked.home == Some(peer)).filter_map(|(_, asked)| asked.waiter);
        let theirs = self.theirs.extract_if(|(from, _), _| *from == peer).map(|(_, task)| task);
        (ours.collect(), theirs.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet, VecDeque};

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Ask { from: u32, home: u32 },
        Leave(usize),
        Answer(usize),
        Deliver(usize),
        Die(u32),
    }

    #[derive(Clone, Copy, Debug)]
    enum Said {
        Poll(u64),
        PassedOn(u64),
        PollGone(u64),
        Polled(u64),
        PeerGone,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (1u32..4, 1u32..4).prop_map(|(from, home)| Act::Ask { from, home }),
            3 => any::<usize>().prop_map(Act::Leave),
            4 => any::<usize>().prop_map(Act::Answer),
            9 => any::<usize>().prop_map(Act::Deliver),
            1 => (1u32..4).prop_map(Act::Die),
        ]
    }

    /// Workers, and what the master has for each of them, in order.
    #[derive(Default)]
    struct World {
        workers: BTreeMap<u32, Forwards<u64, (u32, u64)>>,
        mail: BTreeMap<u32, VecDeque<(u32, Said)>>,
        /// Clients that wait, at which worker.
        waiting: BTreeMap<u64, u32>,
        /// Tasks that run: where, for whom.
        running: BTreeSet<(u32, u32, u64)>,
        asked: u64,
    }

    impl World {
        fn tell(&mut self, from: u32, to: u32, said: Said) {
            if let Some(mail) = self.mail.get_mut(&to) {
                mail.push_back((from, said));
                if let (Said::Poll(request), Some(mail)) = (said, self.mail.get_mut(&from)) {
                    mail.push_back((to, Said::PassedOn(request)));
                }
            } else if let Said::Poll(request) = said {
                self.tell(to, from, Said::Polled(request));
            }
        }

        fn hear(&mut self, to: u32) {
            let Some((from, said)) = self.mail.get_mut(&to).and_then(VecDeque::pop_front) else { return };
            let worker = self.workers.get_mut(&to).unwrap();
            match said {
                Said::Poll(request) => {
                    worker.serve(from, request, (from, request));
                    self.running.insert((to, from, request));
                }
                Said::PassedOn(request) => {
                    if worker.passed_on(request, from) {
                        self.tell(to, from, Said::PollGone(request));
                    }
                }
                Said::PollGone(request) => {
                    if let Some((from, request)) = worker.gone(from, request) {
                        assert!(self.running.remove(&(to, from, request)));
                    }
                }
                Said::Polled(request) => {
                    if let Some(client) = worker.answered(request) {
                        assert!(self.waiting.remove(&client).is_some(), "told once");
                    }
                }
                Said::PeerGone => {
                    let (clients, tasks) = worker.peer_gone(from);
                    clients.iter().for_each(|client| assert!(self.waiting.remove(client).is_some()));
                    tasks.iter().for_each(|(from, n)| assert!(self.running.remove(&(to, *from, *n))));
                }
            }
        }

        fn act(&mut self, act: Act) {
            match act {
                Act::Ask { from, home } => {
                    self.asked += 1;
                    let Some(worker) = self.workers.get_mut(&from).filter(|_| from != home) else { return };
                    worker.ask(self.asked, self.asked);
                    self.waiting.insert(self.asked, from);
                    self.tell(from, home, Said::Poll(self.asked));
                }
                Act::Leave(which) => {
                    let all = self.waiting.len().max(1);
                    let Some((client, at)) = self.waiting.iter().nth(which % all).map(|(c, at)| (*c, *at))
                    else {
                        return;
                    };
                    self.waiting.remove(&client);
                    if let Some(home) = self.workers.get_mut(&at).unwrap().abandon(client) {
                        self.tell(at, home, Said::PollGone(client));
                    }
                }
                Act::Answer(which) => {
                    let all = self.running.len().max(1);
                    let Some((at, from, request)) = self.running.iter().nth(which % all).copied() else {
                        return;
                    };
                    self.running.remove(&(at, from, request));
                    if self.workers.get_mut(&at).unwrap().served(from, request) {
                        self.tell(at, from, Said::Polled(request));
                    }
                }
                Act::Deliver(which) => {
                    let all = self.mail.len().max(1);
                    let Some(to) = self.mail.keys().nth(which % all).copied() else { return };
                    self.hear(to);
                }
                Act::Die(worker) => {
                    if self.workers.remove(&worker).is_none() {
                        return;
                    }
                    self.mail.remove(&worker);
                    self.waiting.retain(|_, at| *at != worker);
                    self.running.retain(|(at, ..)| *at != worker);
                    self.mail.values_mut().for_each(|mail| mail.push_back((worker, Said::PeerGone)));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn each_poll_ends_once_and_nothing_is_left(acts in proptest::collection::vec(act(), 0..200)) {
            let mut world = World::default();
            for worker in 1..4 {
                world.workers.insert(worker, Forwards::default());
                world.mail.insert(worker, VecDeque::new());
            }
            acts.into_iter().for_each(|act| world.act(act));
            while !world.running.is_empty() || world.mail.values().any(|mail| !mail.is_empty()) {
                world.act(Act::Answer(0));
                (0..3).for_each(|n| world.act(Act::Deliver(n)));
            }
            prop_assert!(world.waiting.is_empty(), "{:?}", world.waiting);
            prop_assert!(world.workers.values().all(|w| w.ours.is_empty() && w.theirs.is_empty()));
        }
    }
}
