//! A certificate and its key, from the texts of two files, and what is wrong with them.

use super::validity::Validity;
use crate::model::Wall;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::fmt;
use std::sync::Arc;
use webpki::EndEntityCert;

/// A digest of both files: whether they have changed.
pub type Mark = [u8; 32];

/// The texts of the certificate's file and of the key's.
type Texts = (Arc<[u8]>, Arc<[u8]>);

/// A certificate with its chain, and the key that fits.
#[derive(Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    names: Arc<[Box<str>]>,
    validity: Validity,
    /// The texts that it was read from.
    texts: Texts,
    mark: Mark,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("names", &self.names).field("validity", &self.validity).finish()
    }
}

/// Why two files are no pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The first file holds no certificate. `key`: it holds a key.
    NoCertificate { key: bool },
    /// One of the certificates in the file, counted from 1, is none.
    Certificate(usize, String),
    /// The first file is no PEM.
    CertificatePem(String),
    /// The second file holds no key. `certificate`: it holds a certificate.
    NoKey { certificate: bool },
    /// The second file is no PEM.
    KeyPem(String),
    /// The key asks for a passphrase.
    Encrypted,
    /// The key is of no use.
    Key(String),
    /// Certificate and key are not of each other.
    Mismatch,
    /// The key fits, but to a later certificate of the file.
    Order(usize),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate { key: true } => {
                f.write_str("the certificate's file holds a key and no certificate")
            }
            Self::NoCertificate { key: false } => f.write_str(
                "the certificate's file holds no certificate (PEM, \"-----BEGIN CERTIFICATE-----\")",
            ),
            Self::Certificate(1, why) => write!(f, "the certificate cannot be read: {why}"),
            Self::Certificate(nth, why) => write!(f, "certificate {nth} of the file cannot be read: {why}"),
            Self::CertificatePem(why) => write!(f, "the certificate's file is cut or damaged: {why}"),
            Self::NoKey { certificate: true } => f.write_str("the key's file holds a certificate and no key"),
            Self::NoKey { certificate: false } => {
                f.write_str("the key's file holds no key (PEM, \"-----BEGIN PRIVATE KEY-----\")")
            }
            Self::KeyPem(why) => write!(f, "the key's file is cut or damaged: {why}"),
            Self::Encrypted => f.write_str(
                "the key is encrypted, and nobody is there to be asked for its passphrase; \
                 `openssl pkey -in FILE -out NEW` decrypts it",
            ),
            Self::Key(why) => write!(f, "the key cannot be used: {why}"),
            Self::Mismatch => f.write_str("certificate and key do not fit"),
            Self::Order(nth) => write!(
                f,
                "the key fits to certificate {nth} of the file: the server's own must be the first, those that \
                 signed it follow"
            ),
        }
    }
}

/// Why clients will refuse a certificate at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Expired(Wall),
    NotYet(Wall),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(at) => write!(f, "the certificate has expired at {at}"),
            Self::NotYet(at) => write!(f, "the certificate is not valid before {at}"),
        }
    }
}

impl Pair {
    /// Reads a pair. One file may hold both, then both texts are the same.
    ///
    /// # Errors
    /// Why these are no pair.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, Unfit> {
        let mark = mark(certificate, key);
        let texts = (certificate.into(), key.into());
        let chain = chain(certificate)?;
        let validity =
            Validity::of(&chain[0]).ok_or_else(|| Unfit::Certificate(1, "its validity".to_owned()))?;
        let names = names(&chain)?;
        let provider = default_provider();
        let key = private_key(key)?;
        let fits = |chain: &[CertificateDer<'static>]| {
            CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider)
        };
        let certified = match fits(&chain) {
            Ok(certified) => certified,
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let later = (1..chain.len()).find(|nth| fits(&chain[*nth..]).is_ok());
                return Err(later.map_or(Unfit::Mismatch, |nth| Unfit::Order(nth + 1)));
            }
            // Else a certificate that cannot be read, which `names` has read, or a key.
            Err(error) => return Err(Unfit::Key(error.to_string())),
        };
        let certified = Arc::new(certified);
        Ok(Self { certified, names, validity, texts, mark })
    }

    /// What rustls presents.
    #[must_use]
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The texts of both files, for other processes and the journal: the certificate's and the key's.
    #[must_use]
    pub fn texts(&self) -> (&[u8], &[u8]) {
        (&self.texts.0, &self.texts.1)
    }

    /// DNS names, in small letters; `*.` stands for one label.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// A word for it in log lines and metrics: the first name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map_or("(no name)", |name| name)
    }

    /// First and last moment.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Why clients refuse it.
    #[must_use]
    pub fn trouble(&self, now: Wall) -> Option<Trouble> {
        if now > self.validity.until {
            Some(Trouble::Expired(self.validity.until))
        } else {
            (now < self.validity.from).then_some(Trouble::NotYet(self.validity.from))
        }
    }

    /// Which files it was made of.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }
}

/// The mark of the texts of two files.
#[must_use]
pub fn mark(certificate: &[u8], key: &[u8]) -> Mark {
    let mut digest = Context::new(&SHA256);
    digest.update(&certificate.len().to_le_bytes());
    digest.update(certificate);
    digest.update(key);
    let mut mark = Mark::default();
    mark.copy_from_slice(digest.finish().as_ref());
    mark
}

/// At least one certificate.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Unfit::CertificatePem(damage(&error).to_owned()))?;
    if chain.is_empty() {
        return Err(Unfit::NoCertificate { key: says(pem, " PRIVATE KEY-----") });
    }
    Ok(chain)
}

/// The names of the first of them.
fn names(chain: &[CertificateDer<'static>]) -> Result<Arc<[Box<str>]>, Unfit> {
    let mut names = Arc::default();
    for (at, certificate) in chain.iter().enumerate() {
        let read = EndEntityCert::try_from(certificate);
        let read = read.map_err(|error| Unfit::Certificate(at + 1, error.to_string()))?;
        if at == 0 {
            names = read.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect();
        }
    }
    Ok(names)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Unfit> {
    // PKCS #8 says it in the first line, OpenSSL's own form in a header.
    if says(pem, "BEGIN ENCRYPTED PRIVATE KEY") || says(pem, "Proc-Type: 4,ENCRYPTED") {
        return Err(Unfit::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => Unfit::NoKey { certificate: says(pem, "BEGIN CERTIFICATE-----") },
        error => Unfit::KeyPem(damage(&error).to_owned()),
    })
}

/// What is wrong with a PEM, without a word of its text.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its \"-----END\" is missing",
        pem::Error::Base64Decode(_) => "this is not base64",
        pem::Error::SectionTooLarge => "it is too large",
        _ => "this is no PEM",
    }
}

fn says(text: &[u8], words: &str) -> bool {
    text.windows(words.len()).any(|window| window == words.as_bytes())
}

#[cfg(test)]
#[path = "pair_tests.rs"]
pub(super) mod tests;
