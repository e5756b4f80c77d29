//! A master that takes the place of another: what it finds, and what living processes tell it.

use super::children::Child;
use super::core::Master;
use super::gate::Gate;
use super::handovers::{Ended, Why};
use super::journal::{self, Record};
use crate::model::{Mono, SessionId};
use crate::os::clock;
use crate::protocol::cluster::{
    Again, BatchId, Generation, Handover, MovesAgain, Role, RosterPage, Sent, ToFeeder, ToWorker, fingerprint,
};
use crate::protocol::keeper::Begin;
use crate::supervisor::{Alive, Fleet, Row, State, workers};
use std::collections::BTreeMap;

impl Master {
    /// Starts the daemon, or goes on with it.
    pub(super) fn begin(&mut self, begin: &Begin, state: journal::State) {
        let now = clock::mono();
        self.feed.resume(&state.prices, state.real_before, &state.lines);
        for (room, messages) in state.rooms() {
            messages.iter().for_each(|message| _ = self.rooms.publish(room, message));
        }
        self.rooms.take_trimmed();
        self.renewal.published = state.published.clone();
        self.note_config();
        self.note_life();
        if begin.before.is_some() {
            self.resume(begin, &state.fleet);
        } else {
            self.log_listening();
        }
        let actions = self.fleet.resize(now, workers(&self.in_force.config().cluster));
        self.act(actions);
        if state.life.stopping {
            self.stop();
        }
    }

    /// Goes on with the processes that live.
    fn resume(&mut self, begin: &Begin, packed: &str) {
        let now = clock::mono();
        let alive = Alive { children: &begin.children, last: begin.last_generation };
        let policy = self.in_force.config().cluster.clone();
        let (fleet, actions) = Fleet::resume(policy, (packed, fastrand::u64(..)), alive, now);
        self.fleet = fleet;
        for running in &begin.children {
            let (generation, role) = (running.generation, running.role);
            match self.spawner.relink(role, generation) {
                Ok(spawned) => {
                    let sender = self.serve_link(generation, spawned);
                    self.children.insert(generation, Child::again(role, sender, running.pid));
                    self.ledger.born(generation, role, now);
                    if let Role::Worker(slot) = role {
                        self.directory.worker_born(generation, slot);
                    }
                }
                Err(error) => {
                    tracing::error!(event = "descriptor", %error);
                    self.line.kill(generation);
                }
            }
        }
        let lives = |generation| begin.children.iter().any(|child| child.generation == generation);
        for gone in self.ledger.living().filter(|generation| !lives(*generation)).collect::<Vec<_>>() {
            self.ledger.gone(gone);
            self.journal.write(&Record::Gone { generation: gone });
        }
        for (gone, end) in begin.gone.iter().filter(|(generation, _)| !lives(*generation)) {
            tracing::debug!(generation = gone, %end, "ended before this master");
            self.children.tell_workers(&ToWorker::PeerGone(*gone));
        }
        let limits = &self.in_force.config().cluster;
        let until = now.after(limits.worker_timeout.min(limits.start_timeout));
        self.renewal.untold = self.children.workers().collect();
        self.renewal.gate = Gate::closed(self.renewal.untold.clone(), until);
        begin.left.iter().for_each(|of| self.ask_for_estate(*of));
        self.act(actions);
    }

    /// A worker of the master before introduces itself. `None`: it was not welcomed yet.
    pub(super) fn again(&mut self, from: Generation, again: Option<Again>) {
        let Some(slot) = self.children.get(from).and_then(|child| child.role.worker()) else { return };
        let Some(Again { config, quotes, lines, moves, adopts }) = again else {
            return self.welcome(slot, from);
        };
        self.renewal.moves.insert(from, moves);
        adopts.into_iter().for_each(|of| self.renewal.estates.claim(of, from));
        for quote in quotes {
            if self.feed.at_least(&quote) {
                self.journal.write(&Record::Price(Box::new(quote)));
            }
        }
        lines.iter().for_each(|(of, number)| self.renewal.gate.knows_line(of, *number));
        if config == fingerprint(self.in_force.json()) {
            return;
        }
        let is_new = |row: &Row| row.generation == Some(from) && row.state == State::Starting;
        if self.fleet.rows().iter().any(is_new) {
            tracing::warn!(
                event = "candidate-withdrawn",
                worker = slot,
                generation = from,
                "the master died while a configuration was on trial: it begins again if the files still say so"
            );
            return self.kill(from);
        }
        let _ = self.children.tell(from, &self.in_force.message());
    }

