//! Keys that were fetched (JWKS), unread, and what is known of them.

use crate::config::{AuthMode, AuthSection};
use crate::model::Wall;
use crate::protocol::cluster::KeySet;
use crate::stats::KeyGauges;
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

/// The newest that the feeder has said.
#[derive(Debug)]
pub(super) struct Keys {
    set: KeySet,
    /// A fetch has ended, or there were keys before: nobody has to wait for the first answer.
    heard: bool,
}

impl Keys {
    /// `left`: what the master before has written down.
    pub(super) fn new(left: &[u8]) -> Self {
        Self { set: KeySet { bytes: left.into(), ..KeySet::default() }, heard: !left.is_empty() }
    }

    /// For a newborn worker.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.set.bytes
    }

    /// Whether a newborn worker is not to wait for an answer.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Takes what the feeder says; whether there are other keys.
    pub(super) fn take(&mut self, set: KeySet) -> bool {
        let is_news = set.bytes != self.set.bytes && !set.bytes.is_empty();
        let bytes = if set.bytes.is_empty() { std::mem::take(&mut self.set.bytes) } else { set.bytes };
        self.set = KeySet { bytes, ..set };
        self.heard = true;
        is_news
    }

    /// The keys that tokens are checked with, for the status. Without the path of the endpoint: it may hold a secret.
    pub(super) fn json(&self, auth: &AuthSection) -> Value {
        if auth.mode == AuthMode::Open {
            return Value::Null;
        }
        let set = &self.set;
        let endpoint = auth.jwks_url.as_ref().map(|url| {
            json!({
                "host": Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)),
                "keys": set.keys,
                "ignored": set.ignored,
                "fetched": set.fetched.map(|moment| moment.to_string()),
                "trouble": set.trouble,
            })
        });
        json!({ "secrets": auth.secrets.len(), "public_keys": auth.public_keys.len(), "jwks": endpoint })
    }

    /// The same as metrics.
    pub(super) fn gauges(&self, auth: &AuthSection, now: Wall) -> KeyGauges {
        let fetches = auth.mode == AuthMode::Token && auth.jwks_url.is_some();
        let set = &self.set;
        let age = |moment: Wall| Duration::from_millis(u64::try_from(now.0 - moment.0).unwrap_or(0));
        KeyGauges {
            files: auth.secrets.len() + auth.public_keys.len(),
            fetched: if fetches { set.keys } else { 0 },
            age: set.fetched.filter(|_| fetches).map(age),
        }
    }
}
