//! Clients that come with their tokens, go away, and are greeted.

use super::*;

impl World {
    pub(super) fn come(&mut self, who: usize, at: Generation) {
        if self.clients[who].place != Place::Away {
            return;
        }
        let Client { token, next, polls, shared, .. } = self.clients[who];
        let alone = self.clients[who].fresh || self.is_calm();
        self.clients[who].sure = alone && !shared && self.is_there(token);
        self.clients[who].fresh = false;
        let request = self.number();
        self.clients[who].place = Place::Asking(at, request);
        self.worker(at).takes.ask(request, who);
        self.ask(at, Take { request, token, next, polls });
    }

    /// A worker asks itself first, then whoever is the home when the master passes the question on.
    pub(super) fn ask(&mut self, at: Generation, take: Take) {
        if self.worker(at).find(|session| session.token == take.token).is_some() {
            self.answer(at, at, take);
        } else {
            self.up.get_mut(&at).unwrap().push_back((To::Home(take.token), Said::Take(take)));
        }
    }

    pub(super) fn cut(&mut self, who: usize) {
        match std::mem::replace(&mut self.clients[who].place, Place::Away) {
            Place::Away => {}
            Place::Asking(at, request) => assert_eq!(self.worker(at).takes.abandon(request), Some(who)),
            Place::Attached(at, token, _) => {
                // A connection that is on its way is found lost where it arrives.
                let Some(session) = self.worker(at).find(|session| session.token == token) else { return };
                let origin = self.worker(at).here.get_mut(&session).unwrap().origin.take();
                self.suspend(at, session);
                if let Some((home, lease)) = origin {
                    self.tell(at, home, Said::GiveUp(lease, false));
                }
            }
        }
    }

    pub(super) fn welcome(&mut self, who: usize) {
        let Place::Attached(at, token, false) = self.clients[who].place else { return };
        let Some(session) = self.worker(at).find(|session| session.token == token) else { return };
        // A session is greeted once the master has admitted it.
        if self.up[&at].iter().any(|(_, said)| matches!(said, Said::Open(own) if *own == token)) {
            return;
        }
        let collected = self.worker(at).here[&session].collected.clone();
        let client = &mut self.clients[who];
        (client.place, client.token) = (Place::Attached(at, token, true), token);
        client.fresh = true;
        collected.into_iter().for_each(|n| client.hear(n));
    }
}
