//! Random histories of a journal, cut anywhere.

use super::log::Memory;
use super::*;
use crate::model::{Boot, Price, Quote, Symbol, Wall};
use crate::protocol::cluster::{Counters, Mark};
use proptest::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// One write: the kernel does those of up to eight bytes whole.
#[derive(Clone, Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Free(u64, u64),
    Cut(u64),
}

/// A memory that remembers how its content came about.
#[derive(Clone, Debug, Default)]
struct Recorded {
    content: Vec<u8>,
    writes: Rc<RefCell<Vec<Write>>>,
}

fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    content.resize(content.len().max(end), 0);
    content[at as usize..end].copy_from_slice(bytes);
}

impl Memory for Recorded {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes.borrow_mut().push(Write::Bytes(at, bytes.to_vec()));
        put(&mut self.content, at, bytes);
        Ok(())
    }

    fn read(&self, at: u64, count: u64) -> io::Result<Vec<u8>> {
        let part = self.content.get(at as usize..(at + count) as usize);
        part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn free(&mut self, at: u64, count: u64) {
        self.writes.borrow_mut().push(Write::Free(at, count));
        self.content[at as usize..(at + count) as usize].fill(0);
    }

    fn cut(&mut self, len: u64) {
        self.writes.borrow_mut().push(Write::Cut(len));
        self.content.truncate(len as usize);
    }
}

/// The content after the first `steps` bytes of all writes.
fn image(writes: &[Write], mut steps: usize) -> Vec<u8> {
    let mut content = Vec::new();
    for write in writes {
        match write {
            Write::Bytes(at, bytes) if bytes.len() <= 8 => {
                if steps < bytes.len() {
                    break;
                }
                put(&mut content, *at, bytes);
                steps -= bytes.len();
            }
            Write::Bytes(at, bytes) => {
                let some = bytes.len().min(steps);
                put(&mut content, *at, &bytes[..some]);
                steps -= some;
                if some < bytes.len() {
                    break;
                }
            }
            Write::Free(at, count) => content[*at as usize..(at + count) as usize].fill(0),
            Write::Cut(len) => content.truncate(*len as usize),
        }
    }
    content
}

