//! Tokens that are refused although they are signed and not past their end.

use super::claims::Claims;
use super::encoding::MOST_ID;
use crate::model::{UserId, Wall};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most revocations at one time, some 100 bytes each. Beyond it a new one is refused: to forget one in its place would
/// let its token in again.
const MOST: usize = 65_536;

/// How long after the end of its tokens a revocation is forgotten, and how often that is looked for: a wall clock that is
/// set ahead for a moment lets no revoked token in again.
const KEPT_ON: i64 = 3_600_000;
const SELDOM: i64 = 60_000;

/// When revocations were last looked through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looked(Wall);

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revocation {
    /// The token of this `jti`.
    Token(Box<str>),
    /// All tokens of a user that were issued before a moment, or do not say when.
    User(UserId, Wall),
}

/// There are as many revocations as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Revocation {
    /// What an administrator wants: the token of a `jti`, or those of a user that were issued before a moment; now
    /// without one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn wanted(
        jti: Option<&str>,
        user: Option<&str>,
        before: Option<Wall>,
        now: Wall,
    ) -> Result<Self, &'static str> {
        match (jti, user.map(UserId::new), before) {
            (Some(jti), None, None) if (1..=MOST_ID).contains(&jti.len()) => Ok(Self::Token(jti.into())),
            (Some(_), None, None) => Err("jti: must have 1 to 256 bytes"),
            (None, Some(Err(_)), _) => Err("this is not the id of a user"),
            (None, Some(Ok(_)), Some(before)) if before > now => Err("issued_before is in the future"),
            (None, Some(Ok(user)), before) => Ok(Self::User(user, before.unwrap_or(now))),
            _ => Err("give a jti, or a user and perhaps issued_before"),
        }
    }

    /// Tells whether a token is revoked by it.
    #[must_use]
    pub fn covers(&self, claims: &Claims) -> bool {
        match self {
            Self::Token(id) => claims.id.as_deref() == Some(&**id),
            Self::User(user, before) => *user == claims.user && is_older(claims, *before),
        }
    }
}

fn is_older(claims: &Claims, before: Wall) -> bool {
    claims.issued.is_none_or(|issued| issued < before)
}

/// Why a stored value is no [`Revocations`].
const TOO_MANY: &str = "too many revocations";

/// All revocations. The master's are those that count; workers hold copies, its journal a stored one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Revocations {
    /// By `jti`, with the end of the token if it is known. Past it there is nothing to refuse.
    tokens: BTreeMap<Box<str>, Option<Wall>>,
    /// By user: tokens issued before this moment, and the latest end of such a token if it is known.
    users: BTreeMap<UserId, (Wall, Option<Wall>)>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    tokens: Vec<(Box<str>, Option<Wall>)>,
    users: Vec<(UserId, Wall, Option<Wall>)>,
}

impl Revocations {
    /// Adds one. `until`: the latest end of the tokens that it covers, if that is known; else it is kept.
    ///
    /// # Errors
    /// There is no room.
    pub fn add(&mut self, revocation: Revocation, until: Option<Wall>) -> Result<(), Full> {
        let is_full = self.len() >= MOST;
        match revocation {
            Revocation::Token(id) => match self.tokens.get_mut(&id) {
                Some(known) => *known = later(*known, until),
                None if is_full => return Err(Full),
                None => _ = self.tokens.insert(id, until),
            },
            Revocation::User(user, before) => match self.users.get_mut(&user) {
                Some(known) => *known = (known.0.max(before), later(known.1, until)),
                None if is_full => return Err(Full),
                None => _ = self.users.insert(user, (before, until)),
            },
        }
        Ok(())
    }

    /// Takes what a later state of the same set says of these tokens and users. The set that counts has a bound.
    pub fn put(&mut self, later: Self) {
        self.tokens.extend(later.tokens);
        self.users.extend(later.users);
    }

