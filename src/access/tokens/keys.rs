//! The keys that verify tokens: those of files, and those that an endpoint publishes (JWKS).

use super::jwks::Jwks;
use super::key::{Algorithm, Key};
use super::refusal::{Reason, Refusal};
use crate::config::{AuthSection, Secret};
use crate::model::PublicKey;

/// Signatures that are checked for one token: what a bad token may cost.
const MOST_TRIED: usize = 8;

/// All keys. Replaced as a whole when a file or the JWKS changes.
#[derive(Clone, Debug)]
pub struct Keys {
    files: Vec<Key>,
    fetched: Fetched,
}

#[derive(Clone, Debug)]
enum Fetched {
    /// `auth.jwks_url` is not set.
    Unwanted,
    /// It is set, and nothing was fetched yet, nor kept from before.
    Missing,
    /// The last good ones.
    Known(Vec<Key>),
}

impl Keys {
    /// The keys of a configuration, with the last good JWKS if there is one.
    #[must_use]
    pub fn new(auth: &AuthSection, jwks: Option<&Jwks>) -> Self {
        let fetched = match (&auth.jwks_url, jwks) {
            (None, _) => Fetched::Unwanted,
            (Some(_), None) => Fetched::Missing,
            (Some(_), Some(jwks)) => Fetched::Known(jwks.keys().to_vec()),
        };
        Self::of(&auth.secrets, &auth.public_keys, fetched)
    }

    fn of(secrets: &[Secret], public: &[PublicKey], fetched: Fetched) -> Self {
        let secrets = secrets.iter().filter_map(Key::secret);
        let files = secrets.chain(public.iter().map(|key| Key::public(key, None))).collect();
        Self { files, fetched }
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        let fetched = match &self.fetched {
            Fetched::Known(keys) => keys.as_slice(),
            Fetched::Unwanted | Fetched::Missing => &[],
        };
        self.files.iter().chain(fetched)
    }

    /// Tells whether there is any key.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.all().next().is_some()
    }

    /// The keys that may have signed a token with this `alg` and `kid`: those of that id, else those without one.
    fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> Vec<&Key> {
        let fits = |key: &&Key| key.algorithm == algorithm;
        let Some(id) = id else { return self.all().filter(fits).collect() };
        let named: Vec<_> = self.all().filter(fits).filter(|key| key.id.as_deref() == Some(id)).collect();
        match named.is_empty() {
            true => self.all().filter(fits).filter(|key| key.id.is_none()).collect(),
            false => named,
        }
    }

    /// Checks the signature of a token whose header says `algorithm` and `id`.
    pub(super) fn check(
        &self,
        token: &str,
        (algorithm, id): (Algorithm, Option<&str>),
    ) -> Result<(), Refusal> {
        let (message, signature) = token.rsplit_once('.').ok_or(Reason::Shape)?;
        let candidates = self.candidates(algorithm, id);
        if candidates.len() > MOST_TRIED {
            return Err(Reason::UnnamedKey.into());
        }
        if candidates.iter().any(|key| key.has_signed(message, signature)) {
            return Ok(());
        }
        let named = candidates.iter().any(|key| key.id.is_some());
        match (&self.fetched, algorithm) {
            // An endpoint's secret would be no secret: HS256 is never fetched.
            (Fetched::Missing, Algorithm::Public(_)) => Err(Refusal::KeysUnavailable),
            (Fetched::Known(_), Algorithm::Public(_)) if id.is_some() && !named => {
                Err(Reason::UnknownKey.into())
            }
            _ if candidates.is_empty() => Err(Reason::NoKey.into()),
            _ => Err(Reason::Signature.into()),
        }
    }
}
