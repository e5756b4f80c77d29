//! Carries out the supervisor's orders: processes are started, welcomed, drained, stopped and killed; and notes their
//! end.

use super::children::Child;
use super::core::{LAST_WORDS, Master};
use super::event::Event;
use super::in_force::Newborn;
use super::journal::Record;
use super::service::AllFailed;
use crate::os::clock;
use crate::protocol::cluster::{Generation, Role, Slot, ToFeeder, ToWorker};
use crate::protocol::link::LinkSender;
use crate::supervisor::{Action, Spawned};

impl Master {
    /// Does what the supervisor wants.
    pub(super) fn act(&mut self, actions: Vec<Action>) {
        if !actions.is_empty() {
            self.note_fleet();
        }
        for action in actions {
            match action {
                Action::Start { role, generation } => self.start(role, generation),
                Action::Drain { generation } => self.drain(generation),
                Action::Stop { generation } => self.stop_child(generation),
                Action::Kill { generation, why } => {
                    tracing::warn!(event = "child-killed", generation, ?why);
                    self.kill(generation);
                }
                Action::LeftBehind { generation } => self.left_behind(generation),
                Action::Died { role, pause, generation } => {
                    let (child, worker) = (role.as_str(), role.worker());
                    tracing::info!(event = "child-restart", child, worker, ?pause);
                    self.succession_fails(role, generation);
                }
                Action::GivenUp { role, generation } => {
                    let worker = role.worker().unwrap_or_default();
                    tracing::error!(
                        event = "worker-given-up",
                        worker,
                        "died too often; the others serve on; `btc-cluster ctl restart-worker {worker}` tries again"
                    );
                    self.succession_fails(role, generation);
                    self.tell_when_all_ready();
                }
                Action::AllFailed => {
                    tracing::error!(event = "all-workers-failed");
                    self.service.end(Err(AllFailed));
                }
                Action::ReplacementFailed { role, generation } => {
                    let (child, worker) = (role.as_str(), role.worker());
                    tracing::error!(event = "replacement-failed", child, worker, "the old process serves on");
                    self.candidate_failed();
                    self.succession_fails(role, generation);
                }
                Action::RollingDone => {
                    tracing::info!(event = "workers-replaced");
                    self.succession_rolled();
                }
                Action::Gone => self.service.end(Ok(())),
            }
        }
    }

    pub(super) fn kill(&self, generation: Generation) {
        self.spawner.kill(generation);
    }

    pub(super) fn drain(&mut self, generation: Generation) {
        if !self.children.is_worker(generation) {
            return self.stop_child(generation);
        }
        if !self.renewal.gate.is_open() {
            // Nobody is known to take its sessions.
            return self.renewal.drain_later(generation);
        }
        let within = self.in_force.config().cluster.drain;
        self.offload_all(generation);
        let _ = self.children.tell(generation, &ToWorker::Drain(within));
        self.clear_board();
    }

    fn stop_child(&mut self, generation: Generation) {
        let Some(child) = self.children.get(generation) else { return };
        let _ = match child.role {
            Role::Feeder => self.children.tell(generation, &ToFeeder::Stop),
            Role::Worker(_) => {
                // A little less than the daemon has itself, so that the last words are out in time.
                let within = self.in_force.config().shutdown.grace.mul_f64(0.9);
                self.children.tell(generation, &ToWorker::Stop(within))
            }
        };
    }

    fn start(&mut self, role: Role, generation: Generation) {
        if let Err(error) = self.spawner.order(role, generation) {
            self.not_started(role, generation, &error.to_string());
        }
    }

    /// The keeper has started a process.
    pub(super) fn started(&mut self, generation: Generation, pid: u32) {
        let Some(spawned) = self.spawner.started(generation) else { return };
        let (child, worker) = (spawned.role.as_str(), spawned.role.worker());
        tracing::info!(event = "child-started", child, worker, pid, generation);
        self.settle_in(generation, pid, spawned);
        let actions = self.fleet.started(clock::mono(), generation, pid);
        self.act(actions);
        if self.fleet.is_leaving(generation) {
            // Decided while the keeper was starting it: there was no link yet to say it over.
            if self.service.is_stopping() { self.stop_child(generation) } else { self.drain(generation) }
        }
    }

    pub(super) fn not_started(&mut self, role: Role, generation: Generation, error: &str) {
        let (child, worker) = (role.as_str(), role.worker());
        tracing::error!(event = "child-not-started", child, worker, error);
        let actions = self.fleet.start_failed(clock::mono(), generation);
        self.act(actions);
    }

    /// A process is there: its link is served, its exit awaited, and it is told what it must know.
    fn settle_in(&mut self, generation: Generation, pid: u32, spawned: Spawned) {
        let role = spawned.role;
        let sender = self.serve_link(generation, spawned);
        self.children.insert(generation, Child::new(role, sender, pid));
        self.ledger.born(generation, role, clock::mono());
        match role {
            Role::Feeder => self.welcome_feeder(generation),
            Role::Worker(slot) => {
                self.directory.worker_born(generation, slot);
                self.welcome(slot, generation);
            }
        }
    }

    /// Serves a link from now on, and awaits the exit of its process.
    pub(super) fn serve_link(&self, generation: Generation, spawned: Spawned) -> LinkSender {
        let Spawned { sender, mut receiver, writer, exit, .. } = spawned;
        let writing = tokio::spawn(writer.run());
        let events = self.events.clone();
        let hearing = tokio::spawn({
            let events = events.clone();
            async move {
                while let Ok(batch) = receiver.receive().await {
                    if events.send(Event::Heard(generation, batch)).await.is_err() {
                        return;
                    }
                }
            }
        });
        tokio::spawn(async move {
            // The master has ended before.
            let Ok(end) = exit.await else { return };
            // Last words of a child are heard before its end is told; but a program that it has left behind may hold
            // its end of the link open.
            let _ = tokio::time::timeout(LAST_WORDS, hearing).await;
            writing.abort();
            // The loop has ended before.
            let _ = events.send(Event::Exited(generation, end.to_string())).await;
        });
        sender
    }

