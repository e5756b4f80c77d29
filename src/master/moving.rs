//! Sessions that move between workers: the master's part. It decides who owns a session, and says so to both workers in
//! one turn, between the same two orders.

use super::core::Master;
use super::moves::{Offload, Traveller};
use crate::model::SessionId;
use crate::os::clock;
use crate::protocol::cluster::{
    BatchId, Generation, Leaver, Moved, Open, Role, RosterPage, Slot, ToWorker, TokenName, Which,
};
use tokio::sync::oneshot;

impl Master {
    /// Hands sessions of one worker over to another; `waiter` hears the outcome.
    pub(super) fn offload(
        &mut self,
        from: Generation,
        to: Generation,
        which: Which,
        waiter: Option<oneshot::Sender<Moved>>,
    ) {
        let order = self.moves.order(Offload { from, to, which, waiter });
        if self.children.tell(from, &ToWorker::Offload { order, to, which }).is_err() {
            self.offloaded(from, order, Moved { target_gone: true, ..Moved::default() });
        }
    }

    /// A worker that is drained hands over what it has: to the one that has its slot now, else to all others evenly.
    pub(super) fn offload_all(&mut self, from: Generation) {
        let Some(slot) = self.children.get(from).and_then(|child| child.role.worker()) else { return };
        let ready: Vec<_> =
            self.children.ready_workers().filter(|to| self.takes_sessions(*to) && *to != from).collect();
        let successor = ready.iter().copied().find(|to| self.slot_of(*to) == Some(slot));
        if let Some(successor) = successor {
            return self.offload(from, successor, Which::All, None);
        }
        for (to, which) in shares(self.directory.counts(from).0, ready, |to| self.directory.counts(to).0) {
            self.offload(from, to, which, None);
        }
    }

    fn slot_of(&self, worker: Generation) -> Option<Slot> {
        self.children.get(worker).and_then(|child| child.role.worker())
    }

    /// Whether sessions may move to a process.
    fn takes_sessions(&self, worker: Generation) -> bool {
        let serves = self
            .children
            .get(worker)
            .is_some_and(|child| child.ready && matches!(child.role, Role::Worker(_)));
        serves && !self.fleet.is_leaving(worker)
    }

    /// A worker wants to hand sessions over: from here on they belong to the other one.
    pub(super) fn hand(&mut self, from: Generation, number: u32, to: Generation, leavers: &[Leaver<'_>]) {
        let batch = BatchId { from, number };
        if !self.takes_sessions(to) {
            let _ = self.children.tell(from, &ToWorker::Handed { batch: number, taken: None });
            return;
        }
        let own = |leaver: &Leaver<'_>| Traveller {
            session: leaver.session,
            rooms: leaver.rooms.iter().map(|room| Box::from(*room)).collect(),
            away: leaver.away,
        };
        let mut travellers: Vec<_> = leavers.iter().map(own).collect();
        travellers.retain(|traveller| self.switch(traveller, from, to));
        if !travellers.is_empty() && !self.announce_batch(batch, to, &travellers) {
            travellers.iter().for_each(|traveller| _ = self.switch(traveller, to, from));
            let _ = self.children.tell(from, &ToWorker::Handed { batch: number, taken: None });
            return;
        }
        let taken: Vec<SessionId> = travellers.iter().map(|traveller| traveller.session).collect();
        if !travellers.is_empty() {
            self.moves.begin(batch, to, travellers);
        }
        let _ = self.children.tell(from, &ToWorker::Handed { batch: number, taken: Some(taken) });
    }

    fn announce_batch(&mut self, batch: BatchId, to: Generation, travellers: &[Traveller]) -> bool {
        let present = travellers.iter().filter(|traveller| traveller.away.is_none());
        let sessions: Vec<Open<'_>> =
            present.filter_map(|traveller| self.directory.announcement(traveller.session)).collect();
        let away: Vec<TokenName> = travellers.iter().filter_map(|traveller| traveller.away).collect();
        self.children.tell(to, &ToWorker::Expect { batch, sessions, away }).is_ok()
    }

    /// Gives a session, and its places in rooms, to another worker.
    fn switch(&mut self, traveller: &Traveller, from: Generation, to: Generation) -> bool {
        let session = traveller.session;
        let switched = match traveller.away {
            None => self.directory.switch(session, from, to),
            Some(token) => self.directory.switch_home(token, from, to),
        };
        if switched {
            traveller.rooms.iter().for_each(|room| self.rooms.switch(room, session, from, to));
        }
        switched
    }