fn quote(symbol: &str, seq: u64, mock: bool) -> Quote {
    Quote {
        symbol: Symbol::new(symbol).unwrap(),
        pair: Symbol::new(symbol).unwrap(),
        price: Price::parse("1.5").unwrap(),
        bid: None,
        ask: None,
        source: "a".into(),
        mock,
        time: None,
        received_at: Wall(1),
        received: Boot(1),
        lag: Duration::ZERO,
        interval: Duration::ZERO,
        seq,
        sources: [].into(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Config(String, u64),
    Ready(bool, bool),
    Text(u8, String),
    Price(u8, u64, bool),
    Line(u8, String, Option<u64>),
    Message(u8, Vec<u8>),
    Kept(u8, u32),
    Beat(u32, u16, u64),
    Gone(u32),
    Dropped(u16, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => ("[a-z]{0,90}", 1..9u64).prop_map(|(json, n)| Step::Config(json, n)),
        1 => any::<(bool, bool)>().prop_map(|(ready, stopping)| Step::Ready(ready, stopping)),
        2 => (0..4u8, "[a-z]{0,9}").prop_map(|(which, text)| Step::Text(which, text)),
        4 => (0..3u8, 1..99u64, any::<bool>()).prop_map(|(s, seq, mock)| Step::Price(s, seq, mock)),
        3 => (0..3u8, "[a-z]{0,9}", prop::option::of(0..99u64)).prop_map(|(of, t, m)| Step::Line(of, t, m)),
        4 => (0..3u8, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(room, frame)| Step::Message(room, frame)),
        2 => (0..3u8, 0..4u32).prop_map(|(room, keep)| Step::Kept(room, keep)),
        3 => (1..6u32, 0..3u16, 0..99u64).prop_map(|(generation, slot, n)| Step::Beat(generation, slot, n)),
        1 => (1..6u32).prop_map(Step::Gone),
        1 => (0..3u16, 0..9u64).prop_map(|(slot, count)| Step::Dropped(slot, count)),
    ]
}

fn write<M: Memory>(journal: &mut Journal<M>, step: &Step) {
    let symbol = |n: u8| ["BTC-USD", "ETH-USD", "BTC-EUR"][usize::from(n)];
    match step {
        Step::Config(json, revision) => journal.write(&Record::Config { json, revision: *revision }),
        Step::Ready(ready, stopping) => {
            let (since, started) = (Wall(3), crate::model::Mono(4));
            let (ready, stopping) = (*ready, *stopping);
            journal.write(&Record::Life(Life {
                since,
                started,
                ready,
                reloading: ready ^ stopping,
                stopping,
            }));
        }
        Step::Text(0, text) => journal.write(&Record::Fleet(text)),
        Step::Text(1, text) => journal.write(&Record::Reloads(text)),
        Step::Text(2, text) => journal.write(&Record::Handovers(text)),
        Step::Text(_, text) => {
            let counters = Counters { opened: text.len() as u64, ..Counters::default() };
            journal.write(&Record::Own { counters: &serde_json::to_string(&counters).unwrap() });
        }
        Step::Price(of, seq, mock) => {
            journal.write(&Record::Price(Box::new(quote(symbol(*of), *seq, *mock))));
        }
        Step::Line(of, text, mark) => {
            let mark = mark.map(|offset| Mark { device: 1, inode: 2, offset });
            journal.write(&Record::Line { of: symbol(*of), text, mark, number: 7 });
        }
        Step::Message(room, frame) => {
            let of = (frame.len() % 2 == 0).then_some((4, frame.len() as u64));
            journal.write(&Record::Message { room: symbol(*room), frame, of });
        }
        Step::Kept(room, keep) => journal.write(&Record::Kept { room: symbol(*room), messages: *keep }),
        Step::Beat(generation, slot, count) => {
            let counters = Counters { messages_out: *count, ..Counters::default() };
            let counters = &serde_json::to_string(&counters).unwrap();
            journal.write(&Record::Beat { generation: *generation, slot: *slot, counters });
        }
        Step::Gone(generation) => journal.write(&Record::Gone { generation: *generation }),
        Step::Dropped(slot, count) => journal.write(&Record::Dropped { slot: *slot, count: *count }),
    }
}

/// Rooms are compared by their order: the numbers of uses are smaller after a compaction.
fn told(state: &State) -> String {
    let rooms: Vec<_> = state.rooms().into_iter().map(|(name, all)| format!("{name} {all:?}")).collect();
    let mut rest = state.clone();
    rest.rooms.clear();
    let State {
        config,
        life,
        fleet,
        reloads,
        prices,
        real_before,
        lines,
        dead,
        alive,
        dropped,
        published,
        own,
        handovers,
        ..
    } = rest;
    format!(
        "{config:?} {life:?} {fleet} {reloads} {prices:?} {real_before} {lines:?} {dead:?} {alive:?} {dropped:?} {published:?} {own:?} {handovers} {rooms:?}"
    )
}

fn state_of(content: Vec<u8>) -> Result<String, Strange> {
    let memory = Recorded { content, ..Recorded::default() };
    Journal::open(memory).map(|(_, state)| told(&state))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_history_cut_at_any_byte_leads_to_a_state_that_was_true(
        steps in prop::collection::vec(step(), 1..30),
        compact in prop::collection::vec(any::<bool>(), 30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let mut journal = Journal::new(Recorded::default()).unwrap();
        // The bytes of all writes so far, and the state then.
        let size = |writes: &[Write]| writes.iter().map(|write| match write {
            Write::Bytes(_, bytes) => bytes.len(),
            _ => 0,
        }).sum::<usize>();
        let writes = journal.log.memory().writes.clone();
        let mut states = vec![(size(&writes.borrow()), told(&State::default()))];
        for (step, compact) in steps.iter().zip(&compact) {
            write(&mut journal, step);
            let state = replay(&journal.log.read().unwrap()).unwrap();
            states.push((size(&writes.borrow()), told(&state)));
            if *compact {
                journal.compact(&state);
                states.push((size(&writes.borrow()), told(&state)));
            }
        }
        let writes = writes.borrow();
        let (begun, all) = (states[0].0, size(&writes));
        for cut in cuts {
            let steps = begun + cut.index(all - begun + 1);
            let found = state_of(image(&writes, steps)).unwrap();
            let last = states.iter().rposition(|(size, _)| *size <= steps).unwrap();
            prop_assert_eq!(&found, &states[last].1, "the last record at most is missing");
        }
    }

    #[test]
    fn a_damaged_journal_is_refused_whole(
        steps in prop::collection::vec(step(), 1..20), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let mut journal = Journal::new(Recorded::default()).unwrap();
        steps.iter().for_each(|step| write(&mut journal, step));
        let mut content = journal.log.memory().content.clone();
        let records = 64..content.len();
        let at = records.start + at.index(records.len());
        content[at] ^= flip;
        prop_assert!(matches!(state_of(content), Err(Strange::Damaged)));
    }

    #[test]
    fn noise_is_no_journal(content in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(state_of(content).is_err());
    }
}

#[test]
fn a_long_journal_is_compacted_and_a_new_master_goes_on_with_it() {
    let (mut journal, held) = Journal::create().unwrap();
    let mut longest = 0;
    for seq in 1..=20_000 {
        write(&mut journal, &Step::Price(0, seq, seq < 10));
        write(&mut journal, &Step::Message(1, vec![7; 100]));
        write(&mut journal, &Step::Kept(1, 3));
        longest = longest.max(journal.log.len());
    }
    assert!(longest < SHORT * 2, "{longest}");
    let (mut next, state) = Journal::take_over(std::os::fd::AsFd::as_fd(&held)).unwrap();
    let symbol = Symbol::new("BTC-USD").unwrap();
    assert_eq!((state.prices[&symbol].seq, state.real_before, state.rooms()[0].1.len()), (20_000, true, 3));
    write(&mut next, &Step::Price(0, 20_001, true));
    let (_, state) = Journal::take_over(std::os::fd::AsFd::as_fd(&held)).unwrap();
    assert_eq!((state.prices[&symbol].seq, state.real_before), (20_001, true));
}

#[test]
fn a_journal_that_could_not_be_written_is_not_believed() {
    let (mut journal, held) = Journal::create().unwrap();
    write(&mut journal, &Step::Price(0, 1, true));
    journal.give_up(&io::Error::other("no memory"));
    write(&mut journal, &Step::Price(0, 2, true));
    let why = Journal::take_over(std::os::fd::AsFd::as_fd(&held)).unwrap_err();
    assert_eq!(why, "its writer could not write");
}

#[test]
fn a_journal_without_a_record_is_one() {
    let (_, held) = Journal::create().unwrap();
    let (mut next, state) = Journal::take_over(std::os::fd::AsFd::as_fd(&held)).unwrap();
    assert!(state.prices.is_empty());
    write(&mut next, &Step::Price(0, 1, true));
    let (_, state) = Journal::take_over(std::os::fd::AsFd::as_fd(&held)).unwrap();
    assert_eq!(state.prices.len(), 1);
}
