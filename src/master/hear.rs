//! Messages of the children, and their consequences.

use super::core::Master;
use super::directory::{self, Relief};
use super::feed::{Kept, News};
use super::journal::{Record, slot};
use super::router::{Order, Publication};
use super::unpacking::{Counts, Part};
use crate::model::{Candles, Device, Mono, Quote, SessionId, Symbol};
use crate::os::clock;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::{
    Answer, Beat, FromFeeder, Generation, Hello, NO_RECEIPT, Open, Question, Role, ToFeeder, ToMaster,
    ToWorker, VERSION,
};
use crate::protocol::link::{Batch, LinkError};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The directory is made anew after so many beats, one after another, that differ from it.
const DRIFT: u8 = 2;
/// A worker that says much is noted to live so often.
const SIGN: Duration = Duration::from_millis(250);

impl Master {
    /// Everything that came together from one child.
    pub(super) fn hear(&mut self, from: Generation, mut batch: Batch) {
        let Some(child) = self.children.get(from) else { return };
        let result = match child.role {
            Role::Feeder => self.hear_feeder(from, &mut batch),
            Role::Worker(_) => self.hear_worker(from, batch),
        };
        if let Err(error) = result {
            tracing::error!(event = "child-garbage", generation = from, %error, "what it says makes no sense: killed");
            self.kill(from);
        }
    }

    fn hear_worker(&mut self, from: Generation, mut batch: Batch) -> Result<(), LinkError> {
        let now = clock::mono();
        self.service.hear(now);
        self.lives(from, now);
        loop {
            if self.renewal.gate.holds(from) {
                self.renewal.gate.hold(from, batch);
                return Ok(());
            }
            let Some(message) = batch.next_with_some::<ToMaster<'_>>() else { return Ok(()) };
            let (message, descriptors) = message?;
            if let ToMaster::Packed { sessions, closed } = message {
                self.packed(from, (sessions, closed), descriptors.into_iter().next());
                continue;
            }
            self.worker_says(from, message, descriptors);
        }
    }

    /// Whatever a worker says is a sign of life: where many sessions arrive at once, its beats wait their turn.
    fn lives(&mut self, worker: Generation, now: Mono) {
        let Some(child) = self.children.get_mut(worker).filter(|child| now.since(child.heard) >= SIGN) else {
            return;
        };
        child.heard = now;
        let actions = self.fleet.beat(now, worker);
        self.act(actions);
    }

    /// Has those end that give way to a newcomer.
    fn relieve(&mut self) {
        for relief in self.directory.take_relief() {
            let _ = match relief {
                Relief::Evicted { worker, session } => {
                    self.children.tell(worker, &ToWorker::GiveWay(session))
                }
                Relief::Replaced { worker, session } => {
                    self.children.tell(worker, &ToWorker::Kick { session, code: Close::Replaced.number() })
                }
                Relief::Shed { worker } => self.children.tell(worker, &ToWorker::Shed),
                Relief::Silent { worker, of } => self.children.tell(worker, &ToWorker::Silent { of }),
            };
        }
    }

    /// Opens a stream that may take the place of the oldest of its user.
    fn open_over(&mut self, from: Generation, open: &Open<'_>, now: Mono) {
        let limits = &self.in_force.config().limits;
        if let Some(devices) = self.directory.take_over(open, limits, now) {
            let devices: Vec<_> = devices.iter().map(|device| device.as_ref().map(Device::as_str)).collect();
            let text = client::took_over(&devices);
            let _ = self.children.tell(from, &ToWorker::TookOver { session: open.session, text: &text });
        }
        self.open(from, open, now);
    }

    fn open(&mut self, from: Generation, open: &Open<'_>, now: Mono) {
        let verdict = self.directory.open(from, open, &self.in_force.config().limits, now);
        self.refusals.note(verdict, open.address, now);
        self.relieve();
        // The others hear of it before it is there: nobody is told of its own coming.
        self.announce(now);
        let _ = self.children.tell(from, &ToWorker::Opened { session: open.session, verdict });
    }