    /// A batch has arrived; `gone` are those of it that have ended.
    pub(super) fn arrived(
        &mut self,
        from: Generation,
        batch: BatchId,
        mut refused: Vec<SessionId>,
        gone: &[SessionId],
    ) {
        let Some(travellers) = self.moves.arrived(from, batch) else { return };
        self.end_travellers(from, &travellers, gone);
        refused.extend_from_slice(gone);
        let _ = self.children.tell(batch.from, &ToWorker::Arrived { batch: batch.number, refused });
    }

    /// The source of a batch has its sessions again.
    pub(super) fn taken_back(&mut self, from: Generation, number: u32, gone: &[SessionId]) {
        if let Some(travellers) = self.moves.taken_back(BatchId { from, number }) {
            self.end_travellers(from, &travellers, gone);
        }
    }

    fn end_travellers(&mut self, owner: Generation, travellers: &[Traveller], gone: &[SessionId]) {
        let now = clock::mono();
        for traveller in travellers.iter().filter(|traveller| gone.contains(&traveller.session)) {
            match traveller.away {
                None => _ = self.directory.closed(owner, traveller.session),
                Some(token) => self.directory.gone(owner, token),
            }
            traveller.rooms.iter().for_each(|room| self.rooms.leave(room, owner, traveller.session, now));
        }
    }

    /// An order has ended. What a drained worker could not hand over goes to another one.
    pub(super) fn offloaded(&mut self, from: Generation, order: u64, moved: Moved) {
        let Some(Offload { to, waiter, .. }) = self.moves.ended(from, order) else { return };
        let Moved { held, closed, left, silence, target_gone } = moved;
        let (worker, target) = (self.slot_of(from), self.slot_of(to));
        let silence_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        if held + closed + left > 0 {
            tracing::info!(event = "sessions-moved", worker, to = target, held, closed, left, silence_ms);
        }
        if let Some(waiter) = waiter {
            // Whoever asked may have gone.
            let _ = waiter.send(moved);
        }
        if target_gone && self.fleet.is_leaving(from) && self.children.get(from).is_some() {
            self.offload_all(from);
        }
    }

    /// A worker has ended: batches on their way to it belong to their source again.
    pub(super) fn travellers_of(&mut self, gone: Generation) {
        for (source, travellers) in self.moves.gone(gone).back {
            if self.children.get(source).is_none() {
                self.moves.forget(source);
                continue;
            }
            travellers.iter().for_each(|traveller| _ = self.switch(traveller, gone, source));
        }
    }

    /// A page of a worker's roster.
    pub(super) fn roster(&mut self, from: Generation, page: &RosterPage<'_>) {
        if !self.moves.hears_roster(from, page.first) {
            return;
        }
        self.directory.roster(from, page);
        // Sessions that are unpacked come so, too.
        if page.last && !self.upgrades.is_unpacking() {
            let sessions = self.directory.counts(from).0;
            tracing::warn!(event = "directory-resynchronised", generation = from, sessions);
        }
    }
}

/// What each of the others gets of so many sessions, so that all have the same in the end. The last takes whatever there
/// is then.
fn shares(
    sessions: u32,
    mut others: Vec<Generation>,
    has: impl Fn(Generation) -> u32,
) -> Vec<(Generation, Which)> {
    others.sort_unstable_by_key(|to| (has(*to), *to));
    let (mut left, mut shares) = (sessions, Vec::new());
    while let Some(fullest) = others.pop() {
        let all: u32 = others.iter().map(|to| has(*to)).sum::<u32>() + has(fullest) + left;
        let workers = u32::try_from(others.len()).unwrap_or(u32::MAX).saturating_add(1);
        let share = all.div_ceil(workers).saturating_sub(has(fullest)).min(left);
        left -= share;
        if others.is_empty() {
            shares.push((fullest, Which::All));
        } else if share > 0 {
            shares.push((fullest, Which::Count(share)));
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_makes_all_even() {
        let has = |to: Generation| [0, 10, 20, 90][to as usize];
        let shares = |sessions, others: &[Generation]| shares(sessions, others.to_vec(), has);
        assert_eq!(shares(30, &[1]), [(1, Which::All)]);
        assert_eq!(shares(30, &[2, 1]), [(2, Which::Count(10)), (1, Which::All)]);
        assert_eq!(
            shares(30, &[1, 2, 3]),
            [(2, Which::Count(10)), (1, Which::All)],
            "the third has more than its share"
        );
        assert_eq!(shares(0, &[1, 2]), [(1, Which::All)]);
        assert_eq!(shares(9, &[]), []);
    }
}
