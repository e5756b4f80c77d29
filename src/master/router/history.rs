//! Random histories of the router against a model of every request.

use super::tests::{OFF, START, Said, join, order, publication, tally};
use super::*;
use crate::master::directory::tests::ceilings;
use crate::model::SessionId;
use crate::protocol::cluster::Endpoint;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Events; numbers pick among the few workers, sessions, users.
#[derive(Clone, Debug)]
enum Event {
    Born,
    Dies(u32),
    Opens(u32, u8, u8),
    Closed(u32, u8),
    Deliver(u32, u8, u16),
    Publish(u32, u16),
    /// The oldest order that waits at a worker is answered: delivered, slow, waiting.
    Answers(u32, u8, u8, u8),
    /// An answer that was given already is given again.
    Again(usize),
    Garbage(u32, u64),
    Link(u32, Option<bool>),
    Time(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let worker = 1..5u32;
    let link = prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    prop_oneof![
        2 => Just(Event::Born),
        2 => worker.clone().prop_map(Event::Dies),
        8 => (worker.clone(), 0..20u8, 0..4u8).prop_map(|(w, s, u)| Event::Opens(w, s, u)),
        4 => (worker.clone(), 0..20u8).prop_map(|(w, s)| Event::Closed(w, s)),
        14 => (worker.clone(), 0..4u8, 0..3000u16).prop_map(|(w, u, d)| Event::Deliver(w, u, d)),
        3 => (worker.clone(), 0..3000u16).prop_map(|(w, d)| Event::Publish(w, d)),
        16 => (worker.clone(), 0..3u8, 0..2u8, 0..2u8).prop_map(|(w, d, s, u)| Event::Answers(w, d, s, u)),
        3 => any::<usize>().prop_map(Event::Again),
        2 => (worker.clone(), any::<u64>()).prop_map(|(w, n)| Event::Garbage(w, n)),
        1 => (worker, link).prop_map(|(w, link)| Event::Link(w, link)),
        3 => (0..1500u16).prop_map(Event::Time),
    ]
}

/// A request of the naive model.
#[derive(Debug)]
struct Request {
    from: Generation,
    is_quote: bool,
    deadline: Mono,
    ticket: Option<u64>,
    waits_for: BTreeMap<Generation, u32>,
    tally: Tally,
}

impl Request {
    fn outcome(&self) -> Outcome {
        let Tally { delivered, slow, waiting } = self.tally;
        if delivered > 0 {
            Outcome::Delivered { sessions: delivered, unconfirmed: waiting }
        } else if waiting > 0 {
            Outcome::Unknown
        } else if slow > 0 {
            Outcome::Slow
        } else {
            Outcome::NotConnected
        }
    }
}

struct World {
    directory: Directory,
    router: Router,
    said: Said,
    now: Mono,
    born: u32,
    alive: BTreeSet<Generation>,
    next: u64,
    open: BTreeMap<u64, Request>,
    /// Orders at a worker that it has not answered.
    inbox: BTreeMap<Generation, VecDeque<(u64, bool)>>,
    answered: Vec<(Generation, u64)>,
    expected: Vec<(Generation, u64, Result<Outcome, u32>)>,
}

impl World {
    fn new() -> Self {
        Self {
            directory: Directory::new(ceilings(u32::MAX)),
            router: Router::new(OFF),
            said: Said::default(),
            now: START,
            born: 0,
            alive: BTreeSet::new(),
            next: 0,
            open: BTreeMap::new(),
            inbox: BTreeMap::new(),
            answered: vec![],
            expected: vec![],
        }
    }

    /// Expects the answers of the requests that `ends` is true for.
    fn settle(&mut self, ends: impl Fn(&Request) -> bool) {
        let done: Vec<_> = self.open.iter().filter(|(_, r)| ends(r)).map(|(number, _)| *number).collect();
        for number in done {
            let request = self.open.remove(&number).unwrap();
            let said = if request.is_quote { Ok(request.outcome()) } else { Err(request.tally.delivered) };
            self.expected.push((request.from, number, said));
        }
    }

    fn asks(&mut self, from: Generation, user: Option<&str>, after: u16) {
        if !self.alive.contains(&from) {
            return;
        }
        self.next += 1;
        let (request, deadline) = (self.next, self.now.after(Duration::from_millis(after.into())));
        let mut asked = Request {
            from,
            is_quote: user.is_some(),
            deadline,
            ticket: None,
            waits_for: BTreeMap::new(),
            tally: tally(0, 0, 0),
        };
        let mut places: BTreeMap<Generation, u32> = BTreeMap::new();
        if let Some(user) = user {
            self.directory.sessions_of(user).for_each(|s| *places.entry(s.generation).or_default() += 1);
        } else {
            places = self.alive.iter().map(|worker| (*worker, 0)).collect();
        }
        let late = deadline <= self.now && !places.is_empty();
        for (worker, sessions) in places {
            match self.said.lost.get(&worker) {
                _ if late => asked.tally.waiting += sessions,
                None => drop(asked.waits_for.insert(worker, sessions)),
                Some(Lost::Full) => asked.tally.slow += sessions,
                Some(Lost::Gone) => {}
            }
        }
        let before = (self.said.pushes.len(), self.said.publishes.len());
        if let Some(user) = user {
            let order = Order { deadline, ..order(request, user) };
            self.router.deliver(from, &order, &self.directory, self.now, &mut self.said);
        } else {
            let publication = Publication { deadline, ..publication(request) };
            let ready: Vec<_> = self.alive.iter().copied().collect();
            self.router.publish(from, &publication, ready, self.now, &mut self.said);
        }
        let pushes = self.said.pushes[before.0..].iter().chain(&self.said.publishes[before.1..]);
        let sent: BTreeMap<_, _> = pushes.copied().collect();
        assert!(sent.keys().eq(asked.waits_for.keys()), "{sent:?} {asked:?}");
        for (worker, ticket) in sent {
            asked.ticket = Some(ticket);
            self.inbox.entry(worker).or_default().push_back((ticket, asked.is_quote));
        }
        self.open.insert(request, asked);
        self.settle(|request| request.waits_for.is_empty());
    }

