//! Which configuration is in force. Read and checked whole away from the loop; a bad one changes nothing. One that
//! needs new processes is a *candidate* until the first of them is ready with it, and withdrawn if none gets ready.

use super::core::{Master, workers};
use crate::config::{Config, Effect, Faults, Loaded, diff};
use crate::net::listen::Listeners;
use crate::os::clock;
use crate::protocol::cluster::{Generation, Role, ToWorker};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What became of one reload, in the words of `ctl`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) ok: bool,
    /// Number of the configuration in force now.
    pub(super) revision: u64,
    /// Keys that changed.
    pub(super) changed: Vec<String>,
    /// Keys that changed but need a restart of the daemon.
    pub(super) restart: Vec<String>,
    /// Why it was refused, every fault.
    pub(super) faults: Vec<String>,
}

/// A configuration on trial.
struct Candidate {
    loaded: Box<Loaded>,
    config: Arc<Config>,
    json: Arc<str>,
    listeners: Arc<Listeners>,
    outcome: Outcome,
    /// Processes started after this one are born with it.
    after: Generation,
}

/// Reloads, the one that runs and those that wait.
#[derive(Default)]
pub(super) struct Reloads {
    /// Somebody wants one.
    wished: bool,
    waiting: Vec<oneshot::Sender<Outcome>>,
    candidate: Option<Candidate>,
    /// The last one's outcome.
    pub(super) last: Option<Outcome>,
    pub(super) refused: u64,
    pub(super) done: u64,
    /// Why changed files are not told, and how often they are read instead.
    pub(super) watch_trouble: Option<String>,
}

impl Reloads {
    /// Whether a configuration is being tried: the next one waits.
    pub(super) fn on_trial(&self) -> bool {
        self.candidate.is_some()
    }

    /// Notes whether the system tells of changed files, and logs each change of this once.
    pub(super) fn watched(&mut self, trouble: Option<(&str, Duration)>) {
        let trouble = trouble.map(|(why, every)| format!("{why}; they are read every {every:?} instead"));
        if trouble == self.watch_trouble {
            return;
        }
        match &trouble {
            Some(why) => {
                tracing::warn!(event = "watch-lost", why, "changed configuration files are not told")
            }
            None => tracing::info!(event = "watch-restored", "changed configuration files are told again"),
        }
        self.watch_trouble = trouble;
    }

    /// Whether a reload was asked for since last time.
    pub(super) fn take_wish(&mut self) -> bool {
        std::mem::take(&mut self.wished)
    }
}

/// The configuration as the children get it.
pub(super) fn to_json(config: &Config) -> Arc<str> {
    serde_json::to_string(config).unwrap_or_default().into()
}

impl Master {
    /// Somebody wants the configuration read again. Those who come while that goes on get the same answer.
    pub(super) fn reload(&mut self, waiter: Option<oneshot::Sender<Outcome>>) {
        self.reloads.waiting.extend(waiter);
        if self.stopping {
            self.refuse(vec!["the daemon is stopping".to_owned()]);
            return;
        }
        self.reloads.wished = true;
        self.notifier.reloading();
    }

    /// The files have been read.
    pub(super) fn loaded(&mut self, read: Result<Loaded, Faults>) {
        if self.stopping {
            return;
        }
        match read {
            Err(faults) => self.refuse(faults.0.iter().map(ToString::to_string).collect()),
            Ok(loaded) => self.consider(loaded),
        }
    }

