//! The newest that is known of a source, and the handle that its sessions share.

use super::numbers::{Numbers, Order};
use super::offsets::{AGREE, offset};
use super::own_clock::OwnClock;
use super::witnesses::Witnesses;
use crate::feeder::Now;
use crate::model::{Boot, Price, Symbol, Wall};
use crate::providers::Tick;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Overtaken prices are older by at most so many milliseconds. Stamps may be whole seconds.
const JITTER: i64 = 2_000;
/// The same for a price whose number is above the newest: the source itself says that it is newer.
const NUMBERED_JITTER: i64 = 10_000;

/// The judgement of a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feeder) enum Verdict {
    /// A new price, and how late it is.
    News(Duration),
    /// Known already, or just overtaken.
    Known,
    /// Older than what is known, with the words for it.
    Old(String),
}

/// What is told with a price.
#[derive(Clone, Copy, Debug)]
pub(in crate::feeder) struct Said {
    /// What its number counts.
    pub counts: &'static str,
    /// How old the answer is by its head.
    pub age: Option<Duration>,
}

/// All that is known of one source.
#[derive(Debug, Default)]
pub(in crate::feeder) struct Memory {
    clock: OwnClock,
    symbols: Vec<Known>,
}

/// The newest that is known of one symbol.
#[derive(Debug)]
struct Known {
    symbol: Symbol,
    pair: Symbol,
    /// The newest stamp that was believed.
    stamp: Option<Wall>,
    /// When the newest one was made, on our boot clock: for answers whose age is all that is known.
    made: Option<Boot>,
    /// The last stamp, with its price.
    last: Option<(Wall, Price)>,
    /// By what the numbers count.
    numbers: BTreeMap<&'static str, Numbers>,
}

impl Memory {
    /// Judges a price. `reference` is the offset of the right time.
    fn take(&mut self, tick: &Tick, said: Said, reference: i64, now: Now) -> Verdict {
        let Said { counts, age } = said;
        let lag = tick.time.map(|stamp| self.clock.lag(offset(stamp, now.boot), reference, now.mono));
        let lag = lag.max(age).unwrap_or_default();
        let made = Boot(now.boot.0.saturating_sub(u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX)));
        let limit = self.clock.limit(reference);
        let sound = |stamp: Wall| offset(stamp, now.boot) <= limit;
        let known = self.known(tick);
        // A stamp that now proves to be one of the future.
        known.stamp = known.stamp.filter(|stamp| sound(*stamp));
        let older = match tick.time {
            Some(stamp) => known.older_by(stamp),
            None => known.made_before(made),
        };
        if older > NUMBERED_JITTER || (older > JITTER && !known.is_above(tick.seq, counts)) {
            return known.old(tick.time, lag);
        }
        let order = tick.seq.map(|seq| known.numbers.entry(counts).or_default().take(seq, now.mono));
        let last = tick.time.map(|stamp| (stamp, tick.price));
        // The other leg may know the same trade under another number.
        if matches!(order, Some(Order::Same | Order::Below)) || (last.is_some() && known.last == last) {
            return Verdict::Known;
        }
        known.last = last;
        known.stamp = known.stamp.max(tick.time.filter(|stamp| sound(*stamp)));
        known.made = known.made.max(Some(made));
        Verdict::News(lag)
    }

    fn known(&mut self, tick: &Tick) -> &mut Known {
        let same = |known: &Known| known.symbol == tick.symbol && known.pair == tick.pair;
        let at = self.symbols.iter().position(same).unwrap_or_else(|| {
            let (symbol, pair) = (tick.symbol.clone(), tick.pair.clone());
            let (stamp, made, last, numbers) = (None, None, None, BTreeMap::new());
            self.symbols.push(Known { symbol, pair, stamp, made, last, numbers });
            self.symbols.len() - 1
        });
        &mut self.symbols[at]
    }
}

impl Known {
    /// By how many milliseconds a stamp is older than the newest one.
    fn older_by(&self, stamp: Wall) -> i64 {
        self.stamp.map_or(0, |newest| newest.0.saturating_sub(stamp.0))
    }

    /// By how many milliseconds a price was made before the newest one.
    fn made_before(&self, made: Boot) -> i64 {
        self.made.map_or(0, |newest| i64::try_from(newest.since(made).as_millis()).unwrap_or(i64::MAX))
    }

    fn is_above(&self, seq: Option<u64>, counts: &'static str) -> bool {
        self.numbers.get(counts).zip(seq).is_some_and(|(numbers, seq)| numbers.is_above(seq))
    }

    fn old(&self, stamp: Option<Wall>, age: Duration) -> Verdict {
        Verdict::Old(match stamp.zip(self.stamp) {
            Some((stamp, newest)) => {
                format!("a price of {stamp} is older than that of {newest}, which is known")
            }
            None => format!("an answer of {} s ago is older than what is known", age.as_secs()),
        })
    }
}

/// One source's memory, for its sessions; the witnesses are those of all sources.
#[derive(Clone)]
pub(in crate::feeder) struct Belief {
    name: Arc<str>,
    witnesses: Arc<Mutex<Witnesses>>,
    memory: Arc<Mutex<Memory>>,
}

impl Belief {
    /// Begins without a memory.
    pub(in crate::feeder) fn new(name: &str, witnesses: Arc<Mutex<Witnesses>>) -> Self {
        Self { name: name.into(), witnesses, memory: Arc::default() }
    }

    /// Forgets, for a session whose stamps and numbers begin anew: a recording.
    pub(in crate::feeder) fn anew(&self) -> Self {
        Self::new(&self.name, self.witnesses.clone())
    }

    /// Judges a price that was read at `now`. What comes from a cache is no witness of the right time.
    pub(in crate::feeder) fn take(&self, tick: &Tick, said: Said, now: Now) -> Verdict {
        let mut witnesses = self.witnesses.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = said.age.is_some_and(|age| age.as_millis() > u128::from(AGREE.unsigned_abs()));
        let reference = match tick.time {
            Some(stamp) if !cached => witnesses.hear(&self.name, offset(stamp, now.boot), now),
            _ => witnesses.reference(now),
        };
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).take(tick, said, reference, now)
    }

    /// Judges a price of a recording: its stamps say nothing.
    pub(in crate::feeder) fn take_recorded(&self, tick: &Tick, counts: &'static str, now: Now) -> Verdict {
        let tick = Tick { time: None, ..tick.clone() };
        let said = Said { counts, age: None };
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).take(&tick, said, 0, now)
    }
}

#[cfg(test)]
#[path = "histories.rs"]
mod histories;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
