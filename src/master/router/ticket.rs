//! Requests without an answer.

use crate::model::Mono;
use crate::protocol::cluster::{Generation, Tally};
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Smaller tables are not worth shrinking.
const SMALL: usize = 1024;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Quote,
    Message,
}

/// A worker that has not answered yet, and the count of its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) worker: Generation,
    pub(super) sessions: u32,
}

#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) from: Generation,
    pub(super) request: u64,
    pub(super) kind: Kind,
    pub(super) tally: Tally,
    deadline: Mono,
    /// Tells the ticket from earlier ones in the same place of the table.
    turn: u32,
    /// Nearly every user is at one worker, which needs no allocation.
    first: Option<Part>,
    others: Vec<Part>,
}

impl Ticket {
    pub(super) fn new(from: Generation, request: u64, kind: Kind, deadline: Mono) -> Self {
        let tally = Tally::default();
        Self { from, request, kind, tally, deadline, turn: 0, first: None, others: Vec::new() }
    }

    pub(super) fn wait_for(&mut self, part: Part) {
        if self.first.is_none() {
            self.first = Some(part);
        } else {
            self.others.push(part);
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.first.is_some() || !self.others.is_empty()
    }

    /// Ends the wait for `worker`; `None` if there was none.
    pub(super) fn take(&mut self, worker: Generation) -> Option<Part> {
        if self.first.is_some_and(|part| part.worker == worker) {
            return self.first.take();
        }
        let at = self.others.iter().position(|part| part.worker == worker)?;
        Some(self.others.swap_remove(at))
    }

    pub(super) fn add(&mut self, tally: Tally) {
        let sum = &mut self.tally;
        sum.delivered = sum.delivered.saturating_add(tally.delivered);
        sum.slow = sum.slow.saturating_add(tally.slow);
        sum.waiting = sum.waiting.saturating_add(tally.waiting);
    }

    /// Ends all waits: the result at these workers is unknown.
    pub(super) fn give_up(&mut self) {
        let unheard = self.first.take().into_iter().chain(self.others.drain(..)).map(|part| part.sessions);
        self.tally.waiting = unheard.fold(self.tally.waiting, u32::saturating_add);
    }
}

/// All tickets. The number of a ticket is its place in the table and the turn of that place, so that the number of a
/// finished ticket finds nothing.
#[derive(Debug)]
pub(super) struct Tickets {
    table: Slab<Ticket>,
    /// From 1: 0 is no ticket's number.
    turn: u32,
    /// Deadlines come nearly in order, since all are `quotes.timeout` from some moment: a push is cheap. Deadlines of
    /// finished tickets stay until their time, at most the requests of one timeout.
    deadlines: BinaryHeap<Reverse<(Mono, u64)>>,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { table: Slab::new(), turn: 1, deadlines: BinaryHeap::new() }
    }
}

impl Tickets {
    /// Turns begin there, whatever the size of the number.
    pub(super) fn begin_at(&mut self, turn: u64) {
        self.turn = u32::try_from(turn & u64::from(u32::MAX)).unwrap_or(1).max(1);
    }

    /// The number of the next ticket.
    pub(super) fn next(&self) -> u64 {
        number(self.table.vacant_key(), self.turn)
    }

    /// Inserts the ticket that has that number.
    pub(super) fn insert(&mut self, mut ticket: Ticket) {
        self.deadlines.push(Reverse((ticket.deadline, self.next())));
        ticket.turn = self.turn;
        // The highest bit of a number is the worker's own.
        self.turn = if self.turn < u32::MAX / 2 { self.turn + 1 } else { 1 };
        self.table.insert(ticket);
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Ticket> {
        let (at, turn) = parts(number);
        self.table.get_mut(at).filter(|ticket| ticket.turn == turn)
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Ticket> {
        let (at, turn) = parts(number);
        self.table.get(at).is_some_and(|ticket| ticket.turn == turn).then(|| self.table.remove(at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Ticket) -> bool) {
        self.table.retain(|_, ticket| keep(ticket));
    }

    /// Takes a ticket whose deadline has come.
    pub(super) fn take_due(&mut self, now: Mono) -> Option<Ticket> {
        loop {
            let Reverse((deadline, number)) = *self.deadlines.peek()?;
            if deadline > now {
                return None;
            }
            self.deadlines.pop();
            if let Some(ticket) = self.take(number) {
                return Some(ticket);
            }
        }
    }

    pub(super) fn next_deadline(&mut self) -> Option<Mono> {
        loop {
            let Reverse((deadline, number)) = *self.deadlines.peek()?;
            if self.get_mut(number).is_some() {
                return Some(deadline);
            }
            self.deadlines.pop();
        }
    }

    /// Drops far deadlines of finished tickets, and gives memory back.
    pub(super) fn tidy(&mut self) {
        let Self { table, deadlines, .. } = self;
        if table.is_empty() {
            deadlines.clear();
        }
        if deadlines.capacity() > SMALL.max(deadlines.len() * 8) {
            deadlines.shrink_to(deadlines.len() * 2);
        }
        if table.capacity() > SMALL.max(table.len() * 8) {
            table.shrink_to_fit();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

fn number(at: usize, turn: u32) -> u64 {
    // A place is below 2^32: the requests under way are held in memory.
    u64::from(turn) << 32 | at as u64
}

fn parts(number: u64) -> (usize, u32) {
    // Both halves of 64 bits fit.
    ((number & 0xffff_ffff) as usize, (number >> 32) as u32)
}
