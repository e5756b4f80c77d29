//! A 202 is true: every quote that was accepted comes to its user, once, unless the server has said that there is a gap
//! or the user has left.

use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use tokio::time::Instant;

/// A quote that was accepted, heard, or both.
#[derive(Debug, Default)]
struct Entry {
    /// User, time of the POST, and time of the 202.
    accepted: Option<(u32, Instant, Instant)>,
    heard: u32,
}

/// All requests, and when users had a reason not to hear.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    entries: HashMap<u128, Entry>,
    gaps: HashMap<u32, Vec<(Instant, Instant)>>,
    answers: BTreeMap<String, u64>,
}

/// A quote that was accepted and not heard.
#[derive(Debug)]
pub(crate) struct Victim {
    pub(crate) request: u128,
    pub(crate) user: u32,
    pub(crate) posted: Instant,
    pub(crate) answered: Instant,
    /// When its user had a reason, at other times.
    pub(crate) gaps: Vec<(Instant, Instant)>,
}

/// At the end.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// By status.
    pub(crate) answers: BTreeMap<String, u64>,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    /// Accepted, never heard, and no reason is known.
    pub(crate) missing: u64,
    /// Accepted, never heard; the user has left, or a gap was admitted.
    pub(crate) excused: u64,
    /// Heard more than once.
    pub(crate) duplicates: u64,
    /// Heard without a 202: the answer got lost, or the delivery was given up.
    pub(crate) unasked: u64,
}

impl Receipts {
    /// An answer other than 202.
    pub(crate) fn refused(&mut self, answer: String) {
        *self.answers.entry(answer).or_default() += 1;
    }

    /// A 202.
    pub(crate) fn accepted(&mut self, request: u128, user: u32, posted: Instant, now: Instant) {
        *self.answers.entry("202".to_owned()).or_default() += 1;
        self.entries.entry(request).or_default().accepted = Some((user, posted, now));
    }

    /// A quote came; `true`: it had come before.
    pub(crate) fn heard(&mut self, request: u128) -> bool {
        let entry = self.entries.entry(request).or_default();
        entry.heard += 1;
        entry.heard > 1
    }

    /// Excuses quotes that were posted for that user in that time.
    pub(crate) fn excuse(&mut self, user: u32, from: Instant, to: Instant) {
        self.gaps.entry(user).or_default().push((from, to));
    }

    fn is_excused(&self, user: u32, posted: Instant, answered: Instant) -> bool {
        let gaps = self.gaps.get(&user).into_iter().flatten();
        gaps.into_iter().any(|(from, to)| *from <= answered && posted <= *to)
    }

    /// Lists quotes that were accepted, not heard and not excused.
    pub(crate) fn victims(&self) -> Vec<Victim> {
        let silent = self.entries.iter().filter(|(_, entry)| entry.heard == 0);
        let accepted = silent.filter_map(|(request, entry)| Some((*request, entry.accepted?)));
        accepted
            .filter(|(_, (user, posted, answered))| !self.is_excused(*user, *posted, *answered))
            .map(|(request, (user, posted, answered))| Victim {
                request,
                user,
                posted,
                answered,
                gaps: self.gaps.get(&user).cloned().unwrap_or_default(),
            })
            .collect()
    }

    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally { answers: self.answers.clone(), ..Tally::default() };
        for entry in self.entries.values() {
            tally.duplicates += u64::from(entry.heard.saturating_sub(1));
            let Some((user, posted, answered)) = entry.accepted else {
                tally.unasked += 1;
                continue;
            };
            tally.accepted += 1;
            let count = match entry.heard {
                0 if self.is_excused(user, posted, answered) => &mut tally.excused,
                0 => &mut tally.missing,
                _ => &mut tally.delivered,
            };
            *count += 1;
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_202_is_accounted_for() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut receipts = Receipts::default();
        (0..4).for_each(|n| receipts.accepted(n.into(), n, at(10), at(11)));
        receipts.refused("404".to_owned());
        assert!(!receipts.heard(0) && !receipts.heard(1) && receipts.heard(1));
        receipts.excuse(2, at(11), at(12));
        receipts.excuse(3, at(12), at(13));
        receipts.excuse(3, at(8), at(9));
        receipts.heard(99);
        let answers = [("202".to_owned(), 4), ("404".to_owned(), 1)].into();
        let tally =
            Tally { answers, accepted: 4, delivered: 2, missing: 1, excused: 1, duplicates: 1, unasked: 1 };
        assert_eq!(receipts.tally(), tally);
        let victims: Vec<u128> = receipts.victims().iter().map(|victim| victim.request).collect();
        assert_eq!(victims, [3]);
    }
}
