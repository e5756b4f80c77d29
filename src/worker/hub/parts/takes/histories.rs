//! Random histories: clients come back with their tokens, to any worker and more than one at once, and go away at any
//! moment; workers die; the master passes on what it hears in order. Whoever comes back when all is calm has its
//! session, no message is lost or doubled, and no session stays given out.

use super::{Answered, Takes};
use crate::access::Hold;
use crate::model::Mono;
use crate::protocol::cluster::Generation;
use crate::protocol::peer::Lease;
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::parts::suspended::Suspended;
use crate::ws::frame;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
enum Act {
    Publish,
    /// A client comes with its token to a worker.
    Come(usize, usize),
    Cut(usize),
    /// A client hears its welcome.
    Hear(usize),
    /// Its worker notices that.
    Settle(usize),
    /// Another client with the same token.
    Twin(usize),
    Relay(usize),
    Deliver(usize),
    Calm,
    Die(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let some = any::<usize>;
    prop_oneof![
        3 => Just(Act::Publish),
        6 => (some(), some()).prop_map(|(client, worker)| Act::Come(client, worker)),
        4 => some().prop_map(Act::Cut),
        3 => some().prop_map(Act::Hear),
        2 => some().prop_map(Act::Settle),
        1 => some().prop_map(Act::Twin),
        6 => some().prop_map(Act::Relay),
        6 => some().prop_map(Act::Deliver),
        2 => Just(Act::Calm),
        1 => some().prop_map(Act::Die),
    ]
}

#[derive(Clone, Debug)]
enum Said {
    Take { request: u64, secret: u64, next: u64, polls: bool },
    Taken { request: u64, copy: Option<Vec<u64>> },
    Accept(Lease),
    GiveUp(Lease, bool),
    Revoke(u64),
    PassedOn(u64),
    Published(u64),
    PeerGone(Generation),
}

#[derive(Debug)]
struct Session {
    secret: u64,
    /// What was published since it began.
    collected: Vec<u64>,
    client: Option<usize>,
    origin: Option<(Generation, Lease)>,
}

#[derive(Debug, Default)]
struct Worker {
    takes: Takes<usize>,
    suspended: Suspended,
    here: BTreeMap<SessionRef, Session>,
    turns: u32,
}

impl Worker {
    fn find(&self, is_it: impl Fn(&Session) -> bool) -> Option<SessionRef> {
        self.here.iter().find(|(_, session)| is_it(session)).map(|(at, _)| *at)
    }

    fn insert(&mut self, session: Session) -> SessionRef {
        self.turns += 1;
        let at = SessionRef::invented(0, self.turns);
        self.here.insert(at, session);
        at
    }

    fn suspend(&mut self, at: SessionRef) -> SessionRef {
        let session = self.here.remove(&at).unwrap();
        let at = self.insert(Session { client: None, ..session });
        let hold = Hold { owner: [192, 0, 2, 1].into(), used: 1, bytes: 1 };
        self.suspended.add(at, hold, Mono(0));
        at
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Away,
    Asking(Generation, u64),
    Attached(Generation, u64, bool),
}

#[derive(Clone, Debug)]
struct Client {
    token: (Generation, u64),
    place: Place,
    /// The publication that it hears next.
    next: u64,
    polls: bool,
    /// Another client has had the same token: each may take the session from the other.
    shared: bool,
    /// Nothing stands against its getting the session.
    sure: bool,
}

#[derive(Debug, Default)]
struct World {
    workers: BTreeMap<Generation, Worker>,
    up: BTreeMap<Generation, VecDeque<(Generation, Said)>>,
    down: BTreeMap<Generation, VecDeque<(Generation, Said)>>,
    clients: Vec<Client>,
    published: u64,
    numbers: u64,
}

impl World {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn birth(&mut self) {
        let generation = u32::try_from(self.number()).unwrap();
        self.workers.insert(generation, Worker::default());
        self.up.insert(generation, VecDeque::new());
        self.down.insert(generation, VecDeque::new());
    }

