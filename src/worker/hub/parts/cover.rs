//! Crash cover, the side of the worker that may die: which orders of the master each session has, and whether anything
//! is under way with it. Pure but for the memory that it writes to.
//!
//! Orders are counted as they are taken in. A session is brought up to date in *all* its channels before it gets
//! anything newer, so one number says all: it has every order up to that one, and none after it. The number of the
//! header says the same for all sessions, so that orders touch only those they concern.

#[cfg(test)]
mod histories;

use crate::model::Mono;
use crate::protocol::cluster::Open;
use crate::session::cells::{Cells, DIRTY, Facts, HELD, ORDER, Sets};
use crate::session::{ChannelKey, Key};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::time::Duration;

/// Bytes of orders after which the master is told how far they are done.
const TELL: usize = 64 << 10;

/// Lists of sets are made anew only after so long.
const FULL: Duration = Duration::from_secs(1);

/// A read or a write, from before it begins until after its results are stored.
pub const BUSY: u64 = 1 << 48;
/// A read whose messages are not all handled.
pub const READING: u64 = 1 << 49;
/// A frame or a message has begun.
pub const PARTIAL: u64 = 1 << 50;
/// Bytes wait for the socket.
pub const UNSENT: u64 = 1 << 51;
/// The client waits for an answer that depends on the master, or on time.
pub const ASKED: u64 = 1 << 52;
/// What the client said is not on its way to the master yet.
pub const UNSAID: u64 = 1 << 53;
/// The session is a copy of which its client may not have heard.
pub const LENT: u64 = 1 << 54;

/// Bytes that were said to the master and to the keeper, or how many of those the kernel has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub master: u64,
    pub keeper: u64,
}

impl Said {
    /// Whether all of it is written, if the kernel has so much.
    pub const fn is_written(self, written: Self) -> bool {
        self.master <= written.master && self.keeper <= written.keeper
    }
}

/// The words of this worker's sessions, and the orders.
#[derive(Debug, Default)]
pub struct Cover {
    /// `None`: sessions are not covered.
    cells: Option<Cells>,
    sets: Sets,
    /// When the list of sets was last begun anew.
    turned: Option<Mono>,
    /// The number of the newest order that was taken in.
    taken: u64,
    /// Everybody has the orders up to this one.
    done: u64,
    /// The newest order of the master before: the one of now counts from the next.
    base: u64,
    /// What the master was told of that, and bytes of orders since.
    told: u64,
    bytes: usize,
    /// Channels whose messages a walk has not brought to all members.
    behind: Vec<ChannelKey>,
    /// Sessions whose words are to be made anew.
    touched: Vec<Key>,
    /// The session whose bytes are being read.
    reading: Option<Key>,
    /// Sessions that said something that may not be on its way, and how much had been said then.
    unsaid: HashMap<Key, Said, RandomState>,
    /// How much was on its way at the last look; `None`: more has been said since.
    written: Option<Said>,
}

/// The memory and the sets.
impl Cover {
    /// Covers sessions from now on.
    pub fn cover(&mut self, cells: Cells) {
        cells.set_done(self.done);
        self.cells = Some(cells);
    }

    /// Whether a session at that place can be covered.
    pub fn has_room(&self, key: Key) -> bool {
        self.cells.as_ref().is_some_and(|cells| (key as usize) < cells.places())
    }

    /// The place of a set of channels; `None`: there is no room for more.
    pub fn intern(&mut self, set: &[u8]) -> Option<u32> {
        self.sets.intern(self.cells.as_ref()?, set)
    }

    /// Writes what is a session's own of its token. False: it is too long.
    pub fn set_own(&self, key: Key, own: &[u8]) -> bool {
        self.cells.as_ref().is_some_and(|cells| cells.set_own(key, own))
    }

    /// A session has its set at another place.
    pub fn set_again(&mut self, key: Key, set: u32) {
        let begun = self.begin(key);
        if let Some(cells) = &self.cells {
            cells.move_set(key, set);
        }
        if begun {
            self.finish(key, None);
        }
    }

