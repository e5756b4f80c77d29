//! The memory of crash cover: what must be known of each session if this process dies. A memory file that the keeper
//! holds, too: a header, the sets of channels that sessions are on, and 128 bytes a session by its place in the table:
//! one half says how far the session is, the other who it is, which only matters if the master dies, too. Behind all of
//! them there is room for what a session's token says of it alone; pages where nobody has one take no memory.
//!
//! The reader comes after the writer's exit, so what counts is the order of the stores in the program. Facts of a cell
//! change only while its word says that something is under way.

pub mod names;
pub mod recent;

use super::{Body, Framing, Key};
use crate::model::{Mono, SessionId};
use crate::os::shared::Shared;
use crate::protocol::cluster::Slot;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::compiler_fence;

/// Words of a cell.
const CELL: usize = 16;
/// Words for what is a session's own of its token: how many bytes, and these.
const TOKEN: usize = 48;
/// Words of the header: the number of the newest order that all have.
const HEADER: usize = RECENT + RECENTS * 2;
const DONE: usize = 0;
/// And the number of the last order of the master before: the one of now counts from the next.
const BASE: usize = 1;
/// The form of the file, and the slot of the worker.
const FORM_AND_SLOT: usize = 2;
/// When the worker got its last master.
const RENEWED: usize = 3;
/// No place from this one on was ever used.
const TOP: usize = 4;
/// How many publications and lines were taken in, and the last of them.
const COUNT: usize = 5;
const RECENT: usize = 8;
const RECENTS: usize = 512;
/// The form that is written and read.
const FORM: u64 = 4;
/// Words for sets of channels, in two halves: when one is full, the sets in use move to the other.
const HALF: usize = 1 << 19;
const SETS: usize = 2 * HALF;
/// Places of a cell.
const SET_AND_LAST: usize = 4;
const SPOKE: usize = 5;
const WORD: usize = 6;
const ADOPTED: usize = 7;
/// The rest is names.
const NAMES: usize = 8;

/// The word of a cell that describes a session.
pub const HELD: u64 = 1 << 63;
/// Bits of a word that say that something is under way.
pub const DIRTY: u64 = !HELD & !ORDER;
/// The bits of a word that are the number of an order.
pub const ORDER: u64 = (1 << 48) - 1;

/// A cell as it was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub key: Key,
    pub facts: Facts,
    /// Bits of what was under way; 0: nothing.
    pub under_way: u64,
    /// The session has all orders up to this one.
    pub order: u64,
    /// The same, counted from the first one of all masters.
    pub absolute: u64,
}

/// Facts of a session beside its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub id: SessionId,
    /// The secret of its token, and the number of its last message; only main sessions have them.
    pub replay: Option<(u128, u32)>,
    /// The place of its set of channels.
    pub set: u32,
    /// When its client last said something, in seconds of the machine's clock.
    pub spoke: u32,
    pub framing: Framing,
    /// How often its process has changed; more than 65,535 times are as many.
    pub moves: u16,
    /// When this process took it over from one that had died; 0: it did not.
    pub adopted: Mono,
}

/// The mapped file.
#[derive(Debug)]
pub struct Cells {
    shared: Shared,
    #[cfg(test)]
    pub fuse: std::cell::Cell<u64>,
}

/// The word of a test's death.
#[cfg(test)]
#[derive(Debug)]
pub struct Died;

impl Cells {
    /// An empty file with cells for so many places.
    ///
    /// # Errors
    /// As `memfd_create(2)` and `mmap(2)`.
    pub fn new(places: usize, slot: Slot) -> io::Result<Self> {
        let cells = Self::of(Shared::new("btc-cluster-cells", HEADER + SETS + places * (CELL + TOKEN))?);
        cells.store(FORM_AND_SLOT, FORM << 32 | u64::from(slot));
        Ok(cells)
    }

    /// What another process left.
    ///
    /// # Errors
    /// It is no such file.
    pub fn from_descriptor(file: OwnedFd) -> io::Result<Self> {
        let shared = Shared::from_descriptor(file)?;
        if shared.words().len() < HEADER + SETS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let cells = Self::of(shared);
        if cells.load(FORM_AND_SLOT) >> 32 != FORM {
            Err(io::ErrorKind::InvalidData.into())
        } else {
            Ok(cells)
        }
    }

    fn of(shared: Shared) -> Self {
        Self {
            shared,
            #[cfg(test)]
            fuse: std::cell::Cell::new(u64::MAX),
        }
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.descriptor()
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        (self.shared.words().len() - HEADER - SETS) / (CELL + TOKEN)
    }

    fn load(&self, at: usize) -> u64 {
        self.shared.words().get(at).map_or(0, |word| word.load(Relaxed))
    }

