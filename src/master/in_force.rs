//! The configuration in force: immutable, numbered, replaced whole; and the sockets that belong to it.

use super::directory::Ceilings;
use super::reloads::{Outcome, Reloads, Waiter};
use crate::config::{Config, CrashCover, Effect, Fault, Loaded, Source, diff};
use crate::net::kept::Kept;
use crate::net::listen::Listeners;
use crate::net::tls::certificates::Certificates;
use crate::protocol::cluster::{Door, ToWorker};
use crate::supervisor::workers;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Files that a worker opens for itself: sockets, links, the runtime's, and some connections that only ask.
const OWN_FILES: u64 = 32;

/// A configuration that is to be in force.
#[derive(Debug)]
pub(super) struct Next {
    config: Arc<Config>,
    /// The configuration as the children get it.
    json: Arc<str>,
    warnings: Vec<Fault>,
    pub(super) certificates: Certificates,
}

impl Next {
    pub(super) fn new(loaded: Loaded, certificates: Certificates) -> Self {
        let json = serde_json::to_string(&loaded.config).unwrap_or_default().into();
        Self { config: Arc::new(loaded.config), json, warnings: loaded.warnings, certificates }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

/// A configuration on trial.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) next: Next,
    pub(super) listeners: Arc<Listeners>,
    pub(super) outcome: Outcome,
}

/// Configuration and sockets of a newborn worker.
pub(super) struct Newborn<'a> {
    pub(super) listeners: Arc<Listeners>,
    pub(super) json: Arc<str>,
    /// Of a candidate.
    pub(super) certificates: Option<&'a Certificates>,
}

/// The configuration in force, and the reloads that replace it.
pub(super) struct InForce {
    source: Source,
    /// Files that a process may have open.
    files: u64,
    config: Arc<Config>,
    json: Arc<str>,
    revision: u64,
    listeners: Arc<Listeners>,
    kept: Kept,
    pub(super) reloads: Reloads<Candidate>,
    /// Why changed files go unnoticed until they are read again, and how often they are.
    watch_trouble: Option<(String, Duration)>,
    /// The configuration is that of a master before: this one has not read the files.
    unread: bool,
}

impl InForce {
    /// Whether sessions survive their worker.
    pub(super) fn covers(&self) -> bool {
        self.config().handover.crash_cover != CrashCover::Off
    }

    /// The first configuration of this daemon.
    pub(super) fn new(source: Source, first: Next, (listeners, kept): (Listeners, Kept), files: u64) -> Self {
        Self {
            source,
            files,
            config: first.config,
            json: first.json,
            revision: 1,
            listeners: Arc::new(listeners),
            kept,
            reloads: Reloads::default(),
            watch_trouble: None,
            unread: false,
        }
    }

    /// Goes on under another master; `revision`: the number of the configuration that was in force; `is_awaited`: somebody
    /// waits for the end of a reload.
    pub(super) fn resume(&mut self, revision: Option<u64>, reloads: &str, is_awaited: bool) {
        let Some(revision) = revision else { return };
        self.revision = revision;
        self.unread = !is_awaited;
        self.reloads.resume(reloads);
        // The files may have changed meanwhile.
        self.reloads.ask(None);
    }

    /// Somebody asks for a reload, and is told what comes of it.
    pub(super) fn ask(&mut self, waiter: Option<Waiter>) {
        self.unread = false;
        self.reloads.ask(waiter);
    }

    /// The files were read for the first time since this master began; true if nothing follows from that.
    pub(super) fn is_known(&mut self, read: &Next) -> bool {
        std::mem::take(&mut self.unread) && read.config == self.config
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The main file.
    pub(super) fn file(&self) -> &Path {
        &self.source.file
    }

    /// The message to every worker when the configuration has changed.
    pub(super) fn message(&self) -> ToWorker<'_> {
        ToWorker::Config { config: &self.json }
    }

    /// Addresses of a port, as text.
    pub(super) fn addresses(&self, door: impl Into<Door>) -> Vec<String> {
        self.listeners.addresses(door).map(|address| address.to_string()).collect()
    }

    /// The most sessions where `limits.sessions` is 0. With a connection of their own: 95 % of what the descriptors of
    /// all workers allow. So the next client is told that the cluster is full, and a probe still gets its answer, before
    /// descriptors are used up.
    pub(super) fn ceilings(&self) -> Ceilings {
        let each = self.files.saturating_sub(OWN_FILES).saturating_mul(95) / 100;
        let all = each.saturating_mul(workers(&self.config.cluster).into());
        let connected = u32::try_from(all).unwrap_or(u32::MAX);
        Ceilings { connected, polling: self.config.poll.sessions }
    }

    /// The changes that `next` brings, and whether workers must be born with it.
    pub(super) fn compare(&self, next: &Next) -> (Outcome, bool) {
        let changes = diff(&self.config, &next.config);
        let of = |effect| changes.iter().filter(move |change| change.effect == effect);
        let outcome = Outcome {
            ok: true,
            revision: self.revision + u64::from(!changes.is_empty()),
            changed: changes.iter().map(|change| change.key.clone()).collect(),
            restart: of(Effect::Restart).map(|change| change.key.clone()).collect(),
            faults: Vec::new(),
        };
        (outcome, of(Effect::Workers).next().is_some())
    }

    /// The outcome of a reload that changes nothing.
    pub(super) fn refusal(&self, faults: Vec<String>) -> Outcome {
        Outcome { ok: false, revision: self.revision, changed: Vec::new(), restart: Vec::new(), faults }
    }

    /// Puts `next` in force, but for its certificates.
    pub(super) fn replace(&mut self, next: Next) {
        self.revision += u64::from(next.config != self.config);
        for warning in &next.warnings {
            tracing::warn!(event = "configuration", %warning);
        }
        (self.config, self.json) = (next.config, next.json);
    }

    /// Notes whether the system tells of changed files, and logs each change of this once.
    pub(super) fn watched(&mut self, trouble: Option<(String, Duration)>) {
        if trouble == self.watch_trouble {
            return;
        }
        self.watch_trouble = trouble;
        match self.watch_trouble() {
            Some(why) => {
                tracing::warn!(event = "watch-lost", why, "the kernel reports no changed files")
            }
            None => tracing::info!(event = "watch-restored", "the kernel reports changed files again"),
        }
    }

    /// Why changed files go unnoticed, and what holds instead.
    pub(super) fn watch_trouble(&self) -> Option<String> {
        let (why, every) = self.watch_trouble.as_ref()?;
        Some(format!("{why}; they are read every {every:?} instead"))
    }

    /// How often the files are read because the system does not tell of changes.
    pub(super) fn polled(&self) -> Option<Duration> {
        self.watch_trouble.as_ref().map(|(_, every)| *every)
    }

    /// Puts other sockets in force; systemd keeps them from now on.
    pub(super) fn listen(&mut self, listeners: Arc<Listeners>) {
        self.listeners = listeners;
        self.kept.keep(self.listeners.own());
    }

    /// The candidate, or without one the configuration in force.
    pub(super) fn for_newborn(&self) -> Newborn<'_> {
        match self.reloads.candidate() {
            Some(Candidate { next, listeners, .. }) => Newborn {
                listeners: listeners.clone(),
                json: next.json.clone(),
                certificates: Some(&next.certificates),
            },
            None => {
                Newborn { listeners: self.listeners.clone(), json: self.json.clone(), certificates: None }
            }
        }
    }
}
