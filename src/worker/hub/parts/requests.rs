//! Questions to the master that wait for its answer.

use super::sessions::SessionRef;
use crate::model::{SessionId, give_back};
use crate::protocol::client::Close;
use crate::protocol::cluster::{Answer, Outcome, ToMaster, Verdict};
use crate::session::Key;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use tokio::sync::oneshot;

/// The master's answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::worker) struct Reply {
    pub(in crate::worker) text: String,
    /// Where the next page of a list begins.
    pub(in crate::worker) next: Option<u32>,
}

/// The one who waits for an answer.
#[derive(Debug)]
pub enum Waiter {
    /// A POST of a quote.
    Quote(oneshot::Sender<Outcome>),
    /// An administrator's message.
    Publish(oneshot::Sender<u32>),
    /// A question; `None`: there is no such thing.
    Question(oneshot::Sender<Option<Reply>>),
    /// A session that published.
    Session {
        key: Key,
        id: SessionId,
        /// The client's id, where it wants an `ack`.
        ack: Option<Box<str>>,
    },
    /// A session that enters a room.
    Room { session: SessionId, room: Box<str> },
}

/// Requests that a master has not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// Those to ask again, as they were asked, in their order.
    pub again: Vec<(u64, Box<[u8]>)>,
    /// Sessions that wait to be let into rooms.
    pub rooms: Vec<(u64, SessionId, Box<str>)>,
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(in crate::worker) struct Requests {
    last: u64,
    /// The master gives way: later quotes wait for the next one.
    held_after: Option<u64>,
    waiting: HashMap<u64, Waiter, foldhash::fast::RandomState>,
    /// Of them, those that may be asked again, as they were asked.
    repeatable: HashMap<u64, Box<[u8]>, foldhash::fast::RandomState>,
    /// Sessions that the master has not decided on. Those of one id, copies that came at once, have its answers in order.
    opens: HashMap<SessionId, Vec<(SessionRef, oneshot::Sender<Verdict>)>, RandomState>,
    /// What has come for sessions that have no connection yet.
    early: HashMap<SessionId, Early, RandomState>,
}

/// What has come for a session before its connection.
#[derive(Debug, Default)]
struct Early {
    /// What it is told before anything else.
    words: Option<Box<str>>,
    /// It has ended.
    end: Option<Close>,
}

impl Requests {
    /// Gives memory back after a peak.
    pub fn tidy(&mut self) {
        give_back(&mut self.waiting);
        give_back(&mut self.repeatable);
        give_back(&mut self.opens);
        give_back(&mut self.early);
    }

    /// Makes a number that no other request has.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Makes a number for a request that is answered to `waiter`.
    pub fn expect(&mut self, waiter: Waiter) -> u64 {
        let number = self.number();
        self.waiting.insert(number, waiter);
        number
    }

    /// Takes the one who waited for a request.
    pub fn done(&mut self, request: u64) -> Option<Waiter> {
        self.repeatable.remove(&request);
        self.waiting.remove(&request)
    }

    /// A request may be repeated if the master dies: it changes nothing, or whoever hears it twice knows it by its number.
    pub(in crate::worker) fn repeatable(&mut self, request: u64, message: &ToMaster<'_>) {
        if let Ok(bytes) = postcard::to_allocvec(message) {
            self.repeatable.insert(request, bytes.into());
        }
    }

    /// The next quotes wait for another master, or do not any more.
    pub fn hold(&mut self, waits: bool) {
        self.held_after = waits.then(|| self.held_after.unwrap_or(self.last));
    }

    /// The master is gone. Nobody knows what has become of quotes that it was asked for: who waits for one is told so.
    pub fn master_lost(&mut self) -> Unanswered {
        let asked = self.held_after.take().unwrap_or(u64::MAX);
        self.waiting.retain(|request, waiter| *request > asked || !matches!(waiter, Waiter::Quote(_)));
        let mut again: Vec<_> =
            self.repeatable.iter().map(|(request, bytes)| (*request, bytes.clone())).collect();
        again.sort_unstable_by_key(|(request, _)| *request);
        let mut rooms = Vec::new();
        for (request, waiter) in &self.waiting {
            if let Waiter::Room { session, room } = waiter {
                rooms.push((*request, *session, room.clone()));
            }
        }
        rooms.sort_unstable_by_key(|(request, ..)| *request);
        Unanswered { again, rooms }
    }

    /// Sessions that the master has not decided on, each once for each time that it was announced.
    pub fn undecided(&self) -> impl Iterator<Item = (SessionId, SessionRef)> {
        self.opens.iter().flat_map(|(id, all)| all.iter().map(|(at, _)| (*id, *at)))
    }

