//! Random histories: sessions open, move between workers, hear messages and answers, and end; workers die at any moment;
//! links carry in order, and what a dead worker had not handed to the kernel is lost. At every moment one worker at most
//! writes to a session's socket; each message comes once and in order; what is said of an answer is true; and when all
//! is calm, the master and the beats agree.

mod master;
mod renewal;

use super::{Leaving, Task};
use crate::model::{Mono, RequestId, SessionId, UserId};
use crate::protocol::cluster::{BatchId, Generation, Which, digest};
use crate::worker::hub::parts::expected::{Due, Expected, Held};
use crate::worker::hub::parts::meanwhile::{Came, HeldPush, Meanwhile};
use crate::ws::frame;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
enum Act {
    Open(usize),
    End(usize),
    Publish,
    /// A POST for a user.
    Quote(usize),
    Offload(usize, usize, u32),
    /// A worker looks for sessions to hand over.
    Look(usize),
    /// The kernel takes what a worker has said.
    Flush(usize),
    /// The master hears a worker.
    Relay(usize),
    /// A worker hears the master.
    Deliver(usize),
    /// A complete batch begins to live, if the kernel has its confirmation.
    Land(usize),
    Calm,
    Die(usize),
    /// Another master takes the place of this one.
    Renew,
}

fn act() -> impl Strategy<Value = Act> {
    let some = any::<usize>;
    prop_oneof![
        3 => some().prop_map(Act::Open),
        1 => some().prop_map(Act::End),
        4 => Just(Act::Publish),
        4 => some().prop_map(Act::Quote),
        3 => (some(), some(), 0..4u32).prop_map(|(from, to, count)| Act::Offload(from, to, count)),
        5 => some().prop_map(Act::Look),
        8 => some().prop_map(Act::Flush),
        8 => some().prop_map(Act::Relay),
        9 => some().prop_map(Act::Deliver),
        4 => some().prop_map(Act::Land),
        1 => Just(Act::Calm),
        1 => some().prop_map(Act::Die),
        1 => Just(Act::Renew),
    ]
}

/// What a worker says.
#[derive(Clone, Debug)]
enum Up {
    Hand { batch: u32, to: Generation, sessions: Vec<SessionId> },
    Arrive { to: Generation, batch: u32, values: Vec<Value> },
    Arrived { batch: BatchId, gone: Vec<SessionId> },
    TakenBack { gone: Vec<SessionId> },
    Closed(SessionId),
    Delivered { ticket: u64, has: u32 },
}

/// What a worker hears.
#[derive(Clone, Debug)]
enum Down {
    Offload(Generation, Which),
    Handed { batch: u32, taken: Option<Vec<SessionId>> },
    Expect { batch: BatchId, sessions: Vec<SessionId> },
    Arrive { from: Generation, batch: u32, values: Vec<Value> },
    Arrived { batch: u32 },
    Unfinished { back: Option<u32>, dropped: Vec<BatchId> },
    Published(u64),
    Push { ticket: u64, user: u8 },
    Gone(Generation),
}

/// A session: its client counts messages from this one on.
#[derive(Clone, Debug)]
struct Value {
    id: SessionId,
    next: u64,
}

#[derive(Debug, Default)]
struct Worker {
    leaving: Leaving<Value>,
    expected: Expected<Value>,
    here: BTreeMap<SessionId, Value>,
    /// Of them, those that are handed over: not in the beat.
    aside: BTreeSet<SessionId>,
    /// Answers that wait for sessions that are expected: missing, and that have it.
    tickets: BTreeMap<u64, (u32, u32)>,
    complete: VecDeque<BatchId>,
    /// The last batch of each worker that has come.
    came: BTreeMap<Generation, BatchId>,
    /// Said, and not in the kernel.
    said: VecDeque<Up>,
}

/// What clients have heard, by session.
#[derive(Debug, Default)]
struct Client {
    user: u8,
    heard: Vec<u64>,
    quotes: Vec<u64>,
    ended: bool,
}

#[derive(Debug)]
struct Ticket {
    user: u8,
    waits: BTreeMap<Generation, u32>,
    delivered: u32,
    unknown: u32,
}

