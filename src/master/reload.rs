//! The course of a reload. The files are read and checked whole away from the loop; a faulty configuration changes
//! nothing.

use super::core::Master;
use super::in_force::{Candidate, Next};
use super::journal::Record;
use super::reloads::{Outcome, Waiter};
use super::rooms;
use super::router::Rates;
use crate::config::{Faults, Loaded};
use crate::net::tls::certificates::Certificates;
use crate::os::clock;
use crate::protocol::cluster::{Generation, ToFeeder, ToWorker};
use crate::supervisor::workers;
use std::sync::Arc;

/// Why a daemon that stops takes no other configuration.
const STOPPING: &str = "the daemon is stopping";

impl Master {
    /// Somebody wants the configuration read again. Those who ask before it has been read get the same answer.
    pub(super) fn reload(&mut self, waiter: Option<Waiter>) {
        if self.service.is_stopping() {
            return self.refuse(vec![STOPPING.to_owned()], waiter.into_iter().collect());
        }
        self.in_force.ask(waiter);
        self.tls.hint(clock::mono());
        let notice = self.service.reload_begins();
        self.notify(notice);
        self.note_life();
    }

    /// The files have been read.
    pub(super) fn loaded(&mut self, read: Result<(Loaded, Certificates), Faults>) {
        if self.service.is_stopping() {
            return;
        }
        self.in_force.reloads.read();
        match read {
            Err(faults) => {
                let waiters = self.in_force.reloads.take_waiters();
                self.refuse(faults.0.iter().map(ToString::to_string).collect(), waiters);
            }
            Ok((loaded, certificates)) => self.consider(Next::new(loaded, certificates)),
        }
    }

    fn consider(&mut self, next: Next) {
        if self.in_force.is_known(&next) {
            return;
        }
        let (outcome, needs_workers) = self.in_force.compare(&next);
        if !needs_workers && self.in_force.listeners().fits(next.config()).is_ok() {
            let waiters = self.in_force.reloads.take_waiters();
            self.put_in_force(next);
            return self.conclude(outcome, waiters);
        }
        match self.in_force.listeners().change(next.config()) {
            Err(error) => {
                let waiters = self.in_force.reloads.take_waiters();
                self.refuse(vec![error.to_string()], waiters);
            }
            Ok(listeners) => {
                let candidate = Candidate { next, listeners: Arc::new(listeners), outcome };
                self.in_force.reloads.try_out(candidate, self.fleet.newest());
                let actions = self.fleet.replace_all(clock::mono());
                self.act(actions);
            }
        }
    }

    /// A worker is ready: the first that was born with the candidate puts it in force.
    pub(super) fn candidate_ready(&mut self, generation: Generation) {
        if !self.in_force.reloads.was_born_with(generation) {
            return;
        }
        if let Some((candidate, waiters)) = self.in_force.reloads.end_trial() {
            self.in_force.listen(candidate.listeners);
            self.put_in_force(candidate.next);
            self.log_listening();
            self.conclude(candidate.outcome, waiters);
        }
    }

    /// No process gets ready with the candidate.
    pub(super) fn candidate_failed(&mut self) {
        self.withdraw("a worker with the new configuration did not get ready");
    }

    /// Withdraws the candidate. Workers that were born with it are not ready yet, and must not be: they are started
    /// again with the configuration in force.
    fn withdraw(&mut self, why: &str) {
        let reloads = &mut self.in_force.reloads;
        let born: Vec<_> = self.children.workers().filter(|worker| reloads.was_born_with(*worker)).collect();
        if let Some((_, waiters)) = reloads.end_trial() {
            born.into_iter().for_each(|worker| self.kill(worker));
            self.refuse(vec![why.to_owned()], waiters);
        }
    }

    /// The daemon stops: nothing more is read or tried, and nobody waits for it.
    pub(super) fn stop_reloads(&mut self) {
        self.in_force.reloads.stop();
        self.withdraw(STOPPING);
        let waiters = self.in_force.reloads.take_waiters();
        if !waiters.is_empty() {
            self.refuse(vec![STOPPING.to_owned()], waiters);
        }
    }

    /// Puts a configuration in force in every part. Each part is named, so that one that is forgotten here does not
    /// compile.
    fn put_in_force(&mut self, mut next: Next) {
        let now = clock::mono();
        self.tls.adopt(std::mem::take(&mut next.certificates));
        self.in_force.replace(next);
        self.note_config();
        let Self {
            in_force,
            feed,
            announcer,
            rooms,
            router,
            directory,
            when,
            fleet,
            children,
            placing,
            // Nothing of these is configured.
            moves: _,
            service: _,
            handovers: _,
            orphans: _,
            ledger: _,
            refusals: _,
            board: _,
            spare: _,
            keeper: _,
            line: _,
            spawner: _,
            upgrades: _,
            journal: _,
            tls: _,
            revocations: _,
            keys: _,
            renewal: _,
            events: _,
        } = self;
        let config = in_force.config();
        in_force.listeners().bound(config);
        crate::log::adopt(&config.log);
        let refused_less = feed.adopt(config);
        children.tell_workers(&in_force.message());
        children.tell_feeders(&ToFeeder::Config { config: in_force.json(), real_before: feed.real_before() });
        if refused_less {
            children.tell_workers(&ToWorker::Refused(feed.refused().clone()));
        }
        announcer.adopt(config);
        rooms.configure(rooms::Limits::of(&config.chat));
        router.set_rates(Rates::of(&config.limits));
        directory.configure(config.stats.users, in_force.ceilings());
        when.configure(config.stats.interval);
        fleet.adopt(config.cluster.clone());
        placing.configure(config);
        let mut actions = fleet.resize(now, workers(&config.cluster));
        actions.extend(fleet.revive_all(now));
        self.note_trimmed();
        self.tell_tls();
        self.act(actions);
        self.take_back();
    }

    fn refuse(&mut self, faults: Vec<String>, waiters: Vec<Waiter>) {
        for fault in &faults {
            tracing::error!(event = "reload-refused", fault, "the configuration in force stays");
        }
        self.conclude(self.in_force.refusal(faults), waiters);
    }

    fn conclude(&mut self, outcome: Outcome, waiters: Vec<Waiter>) {
        if outcome.ok {
            let (changed, restart) = (outcome.changed.join(" "), outcome.restart.join(" "));
            tracing::info!(event = "reloaded", revision = outcome.revision, changed, restart);
        }
        // First systemd, then whoever waits: that may be systemd's own `ExecReload=`.
        if !self.in_force.reloads.is_pending() {
            let notice = self.service.reloads_over();
            self.notify(notice);
            self.note_life();
        }
        self.in_force.reloads.conclude(outcome, waiters);
        self.journal.write(&Record::Reloads(&self.in_force.reloads.pack()));
    }
}