    fn worker_says(&mut self, from: Generation, message: ToMaster<'_>, with: Vec<OwnedFd>) {
        let now = clock::mono();
        match message {
            ToMaster::Deliver { request, id, user, symbol, frame, deadline, poster } => {
                let order = Order { request, id, user, symbol, frame, deadline, poster };
                self.router.deliver(from, &order, &self.directory, now, &mut self.children);
            }
            ToMaster::Delivered { ticket, tally } => {
                self.router.delivered(from, ticket, tally, &mut self.children)
            }
            ToMaster::Open(open) => self.open(from, &open, now),
            ToMaster::OpenOver(open) => self.open_over(from, &open, now),
            ToMaster::TakenUp(session) => self.directory.taken_up(from, session),
            ToMaster::Away(token) => self.directory.away(from, token),
            ToMaster::Gone(token) => self.directory.gone(from, token),
            ToMaster::Closed(session) => _ = self.directory.closed(from, session),
            ToMaster::Publish { request, channel, frame, deadline, skip } => {
                let of = (request != NO_RECEIPT).then_some((from, request));
                let publication = Publication { request, channel, frame, deadline, skip, of };
                self.publish(from, &publication, now);
            }
            ToMaster::Published { ticket, sessions } => {
                self.router.published(from, ticket, sessions, &mut self.children);
            }
            ToMaster::Ask { request, question } => self.answer(from, request, &question),
            ToMaster::Beat(beat) => self.beat(from, *beat, now),
            ToMaster::Roster(page) => self.roster(from, &page),
            ToMaster::Hello(hello) => self.hello(from, hello),
            ToMaster::Ready => self.ready(from),
            ToMaster::Relay { to, notice, payload } => self.relay((from, to), notice, payload, with),
            ToMaster::Room { room, session, step } => self.room(from, room, session, step, now),
            ToMaster::Hand { batch, to, sessions } => self.hand(from, batch, to, &sessions),
            ToMaster::Arrived { batch, refused, gone } => self.arrived(from, batch, refused, &gone),
            ToMaster::TakenBack { batch, gone } => self.taken_back(from, batch, &gone),
            ToMaster::Offloaded { order, moved } => self.offloaded(from, order, moved),
            ToMaster::Done { order } => {
                self.children.get_mut(from).into_iter().for_each(|child| child.retained.done(order));
            }
            ToMaster::Adopted { of, results, silence } => self.adopted(of, &results, silence, now),
            ToMaster::Again(again) => self.again(from, again.map(|again| *again)),
            ToMaster::Told => {
                self.renewal.untold.remove(&from);
                self.renewal.gate.told(from);
            }
            ToMaster::Unpacked { of, part, parts, held, closed, silence } => {
                let counts = Counts { held: held.into(), closed: closed.into(), silence };
                self.unpacked(from, Part { of, part, parts }, counts);
            }
            ToMaster::Packed { .. } => {}
            ToMaster::WantKeys => self.want_keys(),
            ToMaster::Held => self.held(from),
            ToMaster::Learnt(ends) => self.learnt(ends),
            // The exit follows; hanging up tells the child that it was heard.
            ToMaster::Drained => _ = self.children.get_mut(from).map(|child| child.ready = false),
        }
    }

    fn hear_feeder(&mut self, from: Generation, batch: &mut Batch) -> Result<(), LinkError> {
        while let Some(message) = batch.next::<FromFeeder>() {
            match message? {
                FromFeeder::Hello(hello) => {
                    self.hello(from, hello);
                    if self.children.get(from).is_some_and(|child| !child.inherited) {
                        self.feed.renew();
                    }
                }
                FromFeeder::Ready => self.ready(from),
                FromFeeder::Beat(counters) => {
                    let beat = Beat { counters: *counters, ..Beat::default() };
                    self.beat(from, beat, clock::mono());
                }
                FromFeeder::Tick(quote) => self.price(quote),
                FromFeeder::Sources(table) => self.feed.table(table),
                FromFeeder::Refused(refused) => self.refused(refused),
                FromFeeder::Candles(candles) => self.candles(candles),
                FromFeeder::Line { of, text, mark, number } => self.line_of(&of, Kept { text, mark, number }),
                FromFeeder::Keys(set) => self.take_keys(*set),
                FromFeeder::Again { config } => self.feeder_again(from, config),
                FromFeeder::Answer { to, request, text } => {
                    let answer = text.as_deref().map_or(Answer::NotFound, Answer::Text);
                    let _ = self.children.tell(to, &ToWorker::Answer { request, answer });
                }
            }
        }
        Ok(())
    }

    /// Keeps a price from the feeder and sends it to all.
    fn price(&mut self, quote: Quote) {
        if let Some((quote, news)) = self.feed.price(quote, clock::mono()) {
            news.iter().for_each(News::log);
            self.journal.write(&Record::Price(Box::new(quote.clone())));
            self.children.tell_workers(&ToWorker::Quote(quote));
        }
    }

