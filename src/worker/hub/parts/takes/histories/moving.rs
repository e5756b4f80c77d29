//! Sessions that move from worker to worker, as far as takes have to do with it: the master gives them to their new
//! home before they are there, so that home holds what is asked of it until they are.

use super::{Place, Said, Session, Take, Token, World};
use crate::protocol::cluster::Generation;

/// A session on its way here.
#[derive(Debug)]
pub(super) struct Expected {
    from: Generation,
    /// Published since the master gave the session to this worker.
    pub(super) log: Vec<u64>,
    /// Questions for it, and who asks.
    pub(super) takes: Vec<(Generation, Take)>,
}

impl World {
    /// Whether a session may go: nobody else has a copy, and it is nobody's copy.
    fn is_movable(&self, at: Generation, token: Token) -> bool {
        let worker = &self.workers[&at];
        let found = worker.find(|session| session.token == token && session.origin.is_none());
        found.is_some_and(|session| !worker.suspended.is_lent(session))
    }

    pub(super) fn begin_move(&mut self, token: Token, to: Generation) {
        let Some(from) = self.located.get(&token).copied().filter(|from| *from != to) else { return };
        if self.is_there(token) && self.is_movable(from, token) && self.worker(from).leaving.insert(token) {
            self.tell_master(from, Said::Hand(token, to));
        }
    }

    pub(super) fn expect(&mut self, at: Generation, from: Generation, token: Token) {
        let expected = Expected { from, log: Vec::new(), takes: Vec::new() };
        assert!(self.worker(at).expected.insert(token, expected).is_none());
    }

    /// The master has given a session to another worker, which waits for it.
    pub(super) fn handed(&mut self, at: Generation, to: Generation, token: Token) {
        self.worker(at).leaving.remove(&token);
        if at == to {
            return;
        }
        let movable = self.is_movable(at, token);
        let Some(found) = self.worker(at).find(|session| session.token == token) else {
            return self.tell(at, to, Said::Arrive(token, None));
        };
        if !movable {
            // It has been given out in the meantime: it stays.
            let is_away = self.worker(at).here[&found].client.is_none();
            self.tell_master(at, if is_away { Said::Away(token) } else { Said::Open(token) });
            return self.tell(at, to, Said::Arrive(token, None));
        }
        let worker = self.worker(at);
        worker.suspended.remove(found);
        let session = worker.here.remove(&found);
        self.located.remove(&token);
        if session.as_ref().is_some_and(|session| session.client.is_none()) {
            self.tell_master(at, Said::Gone(token));
        }
        self.tell(at, to, Said::Arrive(token, session));
    }

    pub(super) fn arrive(&mut self, at: Generation, token: Token, session: Option<Session>) {
        // The source has died in between, and its last words are behind the news of that.
        let Some(expected) = self.worker(at).expected.remove(&token) else { return };
        let Some(mut session) = session else { return self.dropped(at, token, expected) };
        session.collected.extend(&expected.log);
        self.located.insert(token, at);
        let place = session.client.map(|client| self.clients[client].place);
        match (session.client, place) {
            (Some(client), Some(Place::Attached(from, own, heard)))
                if (from, own) == (expected.from, token) =>
            {
                self.clients[client].place = Place::Attached(at, token, heard);
                if heard {
                    expected.log.iter().for_each(|n| self.clients[client].hear(*n));
                }
                self.worker(at).insert(session);
            }
            _ => {
                self.worker(at).away(session);
                self.tell_master(at, Said::Away(token));
                self.tell_closed(at, token);
            }
        }
        self.ask_again(at, expected.takes);
    }

    /// Whoever has asked for a session on its way asks again: what was published since is in the session, and in what
    /// the asker has noted.
    fn ask_again(&mut self, at: Generation, takes: Vec<(Generation, Take)>) {
        for (from, take) in takes {
            self.tell(at, from, Said::Again(take));
        }
    }

    /// A session does not come.
    fn dropped(&mut self, at: Generation, token: Token, expected: Expected) {
        // A copy of it may have opened here in the meantime, with the same id.
        self.tell_closed(at, token);
        self.tell_master(at, Said::Gone(token));
        self.ask_again(at, expected.takes);
    }

    /// A worker is gone: what was to come from there does not, and what it asked gets no answer, for that would be
    /// given out for ever.
    pub(super) fn source_gone(&mut self, at: Generation, peer: Generation) {
        let worker = self.workers.get_mut(&at).unwrap();
        worker.expected.values_mut().for_each(|expected| expected.takes.retain(|(from, _)| *from != peer));
        let gone: Vec<_> = worker.expected.extract_if(.., |_, expected| expected.from == peer).collect();
        for (token, expected) in gone {
            self.dropped(at, token, expected);
        }
    }
}
