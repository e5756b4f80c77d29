//! The master's journal: what only the master knows and others rely on, in a memory file that outlives it.
//!
//! A change is written before anybody hears of it: so the journal never knows less than a worker. The keeper holds the
//! file under a name, and gives it to the next master, which reads it and goes on writing. A journal that makes no
//! sense is refused whole.

#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzz/targets/journal.rs"]
pub mod fuzzed;
mod log;
mod record;
#[cfg(test)]
mod tests;

pub(super) use record::{Life, Record, State, slot};

use crate::os::memory_file::MemoryFile;
use log::{Log, Memory, Strange, records};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The name under which the keeper holds it.
pub(super) const NAME: &str = "journal";
/// A shorter journal is not worth a compaction.
const SHORT: u64 = 256 << 10;

/// A journal that is written to.
#[derive(Debug)]
pub(super) struct Journal<M = MemoryFile> {
    log: Log<M>,
    /// Bytes after the last compaction.
    content: u64,
    /// A write has failed: nothing is written any more.
    broken: bool,
    record: Vec<u8>,
}

impl Journal {
    /// The oldest and the newest form that is read.
    pub(super) const FORMS: (u32, u32) = (log::FORM, log::FORM);

    /// Begins an empty journal.
    pub(super) fn create() -> io::Result<(Self, OwnedFd)> {
        let file = MemoryFile::new("btc-cluster-journal")?;
        let held = file.descriptor().try_clone_to_owned()?;
        Ok((Self::new(file)?, held))
    }

    /// Goes on with the journal of a master that has ended.
    pub(super) fn take_over(file: BorrowedFd<'_>) -> Result<(Self, State), String> {
        let file = file.try_clone_to_owned().map_err(|error| error.to_string())?;
        Self::open(MemoryFile::from_descriptor(file)).map_err(|strange| strange.to_string())
    }
}

impl<M: Memory> Journal<M> {
    fn new(memory: M) -> io::Result<Self> {
        Ok(Self { log: Log::new(memory)?, content: 0, broken: false, record: Vec::new() })
    }

    fn open(memory: M) -> Result<(Self, State), Strange> {
        let log = Log::open(memory)?;
        let state = replay(&log.read()?)?;
        let mut journal = Self { log, content: 0, broken: false, record: Vec::new() };
        journal.compact(&state);
        Ok((journal, state))
    }

    /// Writes a change down.
    pub(super) fn write(&mut self, record: &Record<'_>) {
        if self.broken {
            return;
        }
        self.record.clear();
        let bytes = postcard::to_extend(record, std::mem::take(&mut self.record));
        let written = bytes.map_err(io::Error::other).and_then(|bytes| {
            self.record = bytes;
            self.log.append(&self.record)
        });
        if let Err(error) = written {
            return self.give_up(&error);
        }
        if self.log.len() > SHORT.max(self.content * 2) {
            match self.log.read().and_then(|bytes| replay(&bytes)) {
                Ok(state) => self.compact(&state),
                Err(strange) => self.give_up(&io::Error::other(strange.to_string())),
            }
        }
    }

    /// Puts the fewest records in the place of all.
    pub(super) fn compact(&mut self, state: &State) {
        let mut all = Vec::new();
        state.records(|record| all.push(postcard::to_allocvec(record)));
        let all: Result<Vec<_>, _> = all.into_iter().collect();
        let written = all.map_err(io::Error::other).and_then(|all| self.log.replace(&all));
        match written {
            Ok(()) => self.content = self.log.len(),
            Err(error) => self.give_up(&error),
        }
    }

    /// Nobody may believe a journal in which something is missing.
    fn give_up(&mut self, error: &io::Error) {
        self.broken = true;
        self.log.spoil();
        tracing::error!(event = "journal-broken", %error, "the death of the master will lose what it alone knows");
    }
}

/// The state after these records.
fn replay(bytes: &[u8]) -> Result<State, Strange> {
    let mut state = State::default();
    for record in records(bytes) {
        state.apply(&postcard::from_bytes(record?).map_err(Strange::Garbage)?);
    }
    Ok(state)
}
