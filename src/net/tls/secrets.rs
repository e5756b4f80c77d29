//! The secrets that session tickets are sealed with: made by the master, the same in all workers, kept over reloads,
//! replacements and upgrades. Pure: the master gives the moments and the random bytes.
//!
//! A secret seals for [`LIFE`] and opens for as long again: of two generations there is always one that opens what the
//! other sealed. The next is handed out [`AHEAD`] of its begin, so that all workers begin to use it at one moment.

use crate::model::Boot;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Time for which a secret seals.
pub const LIFE: Duration = Duration::from_secs(6 * 3600);
/// Time for which it opens.
const KEPT: Duration = Duration::from_secs(2 * 6 * 3600);
/// Time that a new secret has to reach all workers.
pub const AHEAD: Duration = Duration::from_secs(60);
/// The one that seals, its successor before it begins, and the one before.
const MOST: usize = 3;

/// The random bytes of one secret: its name, which a ticket shows, and its key.
pub type Random = [u8; 40];

/// One secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    name: [u8; 8],
    key: [u8; 32],
    since: Boot,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Secret {
    fn new(random: &Random, since: Boot) -> Self {
        let (mut name, mut key) = ([0; 8], [0; 32]);
        name.copy_from_slice(&random[..8]);
        key.copy_from_slice(&random[8..]);
        Self { name, key, since }
    }

    /// What a ticket begins with.
    #[must_use]
    pub fn name(&self) -> [u8; 8] {
        self.name
    }

    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// How long it still opens; `None`: it opens nothing.
    #[must_use]
    pub fn opens_for(&self, now: Boot) -> Option<Duration> {
        let left = self.since.after(KEPT).since(now);
        (now >= self.since && !left.is_zero()).then_some(left)
    }

    /// Whether it opens, or is about to.
    fn is_of_use(&self, now: Boot) -> bool {
        now < self.since.after(KEPT)
    }
}