    /// Whether the master has not decided on a session.
    pub fn is_undecided(&self, id: SessionId, at: SessionRef) -> bool {
        self.opens.get(&id).is_some_and(|all| all.iter().any(|(other, _)| *other == at))
    }

    /// A number for a quote, and where its outcome comes.
    pub(in crate::worker) fn quote(&mut self) -> (u64, oneshot::Receiver<Outcome>) {
        let (sender, receiver) = oneshot::channel();
        (self.expect(Waiter::Quote(sender)), receiver)
    }

    /// A number for a message to a channel, and where the count of its subscribers comes.
    pub(in crate::worker) fn publish(&mut self) -> (u64, oneshot::Receiver<u32>) {
        let (sender, receiver) = oneshot::channel();
        (self.expect(Waiter::Publish(sender)), receiver)
    }

    /// A number for a question, and where its answer comes.
    pub(in crate::worker) fn question(&mut self) -> (u64, oneshot::Receiver<Option<Reply>>) {
        let (sender, receiver) = oneshot::channel();
        (self.expect(Waiter::Question(sender)), receiver)
    }

    /// Takes out the acks for which a session waits, in the order of its messages.
    pub fn acks_of(&mut self, of: Key, session: SessionId) -> Vec<Option<Box<str>>> {
        let is_its = |waiter: &Waiter| matches!(waiter, Waiter::Session { key, id, .. } if (*key, *id) == (of, session));
        let mut all: Vec<_> = self.waiting.extract_if(|_, waiter| is_its(waiter)).collect();
        all.sort_unstable_by_key(|(request, _)| *request);
        let acks = all.into_iter().map(|(request, waiter)| {
            (request, if let Waiter::Session { ack, .. } = waiter { ack } else { None })
        });
        // What was published is on its way, and goes again if the master dies.
        acks.map(|(_, ack)| ack).collect()
    }

    /// Nobody waits for a request any more.
    pub(in crate::worker) fn forget(&mut self, request: u64) {
        self.done(request);
    }

    /// The outcome of a quote.
    pub(in crate::worker) fn receipt(&mut self, request: u64, outcome: Outcome) {
        if let Some(Waiter::Quote(waiter)) = self.done(request) {
            let _ = waiter.send(outcome);
        }
    }

    /// The answer to a question.
    pub(in crate::worker) fn answer(&mut self, request: u64, answer: &Answer<'_>) {
        if let Some(Waiter::Question(waiter)) = self.done(request) {
            let _ = waiter.send(match answer {
                Answer::Text(text) => Some(Reply { text: (*text).to_owned(), next: None }),
                Answer::Page { text, next } => Some(Reply { text: (*text).to_owned(), next: *next }),
                Answer::Done => Some(Reply::default()),
                Answer::NotFound => None,
            });
        }
    }

    /// The master's word on a session is to come.
    pub fn expect_verdict(&mut self, id: SessionId, at: SessionRef) -> oneshot::Receiver<Verdict> {
        let (sender, verdict) = oneshot::channel();
        self.opens.entry(id).or_default().push((at, sender));
        verdict
    }

    /// Takes the first one who waited for the master's word on a session of that id.
    pub fn decided(&mut self, id: SessionId) -> Option<(SessionRef, oneshot::Sender<Verdict>)> {
        self.take_open(id, |_| true)
    }

    /// Nobody waits for the master's word on a session any more.
    pub fn forget_open(&mut self, id: SessionId, at: SessionRef) {
        self.early.remove(&id);
        self.take_open(id, |of| of == at);
    }

    /// A session that waits for the master's word is to be told this before anything else.
    pub fn tell_first(&mut self, id: SessionId, text: &str) {
        if self.opens.contains_key(&id) {
            self.early.entry(id).or_default().words = Some(text.into());
        }
    }

    /// A session ends before it has its connection.
    pub fn ends_early(&mut self, id: SessionId, close: Close) {
        self.early.entry(id).or_default().end = Some(close);
    }

    /// Takes what a session is to be told first.
    pub fn first_words(&mut self, id: SessionId) -> Option<Box<str>> {
        self.early.remove(&id)?.words
    }

    /// Takes the end of a session that has ended before it had its connection.
    pub fn early_end(&mut self, id: SessionId) -> Option<Close> {
        self.early.remove(&id)?.end
    }

    fn take_open(
        &mut self,
        id: SessionId,
        is_it: impl Fn(SessionRef) -> bool,
    ) -> Option<(SessionRef, oneshot::Sender<Verdict>)> {
        let all = self.opens.get_mut(&id)?;
        let found = all.iter().position(|(at, _)| is_it(*at)).map(|place| all.remove(place));
        if all.is_empty() {
            self.opens.remove(&id);
        }
        found
    }

    /// Opens that the master has not answered.
    pub(in crate::worker) fn unanswered(&self) -> usize {
        self.opens.len()
    }
}
