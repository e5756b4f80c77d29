//! The master's side of its children: links, what they say, what they are told.

use super::core::Master;
use super::directory;
use super::router::{Lost, Order, Publication, Sink};
use crate::model::{Mono, SessionId};
use crate::os::clock;
use crate::protocol::client::Close;
use crate::protocol::cluster::{
    Answer, Beat, FromFeeder, Generation, NO_RECEIPT, Outcome, Question, Role, Slot, ToFeeder, ToMaster,
    ToWorker, VERSION,
};
use crate::protocol::link::{Batch, LinkError, LinkSender};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::Serialize;
use tokio::sync::oneshot;

/// A beat may differ so often, one after another, before the directory is made anew.
const DRIFT: u8 = 2;

/// One process and its link.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) role: Role,
    pub(super) link: LinkSender,
    pub(super) pid: u32,
    pub(super) ready: bool,
    pub(super) beat: Beat,
    pub(super) beat_at: Option<Mono>,
    drift: u8,
}

impl Child {
    pub(super) fn new(role: Role, link: LinkSender, pid: u32) -> Self {
        Self { role, link, pid, ready: false, beat: Beat::default(), beat_at: None, drift: 0 }
    }
}

/// Who asks when the master does: no process has this number.
pub(super) const MASTER: Generation = 0;

/// All links, by process, and the master's own questions.
#[derive(Debug, Default)]
pub(super) struct Children(
    pub(super) HashMap<Generation, Child, RandomState>,
    HashMap<u64, oneshot::Sender<u32>, RandomState>,
    u64,
);

impl Children {
    /// Says something to one of them.
    pub(super) fn tell<M: Serialize>(&self, to: Generation, message: &M) -> Result<(), Lost> {
        let child = self.0.get(&to).ok_or(Lost::Gone)?;
        child.link.send(message).map_err(|error| match error {
            LinkError::Full => Lost::Full,
            _ => Lost::Gone,
        })
    }

    /// Says something to all workers.
    pub(super) fn tell_workers(&self, message: &ToWorker<'_>) {
        for child in self.0.values().filter(|child| child.role.worker().is_some()) {
            // One that cannot hear is about to be found dead.
            let _ = child.link.send(message);
        }
    }

    /// Says something to the feeder that is at work.
    fn ask_feeder(&self, message: &ToFeeder<'_>) -> Result<(), Lost> {
        let feeder =
            self.0.values().find(|child| child.role == Role::Feeder && child.ready).ok_or(Lost::Gone)?;
        feeder.link.send(message).map_err(|_| Lost::Full)
    }

    /// Somebody has moved the log file away: all processes open it anew.
    pub(super) fn reopen_logs(&self) {
        for child in self.0.values() {
            let _ = match child.role {
                Role::Feeder => child.link.send(&ToFeeder::ReopenLog),
                Role::Worker(_) => child.link.send(&ToWorker::ReopenLog),
            };
        }
    }

    /// A number for a message of the master's own, and where the count of its subscribers comes.
    pub(super) fn expect(&mut self) -> (u64, oneshot::Receiver<u32>) {
        self.2 += 1;
        let (sender, receiver) = oneshot::channel();
        self.1.insert(self.2, sender);
        (self.2, receiver)
    }

    /// The processes that take orders.
    pub(super) fn ready_workers(&self) -> impl Iterator<Item = Generation> {
        self.0
            .iter()
            .filter(|(_, child)| child.role.worker().is_some() && child.ready)
            .map(|(generation, _)| *generation)
    }
}

impl Sink for Children {
    fn push(&mut self, to: Generation, ticket: u64, order: &Order<'_>) -> Result<(), Lost> {
        let Order { id, user, symbol, frame, deadline, .. } = *order;
        self.tell(to, &ToWorker::Push { ticket, id, user, symbol, frame, deadline })
    }

    fn publish(&mut self, to: Generation, ticket: u64, publication: &Publication<'_>) -> Result<(), Lost> {
        let Publication { channel, frame, skip, .. } = *publication;
        self.tell(to, &ToWorker::Publish { ticket, channel, frame, skip })
    }

    fn receipt(&mut self, to: Generation, request: u64, outcome: Outcome) {
        let _ = self.tell(to, &ToWorker::Receipt { request, outcome });
    }