    /// The feeder of the master before introduces itself.
    pub(super) fn feeder_again(&mut self, from: Generation, config: Option<u64>) {
        if config.is_none() {
            self.welcome_feeder(from);
        } else if config != Some(fingerprint(self.in_force.json())) {
            let (config, real_before) = (self.in_force.json(), self.feed.real_before());
            let _ = self.children.tell(from, &ToFeeder::Config { config, real_before });
        }
        if self.renewal.gate.is_open() {
            let lines = self.feed.newest_lines().map(|(of, line)| (of, line.number)).collect();
            let _ = self.children.tell(from, &ToFeeder::Heard { lines: Some(lines) });
        }
    }

    /// Opens the gate, if all living workers have told who is there.
    pub(super) fn look_at_gate(&mut self, now: Mono) {
        let Some((held, mut known)) = self.renewal.gate.opens(now) else { return };
        self.settle_estates(now);
        self.finish_moves();
        for (of, line) in self.feed.newest_lines() {
            known.entry(of.into()).or_insert(line.number);
        }
        let Self { feed, children, .. } = self;
        children.tell_workers(&ToWorker::Refused(feed.refused().clone()));
        for quote in feed.quotes() {
            children.tell_workers(&ToWorker::Quote(quote.clone()));
        }
        let lines = known.iter().map(|(of, number)| (&**of, *number)).collect();
        children.tell_feeders(&ToFeeder::Heard { lines: Some(lines) });
        let (sessions, workers) = (self.directory.totals().sessions, self.children.ready_workers().count());
        let without_master = now.since(self.renewal.before);
        // One that takes over from a master that gave way says more when all sessions are here.
        if !self.upgrades.is_unpacking() && self.upgrades.succession().is_none() {
            tracing::warn!(event = "master-renewed", sessions, workers, ?without_master, held = held.len());
        }
        let event = self.handovers.begun(Why::Renewal, None, None, self.renewal.born);
        self.handovers.came_to(event, Handover::Held, sessions as u64);
        self.handovers.silence(event, without_master);
        self.handovers.ended(event, now, clock::wall()).into_iter().for_each(Ended::log);
        if workers > 0 {
            self.tell_serving();
        }
        for (from, batch) in held {
            self.hear(from, batch);
        }
        for worker in std::mem::take(&mut self.renewal.drains) {
            self.drain(worker);
        }
        self.succession_opens(without_master);
    }

