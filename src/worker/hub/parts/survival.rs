//! What makes sessions survive this worker, and what it does for those of others.

use super::adoption::Adoption;
use super::cover::{Cover, Said};
use crate::model::Mono;
use crate::protocol::cluster::{Generation, Handovers, Open};
use crate::protocol::line::Line;
use crate::session::Key;
use crate::session::cells::{Cell, Cells, Facts};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Dead workers that are remembered, for the next master.
const ADOPTED: usize = 64;

/// The sessions of a dead worker, on their way here.
#[derive(Debug)]
pub struct Ward {
    pub adoption: Adoption,
    /// The memory of the dead worker.
    pub cells: Option<Cells>,
    /// What it had taken in last, and as which orders.
    pub taken: HashMap<u64, u64, RandomState>,
    /// Sockets that were not looked at, and their cells.
    pub found: Vec<(Option<Cell>, OwnedFd)>,
    /// Channel messages whose count is to be told, and the subscribers so far.
    pub counts: Vec<(u64, u32)>,
    /// Nothing is waited for after this.
    pub until: Mono,
    /// The end of the dead worker.
    pub died: Mono,
    /// The master has said all of it.
    pub is_whole: bool,
    /// What became of its sessions.
    pub results: Handovers,
    /// The longest time in which one that goes on heard nothing.
    pub silence: Duration,
}

impl Ward {
    pub fn new(of: Generation, died: Mono, until: Mono) -> Self {
        let (adoption, found, counts) = (Adoption::new(of), Vec::new(), Vec::new());
        let (results, silence) = Default::default();
        Self {
            adoption,
            cells: None,
            taken: HashMap::default(),
            found,
            counts,
            until,
            died,
            is_whole: false,
            results,
            silence,
        }
    }
}

#[derive(Debug, Default)]
pub struct Survival {
    pub cover: Cover,
    /// The line to the keeper; `None`: nobody is covered.
    line: Option<Line>,
    /// Sessions of dead workers.
    pub wards: Vec<Ward>,
    /// Dead workers whose sessions were adopted, the last one last.
    adopted: Vec<Generation>,
    /// Rings when something was said that must be on its way before a session is clean.
    bell: Arc<Notify>,
    /// Sessions that are covered.
    covered: u64,
}

impl Survival {
    /// Sessions can be covered from now on: this is the line to the keeper.
    pub fn begin(&mut self, line: Line) {
        self.line = Some(line);
    }

    /// The line to the keeper.
    pub fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// Gives the keeper a spare of a session's socket. False: it does not take it.
    pub fn keep(&self, key: Key, socket: BorrowedFd<'_>) -> bool {
        self.line.as_ref().is_some_and(|line| line.keep(key, socket).is_ok())
    }

    /// A session is covered from now on.
    pub fn hold(&mut self, key: Key, (facts, open): (&Facts, &Open<'_>)) {
        self.covered += 1;
        self.cover.hold(key, facts);
        self.cover.introduce(key, open);
    }

    /// How many sessions are covered.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// A session is not covered any more.
    pub fn release(&mut self, key: Key) {
        if self.cover.release(key) {
            self.covered -= 1;
            self.line.iter().for_each(|line| line.drop_spare(key));
        }
    }

    /// A session is clean only when all that was said so far is on its way.
    pub fn says(&mut self, key: Key, said: Said) {
        self.cover.says(key, said);
        self.bell.notify_one();
    }

    /// The sessions of a dead worker.
    pub fn ward(&mut self, of: Generation) -> Option<&mut Ward> {
        self.wards.iter_mut().find(|ward| ward.adoption.of == of)
    }

    /// Takes out the sessions of a dead worker.
    pub fn take_ward(&mut self, of: Generation) -> Option<Ward> {
        let at = self.wards.iter().position(|ward| ward.adoption.of == of)?;
        Some(self.wards.swap_remove(at))
    }

    /// The sessions of a dead worker are here or lost.
    pub fn adopted(&mut self, of: Generation) {
        if self.adopted.len() >= ADOPTED {
            self.adopted.remove(0);
        }
        self.adopted.push(of);
    }

    /// Dead workers whose sessions are adopted here, or were a moment ago.
    pub fn adopts(&self) -> Vec<Generation> {
        self.wards.iter().map(|ward| ward.adoption.of).chain(self.adopted.iter().copied()).collect()
    }

    /// Sessions that are on their way here.
    pub fn announcements(&self) -> impl Iterator<Item = Open<'_>> {
        self.wards.iter().flat_map(|ward| ward.adoption.announcements())
    }

    /// The master is gone. Those of whom it had not said all are not this worker's.
    pub fn master_lost(&mut self) {
        self.wards.retain(|ward| ward.is_whole);
    }

    /// How many sessions of dead workers may still come, and the digest of their ids.
    pub fn expected(&self) -> (usize, u64) {
        let all = self.wards.iter().map(|ward| ward.adoption.expected());
        all.fold((0, 0), |(count, digest), (more, other)| (count + more, digest ^ other))
    }

    pub fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }
}