    fn worker(&mut self, generation: Generation) -> &mut Worker {
        self.workers.get_mut(&generation).unwrap()
    }

    fn tell(&mut self, from: Generation, to: Generation, said: Said) {
        if from == to {
            return self.hear(to, from, said);
        }
        self.up.get_mut(&from).unwrap().push_back((to, said));
    }

    /// The master hears a worker.
    fn relay(&mut self, from: Generation) {
        let Some((to, said)) = self.up.get_mut(&from).and_then(VecDeque::pop_front) else { return };
        let asked = if let Said::Take { request, .. } = said { Some(request) } else { None };
        if let Some(mail) = self.down.get_mut(&to) {
            mail.push_back((from, said));
            let passed = asked.map(|request| (from, Said::PassedOn(request)));
            self.down.get_mut(&from).unwrap().extend(passed);
        } else if let Some(request) = asked {
            self.down.get_mut(&from).unwrap().push_back((to, Said::Taken { request, copy: None }));
        }
    }

    fn deliver(&mut self, to: Generation) {
        if let Some((from, said)) = self.down.get_mut(&to).and_then(VecDeque::pop_front) {
            self.hear(to, from, said);
        }
    }

    fn hear(&mut self, at: Generation, from: Generation, said: Said) {
        match said {
            Said::Take { request, secret, next, polls } => {
                let copy = self.take(at, Lease { holder: from, request }, (secret, next), polls);
                self.tell(at, from, Said::Taken { request, copy });
            }
            Said::Taken { request, copy } => self.taken(at, from, request, copy),
            Said::Accept(lease) => {
                for lease in self.worker(at).suspended.accept(lease) {
                    self.tell(at, lease.holder, Said::Revoke(lease.request));
                }
            }
            Said::GiveUp(lease, settled) => {
                let worker = self.worker(at);
                let Some((session, others)) = worker.suspended.give_up(lease, settled) else { return };
                worker.suspended.remove(session);
                worker.here.remove(&session);
                others.iter().for_each(|lease| self.tell(at, lease.holder, Said::Revoke(lease.request)));
            }
            Said::Revoke(request) => self.revoke(at, request),
            Said::PassedOn(request) => self.worker(at).takes.passed_on(request),
            Said::Published(n) => {
                let worker = self.workers.get_mut(&at).unwrap();
                worker.takes.published("news", &frame::text(n.to_string()));
                for session in worker.here.values_mut() {
                    session.collected.push(n);
                    if let Some(client) = session.client.map(|client| &mut self.clients[client])
                        && matches!(client.place, Place::Attached(.., true))
                    {
                        client.hear(n);
                    }
                }
            }
            Said::PeerGone(peer) => {
                let clients = self.worker(at).takes.home_gone(peer);
                clients.into_iter().for_each(|client| self.begin_anew(at, client));
                self.worker(at).suspended.holder_gone(peer);
            }
        }
    }

    /// A home is asked for a session.
    fn take(
        &mut self,
        home: Generation,
        lease: Lease,
        (secret, next): (u64, u64),
        polls: bool,
    ) -> Option<Vec<u64>> {
        let worker = self.worker(home);
        let at = worker.find(|session| session.secret == secret)?;
        if !worker.suspended.is_free(at) {
            return None;
        }
        self.settle(home, at);
        let worker = self.worker(home);
        let copy = worker.here[&at].collected.iter().copied().filter(|n| *n >= next).collect();
        let client = worker.here[&at].client;
        let at = if client.is_some() { worker.suspend(at) } else { at };
        worker.suspended.lend(at, lease, polls);
        if let Some(client) = client {
            self.clients[client].place = Place::Away;
        }
        Some(copy)
    }

