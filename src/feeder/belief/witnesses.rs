//! The right time, by witnesses: each source that gives current stamps, our wall clock, and what they agreed on
//! before. All are told as offsets to our boot clock, which nobody sets.
//!
//! - The first word of a source is no witness, however often it is repeated: its stamps must have kept pace with our
//!   clock for [`PROBATION`].
//! - Two witnesses that agree have the right time. Larger groups win; of equal ones the one that is ahead, because
//!   late messages are commoner than clocks that are wrong by the same amount.
//! - What was agreed on is a witness, too: so a wall clock that is set, or a source that becomes late, changes nothing.
//!   Another group replaces it after [`RIVAL_FOR`].
//! - While nobody agrees, our wall clock is right. A source that contradicts it by the same amount for [`ALONE_FOR`]
//!   is then believed instead: a constant delay cannot be told from a wall clock that is wrong, and clocks are wrong
//!   more often.

use super::offsets::{AGREE, offset};
use crate::feeder::Now;
use crate::model::Mono;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time after which a later stamp of a source is worth less than its newest one.
const BEST_OF: Duration = Duration::from_secs(5);
/// Time for which a source's stamps must keep pace with our clock before it is a witness.
const PROBATION: Duration = Duration::from_millis(500);
/// Time that a source's last stamp counts.
const VOTE_FOR: Duration = Duration::from_secs(60);
/// Time that a group must hold against what was agreed on before.
const RIVAL_FOR: Duration = Duration::from_secs(10);
/// Time that a source must contradict our wall clock, alone, until it is believed.
const ALONE_FOR: Duration = Duration::from_secs(60);

/// The witnesses of the right time.
#[derive(Debug, Default)]
pub(in crate::feeder) struct Witnesses {
    votes: BTreeMap<Arc<str>, Vote>,
    agreed: Option<Agreed>,
    /// An offset that contradicts what holds, and since when.
    rival: Option<(i64, Mono)>,
}

/// What a source's stamps say.
#[derive(Clone, Copy, Debug)]
struct Vote {
    /// The best offset of the last moments.
    best: (i64, Mono),
    /// The offset with which it kept pace, and since when.
    steady: (i64, Mono),
    witness: bool,
}

impl Vote {
    fn new(said: i64, now: Mono) -> Self {
        Self { best: (said, now), steady: (said, now), witness: false }
    }

    fn hear(&mut self, said: i64, now: Mono) {
        if said >= self.best.0 || now.since(self.best.1) >= BEST_OF {
            self.best = (said, now);
        }
        if said.abs_diff(self.steady.0) > AGREE.unsigned_abs() {
            self.steady = (said, now);
        }
        let passed = now.since(self.steady.1);
        let fell = Duration::from_millis(u64::try_from(self.steady.0.saturating_sub(said)).unwrap_or(0));
        // The offset of a stamp that stands still falls by all the time that passes.
        self.witness |= passed >= PROBATION && fell * 2 <= passed;
    }
}

#[derive(Clone, Copy, Debug)]
struct Agreed {
    offset: i64,
    /// Whether two witnesses agreed, not only one that was steady.
    proven: bool,
}

impl Witnesses {
    /// Takes the offset of a source's stamp, read at `now`; returns that of the right time.
    pub(super) fn hear(&mut self, source: &Arc<str>, said: i64, now: Now) -> i64 {
        self.votes.retain(|_, vote| now.mono.since(vote.best.1) < VOTE_FOR);
        let vote = self.votes.entry(source.clone()).or_insert_with(|| Vote::new(said, now.mono));
        vote.hear(said, now.mono);
        match self.group(now) {
            Some(group) => self.agree(group, now.mono),
            None if self.agreed.is_none() => self.stand_alone(now.mono),
            None => self.rival = None,
        }
        self.reference(now)
    }

    /// The offset of the right time.
    pub(super) fn reference(&self, now: Now) -> i64 {
        self.agreed.map_or_else(|| offset(now.wall, now.boot), |agreed| agreed.offset)
    }

    /// How far our wall clock is ahead of the right time, in milliseconds, if that is much.
    pub(in crate::feeder) fn wall_ahead(&self, now: Now) -> Option<i64> {
        let ahead = offset(now.wall, now.boot).saturating_sub(self.agreed?.offset);
        (ahead.abs() > AGREE).then_some(ahead)
    }

    /// The middle of the largest group that at least two witnesses belong to.
    fn group(&self, now: Now) -> Option<i64> {
        let proven = self.agreed.filter(|agreed| agreed.proven).map(|agreed| agreed.offset);
        let mut all: Vec<i64> =
            self.votes.values().filter(|vote| vote.witness).map(|vote| vote.best.0).collect();
        all.push(offset(now.wall, now.boot));
        all.sort_unstable();
        let within = |from: i64| all.iter().copied().filter(move |said| (from..=from + AGREE).contains(said));
        let size = |from: i64| {
            within(from).count() + usize::from(proven.is_some_and(|at| (from..=from + AGREE).contains(&at)))
        };
        let lowest = all.iter().copied().chain(proven).max_by_key(|from| (size(*from), *from))?;
        let group: Vec<_> = within(lowest).collect();
        (group.len() >= 2).then(|| group[(group.len() - 1) / 2])
    }

    /// A group agrees on this offset.
    fn agree(&mut self, offset: i64, now: Mono) {
        let contradicts =
            |agreed: Agreed| agreed.proven && agreed.offset.abs_diff(offset) > AGREE.unsigned_abs();
        if self.agreed.is_some_and(contradicts) && !self.lasts(offset, RIVAL_FOR, now) {
            return;
        }
        (self.agreed, self.rival) = (Some(Agreed { offset, proven: true }), None);
    }

    /// Nobody agrees with anybody: the source that is least late may be right.
    fn stand_alone(&mut self, now: Mono) {
        let Some(offset) = self.votes.values().map(|vote| vote.best.0).max() else { return };
        if self.lasts(offset, ALONE_FOR, now) {
            (self.agreed, self.rival) = (Some(Agreed { offset, proven: false }), None);
        }
    }

    /// Whether an offset has contradicted what holds for some time.
    fn lasts(&mut self, offset: i64, time: Duration, now: Mono) -> bool {
        let (was, since) = *self.rival.get_or_insert((offset, now));
        if offset.abs_diff(was) > AGREE.unsigned_abs() {
            self.rival = Some((offset, now));
            return false;
        }
        now.since(since) >= time
    }
}
