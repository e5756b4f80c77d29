//! Certificates in force and the secrets of session tickets: what workers are given, and when files are looked at.

use crate::config::{Faults, Loaded};
use crate::model::{Boot, Mono, Wall};
use crate::net::tls::certificates::{Before, Certificates, Change, Files};
use crate::net::tls::given::Given;
use crate::net::tls::pair::Pair;
use crate::net::tls::renewal::Look;
use crate::net::tls::secrets::{Random, Secrets};
use crate::os::clock;
use crate::stats::CertificateGauge;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What is in force, for the thread that reads configurations: a pair stays although its files are torn.
#[derive(Clone, Debug, Default)]
pub(super) struct InForce(Arc<Mutex<Before>>);

impl InForce {
    /// What the master before has left.
    pub(super) fn left(bytes: &[u8]) -> Self {
        let before = Given::decode(bytes).map(|given| given.before()).unwrap_or_default();
        Self(Arc::new(Mutex::new(before)))
    }

    /// The certificates of a configuration, read from their files.
    ///
    /// # Errors
    /// All that is wrong, where it stands.
    pub(super) fn read(&self, loaded: &Loaded) -> Result<Certificates, Faults> {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Certificates::of(loaded, before, clock::mono())
    }

    fn note(&self, certificates: &Certificates) {
        let pairs = certificates.pairs().map(|(files, pair)| (files.clone(), pair.clone())).collect();
        // Who asks for a reload is told of authorities that cannot be read: nobody looks at their file again.
        let before = Before { pairs, authorities: None };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = before;
    }
}

/// Certificates in force, and the secrets.
pub(super) struct Tls {
    in_force: InForce,
    certificates: Certificates,
    /// Made with the first certificate.
    secrets: Option<Secrets>,
    /// Files are being read.
    is_reading: bool,
}

/// `None`: the kernel has no random numbers. Tickets with a secret that somebody guesses are worse than no TLS.
fn random() -> Option<Random> {
    let mut random = [0; 40];
    let filled = aws_lc_rs::rand::fill(&mut random);
    if filled.is_err() {
        tracing::error!(
            event = "no-random-numbers",
            "the kernel has none: there is no new secret for tickets"
        );
    }
    filled.ok().map(|()| random)
}

impl Tls {
    /// `left`: what the master before has written down.
    pub(super) fn new(in_force: InForce, left: &[u8]) -> Self {
        let known =
            Given::decode(left).and_then(|given| Secrets::decode(&given.secrets().encode(), clock::boot()));
        Self { in_force, certificates: Certificates::default(), secrets: known, is_reading: false }
    }

    /// Puts certificates in force.
    pub(super) fn adopt(&mut self, mut certificates: Certificates) {
        // A pair may have changed since: while a worker tried the configuration.
        certificates.follow(std::mem::take(&mut self.certificates));
        self.in_force.note(&certificates);
        for (key, warning) in certificates.warnings(clock::wall()) {
            tracing::warn!(event = "configuration", "{key}: {warning}");
        }
        self.certificates = certificates;
    }

    /// What a worker needs for handshakes with these certificates; empty: there are none, or there is no secret.
    pub(super) fn give(&mut self, certificates: Option<&Certificates>) -> Vec<u8> {
        let certificates = certificates.unwrap_or(&self.certificates);
        if certificates.pairs().next().is_none() {
            return Vec::new();
        }
        if self.secrets.is_none() {
            self.secrets = random().map(|random| Secrets::new(&random, clock::boot()));
        }
        self.secrets.as_ref().map(|secrets| Given::new(certificates, secrets).encode()).unwrap_or_default()
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Mono> {
        self.certificates.look_at().filter(|_| !self.is_reading)
    }

    /// A reload was asked for: files are looked at now.
    pub(super) fn hint(&mut self, now: Mono) {
        self.certificates.hint(now);
    }

    /// The files to read now.
    pub(super) fn begin(&mut self, now: Mono) -> Vec<Files> {
        let due = if self.is_reading { Vec::new() } else { self.certificates.due(now) };
        self.is_reading |= !due.is_empty();
        due
    }

    pub(super) fn looked(&mut self, looks: &[(Files, Look)], now: Mono, wall: Wall) -> Vec<Change> {
        self.is_reading = false;
        let changes = self.certificates.looked(looks, now, wall);
        self.in_force.note(&self.certificates);
        changes
    }

    /// Whether there is a new secret.
    pub(super) fn renew(&mut self, now: Boot) -> bool {
        let due = self.secrets.as_ref().is_some_and(|secrets| now >= secrets.due());
        let Some(secrets) = self.secrets.as_mut().filter(|_| due) else { return false };
        random().is_some_and(|random| secrets.renew(&random, now))
    }

    /// How long each certificate in force still holds.
    pub(super) fn gauges(&self, now: Wall) -> Vec<CertificateGauge> {
        let gauge = |(_, pair): (&Files, &Pair)| {
            let left = pair.validity().until.0.saturating_sub(now.0);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            CertificateGauge { name: pair.name().to_owned(), left }
        };
        self.certificates.pairs().map(gauge).collect()
    }
}