    /// The client of a copy has heard of it.
    fn settle(&mut self, at: Generation, session: SessionRef) {
        let origin = self.worker(at).here.get_mut(&session).unwrap().origin.take();
        if let Some((home, lease)) = origin {
            self.tell(at, home, Said::GiveUp(lease, true));
        }
    }

    fn taken(&mut self, at: Generation, home: Generation, request: u64, copy: Option<Vec<u64>>) {
        let lease = Lease { holder: at, request };
        match (self.worker(at).takes.answered(request, copy.is_some()), copy) {
            (Answered::Hand(client, Some(log)), Some(copy)) => {
                let number = |(_, text)| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap();
                let log = log.iter().flat_map(|(_, frames)| frame::split(frames).map(number));
                self.attach(at, client, copy.into_iter().chain(log).collect(), Some((home, lease)));
                self.tell(at, home, Said::Accept(lease));
            }
            (Answered::Hand(client, _), copy) => {
                assert!(copy.is_none(), "a copy comes with what was published");
                self.begin_anew(at, client);
            }
            (Answered::GiveBack, _) => self.tell(at, home, Said::GiveUp(lease, false)),
            (Answered::Nothing, _) => {}
        }
    }

    fn begin_anew(&mut self, at: Generation, client: usize) {
        let home = self.clients[client].token.0;
        assert!(!self.clients[client].sure || !self.workers.contains_key(&home), "it had to get its session");
        // The first that it will be told.
        let next = self.down[&at]
            .iter()
            .find_map(|(_, said)| if let Said::Published(n) = said { Some(*n) } else { None });
        self.clients[client].next = next.unwrap_or(self.published);
        self.attach(at, client, Vec::new(), None);
    }

    fn attach(
        &mut self,
        at: Generation,
        client: usize,
        collected: Vec<u64>,
        origin: Option<(Generation, Lease)>,
    ) {
        let secret = self.number();
        self.worker(at).insert(Session { secret, collected, client: Some(client), origin });
        self.clients[client].place = Place::Attached(at, secret, false);
    }

    fn revoke(&mut self, at: Generation, request: u64) {
        let of = |session: &Session| session.origin.is_some_and(|(_, lease)| lease.request == request);
        let Some(found) = self.worker(at).find(of) else { return };
        let session = self.worker(at).here.remove(&found).unwrap();
        self.worker(at).suspended.remove(found);
        session.client.into_iter().for_each(|client| self.clients[client].place = Place::Away);
    }

    fn is_calm(&self) -> bool {
        self.up.values().chain(self.down.values()).all(VecDeque::is_empty)
    }

    fn calm(&mut self) {
        while !self.is_calm() {
            let all: Vec<_> = self.workers.keys().copied().collect();
            for worker in all {
                self.relay(worker);
                self.deliver(worker);
            }
        }
        self.check();
    }

    /// When nothing is under way: what is given out is there, and nobody waits.
    fn check(&self) {
        let here = self.workers.values().flat_map(|worker| worker.here.values());
        let copies: BTreeSet<_> = here.filter_map(|session| session.origin).collect();
        let copies: BTreeSet<_> =
            copies.into_iter().filter(|(home, _)| self.workers.contains_key(home)).collect();
        let lent: BTreeSet<_> = self
            .workers
            .iter()
            .flat_map(|(home, worker)| worker.suspended.lent().map(move |lease| (*home, lease)))
            .collect();
        assert_eq!(lent, copies);
        assert!(self.workers.values().all(|worker| worker.takes.asked.is_empty()));
        assert!(self.clients.iter().all(|client| !matches!(client.place, Place::Asking(..))));
    }

    fn come(&mut self, who: usize, at: Generation) {
        if self.clients[who].place != Place::Away {
            return;
        }
        let Client { token: (home, secret), next, polls, shared, .. } = self.clients[who];
        self.clients[who].sure = self.is_calm() && !shared && self.workers.contains_key(&home);
        let request = self.number();
        self.clients[who].place = Place::Asking(at, request);
        self.worker(at).takes.ask(request, home, who);
        if home == at {
            self.worker(at).takes.passed_on(request);
        }
        self.tell(at, home, Said::Take { request, secret, next, polls });
    }