/// All secrets that are of use, the newest first. Travels to workers, into the journal and to the next master as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// The first secret of a daemon.
    #[must_use]
    pub fn new(random: &Random, now: Boot) -> Self {
        Self(vec![Secret::new(random, now)])
    }

    /// When [`Secrets::renew`] has something to do.
    #[must_use]
    pub fn due(&self) -> Boot {
        let begins = self.0.first().map_or(Boot(0), |newest| newest.since.after(LIFE));
        Boot(begins.since(Boot(0)).saturating_sub(AHEAD).as_nanos().try_into().unwrap_or(u64::MAX))
    }

    /// Makes the next secret if it is due, and forgets those that are of no use. `true`: tell the workers. The machine
    /// may have slept meanwhile.
    #[must_use]
    pub fn renew(&mut self, random: &Random, now: Boot) -> bool {
        if now < self.due() {
            return false;
        }
        let begins = match (self.sealing(now), self.0.first()) {
            (Some(_), Some(newest)) => newest.since.after(LIFE).max(now.after(AHEAD)),
            // Nothing seals: there is no reason to wait.
            _ => now,
        };
        self.0.insert(0, Secret::new(random, begins));
        self.0.truncate(MOST);
        self.0.retain(|secret| secret.is_of_use(now));
        true
    }

    /// The secret for new tickets: the newest that has begun.
    #[must_use]
    pub fn sealing(&self, now: Boot) -> Option<&Secret> {
        self.iter().find(|secret| secret.opens_for(now).is_some())
    }

    /// All, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    /// As bytes, for the journal.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads what [`Secrets::encode`] wrote. `None`: these are none, or none of them is of use.
    #[must_use]
    pub fn decode(bytes: &[u8], now: Boot) -> Option<Self> {
        let mut secrets: Self = postcard::from_bytes(bytes).ok()?;
        let in_order = secrets.0.is_sorted_by(|newer, older| newer.since > older.since);
        if !in_order
            || secrets.0.len() > MOST
            || secrets.0.iter().any(|secret| secret.since > now.after(LIFE))
        {
            return None;
        }
        secrets.0.retain(|secret| secret.is_of_use(now));
        (!secrets.0.is_empty()).then_some(secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Random bytes that no other call gives.
    fn random(seed: u64) -> Random {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&seed.wrapping_mul(31).to_le_bytes());
        bytes
    }

    fn opens(secrets: &Secrets, name: [u8; 8], now: Boot) -> bool {
        secrets.iter().any(|secret| secret.name() == name && secret.opens_for(now).is_some())
    }

    #[test]
    fn a_new_secret_is_known_before_it_seals() {
        let start = Boot(5_000_000_000);
        let mut secrets = Secrets::new(&random(1), start);
        let name = |secrets: &Secrets, now| secrets.sealing(now).map(Secret::name);
        let first = name(&secrets, start);
        assert_eq!(secrets.due(), Boot(start.after(LIFE).0 - 60_000_000_000));
        assert!(!secrets.renew(&random(2), start.after(LIFE - AHEAD * 2)));
        assert!(secrets.renew(&random(2), secrets.due()));
        assert_eq!(name(&secrets, start.after(LIFE - AHEAD)), first);
        assert_eq!(name(&secrets, start.after(LIFE)), Some(random(2)[..8].try_into().unwrap()));
        assert!(opens(&secrets, first.unwrap(), start.after(LIFE * 2 - Duration::from_secs(1))));
        assert!(!opens(&secrets, first.unwrap(), start.after(LIFE * 2)));
        let shown = format!("{secrets:?}");
        assert!(!shown.contains("key") && !shown.contains("name"), "{shown}");
    }

    #[test]
    fn a_night_of_sleep_ends_all_secrets_and_one_begins_at_once() {
        let mut secrets = Secrets::new(&random(1), Boot(0));
        let morning = Boot(0).after(LIFE * 3);
        assert_eq!(secrets.sealing(morning), None);
        assert!(secrets.renew(&random(2), morning));
        assert_eq!(secrets.sealing(morning).map(Secret::name), Some(random(2)[..8].try_into().unwrap()));
        assert_eq!(secrets.iter().count(), 1);
    }

    #[test]
    fn bytes_that_are_no_secrets_are_refused() {
        let now = Boot(0).after(LIFE);
        let secrets = Secrets::new(&random(1), now);
        assert_eq!(Secrets::decode(&secrets.encode(), now), Some(secrets.clone()));
        assert_eq!(Secrets::decode(&secrets.encode(), now.after(LIFE * 2)), None, "of no use any more");
        // The same boot has not begun: this machine has started again.
        assert_eq!(Secrets::decode(&Secrets::new(&random(1), now.after(LIFE * 2)).encode(), now), None);
        let twice = Secrets([secrets.0.clone(), secrets.0.clone()].concat());
        for bad in [vec![], vec![255; 64], Secrets(vec![]).encode(), twice.encode()] {
            assert_eq!(Secrets::decode(&bad, now), None);
        }
    }

    proptest! {
        /// A master that is late by seconds or asleep for hours, and two workers that hear of a change at different times
        /// within `AHEAD`.
        #[test]
        fn what_one_worker_seals_the_other_opens(
            steps in prop::collection::vec((0u64..4 * 3600, 0u64..30, 0u64..60), 1..40),
        ) {
            let mut now = Boot(1_000_000_000);
            let mut master = Secrets::new(&random(0), now);
            let mut workers = [master.clone(), master.clone()];
            // Tickets: the name of their secret, and until when they were promised to open.
            let mut tickets: Vec<([u8; 8], Boot)> = vec![];
            for (seed, (wait, late, between)) in steps.into_iter().enumerate() {
                now = now.after(Duration::from_secs(wait));
                let due = master.due();
                if now >= due {
                    now = now.max(due.after(Duration::from_secs(late)));
                    prop_assert!(master.renew(&random(seed as u64 + 1), now));
                    prop_assert!(master.due() > now && master.iter().count() <= MOST);
                    workers[0] = master.clone();
                    now = now.after(Duration::from_secs(between));
                    if let Some(early) = workers[0].sealing(now)
                        && workers[1].sealing(now).is_some() {
                        prop_assert!(opens(&workers[1], early.name(), now), "the other does not know it yet");
                    }
                    workers[1] = master.clone();
                }
                let next = Secrets::decode(&master.encode(), now);
                prop_assert_eq!(next.as_ref().and_then(|next| next.sealing(now)), master.sealing(now));
                let sealing = workers[seed % 2].sealing(now);
                tickets.extend(sealing.and_then(|secret| Some((secret.name(), now.after(secret.opens_for(now)?)))));
                for (name, until) in &tickets {
                    for worker in &workers {
                        prop_assert_eq!(opens(worker, *name, now), now < *until);
                    }
                }
                let begun = master.iter().filter(|secret| secret.opens_for(now).is_some()).count();
                prop_assert!(begun <= 2, "{} generations", begun);
            }
        }
    }
}
