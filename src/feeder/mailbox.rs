//! The notes of all sources on their way to the core: a queue for each source, served in turn.
//!
//! A source that sends more than [`QUOTA`] notes in a [`WINDOW`] waits for the next window, and loses its own oldest
//! prices when its queue is full: the newest matter, and no source waits for another one. The queues are pure; the
//! mailbox around them only wakes the core.

use super::note::{Note, What};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Notes of one source that may wait.
const ROOM: usize = 512;
/// Notes of one source that are taken in a window: the pace that programs have.
const QUOTA: u32 = 100;
const WINDOW: Duration = Duration::from_millis(10);

/// A note, and how many prices of its source were replaced by newer ones before it.
#[derive(Debug)]
pub(super) struct Delivered {
    pub note: Note,
    pub conflated: u64,
}

/// Result of [`Queues::pop`].
#[derive(Debug)]
enum Popped {
    Some(Delivered),
    /// All that waits is above its quota; the next window begins then.
    Later(Instant),
    Nothing,
}

/// The queues of all sources that have notes waiting.
#[derive(Debug)]
struct Queues {
    lanes: BTreeMap<u32, Lane>,
    /// Sources with notes, the next one first.
    turns: VecDeque<u32>,
    /// The beginning of the window.
    window: Instant,
}

/// The queue of one source.
#[derive(Debug, Default)]
struct Lane {
    notes: VecDeque<Note>,
    conflated: u64,
    /// Notes taken in the window.
    taken: u32,
}

impl Lane {
    /// Adds a note. A full queue loses its oldest note that a newer one replaces.
    fn push(&mut self, note: Note) {
        if self.notes.len() >= ROOM {
            let notes = &self.notes;
            let same = notes.iter().position(|old| replaces(&note, old));
            let stale =
                || (0..notes.len()).find(|&at| notes.range(at + 1..).any(|new| replaces(new, &notes[at])));
            // A queue in which nothing replaces anything is bounded all the same.
            let lost = self.notes.remove(same.or_else(stale).unwrap_or(0));
            self.conflated += u64::from(lost.is_some_and(|lost| matches!(lost.what, What::Tick(..))));
        }
        self.notes.push_back(note);
    }
}

/// Whether a note makes an older one of its source superfluous.
fn replaces(note: &Note, old: &Note) -> bool {
    note.leg == old.leg
        && match (&note.what, &old.what) {
            (What::Tick(new, ..) | What::Halted(new, ..), What::Tick(old, ..) | What::Halted(old, ..)) => {
                new.symbol == old.symbol
            }
            (What::Repeated, What::Repeated)
            | (What::Halt(_), What::Halt(_))
            | (What::Bad(_) | What::Old(_), What::Bad(_) | What::Old(_))
            | (What::Budget(_), What::Budget(_)) => true,
            _ => false,
        }
}

impl Queues {
    fn new(now: Instant) -> Self {
        Self { lanes: BTreeMap::new(), turns: VecDeque::new(), window: now }
    }

    fn push(&mut self, note: Note) {
        let source = note.source;
        let lane = self.lanes.entry(source).or_default();
        if lane.notes.is_empty() {
            self.turns.push_back(source);
        }
        lane.push(note);
    }

    /// The next note: each source gives one in its turn.
    fn pop(&mut self, now: Instant) -> Popped {
        if now - self.window >= WINDOW {
            self.window = now;
            self.lanes.retain(|_, lane| !lane.notes.is_empty());
            self.lanes.values_mut().for_each(|lane| lane.taken = 0);
        }
        for _ in 0..self.turns.len() {
            let Some(source) = self.turns.pop_front() else { break };
            let Some(lane) = self.lanes.get_mut(&source) else { continue };
            if lane.taken >= QUOTA {
                self.turns.push_back(source);
                continue;
            }
            let Some(note) = lane.notes.pop_front() else { continue };
            lane.taken += 1;
            if !lane.notes.is_empty() {
                self.turns.push_back(source);
            }
            return Popped::Some(Delivered { note, conflated: std::mem::take(&mut lane.conflated) });
        }
        if self.turns.is_empty() {
            return Popped::Nothing;
        }
        Popped::Later(self.window + WINDOW)
    }
}

