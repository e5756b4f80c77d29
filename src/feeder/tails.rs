//! The last lines of each channel: a master that takes the place of another hears those that the one before may not
//! have passed on. Pure.

use crate::protocol::cluster::{FromFeeder, Mark};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of the lines of one channel that are kept. As much may be on its way to the master.
const KEPT: usize = 2 << 20;

/// The numbered lines of all channels.
#[derive(Debug)]
pub(super) struct Tails {
    /// Numbers begin after this one.
    first: u64,
    channels: BTreeMap<Box<str>, Tail>,
}

#[derive(Debug)]
struct Tail {
    /// The number of the newest line.
    number: u64,
    bytes: usize,
    lines: VecDeque<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    number: u64,
    text: Box<str>,
    mark: Option<Mark>,
}

impl Kept {
    fn message(self, of: &str) -> FromFeeder {
        let Self { number, text, mark } = self;
        FromFeeder::Line { of: of.into(), text, mark, number }
    }
}

impl Tails {
    /// Numbers begin after `first`, which is greater than any number of a feeder before.
    pub(super) fn new(first: u64) -> Self {
        Self { first, channels: BTreeMap::new() }
    }

    /// Numbers a line, keeps it, and gives it back as a message.
    pub(super) fn push(&mut self, of: &str, text: Box<str>, mark: Option<Mark>) -> FromFeeder {
        let first = self.first;
        if !self.channels.contains_key(of) {
            self.channels.insert(of.into(), Tail { number: first, bytes: 0, lines: VecDeque::new() });
        }
        let Some(tail) = self.channels.get_mut(of) else {
            return Kept { number: first, text, mark }.message(of);
        };
        tail.number += 1;
        tail.bytes += text.len();
        let line = Kept { number: tail.number, text, mark };
        tail.lines.push_back(line.clone());
        while tail.bytes > KEPT
            && let Some(oldest) = tail.lines.pop_front()
        {
            tail.bytes -= oldest.text.len();
        }
        line.message(of)
    }

    /// The kept lines that come after those of which the numbers are given. Of a channel that is not named no line is
    /// known.
    pub(super) fn after(&self, known: &[(&str, u64)]) -> Vec<FromFeeder> {
        let mut all = Vec::new();
        for (of, tail) in &self.channels {
            let from = known.iter().find(|(name, _)| *name == &**of).map_or(0, |(_, number)| *number);
            let later = tail.lines.iter().filter(|line| line.number > from);
            all.extend(later.map(|line| line.clone().message(of)));
        }
        all
    }

    /// Forgets the lines of other channels. Their numbers go on if they come back.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        for (of, tail) in &mut self.channels {
            if !wanted(of) {
                (tail.lines, tail.bytes) = (VecDeque::new(), 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_bytes_are_kept_and_numbers_go_on() {
        let mut tails = Tails::new(7);
        for _ in 0..5 {
            tails.push("a", "x".repeat(KEPT / 2).into(), None);
        }
        let numbers = |tails: &Tails, known: &[(&str, u64)]| -> Vec<u64> {
            let all = tails.after(known);
            all.iter()
                .filter_map(|m| if let FromFeeder::Line { number, .. } = m { Some(*number) } else { None })
                .collect()
        };
        assert_eq!(numbers(&tails, &[]), [11, 12]);
        assert_eq!(numbers(&tails, &[("a", 11)]), [12]);
        tails.retain(|_| false);
        assert_eq!(numbers(&tails, &[]), [] as [u64; 0]);
        tails.push("a", "y".into(), None);
        assert_eq!(numbers(&tails, &[("b", 99)]), [13]);
    }
}