    /// One revocation alone.
    #[must_use]
    pub fn of(one: Revocation, until: Option<Wall>) -> Self {
        let mut all = Self::default();
        match one {
            Revocation::Token(id) => _ = all.tokens.insert(id, until),
            Revocation::User(user, before) => _ = all.users.insert(user, (before, until)),
        }
        all
    }

    /// Adds all of another set; returns what is said of these tokens and users now.
    ///
    /// # Errors
    /// There is no room.
    pub fn add_all(&mut self, others: Self) -> Result<Self, Full> {
        let mut said = Self::default();
        for (id, until) in others.tokens {
            self.add(Revocation::Token(id.clone()), until)?;
            said.tokens.extend(self.tokens.get(&id).map(|until| (id, *until)));
        }
        for (user, (before, until)) in others.users {
            self.add(Revocation::User(user.clone(), before), until)?;
            said.users.extend(self.users.get(&user).map(|now| (user, *now)));
        }
        Ok(said)
    }

    /// The bytes, for another process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// The revocations of such bytes. `None`: another program wrote them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// Tells whether a token is revoked.
    #[must_use]
    pub fn cover(&self, claims: &Claims) -> bool {
        let by_id = claims.id.as_deref().is_some_and(|id| self.tokens.contains_key(id));
        by_id || self.users.get(&claims.user).is_some_and(|(before, _)| is_older(claims, *before))
    }

    /// Notes the end of a revoked token, now that it was shown: its `jti` is of no other (RFC 7519, section 4.1.7). It
    /// is refused up to there, and forgotten then. Returns what is said of it now, if that is news.
    pub fn learn(&mut self, claims: &Claims) -> Option<Self> {
        let id = claims.id.as_deref()?;
        let until = self.tokens.get_mut(id)?;
        let ends = until.map_or(claims.ends, |until| until.max(claims.ends));
        (until.replace(ends) != Some(ends)).then(|| Self::of(Revocation::Token(id.into()), Some(ends)))
    }

    /// As [`Revocations::learn`], of tokens that others were shown. Returns what is news.
    pub fn learn_from(&mut self, others: &Self) -> Self {
        let mut news = Self::default();
        for (id, ends) in others.tokens.iter().filter_map(|(id, ends)| Some((id, (*ends)?))) {
            let Some(until) = self.tokens.get_mut(id) else { continue };
            let ends = until.map_or(ends, |until| until.max(ends));
            if until.replace(ends) != Some(ends) {
                news.tokens.insert(id.clone(), Some(ends));
            }
        }
        news
    }

    /// Forgets what can cover no token any more; says whether there was any.
    pub fn tidy(&mut self, now: Wall) -> bool {
        let before = self.len();
        let is_needed = |until: Option<Wall>| until.is_none_or(|until| until > now);
        self.tokens.retain(|_, until| is_needed(*until));
        self.users.retain(|_, (_, until)| is_needed(*until));
        self.len() < before
    }

