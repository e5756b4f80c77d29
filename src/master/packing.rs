//! The end of all processes in which no session ends: every worker packs its sessions, then the next program or the
//! next start of the daemon unpacks them. Pure: `D` is a descriptor.

use crate::model::Mono;
use crate::protocol::cluster::Generation;
use std::collections::BTreeMap;
use std::time::Duration;

/// Workers that pack.
#[derive(Debug)]
pub struct Packing<D> {
    /// Workers that have not answered.
    waits: Vec<Generation>,
    packs: BTreeMap<Generation, D>,
    sessions: u64,
    closed: u64,
    /// Workers that died, or did not answer in time.
    without: Vec<Generation>,
    until: Mono,
}

/// The result.
#[derive(Debug, PartialEq, Eq)]
pub struct AllPacked<D> {
    pub packs: BTreeMap<Generation, D>,
    /// Sessions in the packs.
    pub sessions: u64,
    /// Sessions that could not be packed.
    pub closed: u64,
    /// Workers without a pack.
    pub without: Vec<Generation>,
}

impl<D> Packing<D> {
    /// These workers were told to pack, within that time.
    pub fn new(workers: Vec<Generation>, within: Duration, now: Mono) -> Self {
        let (packs, without) = (BTreeMap::new(), Vec::new());
        Self { waits: workers, packs, sessions: 0, closed: 0, without, until: now.after(within) }
    }

    /// A worker has packed. An answer of which nobody knows, or a second one, is nothing.
    pub fn packed(&mut self, by: Generation, (sessions, closed): (u32, u32), pack: D) {
        if self.answered(by) {
            self.packs.insert(by, pack);
            self.sessions += u64::from(sessions);
            self.closed += u64::from(closed);
        }
    }

    /// A worker has ended. Most do, after their answer.
    pub fn gone(&mut self, worker: Generation) {
        if self.answered(worker) {
            self.without.push(worker);
        }
    }

    fn answered(&mut self, worker: Generation) -> bool {
        let before = self.waits.len();
        self.waits.retain(|waits| *waits != worker);
        self.waits.len() < before
    }

    pub fn until(&self) -> Mono {
        self.until
    }

    /// Whether all have answered, or it is too late.
    pub fn is_over(&self, now: Mono) -> bool {
        self.waits.is_empty() || now >= self.until
    }

    pub fn end(mut self) -> AllPacked<D> {
        self.without.append(&mut self.waits);
        let Self { packs, sessions, closed, without, .. } = self;
        AllPacked { packs, sessions, closed, without }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_over_when_all_have_answered_or_died() {
        let mut packing = Packing::new(vec![4, 5], SECOND, Mono(0));
        packing.packed(4, (10, 1), 'a');
        packing.packed(4, (99, 9), 'x');
        packing.packed(7, (99, 9), 'y');
        packing.gone(4);
        assert!(!packing.is_over(Mono(1)));
        packing.gone(5);
        assert!(packing.is_over(Mono(1)));
        let all = AllPacked { packs: [(4, 'a')].into(), sessions: 10, closed: 1, without: vec![5] };
        assert_eq!(packing.end(), all);
    }

    #[test]
    fn whoever_does_not_answer_in_time_is_left() {
        let mut packing = Packing::new(vec![4, 5], SECOND, Mono(0));
        packing.packed(5, (1, 0), 'b');
        assert!(!packing.is_over(Mono(999_999_999)));
        assert!(packing.is_over(packing.until()));
        assert_eq!(packing.end().without, [4]);
        assert!(Packing::<char>::new(vec![], SECOND, Mono(0)).is_over(Mono(0)));
    }
}
