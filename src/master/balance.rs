//! Which sessions move so that all workers hold the same. Pure: loads, rate and moments in, moves out.
//!
//! Connections are taken evenly (`net::even`), so workers are uneven after one came without sessions, or when many left
//! that were at one of them. A round of moves begins when the one before has ended. Whether to begin is asked more
//! strictly than whether to go on, and a round makes nobody fuller than the target, so no session goes to and fro.

use crate::model::{Mono, Rate};
use crate::protocol::cluster::Generation;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Workers that differ by more begin to move sessions, after [`PATIENCE`]: a tenth of the mean, and so many.
const UNEVEN: u32 = 8;
/// Workers may be uneven for so long: many clients come or go.
const PATIENCE: Duration = Duration::from_secs(10);
/// A new worker may take over what another one had.
const SETTLE: Duration = Duration::from_secs(2);
/// Pause after a round that moved nothing.
const REST: Duration = Duration::from_secs(60);
/// Length of a round. What a rate allows in a longer time is spread over it.
const ROUND: Duration = Duration::from_secs(1);
/// Sessions that move in a round when an operator asks, and there is no rate.
const ASKED: Rate = Rate { count: 1000, per: ROUND };

/// Sessions of a worker that takes sessions from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub worker: Generation,
    /// Those that have a connection: a client that polls may open many.
    pub sessions: u32,
    /// Those of them that cannot move: their connections are of TLS.
    pub bound: u32,
}

impl Load {
    /// Those that can move.
    fn free(self) -> u32 {
        self.sessions.saturating_sub(self.bound)
    }
}

/// Sessions that are to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: Generation,
    pub to: Generation,
    pub sessions: u32,
}

/// What became of a session that was to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Its connection goes on at the other worker.
    pub moved: u32,
    /// Its connection was closed.
    pub refused: u32,
    /// It stays.
    pub left: u32,
    pub silence: Duration,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.moved += other.moved;
        self.refused += other.refused;
        self.left += other.left;
        self.silence = self.silence.max(other.silence);
    }
}

/// Why sessions move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// They do not.
    Calm,
    /// Workers are uneven since then.
    Uneven { since: Mono },
    /// Rounds go on until all are even.
    Active { asked: bool },
    /// A round moved nothing.
    Resting { until: Mono },
}

/// The planner.
#[derive(Debug)]
pub struct Balance {
    rate: Rate,
    mood: Mood,
    known: BTreeSet<Generation>,
    /// A worker has come, then.
    newcomer: Option<Mono>,
    /// Moves of the round that have not ended.
    under_way: u32,
    /// That round leaves nothing to move.
    evened: bool,
    /// Of that round.
    round: Counts,
    /// Of all rounds since the workers were even.
    sum: Counts,
    /// When sessions began to move within the time of the rate, and how many.
    spent: VecDeque<(Mono, u32)>,
}

impl Balance {
    /// `rate`: `cluster.rebalance`; [`Rate::OFF`]: only when asked.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            mood: Mood::Calm,
            known: BTreeSet::new(),
            newcomer: None,
            under_way: 0,
            evened: false,
            round: Counts::default(),
            sum: Counts::default(),
            spent: VecDeque::new(),
        }
    }

    /// Follows another rate.
    pub fn configure(&mut self, rate: Rate) {
        self.rate = rate;
        if rate.count == 0 && self.mood != (Mood::Active { asked: true }) {
            self.mood = Mood::Calm;
        }
    }

    /// An operator wants the workers even now.
    pub fn ask(&mut self) {
        (self.mood, self.evened) = (Mood::Active { asked: true }, false);
    }

    /// Whether an operator waits for the workers to be even.
    #[cfg(test)]
    fn is_asked(&self) -> bool {
        self.mood == (Mood::Active { asked: true }) || self.under_way > 0
    }

    /// One move has ended.
    pub fn ended(&mut self, counts: Counts, now: Mono) {
        self.under_way = self.under_way.saturating_sub(1);
        self.round.add(counts);
        if self.under_way > 0 {
            return;
        }
        let round = std::mem::take(&mut self.round);
        self.sum.add(round);
        if round.moved + round.refused == 0 && matches!(self.mood, Mood::Active { .. }) {
            self.mood = Mood::Resting { until: now.after(REST) };
        }
    }

    /// Counts of all that has moved, once all rounds are over.
    pub fn take_outcome(&mut self) -> Option<Counts> {
        let over = self.under_way == 0 && !matches!(self.mood, Mood::Active { .. });
        if over { Some(std::mem::take(&mut self.sum)) } else { None }
    }

    /// The moves of the next round, about once a second. `loads`: all workers that take sessions. `settled`: no worker
    /// hands over what it has, for a reason of its own.
    pub fn plan(&mut self, loads: &[Load], settled: bool, now: Mono) -> Vec<Move> {
        self.look(loads, now);
        if self.under_way > 0 || !settled || !self.is_active(loads, now) {
            return Vec::new();
        }
        let allowed = self.allowed(now);
        let moves = moves(loads, allowed);
        let sessions = moves.iter().map(|each| each.sessions).sum();
        if sessions > 0 {
            self.spent.push_back((now, sessions));
            self.under_way = u32::try_from(moves.len()).unwrap_or(u32::MAX);
            self.evened = sessions < allowed;
        } else if allowed > 0 {
            self.mood = Mood::Calm;
        }
        moves
    }

    /// Notes workers that have come.
    fn look(&mut self, loads: &[Load], now: Mono) {
        let all: BTreeSet<_> = loads.iter().map(|load| load.worker).collect();
        // The first workers all come without sessions.
        if !self.known.is_empty() && !all.is_subset(&self.known) {
            self.newcomer = Some(now);
            if let Mood::Resting { .. } = self.mood {
                self.mood = Mood::Calm;
            }
        }
        self.known = all;
    }

    fn is_active(&mut self, loads: &[Load], now: Mono) -> bool {
        let is_new = self.newcomer.is_some_and(|came| now.since(came) < PATIENCE + SETTLE);
        let uneven = differ(loads) > if is_new { slack(loads) } else { strict(loads) };
        let patience = if is_new { SETTLE } else { PATIENCE };
        match self.mood {
            Mood::Active { asked } => {
                // Clients come and go: after a round that made all even, they need not be so to the last session.
                let exact = asked && !self.evened;
                if differ(loads) <= if exact { 1 } else { slack(loads) } {
                    (self.mood, self.newcomer) = (Mood::Calm, None);
                }
            }
            Mood::Resting { until } if now < until => {}
            _ if !uneven || self.rate.count == 0 => self.mood = Mood::Calm,
            Mood::Uneven { since } if now.since(since) >= patience => {
                self.mood = Mood::Active { asked: false };
            }
            Mood::Uneven { .. } => {}
            Mood::Calm | Mood::Resting { .. } => self.mood = Mood::Uneven { since: now },
        }
        matches!(self.mood, Mood::Active { .. })
    }

    /// How many sessions may begin to move now.
    fn allowed(&mut self, now: Mono) -> u32 {
        let rate = if self.rate.count == 0 { ASKED } else { self.rate };
        while self.spent.front().is_some_and(|(at, _)| now.since(*at) >= rate.per) {
            self.spent.pop_front();
        }
        let spent: u32 = self.spent.iter().map(|(_, sessions)| *sessions).sum();
        let rounds = rate.per.as_nanos().div_ceil(ROUND.as_nanos()).max(1);
        let share = u128::from(rate.count).div_ceil(rounds);
        // Rounds are called for about once a second, whatever the rate.
        let soon = self.spent.back().is_some_and(|(at, _)| now.since(*at) < ROUND.min(rate.per));
        if soon { 0 } else { u32::try_from(share).unwrap_or(u32::MAX).min(rate.count.saturating_sub(spent)) }
    }
}