#[derive(Debug)]
struct Shared {
    queues: Mutex<Queues>,
    news: Notify,
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sources' side.
#[derive(Clone, Debug)]
pub(super) struct Notes(Arc<Shared>);

impl Notes {
    /// Never waits.
    pub(super) fn send(&self, note: Note) {
        self.0.queues().push(note);
        self.0.news.notify_one();
    }
}

/// The core's side.
#[derive(Debug)]
pub(super) struct Inbox(Arc<Shared>);

/// An empty mailbox.
pub(super) fn mailbox() -> (Notes, Inbox) {
    let queues = Mutex::new(Queues::new(Instant::now()));
    let shared = Arc::new(Shared { queues, news: Notify::new() });
    (Notes(shared.clone()), Inbox(shared))
}

impl Inbox {
    /// Waits for the next note. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Delivered {
        loop {
            let popped = self.0.queues().pop(Instant::now());
            match popped {
                Popped::Some(delivered) => return delivered,
                // Woken by another source's note, which may go first.
                Popped::Later(until) => tokio::select! {
                    () = self.0.news.notified() => {}
                    () = sleep_until(until) => {}
                },
                Popped::Nothing => self.0.news.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeder::Clock;
    use crate::model::{Price, Symbol};
    use crate::providers::{Fault, Tick};
    use proptest::prelude::*;

    fn tick(source: u32, symbol: &str, seq: u64) -> Note {
        let symbol = Symbol::new(symbol).unwrap();
        let price = Price::parse("1").unwrap();
        let tick =
            Tick { pair: symbol.clone(), symbol, price, bid: None, ask: None, time: None, seq: Some(seq) };
        Note { source, leg: 0, what: What::Tick(tick, Duration::ZERO, Clock::system().now()) }
    }

    fn seq(note: &Note) -> u64 {
        let What::Tick(tick, ..) = &note.what else { panic!("{note:?}") };
        tick.seq.unwrap()
    }

    /// The queues at milliseconds of a story.
    struct Story(Queues, Instant);

    impl Story {
        fn new() -> Self {
            let begin = Instant::now();
            Self(Queues::new(begin), begin)
        }

        fn pop(&mut self, ms: u64) -> Option<Delivered> {
            match self.0.pop(self.1 + Duration::from_millis(ms)) {
                Popped::Some(delivered) => Some(delivered),
                _ => None,
            }
        }
    }

    #[test]
    fn sources_take_turns_whatever_one_of_them_sends() {
        let mut queues = Story::new();
        (0..10_000).for_each(|id| queues.0.push(tick(1, "BTC-USD", id)));
        queues.0.push(tick(2, "BTC-USD", 7));
        let first: Vec<_> = (0..3).map(|_| queues.pop(100).unwrap().note.source).collect();
        assert_eq!(first, [1, 2, 1]);
        let more = std::iter::from_fn(|| queues.pop(101)).count();
        assert_eq!(more as u32, QUOTA - 2, "the rest waits for the next window");
        let later = queues.0.pop(queues.1 + Duration::from_millis(102));
        assert!(matches!(later, Popped::Later(until) if until == queues.1 + Duration::from_millis(110)));
        queues.0.push(tick(2, "BTC-USD", 8));
        assert_eq!(queues.pop(103).unwrap().note.source, 2, "others go on");
        assert!(queues.pop(103).is_none() && queues.pop(110).is_some());
    }

    #[test]
    fn a_full_queue_loses_its_oldest_prices_and_says_how_many() {
        let mut queues = Story::new();
        let room = ROOM as u64;
        queues.0.push(tick(1, "ETH-USD", 77));
        (0..2 * room).for_each(|id| queues.0.push(tick(1, "BTC-USD", id)));
        let ended = What::Ended(Fault::Retry("why".to_owned()));
        queues.0.push(Note { source: 1, leg: 0, what: ended });
        let first = queues.pop(10).unwrap();
        assert_eq!((seq(&first.note), first.conflated), (77, room + 2), "a rare symbol is not lost");
        let all: Vec<_> = (0..ROOM as u64).filter_map(|at| queues.pop(20 + at)).collect();
        assert_eq!(all.len(), ROOM - 1);
        assert_eq!(seq(&all[ROOM - 3].note), 2 * room - 1, "the newest price is kept");
        assert!(matches!(all[ROOM - 2].note.what, What::Ended(_)));
    }

    #[test]
    fn words_about_trading_replace_each_other() {
        let mut queues = Story::new();
        let halt = |word: Option<&str>| Note { source: 1, leg: 0, what: What::Halt(word.map(str::to_owned)) };
        queues.0.push(Note { source: 1, leg: 0, what: What::Began });
        (0..4 * ROOM).for_each(|at| queues.0.push(halt((at % 2 == 1).then_some("post_only"))));
        assert!(matches!(queues.pop(10).unwrap().note.what, What::Began), "nothing else is lost for them");
        let last = std::iter::from_fn(|| queues.pop(20 + 10_000)).last().unwrap();
        assert!(matches!(last.note.what, What::Halt(_)));
    }

    proptest! {
        /// Whatever is pushed and popped: order within a source, its newest price, and the bound hold.
        #[test]
        fn any_history(steps in prop::collection::vec((0..4u32, 0..3u8), 0..3000)) {
            let (mut queues, mut newest, mut last) = (Story::new(), BTreeMap::new(), BTreeMap::new());
            let mut take = |delivered: Delivered| {
                let (source, seq) = (delivered.note.source, seq(&delivered.note));
                assert!(last.insert(source, seq).is_none_or(|before| before < seq));
            };
            for (at, (source, step)) in steps.into_iter().enumerate() {
                if step > 0 {
                    queues.0.push(tick(source, "BTC-USD", at as u64));
                    newest.insert(source, at as u64);
                } else if let Some(delivered) = queues.pop(at as u64) {
                    take(delivered);
                }
                prop_assert!(queues.0.lanes.values().all(|lane| lane.notes.len() <= ROOM));
            }
            let mut now = 1_000_000;
            while !queues.0.turns.is_empty() {
                now += 10;
                while let Some(delivered) = queues.pop(now) {
                    take(delivered);
                }
            }
            prop_assert_eq!(last, newest);
        }
    }
}