    fn publish_receipt(&mut self, to: Generation, request: u64, sessions: u32) {
        if request == NO_RECEIPT {
            return;
        }
        if to == MASTER {
            if let Some(waiter) = self.1.remove(&request) {
                let _ = waiter.send(sessions);
            }
            return;
        }
        let _ = self.tell(to, &ToWorker::PublishReceipt { request, sessions });
    }
}

impl Master {
    /// Everything that came together from one child.
    pub(super) fn hear(&mut self, from: Generation, batch: &mut Batch) {
        let Some(child) = self.children.0.get(&from) else { return };
        let result = match child.role {
            Role::Feeder => self.hear_feeder(from, batch),
            Role::Worker(_) => self.hear_worker(from, batch),
        };
        if let Err(error) = result {
            tracing::error!(event = "child-garbage", generation = from, %error, "what it says makes no sense: killed");
            self.kill(from);
        }
    }

    fn hear_worker(&mut self, from: Generation, batch: &mut Batch) -> Result<(), LinkError> {
        self.heard = clock::mono();
        while let Some(message) = batch.next::<ToMaster<'_>>() {
            self.worker_says(from, message?);
        }
        Ok(())
    }

    fn worker_says(&mut self, from: Generation, message: ToMaster<'_>) {
        let now = clock::mono();
        match message {
            ToMaster::Deliver { request, id, user, symbol, frame, deadline } => {
                let order = Order { request, id, user, symbol, frame, deadline };
                self.router.deliver(from, &order, &self.directory, now, &mut self.children);
            }
            ToMaster::Delivered { ticket, tally } => {
                self.router.delivered(from, ticket, tally, &mut self.children)
            }
            ToMaster::Open(open) => {
                let verdict = self.directory.open(from, &open, &self.config.limits, now);
                // The others hear of it before it is there: nobody is told of its own coming.
                self.announce(now);
                let _ = self.children.tell(from, &ToWorker::Opened { session: open.session, verdict });
            }
            ToMaster::Closed(session) => _ = self.directory.closed(from, session),
            ToMaster::Publish { request, channel, frame, deadline, skip } => {
                let publication = Publication { request, channel, frame, deadline, skip };
                self.publish(from, &publication, now);
            }
            ToMaster::Published { ticket, sessions } => {
                self.router.published(from, ticket, sessions, &mut self.children);
            }
            ToMaster::Ask { request, question } => self.answer(from, request, &question),
            ToMaster::Beat(beat) => self.beat(from, *beat, now),
            ToMaster::Roster(page) => {
                self.directory.roster(from, &page);
                if page.last {
                    let sessions = self.directory.counts(from).0;
                    tracing::warn!(event = "directory-resynchronised", generation = from, sessions);
                }
            }
            ToMaster::Hello(hello) => self.hello(from, hello.version),
            ToMaster::Ready => self.ready(from),
            ToMaster::Relay { to, notice, payload } => self.relay(from, to, notice, payload),
            ToMaster::Room { room, session, step } => self.room(from, room, session, step, now),
            // The exit follows; hanging up tells the child that it was heard.
            ToMaster::Drained => _ = self.children.0.get_mut(&from).map(|child| child.ready = false),
        }
    }

    fn hear_feeder(&mut self, from: Generation, batch: &mut Batch) -> Result<(), LinkError> {
        while let Some(message) = batch.next::<FromFeeder>() {
            match message? {
                FromFeeder::Hello(hello) => self.hello(from, hello.version),
                FromFeeder::Ready => self.ready(from),
                FromFeeder::Beat(counters) => {
                    let beat = Beat { counters: *counters, ..Beat::default() };
                    self.beat(from, beat, clock::mono());
                }
                FromFeeder::Tick(quote) => self.price(quote),
                FromFeeder::Sources(table) => self.sources = table,
                FromFeeder::Refused(refused) => self.refused(refused),
                FromFeeder::Candles(candles) => self.candles(candles),
                FromFeeder::Line { of, text, mark } => self.line(&of, text, mark),
                FromFeeder::Answer { to, request, text } => {
                    let answer = text.as_deref().map_or(Answer::NotFound, Answer::Text);
                    let _ = self.children.tell(to, &ToWorker::Answer { request, answer });
                }
            }
        }
        Ok(())
    }

    fn hello(&mut self, from: Generation, version: u32) {
        if version != VERSION {
            tracing::error!(
                event = "child-version",
                generation = from,
                version,
                "speaks another version: killed"
            );
            self.kill(from);
        }
    }

    fn ready(&mut self, from: Generation) {
        let Some(child) = self.children.0.get_mut(&from) else { return };
        child.ready = true;
        let (role, pid) = (child.role, child.pid);
        tracing::info!(
            event = "child-ready",
            child = role.as_str(),
            worker = role.worker(),
            pid,
            generation = from
        );
        let actions = self.fleet.ready(clock::mono(), from);
        self.act(actions);
        match role {
            Role::Feeder => {}
            Role::Worker(_) => self.candidate_ready(from),
        }
        self.tell_when_all_ready();
    }

    fn beat(&mut self, from: Generation, beat: Beat, now: Mono) {
        let Some(child) = self.children.0.get_mut(&from) else { return };
        let agrees = match child.role {
            Role::Feeder => true,
            Role::Worker(_) => self.directory.agrees(from, &beat),
        };
        child.drift = if agrees { 0 } else { child.drift.saturating_add(1) };
        if child.drift >= DRIFT {
            child.drift = 0;
            let _ = child.link.send(&ToWorker::Resync);
        }
        self.ledger.beat(from, &beat.counters, now);
        child.beat = beat;
        child.beat_at = Some(now);
        let actions = self.fleet.beat(now, from);
        self.act(actions);
    }

    fn answer(&mut self, from: Generation, request: u64, question: &Question<'_>) {
        let text = match question {
            Question::Stats => self.stats_json(),
            Question::Metrics => self.metrics_text(),
            Question::Sources => self.sources_json(clock::boot()).to_string(),
            Question::Sessions { user, from: begin } => {
                let (text, next) = self.directory.page(*user, *begin, directory::PAGE);
                let answer = Answer::Page { text: &text, next };
                let _ = self.children.tell(from, &ToWorker::Answer { request, answer });
                return;
            }
            Question::Admission(endpoint, user, address) => {
                let verdict =
                    self.directory.admission((*endpoint, user, *address), &self.config.limits, clock::mono());
                serde_json::to_string(&verdict).unwrap_or_default()
            }
            Question::Kick(session) => {
                let answer = if self.disconnect(*session) { Answer::Done } else { Answer::NotFound };
                let _ = self.children.tell(from, &ToWorker::Answer { request, answer });
                return;
            }
            Question::History { symbol, interval, limit } => {
                let ask = ToFeeder::Ask { to: from, request, symbol, interval: *interval, limit: *limit };
                if self.children.ask_feeder(&ask).is_err() {
                    let answer = Answer::NotFound;
                    let _ = self.children.tell(from, &ToWorker::Answer { request, answer });
                }
                return;
            }
        };
        let _ = self.children.tell(from, &ToWorker::Answer { request, answer: Answer::Text(&text) });
    }

    /// Closes a session wherever it is; false when there is none of that id.
    pub(super) fn disconnect(&mut self, session: SessionId) -> bool {
        let Some(at) = self.directory.session(session).map(|listed| listed.generation) else { return false };
        let message = ToWorker::Kick { session, code: Close::Disconnected.code() };
        self.children.tell(at, &message).is_ok()
    }

    /// The configuration for the feeder.
    pub(super) fn tell_feeder(&self, to: Generation, config: &str) {
        let real_before = self.real_before;
        let _ = self.children.tell(to, &ToFeeder::Config { config, real_before });
    }

    /// A child has ended.
    pub(super) fn exited(&mut self, generation: Generation, how: &str) {
        let leaving = self.fleet.is_leaving(generation);
        let Some(child) = self.children.0.remove(&generation) else { return };
        let (role, pid) = (child.role, child.pid);
        if leaving {
            tracing::info!(
                event = "child-gone",
                child = role.as_str(),
                worker = role.worker(),
                pid,
                generation,
                how
            );
        } else {
            tracing::warn!(
                event = "child-died",
                child = role.as_str(),
                worker = role.worker(),
                pid,
                generation,
                how
            );
        }
        self.ledger.gone(generation);
        match role {
            Role::Feeder => {}
            Role::Worker(slot) => self.worker_exited(slot, generation, leaving),
        }
        let actions = self.fleet.exited(clock::mono(), generation);
        self.act(actions);
    }

    fn worker_exited(&mut self, slot: Slot, generation: Generation, leaving: bool) {
        if !leaving {
            self.board.set(slot, None);
        }
        let lost = self.directory.worker_gone(generation);
        self.router.worker_gone(generation, &mut self.children);
        self.peer_gone(generation, clock::mono());
        if lost > 0 {
            tracing::warn!(event = "sessions-lost", worker = slot, sessions = lost);
        }
    }
}