    fn store(&self, at: usize, value: u64) {
        #[cfg(test)]
        self.burn();
        if let Some(word) = self.shared.words().get(at) {
            word.store(value, Release);
        }
        // The next store, or the next system call, comes after this one.
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// In a test, the process dies before one of its stores or writes.
    #[cfg(test)]
    pub fn burn(&self) {
        let left = self.fuse.get();
        if left == 0 {
            std::panic::resume_unwind(Box::new(Died));
        }
        self.fuse.set(left - 1);
    }

    const fn cell(key: Key) -> usize {
        HEADER + SETS + key as usize * CELL
    }

    /// The word of a cell.
    pub fn word(&self, key: Key) -> u64 {
        self.load(Self::cell(key) + WORD)
    }

    pub fn set_word(&self, key: Key, word: u64) {
        self.store(Self::cell(key) + WORD, word);
    }

    /// Writes what a session is known by. Its word must say that something is under way.
    pub fn set_facts(&self, key: Key, facts: &Facts) {
        let (at, id) = (Self::cell(key), facts.id.0);
        let (secret, last) = facts.replay.unwrap_or_default();
        for (place, value) in halves(id).into_iter().chain(halves(secret)).enumerate() {
            self.store(at + place, value);
        }
        self.set_last(key, facts.set, last);
        self.store(at + ADOPTED, facts.adopted.0);
        let form = match facts.framing {
            Framing::Websocket => 0,
            Framing::Events(Body::Chunked) => 1,
            Framing::Events(Body::Plain) => 2,
            Framing::Poll => 3,
        };
        let replays = u64::from(facts.replay.is_some()) << 8;
        let moves = u64::from(facts.moves) << 16;
        self.store(at + SPOKE, u64::from(facts.spoke) << 32 | moves | replays | form);
    }

    /// The slot of the worker.
    pub fn slot(&self) -> Slot {
        (self.load(FORM_AND_SLOT) & 0xffff) as Slot
    }

    /// There is another master.
    pub fn set_renewed(&self, now: Mono) {
        self.store(RENEWED, now.0);
    }

    /// When the worker got its last master, if that was not its first.
    pub fn renewed(&self) -> Mono {
        Mono(self.load(RENEWED))
    }

    /// Writes the set of channels and the number of the last message.
    pub fn set_last(&self, key: Key, set: u32, last: u32) {
        self.store(Self::cell(key) + SET_AND_LAST, u64::from(last) << 32 | u64::from(set));
    }

    /// Writes another place of the set of channels.
    pub fn move_set(&self, key: Key, set: u32) {
        let both = self.load(Self::cell(key) + SET_AND_LAST);
        self.store(Self::cell(key) + SET_AND_LAST, both >> 32 << 32 | u64::from(set));
    }

    /// The place of a session's set of channels.
    pub fn set_of(&self, key: Key) -> u32 {
        (self.load(Self::cell(key) + SET_AND_LAST) & 0xffff_ffff) as u32
    }

    /// The client said something.
    pub fn set_spoke(&self, key: Key, second: u32) {
        let at = Self::cell(key) + SPOKE;
        let before = self.load(at);
        if before >> 32 != u64::from(second) {
            self.store(at, u64::from(second) << 32 | before & 0xffff_ffff);
        }
    }

    pub fn set_done(&self, order: u64) {
        self.store(DONE, order);
    }

    pub fn set_base(&self, order: u64) {
        self.store(BASE, order);
    }

    /// The number of the newest order that everybody has.
    pub fn done(&self) -> u64 {
        self.load(DONE)
    }

    /// A cell; `None`: no session has that place.
    pub fn read(&self, key: Key) -> Option<Cell> {
        let (at, word) = (Self::cell(key), self.word(key));
        let whole = |at: usize| u128::from(self.load(at)) | u128::from(self.load(at + 1)) << 64;
        let (both, form) = (self.load(at + SET_AND_LAST), self.load(at + SPOKE));
        let framing = match form & 0xff {
            0 => Framing::Websocket,
            1 => Framing::Events(Body::Chunked),
            2 => Framing::Events(Body::Plain),
            _ => Framing::Poll,
        };
        let facts = Facts {
            id: SessionId(whole(at)),
            replay: (form & 0x100 != 0).then(|| (whole(at + 2), (both >> 32) as u32)),
            set: (both & 0xffff_ffff) as u32,
            spoke: (form >> 32) as u32,
            framing,
            moves: (form >> 16 & 0xffff) as u16,
            adopted: Mono(self.load(at + ADOPTED)),
        };
        let absolute = (word & ORDER).max(self.done()).max(self.load(BASE));
        let order = absolute - self.load(BASE);
        (word & HELD != 0).then_some(Cell { key, facts, under_way: word & DIRTY, order, absolute })
    }

    /// Writes what is a session's own of its token. Its word must say that something is under way, or that it is not
    /// held. False: it is too long.
    pub fn set_own(&self, key: Key, own: &[u8]) -> bool {
        let at = self.own_at(key);
        let fits = own.len() <= (TOKEN - 1) * 8;
        if fits {
            self.store_bytes(at, own);
        }
        fits
    }

    /// What is a session's own of its token.
    pub fn own(&self, key: Key) -> Vec<u8> {
        let at = self.own_at(key);
        let length = usize::try_from(self.load(at)).unwrap_or(0).min((TOKEN - 1) * 8);
        self.load_bytes(at + 1, length)
    }

    fn own_at(&self, key: Key) -> usize {
        HEADER + SETS + self.places() * CELL + key as usize * TOKEN
    }

    /// Writes bytes, and before them how many there are.
    fn store_bytes(&self, at: usize, bytes: &[u8]) {
        for (place, bytes) in (at + 1..).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            self.store(place, u64::from_le_bytes(word));
        }
        self.store(at, bytes.len() as u64);
    }