    /// Keeps a line from the feeder and sends it to all.
    fn line_of(&mut self, of: &str, line: Kept) {
        let number = line.number;
        if self.feed.is_older_line(of, number) {
            return self.children.tell_workers(&ToWorker::Line { of, text: &line.text, number });
        }
        self.journal.write(&Record::Line { of, text: &line.text, mark: line.mark, number });
        if let Some(text) = self.feed.line(of, line) {
            self.children.tell_workers(&ToWorker::Line { of, text, number });
        }
    }

    /// Keeps candles from the feeder and sends them to all.
    fn candles(&mut self, candles: Candles) {
        if self.feed.candles(&candles) {
            self.children.tell_workers(&ToWorker::Candles(candles));
        }
    }

    /// Keeps for which symbols the sources do not agree, and tells all when that has changed.
    pub(super) fn refused(&mut self, refused: BTreeMap<Symbol, String>) {
        if self.feed.refuse(refused) {
            self.children.tell_workers(&ToWorker::Refused(self.feed.refused().clone()));
        }
    }

    fn hello(&mut self, from: Generation, hello: Hello) {
        let Hello { version, program, .. } = hello;
        if let Some(child) = self.children.get_mut(from) {
            child.program = program;
        }
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

    fn beat(&mut self, from: Generation, beat: Beat, now: Mono) {
        let Some(child) = self.children.get_mut(from) else { return };
        let agrees = match child.role {
            Role::Feeder => true,
            Role::Worker(_) => self.moves.is_under_way(from) || self.directory.agrees(from, &beat),
        };
        child.drift = if agrees { 0 } else { child.drift.saturating_add(1) };
        self.ledger.beat(from, &beat.counters, now);
        if let Ok(counters) = serde_json::to_string(&beat.counters) {
            let (generation, slot, counters) = (from, slot(child.role), &*counters);
            self.journal.write(&Record::Beat { generation, slot, counters });
        }
        child.beat = beat;
        if child.drift >= DRIFT {
            child.drift = 0;
            let _ = self.children.tell(from, &ToWorker::Resync);
        }
        let actions = self.fleet.beat(now, from);
        self.act(actions);
    }

    fn answer(&mut self, from: Generation, request: u64, question: &Question<'_>) {
        let text = match question {
            Question::Stats => self.stats_json(),
            Question::Metrics(form) => {
                let text = self.metrics_text(*form);
                // No counter may fall when another master answers next.
                self.note_own();
                text
            }
            Question::Sources => self.feed.sources_json(clock::boot()).to_string(),
            Question::Sessions { user, from: begin } => {
                let (text, next) = self.directory.page(*user, *begin, directory::PAGE);
                let answer = Answer::Page { text: &text, next };
                let _ = self.children.tell(from, &ToWorker::Answer { request, answer });
                return;
            }
            Question::Admission(endpoint, user, address) => {
                let verdict = self.directory.admission(
                    (*endpoint, user, *address),
                    &self.in_force.config().limits,
                    clock::mono(),
                );
                serde_json::to_string(&verdict).unwrap_or_default()
            }
            Question::Kick(session) => {
                let answer = if self.disconnect(*session) { Answer::Done } else { Answer::NotFound };
                let _ = self.children.tell(from, &ToWorker::Answer { request, answer });
                return;
            }
            Question::Revoke(orders) => {
                let answer = if self.revoke_encoded(orders) { Answer::Done } else { Answer::NotFound };
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

    /// Sends all sessions of a user away, to come back at once; says how many.
    pub(super) fn reconnect(&mut self, user: &str) -> usize {
        let all: Vec<_> =
            self.directory.sessions_of(user).map(|one| (one.session_id, one.generation)).collect();
        let code = Close::Reconnect.code();
        let mut told = |(session, at): &(SessionId, Generation)| {
            self.children.tell(*at, &ToWorker::Kick { session: *session, code }).is_ok()
        };
        all.iter().filter(|one| told(one)).count()
    }

    /// Closes a session wherever it is; false when there is none of that id.
    pub(super) fn disconnect(&mut self, session: SessionId) -> bool {
        let Some(at) = self.directory.session(session).map(|listed| listed.generation) else { return false };
        let message = ToWorker::Kick { session, code: Close::Disconnected.number() };
        self.children.tell(at, &message).is_ok()
    }
}
