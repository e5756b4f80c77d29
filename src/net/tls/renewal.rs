//! Decides what becomes of changed certificate files while the daemon runs. Pure: looks at the files go in, deeds come
//! out. The pair in force stays until a better one is there, whatever happens to its files.
//!
//! certbot swaps two links one after the other, and files are written in parts: what is no pair *yet* is tried again for
//! [`PATIENCE`] before a word is said.

use super::pair::{Mark, Pair, Trouble, Unfit, mark};
use crate::model::{Mono, Wall};
use std::fmt;
use std::time::Duration;

/// Time between two looks at files that do not change.
pub const EVERY: Duration = Duration::from_secs(5);
/// Files are read when they have not changed for this time.
pub const QUIET: Duration = Duration::from_millis(300);
/// Time for which changed files are tried again.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// A certificate that ends so soon is told of.
pub const SOON: Duration = Duration::from_secs(14 * 86_400);

/// The texts of the two files of a pair at one moment, or why there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Look {
    pub certificate: Result<Vec<u8>, String>,
    pub key: Result<Vec<u8>, String>,
}

/// Without a key.
impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |text: &Result<Vec<u8>, String>| text.as_ref().map(Vec::len).map_err(String::clone);
        f.debug_tuple("Look").field(&size(&self.certificate)).field(&size(&self.key)).finish()
    }
}

impl Look {
    fn mark(&self) -> Mark {
        let bytes = |text: &Result<Vec<u8>, String>| match text {
            Ok(text) => text.clone(),
            Err(why) => [b"\0", why.as_bytes()].concat(),
        };
        mark(&bytes(&self.certificate), &bytes(&self.key))
    }

    fn pair(&self) -> Result<Pair, Refusal> {
        match (&self.certificate, &self.key) {
            (Ok(certificate), Ok(key)) => Pair::read(certificate, key).map_err(Refusal::Unfit),
            (Err(why), _) => Err(Refusal::Certificate(why.clone())),
            (_, Err(why)) => Err(Refusal::Key(why.clone())),
        }
    }
}

/// Why files are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The certificate's file cannot be read.
    Certificate(String),
    /// The key's file cannot be read.
    Key(String),
    Unfit(Unfit),
    /// Clients would refuse it, and they take the one in force.
    Trouble(Trouble),
    /// The files never stand still.
    Moving,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(why) => write!(f, "the certificate's file {why}"),
            Self::Key(why) => write!(f, "the key's file {why}"),
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Trouble(trouble) => trouble.fmt(f),
            Self::Moving => f.write_str("the files are still being written"),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Present this pair from the next handshake on.
    Take(Pair),
    /// Say that the pair in force stays, and why. Once.
    Refuse(Refusal),
    /// Say that the files are those of the pair in force again, after a refusal.
    Restored,
    /// Say that the certificate in force ends soon, in so much time.
    EndsSoon(Duration),
    /// Say that clients refuse the certificate in force.
    Trouble(Trouble),
}

/// Files that differ from those of the pair in force.
#[derive(Clone, Debug)]
struct Changed {
    /// When they were first seen to differ, or to differ in another way after a refusal.
    since: Mono,
    /// What they are now, and since when.
    mark: Mark,
    still: Mono,
    told: Option<Refusal>,
}

/// The last that was said of the end of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Soon,
    Trouble,
}

/// One pair in force, and its files.
#[derive(Clone, Debug)]
pub struct Renewal {
    pair: Pair,
    changed: Option<Changed>,
    said: Said,
    look_at: Mono,
}

impl Renewal {
    /// The first look. A pair that clients refuse is better than none: a daemon that starts on the day after serves its
    /// other ports, and says so by the next look.
    ///
    /// # Errors
    /// Why there is no pair.
    pub fn start(look: &Look, now: Mono) -> Result<Self, Refusal> {
        Ok(Self::of(look.pair()?, now))
    }

    /// Goes on with a pair that is in force.
    #[must_use]
    pub fn of(pair: Pair, now: Mono) -> Self {
        Self { pair, changed: None, said: Said::Nothing, look_at: now }
    }

    /// The pair in force.
    #[must_use]
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// When the files are to be read again.
    #[must_use]
    pub fn look_at(&self) -> Mono {
        self.look_at
    }

    /// Something may have changed, or a reload was asked for.
    pub fn hint(&mut self, now: Mono) {
        self.look_at = self.look_at.min(now);
    }

    /// What the files are now.
    pub fn looked(&mut self, look: &Look, now: Mono, wall: Wall) -> Vec<Deed> {
        let mut deeds = self.judge(look, now, wall);
        deeds.extend(self.ending(wall));
        let settled = self.changed.as_ref().is_none_or(|changed| changed.told.is_some());
        self.look_at = now.after(if settled { EVERY } else { QUIET });
        deeds
    }

    fn judge(&mut self, look: &Look, now: Mono, wall: Wall) -> Vec<Deed> {
        let mark = look.mark();
        if mark == self.pair.mark() {
            let told = self.changed.take().is_some_and(|changed| changed.told.is_some());
            return if told { vec![Deed::Restored] } else { vec![] };
        }
        let changed = self.changed.get_or_insert(Changed { since: now, mark, still: now, told: None });
        if changed.mark != mark {
            (changed.mark, changed.still) = (mark, now);
            if changed.told.take().is_some() {
                changed.since = now;
            }
        }
        let refusal = if now.since(changed.still) < QUIET {
            Refusal::Moving
        } else {
            match look.pair() {
                Ok(pair) => match pair.trouble(wall).filter(|_| self.pair.trouble(wall).is_none()) {
                    Some(trouble) => Refusal::Trouble(trouble),
                    None => {
                        (self.pair, self.changed, self.said) = (pair.clone(), None, Said::Nothing);
                        return vec![Deed::Take(pair)];
                    }
                },
                Err(refusal) => refusal,
            }
        };
        // Files that change again after all this time are given some to rest.
        let patience = if refusal == Refusal::Moving { PATIENCE * 2 } else { PATIENCE };
        if now.since(changed.since) < patience || changed.told.as_ref() == Some(&refusal) {
            return vec![];
        }
        changed.told = Some(refusal.clone());
        vec![Deed::Refuse(refusal)]
    }

    /// What is to be said of the end of the certificate in force. Once each.
    fn ending(&mut self, wall: Wall) -> Option<Deed> {
        let trouble = self.pair.trouble(wall);
        let left = self.pair.validity().until.0.saturating_sub(wall.0);
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        let (says, deed) = match trouble {
            Some(trouble) => (Said::Trouble, Deed::Trouble(trouble)),
            None if left <= SOON => (Said::Soon, Deed::EndsSoon(left)),
            None => {
                self.said = Said::Nothing;
                return None;
            }
        };
        (std::mem::replace(&mut self.said, says) != says).then_some(deed)
    }
}

#[cfg(test)]
#[path = "renewal_tests.rs"]
mod tests;
