//! The candles of one symbol: the closed ones of each interval, and the open one. Pure.
//!
//! A second is made of prices, a minute of closed seconds, an hour of closed minutes, so that a longer candle always
//! equals the sum of its shorter ones. A reader sees the open candles of all lengths merged.

use crate::model::{Candle, Interval, Packed, PairSet, Price, Wall};
use std::collections::VecDeque;

/// Closed candles kept per interval: an hour, a day, a month.
pub(super) const CAPACITY: [usize; 3] = [3_600, 1_440, 720];
/// A price up to this many milliseconds older than the newest one counts as a price of now; an older one means that the
/// clock was set back.
const JITTER: i64 = 2_000;
/// The end of the time that a packed candle can express.
const LAST: i64 = u32::MAX as i64 * 1_000;

/// The candles of one symbol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series {
    levels: [Level; 3],
    /// The beginning of the time watched without a gap.
    watched: Option<Wall>,
    /// The end of the watched time.
    seen: Wall,
    /// Whether the symbol is being watched.
    here: bool,
    /// The newest candles, changed at the last close of a second.
    fresh: Option<[Candle; 3]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Level {
    closed: VecDeque<Packed>,
    open: Option<Candle>,
}

/// A fact for the journal, from which a series can be restored. Written in the order of events, or all at once
/// ([`Series::facts`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Watching begins at this moment, after a gap.
    Begin(Wall),
    /// Like `Begin`, and later facts are void: the clock was set back.
    Back(Wall),
    /// Watched until this moment.
    Seen(Wall),
    /// A second is over.
    Closed(Candle),
    /// Watched since this moment; earlier facts are not given.
    Watched(Wall),
    /// A closed candle.
    Kept(Interval, Candle),
    /// The current minute or hour so far, without the open shorter candles.
    Open(Interval, Candle),
}

/// The fact is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsound;

impl Fact {
    /// The same fact with other places of the pairs.
    pub(super) fn with_pairs(self, place: impl FnOnce(PairSet) -> PairSet) -> Self {
        let placed = |candle: Candle| Candle { pairs: place(candle.pairs), ..candle };
        match self {
            Self::Closed(candle) => Self::Closed(placed(candle)),
            Self::Kept(of, candle) => Self::Kept(of, placed(candle)),
            Self::Open(of, candle) => Self::Open(of, placed(candle)),
            moment => moment,
        }
    }
}

impl Level {
    fn push(&mut self, candle: &Candle, most: usize) {
        if self.closed.capacity() < most {
            self.closed.reserve_exact(most - self.closed.len());
        }
        if let Some(newest) = self.closed.back_mut().filter(|newest| newest.time() == candle.time) {
            let mut whole = newest.candle();
            whole.merge(candle);
            *newest = Packed::new(&whole);
            return;
        }
        while self.closed.len() >= most {
            self.closed.pop_front();
        }
        self.closed.push_back(Packed::new(candle));
    }

    fn newest(&self) -> Option<Wall> {
        self.closed.back().map(Packed::time)
    }
}

const fn interval(level: usize) -> Interval {
    Interval::ALL[level]
}

impl Series {
    /// Takes a price of a pair at `at`, and adds the facts for the journal.
    pub(super) fn tick(&mut self, at: Wall, (price, pairs): (Price, PairSet), facts: &mut Vec<Fact>) {
        let (mut at, price) = (Wall(at.0.clamp(0, LAST - 1)), price.compact());
        let floor = self.floor();
        let back = at.0.saturating_add(JITTER) < floor.0;
        if !back {
            at = at.max(floor);
        }
        if back || !self.here {
            self.begin(at, back, facts);
        }
        let start = Interval::Second.start(at);
        match &mut self.levels[0].open {
            Some(open) if open.time == start => {
                open.merge(&Candle { pairs, ..Candle::new(start, price, false) });
            }
            _ => {
                facts.extend(self.close(0).map(Fact::Closed));
                let partial = self.watched.is_none_or(|since| since > start);
                self.levels[0].open = Some(Candle { pairs, ..Candle::new(start, price, partial) });
            }
        }
        self.seen = self.seen.max(at);
    }