    /// Goes on with an empty list of sets: all sessions must be given theirs anew. False: that was done a moment ago, and
    /// there is no room again, so there is none.
    pub fn turn(&mut self, now: Mono) -> bool {
        let is_full = self.turned.is_some_and(|then| now.since(then) < FULL);
        if !is_full {
            self.turned = Some(now);
            self.sets.turn();
        }
        !is_full
    }

    /// A new session at that place, with something under way until its word is made.
    pub fn hold(&mut self, key: Key, facts: &Facts) {
        let Some(cells) = self.cells.as_ref().filter(|_| self.has_room(key)) else { return };
        cells.set_word(key, HELD | BUSY);
        cells.set_facts(key, facts);
        self.touched.push(key);
    }

    /// Who that new session is.
    pub fn introduce(&self, key: Key, open: &Open<'_>) {
        if let Some(cells) = self.cells.as_ref().filter(|_| self.has_room(key)) {
            cells.set_names(key, open);
        }
    }

    /// The session at that place is not covered any more. True if it was.
    pub fn release(&mut self, key: Key) -> bool {
        let Some(cells) = &self.cells else { return false };
        let was = cells.word(key) & HELD != 0;
        if was {
            cells.set_word(key, 0);
        }
        was
    }

    /// Whether the session at that place is covered.
    pub fn holds(&self, key: Key) -> bool {
        self.cells.as_ref().is_some_and(|cells| cells.word(key) & HELD != 0)
    }

    /// The client said something at that second.
    pub fn spoke(&self, key: Key, second: u32) {
        if let Some(cells) = self.cells.as_ref().filter(|_| self.holds(key)) {
            cells.set_spoke(key, second);
        }
    }
}

/// Words.
impl Cover {
    /// A write begins. True: the caller must [`Cover::finish`] it. False: the session is not covered, or whoever began
    /// something before finishes it.
    pub fn begin(&self, key: Key) -> bool {
        let Some(cells) = &self.cells else { return false };
        let word = cells.word(key);
        let begins = word & HELD != 0 && word & BUSY == 0;
        if begins {
            cells.set_word(key, word | BUSY);
        }
        begins
    }

    /// The kernel has what was begun, or it is marked as unsent. `last`: the number of the session's last message.
    pub fn finish(&self, key: Key, last: Option<u32>) {
        self.conclude(key, 0, last);
    }

    /// The same, and the session has all orders up to this one.
    pub fn finish_with(&self, key: Key, order: u64, last: Option<u32>) {
        self.conclude(key, order, last);
    }

    fn conclude(&self, key: Key, order: u64, last: Option<u32>) {
        let Some(cells) = &self.cells else { return };
        let word = cells.word(key);
        if word & HELD == 0 {
            return;
        }
        if let Some(last) = last {
            cells.set_last(key, cells.set_of(key), last);
        }
        cells.set_word(key, word & !BUSY & !ORDER | order.max(word & ORDER));
    }

    /// Something is under way until the session's word is made anew ([`Cover::next_touched`], [`Cover::settle`]).
    pub fn touch(&mut self, key: Key, why: u64) {
        let Some(cells) = &self.cells else { return };
        let word = cells.word(key);
        if word & HELD != 0 {
            cells.set_word(key, word | why);
            self.touched.push(key);
        }
    }

    /// A read of a session begins: until it ends, its word is not made anew.
    pub fn read(&mut self, key: Key) {
        self.touch(key, READING);
        self.reading = Some(key);
    }

    /// The read has ended: all that was said in it is handled.
    pub fn has_read(&mut self) {
        self.reading = None;
    }

    /// Takes a session whose word is to be made anew.
    pub fn next_touched(&mut self) -> Option<Key> {
        let at = self.touched.iter().rposition(|key| Some(*key) != self.reading)?;
        Some(self.touched.swap_remove(at))
    }

