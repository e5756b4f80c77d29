//! What the keeper holds for others: descriptors under names for the next master, and what each process gave for its
//! crash cover. Pure: `D` is a descriptor.

use crate::model::Mono;
use crate::os::descriptors::Share;
use crate::protocol::cluster::Generation;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Most descriptors under names: sockets that listen, and some memory files.
const NAMES: usize = 512;
/// How long the sockets of a process that has ended wait for somebody who adopts them, or says that nobody does. No
/// key: a client whose connection nobody serves should not wait longer.
const WAIT: Duration = Duration::from_secs(30);

/// Descriptors under names. A name may have several: systemd passes sockets so.
#[derive(Debug)]
pub(super) struct Held<D>(Vec<(Box<str>, D)>);

impl<D: Share> Held<D> {
    pub(super) fn new(first: Vec<(Box<str>, D)>) -> Self {
        Self(first)
    }

    /// Holds a descriptor instead of all that have this name. Beyond the bound it is closed.
    pub(super) fn hold(&mut self, name: &str, descriptor: D) {
        self.release(name);
        if self.0.len() < NAMES {
            self.0.push((name.into(), descriptor));
        }
    }

    pub(super) fn release(&mut self, name: &str) {
        self.0.retain(|(known, _)| **known != *name);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| **known == *name)
    }

    /// Copies of all.
    pub(super) fn all(&self) -> impl Iterator<Item = (Box<str>, D)> {
        self.0.iter().filter_map(|(name, descriptor)| Some((name.clone(), descriptor.share()?)))
    }
}

/// What one process gave.
#[derive(Debug)]
struct Given<D> {
    cells: Option<D>,
    sockets: HashMap<u32, D>,
    /// When it is closed; `None`: the process lives.
    until: Option<Mono>,
}

/// What all processes gave.
#[derive(Debug)]
pub(super) struct Vault<D> {
    by_generation: BTreeMap<Generation, Given<D>>,
    /// Sockets of all processes.
    count: usize,
    /// The most of them.
    most: usize,
}

impl<D: Share> Vault<D> {
    pub(super) fn new(most: usize) -> Self {
        Self { by_generation: BTreeMap::new(), count: 0, most }
    }

    fn given(&mut self, of: Generation) -> &mut Given<D> {
        let nothing = || Given { cells: None, sockets: HashMap::new(), until: None };
        self.by_generation.entry(of).or_insert_with(nothing)
    }

    pub(super) fn cells(&mut self, of: Generation, file: D) {
        self.given(of).cells = Some(file);
    }

    /// Keeps a spare of a socket. False: there are as many as there may be, and it is closed.
    pub(super) fn keep(&mut self, of: Generation, key: u32, socket: D) -> bool {
        let full = self.count >= self.most;
        let given = self.given(of);
        let is_new = given.sockets.remove(&key).is_none();
        if full && is_new {
            return false;
        }
        given.sockets.insert(key, socket);
        self.count += usize::from(is_new);
        true
    }

    pub(super) fn drop_one(&mut self, of: Generation, key: u32) {
        let given = self.by_generation.get_mut(&of);
        let dropped = given.and_then(|given| given.sockets.remove(&key));
        self.count -= usize::from(dropped.is_some());
    }

    /// The process has ended: from now on others may fetch what it gave.
    pub(super) fn ended(&mut self, of: Generation, now: Mono) {
        let Some(given) = self.by_generation.get_mut(&of) else { return };
        if given.cells.is_none() && given.sockets.is_empty() {
            self.by_generation.remove(&of);
        } else {
            given.until = Some(now.after(WAIT));
        }
    }

    /// Processes that have ended and left something.
    pub(super) fn left(&self) -> Vec<Generation> {
        let ended = self.by_generation.iter().filter(|(_, given)| given.until.is_some());
        ended.map(|(of, _)| *of).collect()
    }

    /// The cells of a process that has ended, and the numbers of its sockets.
    pub(super) fn contents(&self, of: Generation) -> Option<(Option<D>, Vec<u32>)> {
        let given = self.by_generation.get(&of).filter(|given| given.until.is_some())?;
        let mut keys: Vec<_> = given.sockets.keys().copied().collect();
        keys.sort_unstable();
        Some((given.cells.as_ref().and_then(D::share), keys))
    }

    /// Copies of all sockets of processes that have ended.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (Generation, u32, D)> {
        let ended = self.by_generation.iter().filter(|(_, given)| given.until.is_some());
        ended.flat_map(|(of, given)| {
            given.sockets.iter().filter_map(|(key, socket)| Some((*of, *key, socket.share()?)))
        })
    }

    /// Copies of some sockets of a process that has ended, with their numbers.
    pub(super) fn copies(&self, of: Generation, keys: &[u32]) -> (Vec<u32>, Vec<D>) {
        let given = self.by_generation.get(&of).filter(|given| given.until.is_some());
        let copy = |key: &u32| Some((*key, given?.sockets.get(key)?.share()?));
        keys.iter().filter_map(copy).unzip()
    }

    /// Closes some sockets of a process that has ended; `None`: all, and its cells.
    pub(super) fn forget(&mut self, of: Generation, keys: Option<&[u32]>) {
        let Some(given) = self.by_generation.get_mut(&of).filter(|given| given.until.is_some()) else {
            return;
        };
        match keys {
            Some(keys) => {
                let closed = keys.iter().filter(|key| given.sockets.remove(key).is_some()).count();
                self.count -= closed;
            }
            None => {
                self.count -= given.sockets.len();
                self.by_generation.remove(&of);
            }
        }
    }

    /// Closes what nobody wanted in time.
    pub(super) fn tick(&mut self, now: Mono) {
        let late = |given: &Given<D>| given.until.is_some_and(|until| until <= now);
        let all = self.by_generation.iter();
        let late: Vec<_> = all.filter(|(_, given)| late(given)).map(|(of, _)| *of).collect();
        late.into_iter().for_each(|of| self.forget(of, None));
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.by_generation.values().filter_map(|given| given.until).min()
    }

    /// Everything that is open.
    #[cfg(test)]
    pub(super) fn descriptors(&self) -> usize {
        let cells = self.by_generation.values().filter(|given| given.cells.is_some()).count();
        cells + self.by_generation.values().map(|given| given.sockets.len()).sum::<usize>()
    }

    /// Sockets that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.count
    }
}