    /// Says what has become of sessions that were on their way: those that have come are their target's, the others go on
    /// at their source.
    fn finish_moves(&mut self) {
        for Finished { worker, arrived, back, dropped } in finished(&std::mem::take(&mut self.renewal.moves))
        {
            if let Some((batch, refused)) = arrived {
                let _ = self.children.tell(worker, &ToWorker::Arrived { batch, refused });
            }
            if let Some(sent) = &back {
                match postcard::from_bytes::<RosterPage<'_>>(&sent.page) {
                    Ok(page) => self.directory.roster(worker, &page),
                    Err(error) => tracing::error!(event = "roster", generation = worker, %error),
                }
            }
            if back.is_some() || !dropped.is_empty() {
                let back = back.map(|sent| sent.number);
                let _ = self.children.tell(worker, &ToWorker::Unfinished { back, dropped });
            }
        }
    }

    /// Writes down what the supervisor knows, if that has changed. A configuration on trial is forgotten with the
    /// master, and so is the rolling that is for it.
    pub(super) fn note_fleet(&mut self) {
        let packed = self.fleet.pack(self.in_force.reloads.candidate().is_none());
        if packed != self.renewal.packed {
            self.journal.write(&Record::Fleet(&packed));
            self.renewal.packed = packed;
        }
    }

    /// Writes down the configuration in force.
    pub(super) fn note_config(&mut self) {
        let (json, revision) = (self.in_force.json(), self.in_force.revision());
        self.journal.write(&Record::Config { json, revision });
    }

    /// Writes down how far the daemon is.
    pub(super) fn note_life(&mut self) {
        self.journal.write(&Record::Life(self.service.life()));
    }

    /// Writes down what the master counts itself, if that has changed.
    pub(super) fn note_own(&mut self) {
        let mut own = self.ledger.own().clone();
        own.cpu_us += crate::os::process::usage().cpu_us;
        let texts = (
            serde_json::to_string(&own).unwrap_or_default(),
            serde_json::to_string(&self.handovers).unwrap_or_default(),
        );
        if texts != self.renewal.own {
            self.journal.write(&Record::Own { counters: &texts.0 });
            self.journal.write(&Record::Handovers(&texts.1));
            self.renewal.own = texts;
        }
    }

    /// Writes down how often links did not take a message.
    pub(super) fn note_dropped(&mut self) {
        let dropped = self.children.dropped();
        let sum = dropped.values().sum();
        if sum != self.renewal.dropped {
            self.renewal.dropped = sum;
            for (role, count) in dropped {
                self.journal.write(&Record::Dropped { slot: journal::slot(role), count });
            }
        }
    }
}

/// What a worker must hear of batches that were on their way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Finished {
    worker: Generation,
    arrived: Option<(u32, Vec<SessionId>)>,
    back: Option<Sent>,
    dropped: Vec<BatchId>,
}

/// Decides for each batch by what both of its workers know. One owner comes out: the target, if the batch has come whole
/// there, else the source.
fn finished(all: &BTreeMap<Generation, MovesAgain>) -> Vec<Finished> {
    let of = |worker: &Generation, moves: &MovesAgain| {
        let mut said = Finished { worker: *worker, dropped: moves.expected.clone(), ..Finished::default() };
        if let Some(sent) = &moves.sent {
            let batch = BatchId { from: *worker, number: sent.number };
            let target = all.get(&sent.to);
            match target.and_then(|target| target.came.iter().find(|(came, _)| *came == batch)) {
                Some((_, refused)) => said.arrived = Some((sent.number, refused.clone())),
                None => said.back = Some(sent.clone()),
            }
        }
        said
    };
    all.iter().map(|(worker, moves)| of(worker, moves)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_has_come_is_its_targets_and_any_other_its_sources() {
        let batch = |from, number| BatchId { from, number };
        let own = |number, to| Sent { number, to, page: vec![] };
        let sent = |number, to| MovesAgain { sent: Some(own(number, to)), ..MovesAgain::default() };
        let refused = vec![SessionId(5)];
        let target = MovesAgain {
            expected: vec![batch(2, 8)],
            came: vec![(batch(1, 4), refused.clone()), (batch(3, 1), vec![])],
            ..MovesAgain::default()
        };
        let all = [(1, sent(4, 9)), (2, sent(8, 9)), (3, sent(2, 9)), (4, sent(1, 7)), (9, target)];
        let said = finished(&all.into_iter().collect());
        let back =
            |worker, (number, to)| Finished { worker, back: Some(own(number, to)), ..Finished::default() };
        let arrived = Finished { worker: 1, arrived: Some((4, refused)), ..Finished::default() };
        let dropped = Finished { worker: 9, dropped: vec![batch(2, 8)], ..Finished::default() };
        assert_eq!(said, [arrived, back(2, (8, 9)), back(3, (2, 9)), back(4, (1, 7)), dropped]);
    }
}