    /// As [`Revocations::tidy`], some time later and once in a while.
    pub fn tidy_seldom(&mut self, looked: &mut Looked, now: Wall) -> bool {
        let is_due = (now.0 - looked.0.0).abs() >= SELDOM;
        if is_due {
            looked.0 = now;
        }
        is_due && self.tidy(Wall(now.0 - KEPT_ON))
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = (&str, Option<Wall>)> {
        self.tokens.iter().map(|(id, until)| (&**id, *until))
    }

    pub(super) fn users(&self) -> impl Iterator<Item = (&UserId, Wall, Option<Wall>)> {
        self.users.iter().map(|(user, (before, until))| (user, *before, *until))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }
}

/// The later of two ends; an unknown one is later than all.
fn later(one: Option<Wall>, other: Option<Wall>) -> Option<Wall> {
    Some(one?.max(other?))
}

impl From<Revocations> for Stored {
    fn from(all: Revocations) -> Self {
        Self {
            tokens: all.tokens.into_iter().collect(),
            users: all.users.into_iter().map(|(user, (before, until))| (user, before, until)).collect(),
        }
    }
}

impl TryFrom<Stored> for Revocations {
    type Error = &'static str;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let mut all = Self::default();
        for (id, until) in stored.tokens {
            all.add(Revocation::Token(id), until).map_err(|_| TOO_MANY)?;
        }
        for (user, before, until) in stored.users {
            all.add(Revocation::User(user, before), until).map_err(|_| TOO_MANY)?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rights::Rights;
    use super::*;
    use proptest::prelude::*;

    fn claims(user: u8, id: Option<u8>, issued: Option<i64>, ends: i64) -> Claims {
        Claims {
            user: UserId::new(&format!("user-{user}")).unwrap(),
            ends: Wall(ends),
            issued: issued.map(Wall),
            id: id.map(|id| id.to_string().into()),
            device: None,
            rights: Rights::read(None, None).unwrap(),
        }
    }

    fn user(number: u8) -> UserId {
        UserId::new(&format!("user-{number}")).unwrap()
    }

    #[test]
    fn a_user_is_revoked_up_to_a_moment() {
        let mut all = Revocations::default();
        all.add(Revocation::User(user(1), Wall(1000)), None).unwrap();
        assert!(all.cover(&claims(1, None, Some(999), 5000)));
        assert!(all.cover(&claims(1, None, None, 5000)), "who does not say when may be old");
        assert!(!all.cover(&claims(1, None, Some(1000), 5000)));
        assert!(!all.cover(&claims(2, None, Some(0), 5000)));
        // A second one never takes back the first.
        all.add(Revocation::User(user(1), Wall(500)), Some(Wall(9000))).unwrap();
        assert!(all.cover(&claims(1, None, Some(999), 5000)));
        all.tidy(Wall(i64::MAX));
        assert_eq!(all.len(), 1, "nobody knows when the last of them ends");
    }

    #[test]
    fn a_token_is_forgotten_once_its_end_is_known_and_past() {
        let mut all = Revocations::default();
        all.add(Revocation::Token("7".into()), None).unwrap();
        let token = claims(1, Some(7), Some(0), 5000);
        let news = all.learn(&token).expect("its end is news");
        assert_eq!(all.learn(&token), None);
        assert_eq!(all.learn(&claims(1, Some(8), Some(0), 9000)), None, "it is not revoked");
        assert_eq!(all.learn(&claims(1, None, Some(0), 9000)), None);
        // Others hear of it, and what they say last counts.
        let mut other = Revocations::default();
        other.add(Revocation::Token("7".into()), None).unwrap();
        assert_eq!((other.learn_from(&news), other.learn_from(&news).len()), (news.clone(), 0));
        assert_eq!(other, all);
        let mut copy = Revocations::default();
        copy.put(all.clone());
        assert_eq!(copy, news);
        // A further order does not know the end: it is not known any more.
        let again = Revocations::of(Revocation::Token("7".into()), None);
        assert_eq!(copy.add_all(again.clone()), Ok(again));
        all.tidy(Wall(4999));
        assert!(all.cover(&token));
        all.tidy(Wall(5000));
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn an_ended_one_is_kept_for_an_hour_whatever_the_clock_says_for_a_moment() {
        let (mut all, mut looked) = (Revocations::default(), Looked::default());
        all.add(Revocation::Token("7".into()), Some(Wall(1_000_000))).unwrap();
        assert!(!all.tidy_seldom(&mut looked, Wall(1_000_000 + KEPT_ON - 1)));
        assert!(!all.tidy_seldom(&mut looked, Wall(1_000_000 + KEPT_ON + SELDOM - 2)), "not so soon again");
        assert!(!all.tidy_seldom(&mut looked, Wall(900_000)), "a clock that is set back is looked at, too");
        assert!(all.tidy_seldom(&mut looked, Wall(1_000_000 + KEPT_ON)));
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn an_order_names_a_token_or_a_user() {
        let now = Wall(5000);
        let wanted = |jti, user, before: Option<i64>| Revocation::wanted(jti, user, before.map(Wall), now);
        assert_eq!(wanted(Some("a"), None, None), Ok(Revocation::Token("a".into())));
        assert_eq!(wanted(None, Some("ann"), None), Ok(Revocation::User(UserId::new("ann").unwrap(), now)));
        assert!(wanted(None, Some("ann"), Some(5000)).is_ok());
        let long = "a".repeat(257);
        for bad in [
            wanted(None, None, None),
            wanted(Some("a"), Some("ann"), None),
            wanted(Some("a"), None, Some(1)),
            wanted(Some(""), None, None),
            wanted(Some(&long), None, None),
            wanted(None, Some("no user"), None),
            wanted(None, Some("ann"), Some(5001)),
        ] {
            assert!(bad.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn full_is_said_and_nothing_is_forgotten_for_it() {
        let mut all = Revocations::default();
        for id in 0..MOST {
            all.add(Revocation::Token(id.to_string().into()), Some(Wall(10))).unwrap();
        }
        assert_eq!(all.add(Revocation::Token("one more".into()), None), Err(Full));
        assert_eq!(all.add(Revocation::User(user(1), Wall(1)), None), Err(Full));
        // What is known already has its place.
        assert_eq!(all.add(Revocation::Token("7".into()), None), Ok(()));
        let bytes = postcard::to_stdvec(&all).unwrap();
        assert_eq!(postcard::from_bytes::<Revocations>(&bytes).unwrap(), all);
        all.tidy(Wall(10));
        assert_eq!(all.len(), 1);
        let tokens = (0..=MOST).map(|id| (id.to_string().into(), None)).collect();
        let stored = Stored { tokens, users: vec![] };
        assert!(postcard::from_bytes::<Revocations>(&postcard::to_stdvec(&stored).unwrap()).is_err());
    }

    #[derive(Clone, Debug)]
    enum Event {
        Revoke(Revocation, Option<i64>),
        Shown(Claims),
        Tidy(i64),
        Store,
    }

    fn token() -> impl Strategy<Value = Claims> {
        // One jti is that of one token: its end follows from it.
        (0..3u8, proptest::option::of(0..4u8), proptest::option::of(0..50i64), 0..100i64).prop_map(
            |(user, id, issued, ends)| {
                claims(user, id, issued, id.map_or(ends, |id| 20 + i64::from(id) * 20))
            },
        )
    }

    fn event() -> impl Strategy<Value = Event> {
        // An end that a caller knows is not before that of any token that is covered.
        let until = || proptest::option::of(100..120i64);
        prop_oneof![
            2 => (0..4u8, until()).prop_map(|(id, until)| Event::Revoke(Revocation::Token(id.to_string().into()), until)),
            2 => (0..3u8, 0..50i64, until())
                .prop_map(|(id, before, until)| Event::Revoke(Revocation::User(user(id), Wall(before)), until)),
            3 => token().prop_map(Event::Shown),
            2 => (0..10i64).prop_map(Event::Tidy),
            1 => Just(Event::Store),
        ]
    }

    proptest! {
        #[test]
        fn no_living_token_that_was_revoked_is_let_in(events in proptest::collection::vec(event(), 1..80)) {
            let (mut all, mut ever, mut now) = (Revocations::default(), Vec::<Revocation>::new(), Wall(0));
            for event in events {
                match event {
                    Event::Revoke(one, until) => {
                        all.add(one.clone(), until.map(Wall)).unwrap();
                        ever.push(one);
                    }
                    Event::Shown(claims) => {
                        let expected = ever.iter().any(|one| one.covers(&claims));
                        if claims.ends > now {
                            prop_assert_eq!(all.cover(&claims), expected);
                        }
                        if all.cover(&claims) {
                            all.learn(&claims);
                        }
                    }
                    Event::Tidy(later) => {
                        now = Wall(now.0 + later);
                        all.tidy(now);
                    }
                    Event::Store => {
                        let bytes = postcard::to_stdvec(&all).unwrap();
                        all = postcard::from_bytes(&bytes).unwrap();
                    }
                }
                prop_assert!(all.len() <= ever.len());
            }
        }
    }
}