    fn load_bytes(&self, at: usize, length: usize) -> Vec<u8> {
        let words = length.div_ceil(8);
        let mut bytes: Vec<u8> = (at..at + words).flat_map(|at| self.load(at).to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }

    /// The encoded set of channels at a place.
    pub fn set(&self, at: u32) -> Option<Vec<u8>> {
        let at = at as usize;
        let length = usize::try_from(self.load(at)).ok().filter(|length| *length <= HALF * 8)?;
        let is_in = at >= HEADER && at + 1 + length.div_ceil(8) <= HEADER + SETS;
        is_in.then(|| self.load_bytes(at + 1, length))
    }
}

fn halves(value: u128) -> [u64; 2] {
    // Each is one half of the bits.
    [value as u64, (value >> 64) as u64]
}

/// The sets of channels that sessions are on, each written once.
#[derive(Debug, Default)]
pub struct Sets {
    places: HashMap<Box<[u8]>, u32, RandomState>,
    /// Words used of the half in use.
    used: usize,
    second: bool,
}

impl Sets {
    /// The place of a set, which is written if it is new. `None`: there is no room in this half.
    pub fn intern(&mut self, cells: &Cells, set: &[u8]) -> Option<u32> {
        if let Some(place) = self.places.get(set) {
            return Some(*place);
        }
        let words = 1 + set.len().div_ceil(8);
        if self.used + words > HALF {
            return None;
        }
        let at = HEADER + usize::from(self.second) * HALF + self.used;
        cells.store_bytes(at, set);
        self.used += words;
        let place = u32::try_from(at).ok()?;
        self.places.insert(set.into(), place);
        Some(place)
    }

    /// Goes on in the other half. All sessions must be given their sets anew before the next call.
    pub fn turn(&mut self) {
        *self = Self { second: !self.second, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_the_process_after_and_sets_are_written_once() {
        let cells = Cells::new(4, 3).unwrap();
        let mut sets = Sets::default();
        let set = sets.intern(&cells, b"price:BTC-USD, news").unwrap();
        assert_eq!(sets.intern(&cells, b"price:BTC-USD, news"), Some(set));
        let other = sets.intern(&cells, b"").unwrap();
        let facts = Facts {
            id: SessionId(7 << 100 | 5),
            replay: Some((9 << 90 | 3, u32::MAX)),
            set,
            spoke: 77,
            framing: Framing::Events(Body::Plain),
            moves: 0xfffe,
            adopted: Mono(11),
        };
        cells.set_word(2, HELD | 1 << 48);
        cells.set_facts(2, &facts);
        cells.set_word(2, HELD | 12);
        cells.set_spoke(2, 78);
        let theirs = Cells::from_descriptor(cells.descriptor().try_clone_to_owned().unwrap()).unwrap();
        let facts = Facts { spoke: 78, ..facts };
        assert_eq!(theirs.read(2), Some(Cell { key: 2, facts, under_way: 0, order: 12, absolute: 12 }));
        cells.set_done(20);
        assert_eq!(theirs.read(2).map(|cell| cell.order), Some(20));
        cells.set_base(15);
        assert_eq!(theirs.read(2).map(|cell| cell.order), Some(5));
        assert_eq!((theirs.read(1), theirs.read(3), theirs.read(4)), (None, None, None));
        assert_eq!(theirs.set(set).as_deref(), Some(&b"price:BTC-USD, news"[..]));
        assert_eq!((theirs.set(other), theirs.set(0)), (Some(vec![]), None));
        assert_eq!((theirs.places(), theirs.set(u32::MAX)), (4, None));
        let most = [7; (TOKEN - 1) * 8];
        assert!(cells.set_own(1, &most) && cells.set_own(2, b"tok") && cells.set_own(3, &most));
        assert!(!cells.set_own(2, &[8; (TOKEN - 1) * 8 + 1]));
        let all: Vec<_> = (0..4).map(|key| theirs.own(key)).collect();
        assert_eq!(all, [vec![], most.to_vec(), b"tok".to_vec(), most.to_vec()]);
    }

    #[test]
    fn a_full_half_is_left_for_the_other() {
        let (cells, mut sets) = (Cells::new(1, 3).unwrap(), Sets::default());
        let long = vec![1; HALF * 8 - 8];
        let first = sets.intern(&cells, &long).unwrap();
        assert_eq!(sets.intern(&cells, b"x"), None);
        sets.turn();
        let second = sets.intern(&cells, b"x").unwrap();
        assert!(second > first);
        assert_eq!((cells.set(first), cells.set(second)), (Some(long), Some(b"x".to_vec())));
    }
}