#[derive(Debug, Default)]
struct World {
    workers: BTreeMap<Generation, Worker>,
    up: BTreeMap<Generation, VecDeque<Up>>,
    down: BTreeMap<Generation, VecDeque<Down>>,
    /// The master: who owns which session, batches under way, tickets.
    owners: BTreeMap<SessionId, Generation>,
    batches: BTreeMap<BatchId, (Generation, Vec<SessionId>)>,
    tickets: BTreeMap<u64, Ticket>,
    /// What was said of answers: delivered, unknown.
    outcomes: BTreeMap<u64, (u8, u32, u32)>,
    clients: BTreeMap<SessionId, Client>,
    numbers: u64,
    published: u64,
}

fn user_of(session: SessionId) -> u8 {
    u8::try_from(session.0 % 3).unwrap()
}

fn user(n: u8) -> UserId {
    UserId::new(&format!("u{n}")).unwrap()
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

    fn worker(&mut self, at: Generation) -> &mut Worker {
        self.workers.get_mut(&at).unwrap()
    }

    fn say(&mut self, from: Generation, said: Up) {
        self.worker(from).said.push_back(said);
    }

    fn tell(&mut self, to: Generation, said: Down) -> bool {
        self.down.get_mut(&to).map(|mail| mail.push_back(said)).is_some()
    }

    // The workers.

    fn hear(&mut self, at: Generation) {
        let Some(said) = self.down.get_mut(&at).and_then(VecDeque::pop_front) else { return };
        match said {
            Down::Offload(to, which) => _ = self.worker(at).leaving.order(1, to, which, Mono(0)),
            Down::Handed { batch, taken } => self.handed(at, batch, taken.as_deref()),
            Down::Expect { batch, sessions } => {
                let due = |session| Due { session, user: user(user_of(session)), reached: true, away: None };
                self.worker(at).expected.expect(batch, sessions.into_iter().map(due), Mono(0));
            }
            Down::Arrive { from, batch, values } => {
                let batch = BatchId { from, number: batch };
                let values = values.into_iter().map(|value| (value.id, value)).collect();
                assert!(self.worker(at).expected.come(batch, values).is_empty());
                self.worker(at).came.insert(from, batch);
                self.complete(at, batch);
            }
            Down::Arrived { batch } => {
                // The values are forgotten.
                assert!(self.worker(at).leaving.arrived(batch, &[], Mono(0)).is_some());
            }
            Down::Unfinished { back, dropped } => self.unfinished(at, back, &dropped),
            Down::Published(n) => self.publish(at, n),
            Down::Push { ticket, user } => self.push(at, ticket, user),
            Down::Gone(gone) => self.gone(at, gone),
        }
    }

    fn complete(&mut self, at: Generation, batch: BatchId) {
        let worker = self.worker(at);
        let gone = worker.expected.complete(batch).expect("it was announced");
        worker.complete.push_back(batch);
        self.say(at, Up::Arrived { batch, gone });
    }

    fn look(&mut self, at: Generation) {
        let worker = self.worker(at);
        let Some(Task { to, most, .. }) = worker.leaving.task() else { return };
        let sessions: Vec<_> = worker.here.keys().copied().take(most.min(2)).collect();
        let Ok(batch) = worker.leaving.begin(sessions.clone(), (0, false), Mono(0)) else { return };
        worker.aside.extend(&sessions);
        self.say(at, Up::Hand { batch, to, sessions });
    }

    fn handed(&mut self, at: Generation, batch: u32, taken: Option<&[SessionId]>) {
        let worker = self.worker(at);
        let handed = worker.leaving.handed(batch, taken).expect("it was asked for");
        if taken.is_none() {
            worker.leaving.drop_orders(handed.to);
        }
        handed.back.iter().for_each(|session| _ = worker.aside.remove(session));
        if handed.taken.is_empty() {
            return;
        }
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for session in handed.taken {
            worker.aside.remove(&session);
            match worker.here.remove(&session) {
                Some(value) => kept.push((session, value)),
                None => gone.push(session),
            }
        }
        let values = kept.iter().map(|(_, value)| value.clone()).collect();
        worker.leaving.keep(kept, gone);
        self.say(at, Up::Arrive { to: handed.to, batch, values });
    }

    fn gone(&mut self, at: Generation, gone: Generation) {
        let (back, _) = self.worker(at).leaving.target_gone(gone);
        if let Some(back) = back {
            let values = back.kept.into_iter().map(|(_, value)| value).collect();
            self.live(at, values, back.meanwhile);
            self.say(at, Up::TakenBack { gone: back.gone });
        }
        for batch in self.worker(at).expected.source_gone(gone) {
            self.complete(at, batch);
        }
    }

    /// Sessions go on at a worker, with what came while they were on their way.
    fn live(&mut self, at: Generation, values: Vec<Value>, meanwhile: Meanwhile) {
        for mut value in values {
            for came in meanwhile.came() {
                match came {
                    Came::Message { frame, .. } => {
                        let (_, text) = frame::split(frame).next().unwrap();
                        let n = std::str::from_utf8(text).unwrap().parse().unwrap();
                        if n >= value.next {
                            self.hear_message(&mut value, n);
                        }
                    }
                    Came::Push(push) if *push.user == *user(user_of(value.id)).as_str() => {
                        self.clients.get_mut(&value.id).unwrap().quotes.push(push.ticket);
                        self.arrived(at, push.ticket, true);
                    }
                    _ => {}
                }
            }
            let held: Vec<_> =
                self.workers.values().filter(|worker| worker.here.contains_key(&value.id)).collect();
            assert!(held.is_empty(), "two owners of {}", value.id);
            self.worker(at).here.insert(value.id, value);
        }
    }

    /// A session that an answer waited for has it, or has ended.
    fn arrived(&mut self, at: Generation, ticket: u64, has: bool) {
        let worker = self.worker(at);
        let Some((missing, sum)) = worker.tickets.get_mut(&ticket) else { return };
        *missing -= 1;
        *sum += u32::from(has);
        if *missing == 0 {
            let (_, has) = worker.tickets.remove(&ticket).unwrap();
            self.say(at, Up::Delivered { ticket, has });
        }
    }

    fn land(&mut self, at: Generation) {
        let worker = self.worker(at);
        if !worker.said.is_empty() {
            return;
        }
        let Some(batch) = worker.complete.pop_front() else { return };
        let landed = worker.expected.land(batch).expect("it is complete");
        for came in landed.meanwhile.came() {
            let Came::Push(push) = came else { continue };
            for _ in landed.gone.iter().filter(|due| *due.user.as_str() == *push.user) {
                self.arrived(at, push.ticket, false);
            }
        }
        let values = landed.values.into_iter().map(|(_, value)| value).collect();
        self.live(at, values, landed.meanwhile);
    }

    fn hear_message(&mut self, value: &mut Value, n: u64) {
        assert_eq!(n, value.next, "each message once, and in order");
        value.next += 1;
        self.clients.get_mut(&value.id).unwrap().heard.push(n);
    }

    fn publish(&mut self, at: Generation, n: u64) {
        let text = frame::text(n.to_string());
        let worker = self.worker(at);
        worker.expected.published("news", &text);
        if let Some(meanwhile) = worker.leaving.meanwhile() {
            meanwhile.published("news", &text);
        }
        for (id, mut value) in std::mem::take(&mut self.worker(at).here) {
            self.hear_message(&mut value, n);
            self.worker(at).here.insert(id, value);
        }
    }

    fn push(&mut self, at: Generation, ticket: u64, of: u8) {
        let own = self.worker(at).here.keys().copied().filter(|id| user_of(*id) == of);
        let own: Vec<_> = own.collect();
        for session in &own {
            self.clients.get_mut(session).unwrap().quotes.push(ticket);
        }
        let has = u32::try_from(own.len()).unwrap();
        let (frame, deadline) = (Bytes::from_static(b"x"), Mono(0));
        let user = user(of).as_str().into();
        let push = HeldPush { ticket, id: RequestId(0), user, symbol: "s".into(), frame, deadline };
        let worker = self.worker(at);
        let Held { waiting, slow } = worker.expected.push(&push);
        assert_eq!(slow, 0);
        if waiting == 0 {
            return self.say(at, Up::Delivered { ticket, has });
        }
        worker.tickets.insert(ticket, (waiting, has));
    }

    // All.

    fn open(&mut self, at: Generation) {
        if self.clients.len() >= 9 {
            return;
        }
        // As if the master had let it in just now, and the worker heard of that first.
        self.deliver_all(at);
        let id = SessionId(self.number().into());
        self.owners.insert(id, at);
        let next = self.published;
        self.worker(at).here.insert(id, Value { id, next });
        self.clients.insert(id, Client { user: user_of(id), ..Client::default() });
    }

    fn deliver_all(&mut self, at: Generation) {
        while !self.down[&at].is_empty() {
            self.hear(at);
        }
    }

    fn end(&mut self, which: usize) {
        let held: Vec<_> =
            self.workers.iter().flat_map(|(at, worker)| worker.here.keys().map(|id| (*at, *id))).collect();
        let Some((at, session)) = held.get(which % held.len().max(1)).copied() else { return };
        self.worker(at).here.remove(&session);
        self.clients.get_mut(&session).unwrap().ended = true;
        self.say(at, Up::Closed(session));
    }

    fn calm(&mut self) {
        for _ in 0..400 {
            // No further sessions leave: all of one worker to another and back would never be calm.
            for at in self.workers.keys().copied().collect::<Vec<_>>() {
                self.flush(at);
                self.relay(at);
                self.hear(at);
                self.land(at);
            }
        }
        self.check();
    }

    fn flush(&mut self, at: Generation) {
        let said = std::mem::take(&mut self.worker(at).said);
        self.up.get_mut(&at).unwrap().extend(said);
    }

    /// When nothing is under way.
    fn check(&self) {
        assert!(self.batches.is_empty() && self.tickets.is_empty());
        let fold = |ids: &mut dyn Iterator<Item = SessionId>| ids.fold(0, |all, id| all ^ digest(id));
        for (at, worker) in &self.workers {
            let beat = worker.here.keys().copied().filter(|id| !worker.aside.contains(id));
            let of = self.owners.iter().filter(|(_, owner)| *owner == at).map(|(id, _)| *id);
            assert_eq!(fold(&mut { beat }) ^ worker.expected.digest(), fold(&mut { of }));
            assert!(
                !worker.leaving.is_under_way() && worker.expected.is_empty() && worker.tickets.is_empty()
            );
        }
        for (id, client) in self.clients.iter().filter(|(_, client)| !client.ended) {
            let owners = self.workers.values().filter(|worker| worker.here.contains_key(id)).count();
            assert!(owners <= 1, "{id} has {owners} owners");
            if owners == 1 {
                assert!(
                    client.heard.last().is_none_or(|last| last + 1 == self.published),
                    "{id} misses some"
                );
            }
        }
        for (ticket, (user, delivered, unknown)) in &self.outcomes {
            let of = self.clients.values().filter(|client| client.user == *user);
            let counts: Vec<_> =
                of.map(|client| client.quotes.iter().filter(|n| *n == ticket).count()).collect();
            assert!(counts.iter().all(|count| *count <= 1), "{ticket} came twice");
            let has = u32::try_from(counts.iter().sum::<usize>()).unwrap();
            assert!(
                (*delivered..=delivered + unknown).contains(&has),
                "{ticket}: {has} of {delivered} + {unknown}"
            );
        }
    }

    fn act(&mut self, act: Act) {
        let workers: Vec<_> = self.workers.keys().copied().collect();
        let worker = |which: usize| workers[which % workers.len()];
        match act {
            Act::Open(at) => self.open(worker(at)),
            Act::End(which) => self.end(which),
            Act::Publish => {
                let n = self.published;
                self.published += 1;
                self.down.values_mut().for_each(|mail| mail.push_back(Down::Published(n)));
            }
            Act::Quote(user) => self.quote(u8::try_from(user % 3).unwrap()),
            Act::Offload(from, to, count) if worker(from) != worker(to) => {
                let which = if count == 0 { Which::All } else { Which::Count(count) };
                self.tell(worker(from), Down::Offload(worker(to), which));
            }
            Act::Offload(..) => {}
            Act::Look(at) => self.look(worker(at)),
            Act::Flush(at) => self.flush(worker(at)),
            Act::Relay(from) => self.relay(worker(from)),
            Act::Deliver(to) => self.hear(worker(to)),
            Act::Land(at) => self.land(worker(at)),
            Act::Calm => self.calm(),
            Act::Die(which) => self.die(worker(which)),
            Act::Renew => self.renew(),
        }
    }
}

proptest! {
    #[test]
    fn a_session_has_one_owner_and_hears_all_once(acts in proptest::collection::vec(act(), 0..250)) {
        let mut world = World::default();
        (0..3).for_each(|_| world.birth());
        acts.into_iter().for_each(|act| world.act(act));
        world.calm();
    }
}
