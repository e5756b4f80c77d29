//! The end of all processes in which no session ends: every worker packs its sessions, then the next program or the
//! next start of the daemon unpacks them. Pure: `D` is a descriptor.

use crate::model::Mono;
use crate::protocol::cluster::Generation;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time in which others end once all workers have packed: a disk may hang. No key: no message reaches a client
/// meanwhile.
const OTHERS: Duration = Duration::from_secs(1);

/// Workers that pack.
#[derive(Debug)]
pub struct Packing<D> {
    /// Workers that have not answered.
    waits: Vec<Generation>,
    /// Other processes, which end after what they must write.
    others: Vec<Generation>,
    /// Whether these were told to.
    told: bool,
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
    /// These workers were told to pack, within that time; `others` are to end.
    pub fn new(workers: Vec<Generation>, others: Vec<Generation>, within: Duration, now: Mono) -> Self {
        let (packs, without, until) = (BTreeMap::new(), Vec::new(), now.after(within));
        Self { waits: workers, others, told: false, packs, sessions: 0, closed: 0, without, until }
    }

    /// The processes that are to end now, once. They go on until the first sessions are packed: these hear nothing more
    /// anyway.
    pub fn lets_go(&mut self) -> Vec<Generation> {
        if self.told || (self.packs.is_empty() && !self.waits.is_empty()) {
            return Vec::new();
        }
        self.told = true;
        self.others.clone()
    }

    /// A worker has packed. An answer of which nobody knows, or a second one, is nothing.
    pub fn packed(&mut self, by: Generation, (sessions, closed): (u32, u32), pack: D, now: Mono) {
        if self.answered(by, now) {
            self.packs.insert(by, pack);
            self.sessions += u64::from(sessions);
            self.closed += u64::from(closed);
        }
    }

    /// A process has ended. Most workers do, after their answer.
    pub fn gone(&mut self, process: Generation, now: Mono) {
        self.others.retain(|other| *other != process);
        if self.answered(process, now) {
            self.without.push(process);
        }
    }

    fn answered(&mut self, worker: Generation, now: Mono) -> bool {
        let before = self.waits.len();
        self.waits.retain(|waits| *waits != worker);
        let answered = self.waits.len() < before;
        if answered && self.waits.is_empty() {
            self.until = self.until.min(now.after(OTHERS));
        }
        answered
    }

    pub fn until(&self) -> Mono {
        self.until
    }

    /// Whether all have answered, or it is too late.
    pub fn is_over(&self, now: Mono) -> bool {
        (self.waits.is_empty() && self.others.is_empty()) || now >= self.until
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
        let mut packing = Packing::new(vec![4, 5], vec![], SECOND, Mono(0));
        packing.packed(4, (10, 1), 'a', Mono(0));
        packing.packed(4, (99, 9), 'x', Mono(0));
        packing.packed(7, (99, 9), 'y', Mono(0));
        packing.gone(4, Mono(0));
        assert!(!packing.is_over(Mono(1)));
        packing.gone(5, Mono(1));
        assert!(packing.is_over(Mono(1)));
        let all = AllPacked { packs: [(4, 'a')].into(), sessions: 10, closed: 1, without: vec![5] };
        assert_eq!(packing.end(), all);
    }

    #[test]
    fn whoever_does_not_answer_in_time_is_left() {
        let mut packing = Packing::new(vec![4, 5], vec![], SECOND, Mono(0));
        packing.packed(5, (1, 0), 'b', Mono(0));
        assert!(!packing.is_over(Mono(999_999_999)));
        assert!(packing.is_over(packing.until()));
        assert_eq!(packing.end().without, [4]);
        assert!(Packing::<char>::new(vec![], vec![], SECOND, Mono(0)).is_over(Mono(0)));
    }

    #[test]
    fn others_serve_until_the_first_has_packed_and_may_write_what_they_have() {
        let mut packing = Packing::new(vec![4, 5], vec![3], SECOND * 5, Mono(0));
        assert!(packing.lets_go().is_empty());
        packing.packed(4, (1, 0), 'a', Mono(1));
        assert_eq!(packing.lets_go(), [3]);
        assert!(packing.lets_go().is_empty(), "once");
        packing.packed(5, (1, 0), 'b', Mono(2));
        assert!(!packing.is_over(Mono(3)) && packing.is_over(Mono(2).after(OTHERS)), "its disk hangs");
        packing.gone(3, Mono(4));
        assert!(packing.is_over(Mono(4)));
        assert!(packing.end().without.is_empty());
        let mut nobody = Packing::<char>::new(vec![], vec![3], SECOND, Mono(0));
        assert_eq!(nobody.lets_go(), [3]);
        let mut dead = Packing::<char>::new(vec![4], vec![3], SECOND, Mono(0));
        dead.gone(4, Mono(0));
        assert_eq!(dead.lets_go(), [3]);
    }
}
