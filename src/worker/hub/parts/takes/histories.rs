//! Random histories: clients come back with their tokens, to any worker and more than one at once, and go away at any
//! moment; sessions move from worker to worker; workers die; the master passes on what it hears in order, and what is
//! for a token to its home of that moment. Whoever comes back when all is calm has its session, no message is lost or
//! doubled, and no session stays given out.

mod clients;
mod master;
mod moving;

use master::{Master, To};
use moving::Expected;

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
    /// The session that a client's token leads to goes to another worker.
    Move(usize, usize),
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
        3 => (some(), some()).prop_map(|(client, worker)| Act::Move(client, worker)),
        2 => Just(Act::Calm),
        1 => some().prop_map(Act::Die),
    ]
}

/// A session's id and its secret.
type Token = (u64, u64);

#[derive(Clone, Debug)]
enum Said {
    Take(Take),
    Taken {
        request: u64,
        copy: Option<Vec<u64>>,
    },
    /// The session was on its way: the question is asked again.
    Again(Take),
    Accept(Lease),
    GiveUp(Lease, bool),
    Revoke(u64),
    PassedOn(u64),
    Published(u64),
    PeerGone(Generation),
    // To the master.
    Open(Token),
    Closed(u64),
    Away(Token),
    Gone(Token),
    Hand(Token, Generation),
    // A move.
    Expect(Token),
    Handed(Token, Generation),
    Arrive(Token, Option<Session>),
}

/// A question for a session.
#[derive(Clone, Copy, Debug)]
struct Take {
    request: u64,
    token: Token,
    next: u64,
    polls: bool,
}

#[derive(Clone, Debug)]
struct Session {
    token: Token,
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
    /// Sessions that the master was asked to hand over.
    leaving: BTreeSet<Token>,
    expected: BTreeMap<Token, Expected>,
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

    fn away(&mut self, session: Session) -> SessionRef {
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
    Attached(Generation, Token, bool),
}

#[derive(Clone, Debug)]
struct Client {
    token: Token,
    place: Place,
    /// The publication that it hears next.
    next: u64,
    polls: bool,
    /// Another client has had the same token: each may take the session from the other.
    shared: bool,
    /// Its token is that of its last welcome, and nobody else has come with it since.
    fresh: bool,
    /// Nothing stands against its getting the session.
    sure: bool,
}

#[derive(Debug, Default)]
struct World {
    workers: BTreeMap<Generation, Worker>,
    master: Master,
    up: BTreeMap<Generation, VecDeque<(To, Said)>>,
    down: BTreeMap<Generation, VecDeque<(Generation, Said)>>,
    clients: Vec<Client>,
    published: u64,
    numbers: u64,
    /// Where each session is: the test's own view.
    located: BTreeMap<Token, Generation>,
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
        self.up.get_mut(&from).unwrap().push_back((To::Process(to), said));
    }

    /// A session is not present any more: the master knows one of each id.
    fn tell_closed(&mut self, at: Generation, (id, _): Token) {
        let other = self.worker(at).find(|session| session.token.0 == id && session.client.is_some());
        let said = other.map_or(Said::Closed(id), |other| Said::Open(self.workers[&at].here[&other].token));
        self.tell_master(at, said);
    }

    /// A session loses its connection.
    fn suspend(&mut self, at: Generation, session: SessionRef) -> SessionRef {
        let session = self.worker(at).here.remove(&session).unwrap();
        let token = session.token;
        let suspended = self.worker(at).away(session);
        self.tell_master(at, Said::Away(token));
        self.tell_closed(at, token);
        suspended
    }

    /// A session is taken out of the table.
    fn discard(&mut self, at: Generation, session: SessionRef) -> Option<usize> {
        let worker = self.worker(at);
        worker.suspended.remove(session);
        let Session { token, client, .. } = worker.here.remove(&session)?;
        match client {
            None => self.tell_master(at, Said::Gone(token)),
            Some(_) => self.tell_closed(at, token),
        }
        client
    }

    fn deliver(&mut self, to: Generation) {
        if let Some((from, said)) = self.down.get_mut(&to).and_then(VecDeque::pop_front) {
            self.hear(to, from, said);
        }
    }