    /// Takes that the symbol was watched until `now`. Only for prices whose time is the clock's.
    pub(super) fn pass(&mut self, now: Wall, facts: &mut Vec<Fact>) {
        if !self.here {
            return;
        }
        self.seen = self.seen.max(now);
        if self.levels[0].open.is_some_and(|open| Interval::Second.end(open.time) <= now) {
            facts.extend(self.close(0).map(Fact::Closed));
        }
    }

    /// Ends watching: open candles may lack prices, and an open second is closed.
    pub(super) fn cut(&mut self, facts: &mut Vec<Fact>) {
        self.mark(0);
        facts.extend(self.close(0).map(Fact::Closed));
        self.mark(1);
        self.mark(2);
        if self.here {
            facts.push(Fact::Seen(self.seen));
        }
        self.here = false;
    }

    /// Begins watching at `at`; `back`: later candles are void.
    fn begin(&mut self, at: Wall, back: bool, facts: &mut Vec<Fact>) {
        facts.push(if back { Fact::Back(at) } else { Fact::Begin(at) });
        if back {
            self.forget_after(at);
        }
        for level in 0..3 {
            self.mark(level);
            if self.levels[level].open.is_some_and(|open| interval(level).end(open.time) <= at) {
                self.close(level);
            }
        }
        (self.watched, self.seen, self.here) = (Some(at), self.seen.max(at), true);
    }

    /// Marks an open candle that was not watched to its end.
    fn mark(&mut self, level: usize) {
        let seen = self.seen;
        if let Some(open) = &mut self.levels[level].open {
            open.partial |= interval(level).end(open.time) > seen;
        }
    }

    /// The first moment that may still get a price. A second that was closed because watching ended may get another
    /// part if watching begins again within it.
    pub(super) fn floor(&self) -> Wall {
        let again = |time| !self.here || self.watched.is_none_or(|since| since >= time);
        let closed = self.levels[0].newest();
        let closed = closed.map(|time| if again(time) { time } else { Interval::Second.end(time) });
        let open = self.levels[0].open.map(|open| open.time);
        closed.max(open).unwrap_or_default()
    }

    fn close(&mut self, level: usize) -> Option<Candle> {
        let candle = self.levels[level].open.take()?;
        self.closed(level, &candle);
        Some(candle)
    }

    /// Keeps a closed candle, and adds it to the longer one.
    fn closed(&mut self, level: usize, candle: &Candle) {
        self.levels[level].push(candle, CAPACITY[level]);
        if level < 2 {
            self.fold(level + 1, candle);
        }
        if level == 0 {
            self.announce();
        }
    }

    fn fold(&mut self, level: usize, shorter: &Candle) {
        let start = interval(level).start(shorter.time);
        if self.levels[level].open.is_some_and(|open| open.time != start) {
            self.close(level);
        }
        let longer = self.lengthen(level, shorter);
        match &mut self.levels[level].open {
            Some(open) => open.merge(shorter),
            none => *none = Some(longer),
        }
    }

    /// The first part of a longer candle.
    fn lengthen(&self, level: usize, shorter: &Candle) -> Candle {
        let time = interval(level).start(shorter.time);
        let partial = shorter.partial || self.watched.is_none_or(|since| since > time);
        Candle { time, partial, ..*shorter }
    }

    /// Drops everything from `at` on, and restores the open candles from the remaining shorter ones.
    fn forget_after(&mut self, at: Wall) {
        self.seen = self.seen.min(at);
        self.fresh = None;
        for level in 0..3 {
            let start = interval(level).start(at);
            let own = &mut self.levels[level];
            let mut reopened = own.open.take_if(|open| open.time >= start).is_some();
            while own.newest().is_some_and(|newest| newest >= start) {
                own.closed.pop_back();
                reopened = true;
            }
            if level == 0 || !reopened {
                continue;
            }
            let shorter = self.levels[level - 1].closed.iter().rev().take_while(|one| one.time() >= start);
            let parts: Vec<_> = shorter.map(Packed::candle).collect();
            let mut parts = parts.into_iter().rev();
            self.levels[level].open = parts.next().map(|first| {
                let mut open = Candle { time: start, partial: true, ..first };
                parts.for_each(|part| open.merge(&part));
                open
            });
        }
    }