    /// Tells a newborn feeder how far the one before has read each file, then the configuration.
    pub(super) fn welcome_feeder(&mut self, to: Generation) {
        // The new feeder has not refused anything yet.
        self.refused(Default::default());
        let Self { feed, children, in_force, .. } = self;
        for (of, line) in feed.newest_lines() {
            if let Some(mark) = line.mark {
                let _ = children.tell(to, &ToFeeder::Resume { of, mark });
            }
        }
        let (config, real_before) = (in_force.json(), feed.real_before());
        let _ = children.tell(to, &ToFeeder::Config { config, real_before });
    }

    pub(super) fn welcome(&mut self, slot: Slot, generation: Generation) {
        let Newborn { listeners, json, certificates } = self.in_force.for_newborn();
        let tls = self.tls.give(certificates);
        let revoked = self.revocations.encode();
        let (mut doors, mut descriptors) = (Vec::new(), Vec::new());
        for (door, descriptor) in listeners.all() {
            match descriptor.try_clone() {
                Ok(copy) => {
                    doors.push(door);
                    descriptors.push(copy);
                }
                Err(error) => tracing::error!(event = "descriptor", %error),
            }
        }
        match self.board.descriptor().try_clone_to_owned() {
            Ok(copy) => descriptors.push(copy),
            Err(error) => tracing::error!(event = "descriptor", %error),
        }
        let Self { feed, children, keys, .. } = self;
        let quotes = feed.quotes().cloned().collect();
        let waits = self.upgrades.is_unpacking();
        let (config, listeners, tls, revoked) = (&*json, doors, &*tls, &*revoked);
        let (fetched, has_heard) = (keys.bytes(), keys.heard());
        let message = ToWorker::Welcome {
            slot,
            generation,
            config,
            listeners,
            quotes,
            waits,
            tls,
            revoked,
            keys: fetched,
        };
        let _ = children.tell_with(generation, &message, descriptors);
        if has_heard {
            let _ = children.tell(generation, &ToWorker::Keys(&[]));
        }
        if !feed.refused().is_empty() {
            let _ = children.tell(generation, &ToWorker::Refused(feed.refused().clone()));
        }
        for candles in feed.all_candles() {
            let _ = children.tell(generation, &ToWorker::Candles(candles.clone()));
        }
        for (of, line) in feed.newest_lines() {
            let message = ToWorker::Line { of, text: &line.text, number: line.number };
            let _ = children.tell(generation, &message);
        }
    }

    /// A child is at work.
    pub(super) fn ready(&mut self, from: Generation) {
        let Some(child) = self.children.get_mut(from) else { return };
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
        self.note_fleet();
        self.act(actions);
        match role {
            Role::Feeder => {}
            Role::Worker(_) => {
                self.upgrades.unpacking.ready(from, clock::mono());
                self.candidate_ready(from);
                self.candidate_ready(from);
                self.offload_leaving();
            }
        }
        self.tell_when_all_ready();
    }

    /// A child has ended.
    pub(super) fn exited(&mut self, generation: Generation, how: &str) {
        if self.upgrades.is_packing() {
            // All end, and nobody takes their places.
            let now = clock::mono();
            self.upgrades.packing().into_iter().for_each(|packing| packing.gone(generation, now));
            return;
        }
        self.upgrades.unpacking.gone(generation);
        self.held(generation);
        let leaving = self.fleet.is_leaving(generation);
        match self.children.remove(generation) {
            Some(gone) => {
                let (child, worker, pid) = (gone.role.as_str(), gone.role.worker(), gone.pid);
                if leaving {
                    tracing::info!(event = "child-gone", child, worker, pid, generation, how);
                } else {
                    tracing::warn!(event = "child-died", child, worker, pid, generation, how);
                }
                let is_covered = self.in_force.covers();
                self.forget(generation, gone, is_covered);
            }
            None => {
                tracing::info!(event = "child-gone", generation, how, "it was left behind");
                self.line.forget(generation, None);
            }
        }
        let actions = self.fleet.exited(clock::mono(), generation);
        self.clear_board();
        self.act(actions);
    }

    /// A killed child does not end: nothing waits for it any more.
    fn left_behind(&mut self, generation: Generation) {
        let Some(gone) = self.children.remove(generation) else { return };
        let (child, worker, pid) = (gone.role.as_str(), gone.role.worker(), gone.pid);
        tracing::error!(
            event = "child-left-behind",
            child,
            worker,
            pid,
            generation,
            "was killed and does not end: it hangs in the kernel, or a debugger holds it"
        );
        // Its sockets may not be used by anybody else while it may wake up.
        self.forget(generation, gone, false);
        self.clear_board();
    }

    fn forget(&mut self, generation: Generation, gone: Child, is_covered: bool) {
        self.ledger.gone(generation);
        self.journal.write(&Record::Gone { generation });
        self.renewal.gone(generation);
        if let Role::Worker(slot) = gone.role {
            self.worker_exited(slot, generation, gone.into_before(is_covered));
        }
    }

    /// Takes the counts of slots where nobody accepts from the board: of the dead, the drained and the retired. A
    /// worker would wait for them to take a connection that they never take. Also once a second, since a worker may
    /// write once more before it hears that it is drained.
    pub(super) fn clear_board(&self) {
        let stale = self.board.counts().into_iter().filter(|(slot, _)| !self.fleet.accepts(*slot));
        stale.for_each(|(slot, _)| self.board.set(slot, None));
    }
}
