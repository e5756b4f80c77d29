//! The first moments of a master that takes the place of another: until all living workers have told who is there,
//! nobody is let in and nothing is delivered, for both need the whole. Pure; `B` is what a worker says.

use crate::model::Mono;
use crate::protocol::cluster::Generation;
use std::collections::{BTreeMap, BTreeSet};

/// What was held, by process, and the number of the newest line of each channel.
pub(super) type Opened<B> = (Vec<(Generation, B)>, BTreeMap<Box<str>, u64>);

#[derive(Debug)]
pub(super) struct Gate<B> {
    /// Workers that have not told everything.
    awaited: BTreeSet<Generation>,
    until: Mono,
    open: bool,
    /// What workers said after they had told everything, in its order.
    held: Vec<(Generation, B)>,
    /// The number of the newest line of each channel that all workers know of those that know one.
    lines: BTreeMap<Box<str>, u64>,
}

impl<B> Gate<B> {
    /// Nobody is awaited.
    pub(super) fn open() -> Self {
        let (awaited, lines) = (BTreeSet::new(), BTreeMap::new());
        Self { awaited, until: Mono(0), open: true, held: Vec::new(), lines }
    }

    /// These workers live; they are awaited until a moment.
    pub(super) fn closed(awaited: BTreeSet<Generation>, until: Mono) -> Self {
        Self { awaited, until, open: false, ..Self::open() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether what this process says has to wait.
    pub(super) fn holds(&self, from: Generation) -> bool {
        !self.open && !self.awaited.contains(&from)
    }

    pub(super) fn hold(&mut self, from: Generation, said: B) {
        self.held.push((from, said));
    }

    /// A worker knows the lines of a channel up to this number.
    pub(super) fn knows_line(&mut self, of: &str, number: u64) {
        let least = self.lines.entry(of.into()).or_insert(number);
        *least = number.min(*least);
    }

    /// This worker is awaited, too, if anybody still is.
    pub(super) fn awaits(&mut self, worker: Generation) {
        if !self.open {
            self.awaited.insert(worker);
        }
    }

    /// A worker has told everything.
    pub(super) fn told(&mut self, worker: Generation) {
        self.awaited.remove(&worker);
    }

    /// A worker has ended.
    pub(super) fn gone(&mut self, worker: Generation) {
        self.awaited.remove(&worker);
    }

    /// Opens, if that is due. Returns what was held, and what is known of lines.
    pub(super) fn opens(&mut self, now: Mono) -> Option<Opened<B>> {
        if self.open || (!self.awaited.is_empty() && now < self.until) {
            return None;
        }
        self.open = true;
        self.awaited.clear();
        Some((std::mem::take(&mut self.held), std::mem::take(&mut self.lines)))
    }

    /// The latest moment of the next look.
    pub(super) fn next(&self) -> Option<Mono> {
        (!self.open).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Say(Generation),
        Told(Generation),
        Gone(Generation),
        Wait(u64),
    }

    proptest! {
        #[test]
        fn all_that_is_held_comes_out_once_in_order_when_all_have_told_or_the_time_is_over(
            steps in prop::collection::vec(
                prop_oneof![
                    (1..5u32).prop_map(Step::Say), (1..4u32).prop_map(Step::Told),
                    (1..4u32).prop_map(Step::Gone), (1..40u64).prop_map(Step::Wait),
                ],
                0..40,
            )
        ) {
            let mut awaited: BTreeSet<Generation> = (1..4).collect();
            let (mut gate, mut now) = (Gate::closed(awaited.clone(), Mono(100)), Mono(0));
            let (mut said, mut out) = (Vec::new(), Vec::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Say(from) if gate.holds(from) => {
                        prop_assert!(!awaited.contains(&from));
                        gate.hold(from, number);
                        said.push((from, number));
                    }
                    Step::Say(from) => prop_assert!(gate.is_open() || awaited.contains(&from)),
                    Step::Told(worker) => {
                        gate.told(worker);
                        awaited.remove(&worker);
                    }
                    Step::Gone(worker) => {
                        gate.gone(worker);
                        awaited.remove(&worker);
                    }
                    Step::Wait(time) => now.0 += time,
                }
                let was_open = gate.is_open();
                let opened = gate.opens(now);
                prop_assert_eq!(opened.is_some(), !was_open && (awaited.is_empty() || now.0 >= 100));
                out.extend(opened.into_iter().flat_map(|(held, _)| held));
                prop_assert_eq!(gate.is_open(), awaited.is_empty() || now.0 >= 100 || was_open);
            }
            if gate.is_open() {
                prop_assert_eq!(out, said);
            }
        }
    }
}
