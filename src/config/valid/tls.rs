//! `[tls]`: certificates and what is asked of clients. Paths only: who needs a file reads it, and no process gets a key
//! that does not need it.

use crate::config::kind::{At, Own, Whole};
use crate::config::read::{Wrong, list, must_be, place, text, wrong};
use crate::config::table::{self, row, section};
use crate::config::value::{Item, Value};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

section! {
    /// TLS of http.listen_tls, ws.listen_tls and admin.listen_tls. Files are looked at every 5 s: a renewed certificate is
    /// presented from the next handshake on, and sessions stay; one that does not fit its key leaves the old one.
    pub struct TlsSection {
        /// PEM file of the certificate, followed by those that signed it. A bare name is looked for among systemd's
        /// credentials first (LoadCredential=; they do not change while the daemon runs), then beside the file that names it.
        cert: Option<PathBuf> = row(FILE, ""),
        /// PEM file of its key, without a passphrase, readable by the daemon only.
        key: Option<PathBuf> = row(FILE, ""),
        /// Further pairs, one section each with cert and key, [[tls.certificates]]. The name that a client asks for (SNI)
        /// chooses; the first of all is for clients that ask for none of their names.
        certificates: Vec<CertificateSection> = row(CERTIFICATES, "[]"),
        /// PEM file of certificates. A client of admin.listen_tls needs a certificate that is signed by one of them.
        client_ca: Option<PathBuf> = row(FILE, ""),
        /// Oldest version that is spoken: "1.2" or "1.3".
        min_version: TlsVersion = row(VERSION, r#""1.2""#),
        /// Handshakes that a worker computes before it looks at its sessions again. Each takes some 0.1 to 4 ms of its
        /// time, by the kind of the key. The time limit of a handshake is that of the request that follows.
        handshakes_at_once: u32 = row(Whole(1..=1000), "4"),
    }
}

section! {
    /// Certificates beside tls.cert.
    pub struct CertificateSection {
        /// As tls.cert.
        cert: PathBuf = row(NEEDED, ""),
        /// As tls.key.
        key: PathBuf = row(NEEDED, ""),
    }
}

impl TlsSection {
    /// The files of all pairs, certificate and key, that of clients without a name first.
    pub fn pairs(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let first = self.cert.as_deref().zip(self.key.as_deref());
        first.into_iter().chain(self.certificates.iter().map(|pair| (&*pair.cert, &*pair.key)))
    }
}

/// `tls.min_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// In the environment it is a number.
const VERSION: Own<TlsVersion> = Own("\"1.2\" or \"1.3\"", |item, _| match &item.value {
    Value::Text(word) | Value::Real(word) if word == "1.2" => Ok(TlsVersion::V1_2),
    Value::Text(word) | Value::Real(word) if word == "1.3" => Ok(TlsVersion::V1_3),
    _ => Err(must_be(item, "\"1.2\" or \"1.3\"")),
});

/// A file that is there. What is in it is judged by who reads it.
const FILE: Own<Option<PathBuf>> = Own("a path, empty for none", file);

const NEEDED: Own<PathBuf> =
    Own("a path", |item, at| file(item, at)?.ok_or_else(|| must_be(item, "the path of a file")));

fn file(item: &Item, at: &mut At<'_>) -> Result<Option<PathBuf>, Wrong> {
    let Some(beside) = place(item, at.base())? else { return Ok(None) };
    let name = text(item)?;
    let folder = at.source.credentials.as_ref().filter(|_| !name.contains('/'));
    let path = folder.map(|folder| folder.join(name)).filter(|path| path.exists()).unwrap_or(beside);
    match std::fs::metadata(&path) {
        Ok(meta) if !meta.is_file() => Err(wrong(item, format!("{}: is not a regular file", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(wrong(item, format!("{}: no such file", path.display())))
        }
        _ => Ok(Some(path)),
    }
}

const CERTIFICATES: Own<Vec<CertificateSection>> = Own("a list of sections", |item, at| {
    if !matches!(item.value, Value::List(_)) {
        return Err(wrong(item, "must be a list of sections, [[tls.certificates]]"));
    }
    list(item, |item| match &item.value {
        Value::Table(entries) => table::listed("certificate", item, entries, at),
        _ => Err(must_be(item, "a section, [[tls.certificates]]")),
    })
});
