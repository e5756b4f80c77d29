//! What the master gives its workers and leaves to the next master: the texts of all pairs in force, and the secrets.

use super::certificates::{Before, Certificates, Files};
use super::pair::Pair;
use super::secrets::Secrets;
use super::served::Served;
use super::server::{Authorities, Common};
use crate::config::TlsVersion;
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// One pair: its files, and what they said.
#[derive(Serialize, Deserialize)]
struct Texts {
    files: (PathBuf, PathBuf),
    #[serde(with = "serde_bytes")]
    certificate: Vec<u8>,
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
}

/// Who signs the certificates of admins, as their file said it.
#[derive(Serialize, Deserialize)]
struct Signers {
    file: PathBuf,
    #[serde(with = "serde_bytes")]
    text: Vec<u8>,
}

/// All that a worker needs for TLS, but for what its configuration says.
#[derive(Serialize, Deserialize)]
pub struct Given {
    pairs: Vec<Texts>,
    authorities: Option<Signers>,
    secrets: Secrets,
}

/// Without a key.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// The rustls configurations of a worker.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Of the ports for everybody.
    pub public: Arc<ServerConfig>,
    /// Of the port for admins.
    pub admin: Arc<ServerConfig>,
}

impl Given {
    /// What is in force.
    #[must_use]
    pub fn new(certificates: &Certificates, secrets: &Secrets) -> Self {
        let texts = |(files, pair): (&Files, &Pair)| {
            let (certificate, key) = pair.texts();
            let files = (files.certificate.clone(), files.key.clone());
            Texts { files, certificate: certificate.to_vec(), key: key.to_vec() }
        };
        let signers = |(file, known): &(PathBuf, Authorities)| Signers {
            file: file.clone(),
            text: known.text().to_vec(),
        };
        Self {
            pairs: certificates.pairs().map(texts).collect(),
            authorities: certificates.authorities().map(signers),
            secrets: secrets.clone(),
        }
    }

    /// As bytes: for a message and for the journal.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads what [`Given::encode`] wrote. `None`: these are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// The secrets.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The pairs that can be read, with their files.
    #[must_use]
    pub fn pairs(&self) -> Vec<(Files, Pair)> {
        let read = |texts: &Texts| {
            let (certificate, key) = texts.files.clone();
            Some((Files { certificate, key }, Pair::read(&texts.certificate, &texts.key).ok()?))
        };
        self.pairs.iter().filter_map(read).collect()
    }

    /// What the next master goes on with.
    #[must_use]
    pub fn before(&self) -> Before {
        let read = |known: &Signers| Some((known.file.clone(), Authorities::read(&known.text).ok()?));
        Before { pairs: self.pairs(), authorities: self.authorities.as_ref().and_then(read) }
    }

    /// The configurations of a worker's ports.
    ///
    /// # Errors
    /// There is no pair, or rustls refuses them.
    pub fn ports(&self, min_version: TlsVersion) -> Result<Ports, String> {
        let pairs = self.pairs().into_iter().map(|(_, pair)| pair).collect();
        let served = Served::new(pairs).ok_or_else(|| "there is no certificate".to_owned())?;
        let authorities =
            self.authorities.as_ref().map(|known| Authorities::read(&known.text)).transpose()?;
        let common = Common { served: Arc::new(served), secrets: self.secrets.clone(), min_version };
        let of = |error: rustls::Error| error.to_string();
        let admin = common.admin(authorities.as_ref()).map_err(of)?;
        Ok(Ports { public: common.public().map_err(of)?, admin })
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::tests::{FIRST, WILD};
    use super::*;
    use crate::config::{CertificateSection, TlsSection};
    use crate::model::{Boot, Mono};
    use std::path::Path;

    #[test]
    fn what_a_master_gives_is_what_a_worker_serves_and_the_next_master_knows() {
        let tls = TlsSection {
            cert: Some("a.crt".into()),
            key: Some("a.key".into()),
            certificates: vec![CertificateSection { cert: "b.crt".into(), key: "b.key".into() }],
            client_ca: Some("ca.crt".into()),
            min_version: TlsVersion::V1_2,
            handshakes_at_once: 4,
        };
        let read = |path: &Path| {
            let bytes = match path.to_str() {
                Some("a.crt") => FIRST.0,
                Some("a.key") => FIRST.1,
                Some("b.crt") => WILD.0,
                Some("b.key") => WILD.1,
                _ => super::super::pair::tests::CA,
            };
            Ok(bytes.to_vec())
        };
        let certificates = Certificates::new(&tls, Before::default(), read, Mono(0)).unwrap();
        let secrets = Secrets::new(&[7; 40], Boot(0));
        let given = Given::new(&certificates, &secrets);
        let bytes = given.encode();
        let came = Given::decode(&bytes).unwrap();
        let names: Vec<_> = came.pairs().iter().map(|(files, pair)| (files.clone(), pair.mark())).collect();
        let own: Vec<_> = certificates.pairs().map(|(files, pair)| (files.clone(), pair.mark())).collect();
        assert_eq!((names, came.secrets()), (own, &secrets));
        let before = came.before();
        let left = before.authorities.as_ref().map(|(file, known)| (file.as_path(), known.text()));
        assert_eq!(
            (before.pairs.len(), left),
            (2, Some((Path::new("ca.crt"), super::super::pair::tests::CA)))
        );
        let ports = came.ports(TlsVersion::V1_3).unwrap();
        assert_eq!((ports.public.send_tls13_tickets > 0, ports.admin.send_tls13_tickets), (true, 0));
        assert!(!format!("{given:?}").contains("PRIVATE"));
        assert!(Given::decode(&bytes[..bytes.len() / 2]).is_none());
        let none = Given { pairs: vec![], ..came };
        assert_eq!(none.ports(TlsVersion::V1_2).unwrap_err(), "there is no certificate");
    }
}