    fn consider(&mut self, loaded: Loaded) {
        let changes = diff(&self.config, &loaded.config);
        let of =
            |effect: Effect| changes.iter().filter(move |c| c.effect == effect).map(|c| c.key.to_string());
        let outcome = Outcome {
            ok: true,
            revision: self.revision + u64::from(!changes.is_empty()),
            changed: changes.iter().map(|c| c.key.to_string()).collect(),
            restart: of(Effect::Restart).collect(),
            faults: Vec::new(),
        };
        let config = Arc::new(loaded.config.clone());
        let json = to_json(&config);
        if of(Effect::Workers).next().is_none() {
            self.put_in_force(loaded, config, json);
            self.conclude(outcome);
            return;
        }
        match self.listeners.change(&config) {
            Err(error) => self.refuse(vec![error.to_string()]),
            Ok(listeners) => {
                let after = self.fleet.newest();
                let (loaded, listeners) = (Box::new(loaded), Arc::new(listeners));
                self.reloads.candidate = Some(Candidate { loaded, config, json, listeners, outcome, after });
                let actions = self.fleet.replace_all(clock::mono());
                self.act(actions);
            }
        }
    }

    /// A worker is ready: the first that was born with the candidate puts it in force.
    pub(super) fn candidate_ready(&mut self, generation: Generation) {
        if self.reloads.candidate.as_ref().is_none_or(|candidate| generation <= candidate.after) {
            return;
        }
        if let Some(candidate) = self.reloads.candidate.take() {
            self.listeners = candidate.listeners;
            self.kept.keep(self.listeners.own());
            self.put_in_force(*candidate.loaded, candidate.config, candidate.json);
            self.log_listening();
            self.conclude(candidate.outcome);
        }
    }

    /// No process gets ready with the candidate.
    pub(super) fn candidate_failed(&mut self) {
        if self.reloads.candidate.take().is_some() {
            self.refuse(vec!["a worker with the new configuration did not get ready".to_owned()]);
        }
    }

    fn put_in_force(&mut self, loaded: Loaded, config: Arc<Config>, json: Arc<str>) {
        let now = clock::mono();
        if *config != *self.config {
            self.revision += 1;
        }
        for warning in &loaded.warnings {
            tracing::warn!(event = "configuration", %warning);
        }
        self.loaded = loaded;
        self.config = config;
        self.config_json = json;
        self.lines.adopt(&self.config);
        crate::log::adopt(&self.config.log);
        let message = ToWorker::Config { revision: self.revision, config: &self.config_json };
        self.children.tell_workers(&message);
        let feeders: Vec<_> =
            self.children.0.iter().filter(|(_, c)| c.role == Role::Feeder).map(|(g, _)| *g).collect();
        feeders.into_iter().for_each(|feeder| self.tell_feeder(feeder, &self.config_json));
        self.rooms.configure(super::peers::limits(&self.config));
        self.router.set_rate(self.config.limits.quotes_per_user);
        self.directory.rank_users(self.config.stats.users);
        self.when.configure(self.config.stats.interval);
        self.fleet.adopt(self.config.cluster.clone());
        let mut actions = self.fleet.resize(now, workers(&self.config));
        actions.extend(self.fleet.revive_all(now));
        self.act(actions);
    }

    fn refuse(&mut self, faults: Vec<String>) {
        for fault in &faults {
            tracing::error!(event = "reload-refused", fault, "the configuration in force stays");
        }
        self.conclude(Outcome {
            ok: false,
            revision: self.revision,
            changed: Vec::new(),
            restart: Vec::new(),
            faults,
        });
    }

    fn conclude(&mut self, outcome: Outcome) {
        if outcome.ok {
            self.reloads.done += 1;
            let (changed, restart) = (outcome.changed.join(" "), outcome.restart.join(" "));
            tracing::info!(event = "reloaded", revision = outcome.revision, changed, restart);
        } else {
            self.reloads.refused += 1;
        }
        for waiter in self.reloads.waiting.drain(..) {
            let _ = waiter.send(outcome.clone());
        }
        self.reloads.last = Some(outcome);
        self.notifier.ready();
    }

    /// What a new process is born with: the candidate, where there is one.
    pub(super) fn for_newborn(&self) -> (Arc<Listeners>, Arc<str>, u64) {
        match &self.reloads.candidate {
            Some(candidate) => (candidate.listeners.clone(), candidate.json.clone(), self.revision + 1),
            None => (self.listeners.clone(), self.config_json.clone(), self.revision),
        }
    }
}
