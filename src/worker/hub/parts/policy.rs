//! The configuration in force, and what is made of it.

use super::known_keys::KnownKeys;
use super::suspended::Limits;
use crate::access::Gate;
use crate::access::tokens::{Revoked, Trust};
use crate::config::Config;
use crate::session::Bounds;
use std::ops::Deref;
use std::sync::Arc;

/// The configuration in force. Every part is told what it needs of it.
#[derive(Debug)]
pub(in crate::worker) struct Policy {
    config: Arc<Config>,
    gate: Arc<Gate>,
    trust: Arc<Trust>,
    revoked: Revoked,
    keys: KnownKeys,
}

impl Deref for Policy {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.config
    }
}

impl Policy {
    pub fn new(config: Arc<Config>) -> Self {
        Self::with(config, Revoked::default(), KnownKeys::default())
    }

    fn with(config: Arc<Config>, revoked: Revoked, keys: KnownKeys) -> Self {
        let trust = Arc::new(Trust::new(&config.auth, keys.fetched(), revoked.clone()));
        Self { gate: Arc::new(Gate::new(&config)), trust, revoked, keys, config }
    }

    /// Puts another configuration in force; returns the one before.
    pub fn replace(&mut self, config: Arc<Config>) -> Arc<Config> {
        if config.auth.jwks_url != self.config.auth.jwks_url {
            self.keys.begin_anew();
        }
        let next = Self::with(config, self.revoked.clone(), std::mem::take(&mut self.keys));
        std::mem::replace(self, next).config
    }

    /// The configuration itself.
    pub(in crate::worker) fn whole(&self) -> Arc<Config> {
        self.config.clone()
    }

    /// Admits hosts and origins.
    pub(in crate::worker) fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    /// Revocations, whatever the configuration is.
    pub(in crate::worker) fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Keys that were fetched. After a change of them, [`Policy::trust_anew`].
    pub(in crate::worker) fn keys(&mut self) -> &mut KnownKeys {
        &mut self.keys
    }

    /// Trusts the keys that are there now.
    pub(in crate::worker) fn trust_anew(&mut self) {
        self.trust = Arc::new(Trust::new(&self.config.auth, self.keys.fetched(), self.revoked.clone()));
    }

    /// Whom to trust, and with what.
    pub(in crate::worker) fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Whether sessions are kept for clients that come back.
    pub fn resumes(&self) -> bool {
        let resume = &self.resume;
        !resume.window.is_zero() && resume.sessions > 0 && resume.messages > 0
    }

    /// How many messages are kept for one session.
    pub fn bounds(&self) -> Bounds {
        Bounds { messages: self.resume.messages as usize, bytes: self.resume.bytes }
    }

    /// Which suspended sessions are kept, and what is remembered of ended ones.
    pub fn limits(&self) -> Limits {
        let (sessions, window) = (self.resume.sessions as usize, self.resume.window);
        Limits { sessions, bytes: self.resume.memory, window, memory: window.max(self.poll.gap) }
    }
}