    fn hear(&mut self, at: Generation, from: Generation, said: Said) {
        match said {
            Said::Take(take) => match self.worker(at).expected.get_mut(&take.token) {
                Some(expected) => expected.takes.push((from, take)),
                None => self.answer(at, from, take),
            },
            Said::Again(take) => {
                if self.worker(at).takes.again(take.request).is_some() {
                    self.ask(at, take);
                }
            }
            Said::Taken { request, copy } => self.taken(at, from, request, copy),
            Said::Accept(lease) => {
                for lease in self.worker(at).suspended.accept(lease) {
                    self.tell(at, lease.holder, Said::Revoke(lease.request));
                }
            }
            Said::GiveUp(lease, settled) => {
                let given_up = self.worker(at).suspended.give_up(lease, settled);
                let Some((session, others)) = given_up else { return };
                self.discard(at, session);
                others.iter().for_each(|lease| self.tell(at, lease.holder, Said::Revoke(lease.request)));
            }
            Said::Revoke(request) => self.revoke(at, request),
            Said::PassedOn(request) => self.worker(at).takes.passed_on(request, from),
            Said::Published(n) => {
                let worker = self.workers.get_mut(&at).unwrap();
                worker.takes.published("news", &frame::text(n.to_string()));
                worker.expected.values_mut().for_each(|expected| expected.log.push(n));
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
                self.source_gone(at, peer);
            }
            Said::Expect(token) => self.expect(at, from, token),
            Said::Handed(token, to) => self.handed(at, to, token),
            Said::Arrive(token, session) => self.arrive(at, token, session),
            Said::Open(_) | Said::Closed(_) | Said::Away(_) | Said::Gone(_) | Said::Hand(..) => {
                unreachable!("the master hears it")
            }
        }
    }

    fn answer(&mut self, at: Generation, from: Generation, take: Take) {
        let copy = self.take(at, from, take);
        if from == at {
            // The session came here while the question was on its way.
            self.worker(at).takes.passed_on(take.request, at);
        }
        self.tell(at, from, Said::Taken { request: take.request, copy });
    }

    /// A home is asked for a session.
    fn take(&mut self, home: Generation, holder: Generation, take: Take) -> Option<Vec<u64>> {
        let Take { request, token, next, polls } = take;
        let worker = self.worker(home);
        let at = worker.find(|session| session.token == token)?;
        if !worker.suspended.is_free(at) {
            return None;
        }
        self.settle(home, at);
        let worker = self.worker(home);
        let copy = worker.here[&at].collected.iter().copied().filter(|n| *n >= next).collect();
        let client = worker.here[&at].client;
        let at = if client.is_some() { self.suspend(home, at) } else { at };
        self.worker(home).suspended.lend(at, Lease { holder, request }, polls);
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
                self.tell(at, home, Said::Accept(lease));
                let (id, _) = self.clients[client].token;
                self.attach(at, client, (id, copy.into_iter().chain(log).collect()), Some((home, lease)));
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
        let Client { token, sure, .. } = self.clients[client];
        assert!(!sure || !self.is_there(token), "it had to get its session");
        // The first that it will be told.
        let next = self.down[&at]
            .iter()
            .find_map(|(_, said)| if let Said::Published(n) = said { Some(*n) } else { None });
        self.clients[client].next = next.unwrap_or(self.published);
        let id = self.number();
        self.attach(at, client, (id, Vec::new()), None);
    }

    /// Whether the worker lives that has a session, and so does the one that it is about to go to.
    fn is_there(&self, token: Token) -> bool {
        let Some(home) = self.located.get(&token).filter(|home| self.workers.contains_key(home)) else {
            return false;
        };
        let goes_nowhere = |said: &Said| matches!(said, Said::Handed(own, to) if *own == token && !self.workers.contains_key(to));
        !self.down[home].iter().any(|(_, said)| goes_nowhere(said))
    }

    fn attach(
        &mut self,
        at: Generation,
        client: usize,
        (id, collected): (u64, Vec<u64>),
        origin: Option<(Generation, Lease)>,
    ) {
        let token = (id, self.number());
        self.worker(at).insert(Session { token, collected, client: Some(client), origin });
        self.tell_master(at, Said::Open(token));
        self.located.insert(token, at);
        self.clients[client].place = Place::Attached(at, token, false);
    }

    fn revoke(&mut self, at: Generation, request: u64) {
        let of = |session: &Session| session.origin.is_some_and(|(_, lease)| lease.request == request);
        let Some(found) = self.worker(at).find(of) else { return };
        let client = self.discard(at, found);
        client.into_iter().for_each(|client| self.clients[client].place = Place::Away);
    }

    fn is_calm(&self) -> bool {
        self.up.values().all(VecDeque::is_empty) && self.down.values().all(VecDeque::is_empty)
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
        self.check_homes();
        assert!(self.workers.values().all(|worker| worker.takes.asked.is_empty()));
        assert!(self.clients.iter().all(|client| !matches!(client.place, Place::Asking(..))));
    }

    fn die(&mut self, worker: Generation) {
        self.workers.remove(&worker);
        self.up.remove(&worker);
        self.down.remove(&worker);
        self.master.worker_gone(worker);
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
                if let Place::Attached(at, token, true) = self.clients[who(client)].place
                    && let Some(session) = self.worker(at).find(|session| session.token == token)
                {
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
            Act::Move(client, to) => self.begin_move(self.clients[who(client)].token, worker(to)),
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
                token: (0, 0), place: Place::Away, next: 0, polls: n == 2, shared: false, fresh: false, sure: false,
            });
            world.come(n, u32::try_from(n).unwrap() + 1);
        }
        acts.into_iter().for_each(|act| world.act(act));
        world.calm();
    }
}