/// The difference between the fullest and the emptiest. A worker that is full of sessions that cannot move is not
/// looked at: nothing would change it.
fn differ(loads: &[Load]) -> u32 {
    let targets = targets(loads);
    let free = loads.iter().zip(targets).filter(|(load, target)| load.free() > 0 || load.sessions < *target);
    let all: Vec<_> = free.map(|(load, _)| load.sessions).collect();
    all.iter().max().unwrap_or(&0) - all.iter().min().unwrap_or(&0)
}

fn mean(loads: &[Load]) -> u32 {
    let sum: u64 = loads.iter().map(|load| u64::from(load.sessions)).sum();
    u32::try_from(sum / loads.len().max(1) as u64).unwrap_or(u32::MAX)
}

/// Workers that differ by no more are even, as in `net::even`.
fn slack(loads: &[Load]) -> u32 {
    (mean(loads) / 50).max(2)
}

/// Workers that differ by more are uneven.
fn strict(loads: &[Load]) -> u32 {
    (mean(loads) / 10).max(UNEVEN)
}

/// How many sessions each is to have, the fullest first. What cannot move stays, also where it is more than a share of
/// all: the others share the rest.
fn targets(order: &[Load]) -> Vec<u32> {
    let mut full = vec![false; order.len()];
    loop {
        let (mut rest, mut workers) = (0, 0);
        for (load, full) in order.iter().zip(&full) {
            rest += u64::from(if *full { load.free() } else { load.sessions });
            workers += u64::from(!*full);
        }
        let workers = workers.max(1);
        let (each, mut more) = (u32::try_from(rest / workers).unwrap_or(u32::MAX), rest % workers);
        let over =
            order.iter().zip(&full).position(|(load, full)| !*full && load.sessions - load.free() > each);
        if let Some(over) = over {
            full[over] = true;
            continue;
        }
        // The fullest keep one more, so that none moves for the remainder.
        let target = |(load, full): (&Load, &bool)| {
            if *full {
                return load.sessions - load.free();
            }
            let one = u32::from(more > 0);
            more = more.saturating_sub(1);
            each + one
        };
        return order.iter().zip(&full).map(target).collect();
    }
}

/// The fewest moves to make all even, `most` sessions at most: from the fullest to the emptiest first.
fn moves(loads: &[Load], most: u32) -> Vec<Move> {
    let mut order: Vec<_> = loads.to_vec();
    order.sort_unstable_by_key(|load| (std::cmp::Reverse(load.sessions), load.worker));
    let targets = targets(&order);
    let target = |at: usize| targets[at];
    let spare =
        order.iter().enumerate().map(|(at, load)| (load.worker, load.sessions.saturating_sub(target(at))));
    let mut spare: VecDeque<_> = spare.filter(|(_, sessions)| *sessions > 0).collect();
    let wanting = order.iter().enumerate().rev();
    let wanting = wanting.map(|(at, load)| (load.worker, target(at).saturating_sub(load.sessions)));
    let (mut left, mut moves) = (most, BTreeMap::new());
    for (to, mut wanted) in wanting {
        while wanted > 0 && left > 0 {
            let Some((from, sessions)) = spare.front_mut() else { break };
            let some = wanted.min(*sessions).min(left);
            *moves.entry((*from, to)).or_insert(0) += some;
            (wanted, left, *sessions) = (wanted - some, left - some, *sessions - some);
            if *sessions == 0 {
                spare.pop_front();
            }
        }
    }
    moves.into_iter().map(|((from, to), sessions)| Move { from, to, sessions }).collect()
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