    /// Makes a session's word anew: this is still under way, and it is up to date in all its channels.
    pub fn settle(&mut self, key: Key, under_way: u64, set: u32, last: u32) {
        let taken = self.taken;
        let Some(cells) = &self.cells else { return };
        let word = cells.word(key);
        if word & HELD == 0 {
            return;
        }
        cells.set_last(key, set, last);
        cells.set_word(key, HELD | under_way & DIRTY | word & UNSAID | taken.max(word & ORDER));
    }

    /// Something was said for a session that must be on its way before the session is clean; with it so much was said.
    pub fn says(&mut self, key: Key, said: Said) {
        let Some(cells) = &self.cells else { return };
        let word = cells.word(key);
        if word & HELD != 0 {
            cells.set_word(key, word | UNSAID);
            self.unsaid.insert(key, said);
            self.written = None;
        }
    }

    /// There is another master, to which all was said again that was not on its way to the one before.
    pub fn says_again(&mut self, master: u64) {
        self.unsaid.values_mut().for_each(|said| said.master = master);
        self.written = None;
    }

    /// So much is on its way: sessions that said nothing later are clean. False: some have.
    pub fn wrote(&mut self, written: Said) -> bool {
        if self.written.replace(written) == Some(written) {
            return self.unsaid.is_empty();
        }
        let Some(cells) = &self.cells else { return true };
        for (key, _) in self.unsaid.extract_if(|_, said| said.is_written(written)) {
            let word = cells.word(key);
            if word & HELD != 0 {
                cells.set_word(key, word & !UNSAID | BUSY);
                self.touched.push(key);
            }
        }
        self.unsaid.is_empty()
    }
}

/// Orders.
impl Cover {
    /// The number of the newest order that was taken in.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The number of the order that is being taken in.
    pub fn next(&self) -> u64 {
        self.taken + 1
    }

    /// An order of so many bytes is taken in: handed to all it concerns, or to be brought to them by a walk.
    pub fn took(&mut self, bytes: usize) {
        self.taken += 1;
        self.bytes += bytes;
    }

    /// A publication or a line is taken in, with the order of now.
    pub fn takes(&self, mark: u64) {
        self.cells.iter().for_each(|cells| cells.takes(mark, self.next()));
    }

    /// A walk has to bring something to the members of a channel.
    pub fn fell_behind(&mut self, channel: ChannelKey) {
        if !self.behind.contains(&channel) {
            self.behind.push(channel);
        }
    }

    /// A walk has brought all to all members of a channel, or the channel is no more.
    pub fn caught_up(&mut self, channel: ChannelKey) {
        self.behind.retain(|other| *other != channel);
    }

    /// Whether a channel beside this one is behind.
    pub fn is_behind_beside(&self, channel: Option<ChannelKey>) -> bool {
        self.behind.iter().any(|other| Some(*other) != channel)
    }

    pub fn is_behind(&self, channel: ChannelKey) -> bool {
        self.behind.contains(&channel)
    }

    /// Notes whether everybody has all orders. To be called when nothing is half done.
    pub fn note_done(&mut self) {
        if self.behind.is_empty() && self.done < self.taken {
            self.done = self.taken;
            self.cells.iter().for_each(|cells| cells.set_done(self.done));
        }
    }

    /// There is another master, which counts its orders from 1. Everybody must have all of the one before.
    pub fn renew(&mut self, now: Mono) {
        self.base = self.taken;
        self.cells.iter().for_each(|cells| {
            cells.set_base(self.base);
            cells.set_renewed(now);
        });
    }

    /// How far the orders are done, if the master should know: `always` when that is news, else after many bytes.
    pub fn tells(&mut self, always: bool) -> Option<u64> {
        if self.done == self.told || !(always || self.bytes >= TELL) {
            return None;
        }
        (self.told, self.bytes) = (self.done, 0);
        Some(self.done.saturating_sub(self.base))
    }
}