    /// The open candles of an interval and of all shorter ones, as candles of that interval, oldest first.
    fn open(&self, level: usize) -> Vec<Candle> {
        let mut all: Vec<Candle> = Vec::with_capacity(3);
        for shorter in (0..=level).rev() {
            let Some(open) = &self.levels[shorter].open else { continue };
            match all.last_mut() {
                Some(last) if last.time == interval(level).start(open.time) => last.merge(open),
                _ => all.push(self.lengthen(level, open)),
            }
        }
        all
    }

    /// The newest candles, at most `limit`, oldest first.
    pub(super) fn newest(&self, of: Interval, limit: usize) -> Vec<Candle> {
        let level = of as usize;
        let (mut open, closed) = (self.open(level), &self.levels[level].closed);
        let mut older = closed.len();
        if let (Some(first), Some(part)) = (open.first_mut(), closed.back())
            && part.time() == first.time
        {
            let later = std::mem::replace(first, part.candle());
            first.merge(&later);
            older -= 1;
        }
        let from = older - limit.saturating_sub(open.len()).min(older);
        let skipped = open.len().saturating_sub(limit);
        closed.range(from..older).map(Packed::candle).chain(open.drain(skipped..)).collect()
    }

    /// Marks the newest candles as changed.
    pub(super) fn announce(&mut self) {
        let newest = |of| self.newest(of, 1).pop();
        let second = self.levels[0].closed.back().map(Packed::candle);
        self.fresh = match (second, newest(Interval::Minute), newest(Interval::Hour)) {
            (Some(second), Some(minute), Some(hour)) => Some([second, minute, hour]),
            _ => None,
        };
    }

    /// The changed candles, once.
    pub(super) fn take_fresh(&mut self) -> Option<[Candle; 3]> {
        self.fresh.take()
    }

    /// Whether the symbol is being watched.
    pub(super) fn here(&self) -> bool {
        self.here
    }

    /// The newest known moment.
    pub(super) fn seen(&self) -> Wall {
        self.seen
    }

    /// Takes a fact from the journal.
    pub(super) fn apply(&mut self, fact: &Fact) -> Result<(), Unsound> {
        let sound = |time: Wall| if (0..LAST).contains(&time.0) { Ok(time) } else { Err(Unsound) };
        match *fact {
            Fact::Begin(at) => {
                let at = sound(at)?;
                self.here = false;
                self.begin(at, at < self.floor(), &mut Vec::new());
            }
            Fact::Back(at) => self.begin(sound(at)?, true, &mut Vec::new()),
            Fact::Seen(at) if self.here => self.seen = self.seen.max(sound(at)?),
            Fact::Seen(_) => {}
            Fact::Watched(at) => (self.watched, self.here) = (Some(sound(at)?), true),
            Fact::Closed(candle) => {
                if !candle.is_sound(Interval::Second) || sound(candle.time)? < self.floor() {
                    return Err(Unsound);
                }
                if !self.here {
                    self.begin(candle.time, false, &mut Vec::new());
                }
                self.seen = self.seen.max(Interval::Second.end(candle.time));
                self.closed(0, &candle);
            }
            Fact::Kept(of, candle) | Fact::Open(of, candle) => {
                let own = &mut self.levels[of as usize];
                let newer = own.newest().is_none_or(|newest| newest < candle.time) && own.open.is_none();
                if !candle.is_sound(of) || sound(candle.time)? != candle.time || !newer {
                    return Err(Unsound);
                }
                if matches!(fact, Fact::Kept(..)) {
                    own.push(&candle, CAPACITY[of as usize]);
                } else if of != Interval::Second {
                    own.open = Some(candle);
                }
            }
        }
        Ok(())
    }

    /// Marks a gap: a fact could not be read, so anything may be missing before the next one.
    pub(super) fn doubt(&mut self) {
        (self.here, self.watched) = (false, None);
    }

    /// All facts but the open second, which is told when it closes.
    pub(super) fn facts(&self) -> impl Iterator<Item = Fact> + '_ {
        let level = |level: usize| {
            let (of, own) = (interval(level), &self.levels[level]);
            let open = own.open.filter(|_| level > 0).map(|open| Fact::Open(of, open));
            own.closed.iter().map(move |one| Fact::Kept(of, one.candle())).chain(open)
        };
        let watched = self.watched.map(Fact::Watched);
        watched.into_iter().chain((0..3).rev().flat_map(level)).chain([Fact::Seen(self.seen)])
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