    fn cut(&mut self, who: usize) {
        match std::mem::replace(&mut self.clients[who].place, Place::Away) {
            Place::Away => {}
            Place::Asking(at, request) => assert_eq!(self.worker(at).takes.abandon(request), Some(who)),
            Place::Attached(at, secret, _) => {
                let session = self.worker(at).find(|session| session.secret == secret).unwrap();
                let origin = self.worker(at).here.get_mut(&session).unwrap().origin.take();
                self.worker(at).suspend(session);
                if let Some((home, lease)) = origin {
                    self.tell(at, home, Said::GiveUp(lease, false));
                }
            }
        }
    }

    fn welcome(&mut self, who: usize) {
        let Place::Attached(at, secret, false) = self.clients[who].place else { return };
        let session = self.worker(at).find(|session| session.secret == secret).unwrap();
        let collected = self.worker(at).here[&session].collected.clone();
        let client = &mut self.clients[who];
        (client.place, client.token) = (Place::Attached(at, secret, true), (at, secret));
        collected.into_iter().for_each(|n| client.hear(n));
    }

    fn die(&mut self, worker: Generation) {
        self.workers.remove(&worker);
        self.up.remove(&worker);
        self.down.remove(&worker);
        for client in &mut self.clients {
            if matches!(client.place, Place::Asking(at, _) | Place::Attached(at, ..) if at == worker) {
                client.place = Place::Away;
            }
        }
        self.down.values_mut().for_each(|mail| mail.push_back((worker, Said::PeerGone(worker))));
        self.birth();
    }

    fn act(&mut self, act: Act) {
        let workers: Vec<_> = self.workers.keys().copied().collect();
        let worker = |which: usize| workers[which % workers.len()];
        let who = |which: usize| which % self.clients.len();
        match act {
            Act::Publish => {
                let n = self.published;
                self.published += 1;
                self.down.values_mut().for_each(|mail| mail.push_back((0, Said::Published(n))));
            }
            Act::Come(client, at) => self.come(who(client), worker(at)),
            Act::Cut(client) => self.cut(who(client)),
            Act::Hear(client) => self.welcome(who(client)),
            Act::Settle(client) => {
                if let Place::Attached(at, secret, true) = self.clients[who(client)].place {
                    let session = self.worker(at).find(|session| session.secret == secret).unwrap();
                    self.settle(at, session);
                }
            }
            Act::Twin(client) if self.clients.len() < 6 => {
                let client = who(client);
                (self.clients[client].shared, self.clients[client].sure) = (true, false);
                self.clients.push(Client { place: Place::Away, ..self.clients[client].clone() });
            }
            Act::Twin(_) => {}
            Act::Relay(from) => self.relay(worker(from)),
            Act::Deliver(to) => self.deliver(worker(to)),
            Act::Calm => self.calm(),
            Act::Die(which) => self.die(worker(which)),
        }
    }
}

impl Client {
    fn hear(&mut self, n: u64) {
        assert_eq!(n, self.next, "each message once, and in order");
        self.next += 1;
    }
}

proptest! {
    #[test]
    fn a_session_is_given_out_for_as_long_as_somebody_has_it(
        acts in proptest::collection::vec(act(), 0..150),
    ) {
        let mut world = World::default();
        (0..3).for_each(|_| world.birth());
        for n in 0..3 {
            world.clients.push(Client {
                token: (0, 0), place: Place::Away, next: 0, polls: n == 2, shared: false, sure: false,
            });
            world.come(n, u32::try_from(n).unwrap() + 1);
        }
        acts.into_iter().for_each(|act| world.act(act));
        world.calm();
    }
}