    fn answers(&mut self, worker: Generation, tally: Tally) {
        let Some((ticket, is_quote)) = self.inbox.get_mut(&worker).and_then(VecDeque::pop_front) else {
            return;
        };
        if let Some(request) = self.open.values_mut().find(|request| request.ticket == Some(ticket)) {
            request.waits_for.remove(&worker).unwrap();
            request.tally.delivered += tally.delivered;
            request.tally.slow += tally.slow;
            request.tally.waiting += tally.waiting;
        }
        self.answered.push((worker, ticket));
        if is_quote {
            self.router.delivered(worker, ticket, tally, &mut self.said);
        } else {
            self.router.published(worker, ticket, tally.delivered, &mut self.said);
        }
        self.settle(|request| request.waits_for.is_empty());
    }

    fn dies(&mut self, worker: Generation) {
        self.alive.remove(&worker);
        self.directory.worker_gone(worker);
        self.router.worker_gone(worker, &mut self.said);
        // Late answers stay in the inbox: they are still said, and match nothing.
        self.open.retain(|_, request| request.from != worker);
        for request in self.open.values_mut() {
            request.tally.waiting += request.waits_for.remove(&worker).unwrap_or(0);
        }
        if let Some(inbox) = self.inbox.remove(&worker) {
            self.answered.extend(inbox.into_iter().map(|(ticket, _)| (worker, ticket)));
        }
        self.settle(|request| request.waits_for.is_empty());
    }

    fn passes(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
        let next = self.open.values().map(|request| request.deadline).min();
        assert_eq!(self.router.next_deadline(), next);
        self.router.expire(self.now, &mut self.said);
        let now = self.now;
        for request in self.open.values_mut().filter(|request| request.deadline <= now) {
            request.tally.waiting += request.waits_for.values().sum::<u32>();
        }
        self.settle(|request| request.deadline <= now);
        self.router.tidy(self.now);
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Born => {
                self.born += 1;
                self.alive.insert(self.born);
                self.directory.worker_born(self.born, 1);
            }
            Event::Dies(worker) => self.dies(worker),
            Event::Opens(worker, session, user) => {
                join(&mut self.directory, worker, session.into(), &format!("user-{user}"), Endpoint::Ws);
            }
            Event::Closed(worker, session) => {
                self.directory.closed(worker, SessionId(session.into()));
            }
            Event::Deliver(from, user, after) => self.asks(from, Some(&format!("user-{user}")), after),
            Event::Publish(from, after) => self.asks(from, None, after),
            Event::Answers(worker, delivered, slow, waiting) => {
                self.answers(worker, tally(delivered.into(), slow.into(), waiting.into()));
            }
            Event::Again(at) if !self.answered.is_empty() => {
                let (worker, ticket) = self.answered[at % self.answered.len()];
                self.router.delivered(worker, ticket, tally(1, 0, 0), &mut self.said);
                self.router.published(worker, ticket, 1, &mut self.said);
            }
            Event::Again(_) => {}
            Event::Garbage(worker, ticket) => {
                // High numbers only: a low one may be a real ticket.
                self.router.delivered(worker, ticket | 1 << 62, tally(9, 9, 9), &mut self.said);
                self.router.published(worker + 1000, ticket & 0xff, 9, &mut self.said);
            }
            Event::Link(worker, None) => drop(self.said.lost.remove(&worker)),
            Event::Link(worker, Some(full)) => {
                self.said.lost.insert(worker, if full { Lost::Full } else { Lost::Gone });
            }
            Event::Time(ms) => self.passes(ms.into()),
        }
        self.check();
    }

    fn check(&mut self) {
        let quotes = self.said.receipts.drain(..).map(|(to, request, outcome)| (to, request, Ok(outcome)));
        let messages = self.said.sums.drain(..).map(|(to, request, sessions)| (to, request, Err(sessions)));
        let mut said: Vec<_> = quotes.chain(messages).collect();
        said.sort_by_key(|(_, request, _)| *request);
        self.expected.sort_by_key(|(_, request, _)| *request);
        assert_eq!(said, std::mem::take(&mut self.expected));
        assert_eq!(self.router.pending(), self.open.len());
    }
}

proptest! {
    #[test]
    fn every_request_ends_exactly_once_and_nothing_leaks(events in proptest::collection::vec(event(), 1..200)) {
        let mut world = World::new();
        for event in [Event::Born, Event::Born, Event::Born].iter().chain(&events) {
            world.apply(event);
        }
        world.passes(10_000);
        world.check();
        prop_assert_eq!(world.router.pending(), 0);
        prop_assert_eq!(world.router.next_deadline(), None);
        prop_assert_eq!(world.router.users.len(), 0);
    }
}
