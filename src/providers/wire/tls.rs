//! TLS to sources, with the system's root certificates.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Reads the root certificates when they are first needed. (rustls-platform-verifier does the same on Linux, and logs
/// an error for each certificate that it refuses.)
#[derive(Debug, Default)]
pub(in crate::providers) struct Tls(Mutex<Option<Arc<ClientConfig>>>);

impl Tls {
    /// Begins TLS on a connection.
    ///
    /// # Errors
    /// What is wrong with the certificate, or the connection.
    pub(in crate::providers) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(self.config().await?);
        connector.connect(name, stream).await.map_err(|error| error.to_string())
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.lock().clone() {
            return Ok(config);
        }
        // Where they are is for the environment to say (SSL_CERT_FILE): reading may take long.
        let config =
            tokio::task::spawn_blocking(trusting_the_system).await.map_err(|error| error.to_string())?;
        Ok(self.lock().insert(Arc::new(config?)).clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<ClientConfig>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the root certificates again when they are needed.
    pub(in crate::providers) fn forget(&self) {
        *self.lock() = None;
    }

    /// Trusts this certificate only.
    #[cfg(test)]
    pub(in crate::providers) fn trusting(certificate: rustls::pki_types::CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        Self(Mutex::new(Some(Arc::new(config(roots).unwrap()))))
    }
}

fn trusting_the_system() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!("this system has no root certificates (package ca-certificates){why}"));
    }
    config(roots)
}

fn config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
