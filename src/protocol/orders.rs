//! Orders: messages of the master to a worker that must not be lost with it. Both ends of a link count them, so that
//! an order has a number without one being sent. The master retains those that the worker is not known to have
//! handed to everybody they concern. Pure.

use super::cluster::ToWorker;
use std::collections::VecDeque;

/// A greater number than any order of one master has.
const BEYOND: u64 = 1 << 47;
/// Bytes of orders that are retained for one worker. Beyond, the oldest are let go: sessions that lack one of them
/// do not survive its death.
const MOST: usize = 16 << 20;

/// The bytes of a message, about, if it is an order. State is none: only the newest counts, and it is told anew.
#[must_use]
pub fn order(message: &ToWorker<'_>) -> Option<usize> {
    let bytes = match message {
        ToWorker::Push { frame, .. } | ToWorker::Publish { frame, .. } => frame.len(),
        ToWorker::Line { text, .. } => text.len(),
        ToWorker::Kick { .. } => 0,
        _ => return None,
    };
    Some(size_of::<ToWorker<'_>>() + bytes)
}

/// The orders to one worker, from the oldest that may be needed.
#[derive(Debug, Default)]
pub struct Retained {
    orders: VecDeque<Box<[u8]>>,
    /// The number of the newest order; 1 is the first.
    last: u64,
    bytes: usize,
    /// The worker had orders of another master, and none of these.
    none_heard: bool,
}

impl Retained {
    /// Retains the next order, encoded.
    pub fn push(&mut self, order: Box<[u8]>) {
        self.last += 1;
        self.bytes += order.len();
        self.orders.push_back(order);
        while self.bytes > MOST {
            self.let_go();
        }
    }

    /// The worker has handed all orders up to this one to everybody they concern.
    pub fn done(&mut self, number: u64) {
        while self.let_go_until() < number.min(self.last) {
            self.let_go();
        }
    }

    /// The worker counted the orders of another master, and has none of these.
    pub fn lacks_all(&mut self) {
        self.none_heard = true;
    }

    fn let_go(&mut self) {
        self.bytes -= self.orders.pop_front().map_or(0, |order| order.len());
    }

    /// The number of the newest order that is not retained: a session must have got it.
    #[must_use]
    pub fn before(&self) -> u64 {
        if self.none_heard { 0 } else { self.let_go_until() }
    }

    fn let_go_until(&self) -> u64 {
        self.last - self.orders.len() as u64
    }

    /// The retained orders with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let first = self.let_go_until() + 1 + if self.none_heard { BEYOND } else { 0 };
        (first..).zip(self.orders.iter().map(|order| &**order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_numbered_from_one_and_let_go_when_done_or_too_many() {
        let mut retained = Retained::default();
        (1..=5u8).for_each(|n| retained.push(Box::new([n])));
        let numbers = |retained: &Retained| retained.iter().map(|(n, o)| (n, o[0])).collect::<Vec<_>>();
        retained.done(3);
        assert_eq!(numbers(&retained), [(4, 4), (5, 5)]);
        retained.done(2);
        assert_eq!((retained.before(), retained.bytes), (3, 2), "an old word changes nothing");
        retained.push(vec![6; MOST].into());
        assert_eq!((retained.before(), numbers(&retained)), (5, vec![(6, 6)]));
        retained.done(99);
        assert_eq!((retained.before(), retained.iter().count(), retained.bytes), (6, 0, 0));
        retained.push(Box::new([7]));
        retained.lacks_all();
        assert_eq!((retained.before(), numbers(&retained)), (0, vec![(BEYOND + 7, 7)]));
    }
}
