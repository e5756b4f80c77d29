//! The master: it passes on what it hears, and knows where tokens lead.

use super::{Said, Token, World};
use crate::protocol::cluster::Generation;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Master,
    Process(Generation),
    /// Wherever the token leads when the master passes the message on.
    Home(Token),
}

#[derive(Debug, Default)]
pub(super) struct Master {
    /// One session of each id: its worker and its secret.
    present: BTreeMap<u64, (Generation, u64)>,
    away: BTreeSet<(Token, Generation)>,
}

impl Master {
    pub(super) fn home(&self, token: Token) -> Option<Generation> {
        let present = self.present.get(&token.0).filter(|(_, secret)| *secret == token.1).map(|(at, _)| *at);
        let away = self.away.iter().filter(|(own, _)| *own == token).map(|(_, worker)| *worker);
        present.or(away.max())
    }

    pub(super) fn worker_gone(&mut self, worker: Generation) {
        self.present.retain(|_, (at, _)| *at != worker);
        self.away.retain(|(_, at)| *at != worker);
    }

    /// Gives a session to another worker; false: the first one does not have it.
    fn switch(&mut self, token: Token, from: Generation, to: Generation) -> bool {
        let (id, secret) = token;
        if self.present.get(&id) == Some(&(from, secret)) {
            self.present.insert(id, (to, secret));
            true
        } else if self.away.remove(&(token, from)) {
            self.away.insert((token, to))
        } else {
            false
        }
    }
}

impl World {
    pub(super) fn tell_master(&mut self, from: Generation, said: Said) {
        self.up.get_mut(&from).unwrap().push_back((To::Master, said));
    }

    /// The master hears a worker.
    pub(super) fn relay(&mut self, from: Generation) {
        let Some((to, said)) = self.up.get_mut(&from).and_then(VecDeque::pop_front) else { return };
        let to = match to {
            To::Master => return self.master_hears(from, said),
            To::Process(to) => Some(to),
            To::Home(token) => self.master.home(token),
        };
        let asked = if let Said::Take(take) = said { Some(take.request) } else { None };
        if let Some((to, mail)) = to.and_then(|to| Some((to, self.down.get_mut(&to)?))) {
            mail.push_back((from, said));
            let passed = asked.map(|request| (to, Said::PassedOn(request)));
            self.down.get_mut(&from).unwrap().extend(passed);
        } else if let Some(request) = asked {
            self.down.get_mut(&from).unwrap().push_back((0, Said::Taken { request, copy: None }));
        }
    }

    fn master_hears(&mut self, from: Generation, said: Said) {
        let master = &mut self.master;
        match said {
            Said::Open((id, secret)) => drop(master.present.insert(id, (from, secret))),
            Said::Closed(id) => {
                if master.present.get(&id).is_some_and(|(at, _)| *at == from) {
                    master.present.remove(&id);
                }
            }
            Said::Away(token) => _ = master.away.insert((token, from)),
            Said::Gone(token) => _ = master.away.remove(&(token, from)),
            // Old home and new one hear of it between the same two messages.
            Said::Hand(token, to) => {
                let to = Some(to).filter(|to| self.down.contains_key(to) && master.switch(token, from, *to));
                let home = to.unwrap_or(from);
                if let Some(mail) = to.and_then(|to| self.down.get_mut(&to)) {
                    mail.push_back((from, Said::Expect(token)));
                }
                self.down.get_mut(&from).unwrap().push_back((home, Said::Handed(token, home)));
            }
            _ => unreachable!("is passed on"),
        }
    }

    /// When nothing is under way each token leads to its session.
    pub(super) fn check_homes(&self) {
        for (worker, state) in &self.workers {
            for session in state.here.values() {
                // Two clients may have brought one token, and each have got a copy.
                let client = self.clients.iter().find(|client| client.token == session.token);
                if client.is_some_and(|client| !client.shared) {
                    assert_eq!(self.master.home(session.token), Some(*worker), "{session:?}");
                }
            }
        }
        let here = |token: Token, at| self.workers[at].here.values().any(|session| session.token == token);
        assert!(self.master.away.iter().all(|(token, at)| here(*token, at)), "{:?}", self.master);
        let mut present = self.master.present.iter();
        assert!(present.all(|(id, (at, secret))| here((*id, *secret), at)), "{:?}", self.master);
    }
}
