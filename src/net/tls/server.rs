//! The rustls configuration of each port: made anew with each change of certificates, secrets or keys of `[tls]`, and
//! replaced whole. Connections keep the one that they began with.

use super::secrets::Secrets;
use super::served::Served;
use super::tickets::{Realm, Tickets};
use crate::config::TlsVersion;
use crate::os::clock;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{Error, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;

/// What this server speaks inside TLS.
const ALPN: &[u8] = b"http/1.1";

static NEWEST: [&SupportedProtocolVersion; 1] = [&TLS13];

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => &NEWEST,
    }
}

/// Who signs the certificates of admins: `tls.client_ca`.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    /// The text that they were read from.
    pem: Arc<[u8]>,
}

impl Authorities {
    /// Reads a PEM file of certificates.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let certificate = certificate.map_err(|_| "is cut or damaged: this is no PEM".to_owned())?;
            let added = store.add(certificate);
            added.map_err(|error| format!("certificate {} cannot be read: {error}", at + 1))?;
        }
        if store.is_empty() {
            return Err("holds no certificate (PEM, \"-----BEGIN CERTIFICATE-----\")".to_owned());
        }
        Ok(Self { roots: Arc::new(store), pem: pem.into() })
    }

    /// The text of the file, for other processes.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.pem
    }
}

/// What all ports have in common.
#[derive(Clone, Debug)]
pub struct Common {
    pub served: Arc<Served>,
    pub secrets: Secrets,
    pub min_version: TlsVersion,
}

impl Common {
    /// The configuration of the ports for everybody.
    ///
    /// # Errors
    /// rustls refuses it: a defect.
    pub fn public(&self) -> Result<Arc<ServerConfig>, Error> {
        self.config(Arc::new(NoClientAuth), Some(Realm::Public))
    }

    /// The configuration of the admin port. With `authorities` each client needs a certificate of theirs, and gets no
    /// tickets: a resumed session would not be asked for it again.
    ///
    /// # Errors
    /// rustls refuses it.
    pub fn admin(&self, authorities: Option<&Authorities>) -> Result<Arc<ServerConfig>, Error> {
        let Some(Authorities { roots, .. }) = authorities else {
            return self.config(Arc::new(NoClientAuth), Some(Realm::Admin));
        };
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), Arc::new(default_provider())).build();
        self.config(verifier.map_err(|error| Error::General(error.to_string()))?, None)
    }

    fn config(
        &self,
        clients: Arc<dyn ClientCertVerifier>,
        tickets: Option<Realm>,
    ) -> Result<Arc<ServerConfig>, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions(self.min_version))?;
        let mut config = builder.with_client_cert_verifier(clients).with_cert_resolver(self.served.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Its memory would be of one process, and outlive the certificates of clients.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // Early data can be sent again by anybody who has heard it, to another worker, too.
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        match tickets {
            Some(realm) => {
                let tickets = Tickets::new(self.secrets.clone(), realm, clock::boot);
                config.ticketer = Arc::new(tickets.map_err(|error| Error::General(error.to_string()))?);
            }
            None => config.send_tls13_tickets = 0,
        }
        Ok(Arc::new(config))
    }
}
