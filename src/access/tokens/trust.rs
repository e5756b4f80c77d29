//! Whom a configuration trusts: its keys, its rules, and what it allows.

use super::carried::{Ways, carried};
use super::claims::{Claims, Rules};
use super::kept::FetchedJwks;
use super::keys::Keys;
use super::permission::{Action, Bearer, Door, Policy};
use super::refusal::Refusal;
use super::revocations::{Looked, Revocations};
use super::verify::verify;
use crate::config::{AuthMode, AuthSection};
use crate::model::Wall;
use http::HeaderMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Made of `auth`, whenever that changes.
#[derive(Debug)]
pub struct Trust {
    policy: Policy,
    keys: Keys,
    rules: Rules,
    asks: bool,
    cookie: Option<Box<str>>,
    notice: Duration,
    revoked: Revoked,
}

/// The revocations that a process has heard of. They outlive a configuration.
#[derive(Clone, Debug, Default)]
pub struct Revoked(Arc<RwLock<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    all: Revocations,
    /// The ends of revoked tokens that were shown, for whom they are to be told.
    news: Revocations,
    looked: Looked,
}

impl Revoked {
    /// Takes what is said of more tokens and users.
    pub fn take(&self, more: Revocations) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).all.put(more);
    }

    /// Whether a token is revoked. If it is, its end is noted.
    #[must_use]
    pub fn cover(&self, claims: &Claims) -> bool {
        let is_covered = self.0.read().unwrap_or_else(PoisonError::into_inner).all.cover(claims);
        if is_covered {
            let mut heard = self.0.write().unwrap_or_else(PoisonError::into_inner);
            heard.all.learn(claims).into_iter().for_each(|news| heard.news.put(news));
        }
        is_covered
    }

    /// The ends of revoked tokens that were shown since this was asked.
    #[must_use]
    pub fn take_news(&self) -> Option<Revocations> {
        let is_none = self.0.read().unwrap_or_else(PoisonError::into_inner).news.len() == 0;
        let take = || std::mem::take(&mut self.0.write().unwrap_or_else(PoisonError::into_inner).news);
        (!is_none).then(take)
    }

    /// Forgets those that can cover no token any more.
    pub fn tidy(&self, now: Wall) {
        let heard = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner);
        heard.all.tidy_seldom(&mut heard.looked, now);
    }
}

impl Trust {
    /// The trust of a configuration, with the keys that were fetched last.
    #[must_use]
    pub fn new(auth: &AuthSection, fetched: Option<&FetchedJwks>, revoked: Revoked) -> Self {
        Self {
            policy: Policy::new(auth),
            keys: Keys::new(auth, fetched.and_then(|fetched| fetched.of(auth))),
            rules: Rules::new(auth),
            asks: auth.mode == AuthMode::Token,
            cookie: auth.cookie.as_deref().map(Box::from),
            notice: auth.notice,
            revoked,
        }
    }

    /// Whether tokens are asked for.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// How long before its end a token is announced to end.
    #[must_use]
    pub fn notice(&self) -> Duration {
        self.notice
    }

    /// Finds and verifies the token of a request. `query`: its query, where a token may stand there; `own`: no foreign page
    /// makes the request, so that its cookie counts.
    ///
    /// # Errors
    /// The token is not good.
    pub fn bearer(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        own: bool,
        now: Wall,
    ) -> Result<Option<Claims>, Refusal> {
        let ways = Ways { query, cookie: self.cookie.as_deref().filter(|_| own) };
        carried(headers, ways)?.map(|token| self.verify(&token, now)).transpose()
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// The token is not good.
    pub fn verify(&self, token: &str, now: Wall) -> Result<Claims, Refusal> {
        let claims = verify(token, &self.keys, &self.rules, now)?;
        if self.is_revoked(&claims) { Err(Refusal::Revoked) } else { Ok(claims) }
    }

    /// Whether a token that was good has been revoked.
    #[must_use]
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        self.revoked.cover(claims)
    }

    /// Decides, for who has these claims or none.
    ///
    /// # Errors
    /// Why it may not be.
    pub fn decide(&self, door: Door, claims: Option<&Claims>, action: Action<'_>) -> Result<(), Refusal> {
        self.policy.decide(door, claims.map_or(Bearer::Nobody, Bearer::Token), action)
    }
}
