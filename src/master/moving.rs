//! Sessions that move between workers: the master's part. It decides who owns a session, and says so to both workers in
//! one turn, between the same two orders.

use super::core::Master;
use super::handovers::{Ended, EventId, Why};
use super::moves::{Gone, Offload, Traveller, Waiter};
use crate::model::SessionId;
use crate::os::clock;
use crate::protocol::cluster::{
    BatchId, Generation, Handover, Leaver, Moved, Open, Role, RosterPage, Slot, ToWorker, TokenName, Which,
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
        let event = self.handovers.begun(
            self.why(from, to, which),
            self.slot_of(from).map(Role::Worker),
            self.slot_of(to).map(Role::Worker),
            clock::mono(),
        );
        let waiter = Some(Waiter { event, asker: waiter });
        let order = self.moves.order(Offload { from, to, which, waiter });
        if self.children.tell(from, &ToWorker::Offload { order, to, which }).is_err() {
            // Its exit follows: nobody is left to ask for the next target.
            self.offloaded(from, order, Moved::default());
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

    /// A worker is there: those that are drained and had nobody to hand over to have one now.
    pub(super) fn offload_leaving(&mut self) {
        let leaving = |worker: &Generation| self.fleet.is_leaving(*worker) && self.moves.is_idle(*worker);
        let leaving: Vec<_> = self.children.workers().filter(leaving).collect();
        leaving.into_iter().for_each(|worker| self.offload_all(worker));
    }

    pub(super) fn slot_of(&self, worker: Generation) -> Option<Slot> {
        self.children.get(worker).and_then(|child| child.role.worker())
    }

    /// Whether sessions may move to a process.
    pub(super) fn takes_sessions(&self, worker: Generation) -> bool {
        let serves = self
            .children
            .get(worker)
            .is_some_and(|child| child.ready && matches!(child.role, Role::Worker(_)));
        serves && !self.fleet.is_leaving(worker) && !self.is_aside(worker)
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
            let is_it = (session, traveller.away.is_some());
            traveller.rooms.iter().for_each(|room| self.rooms.switch(room, is_it, from, to));
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
        let actions = self.fleet.moves(clock::mono(), batch.from);
        self.act(actions);
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
        let Some(Offload { waiter: Some(waiter), .. }) = self.moves.ended(from, order) else { return };
        let Waiter { event, asker } = waiter;
        let Moved { held, closed, left, silence, target_gone } = moved;
        for (result, sessions) in
            [(Handover::Held, held), (Handover::Suspended, closed), (Handover::Returned, left)]
        {
            self.handovers.came_to(event, result, sessions.into());
        }
        self.handovers.silence(event, silence);
        if let Some(succession) = self.upgrades.succession() {
            succession.moved(closed.into(), silence);
        }
        self.end_event(event);
        if let Some(asker) = asker {
            // Whoever asked may have gone.
            let _ = asker.send(moved);
        }
        if target_gone && self.fleet.is_leaving(from) && self.children.get(from).is_some() {
            self.offload_all(from);
        }
    }

    /// Why sessions of one worker go to another.
    fn why(&self, from: Generation, to: Generation, which: Which) -> Why {
        match which {
            Which::One(_) => Why::Move,
            Which::All if self.slot_of(from) == self.slot_of(to) => Why::Replacement,
            Which::Count(_) if !self.fleet.is_leaving(from) => Why::Rebalance,
            Which::All | Which::Count(_) => Why::Drain,
        }
    }

    fn end_event(&mut self, event: EventId) {
        self.handovers.ended(event, clock::mono(), clock::wall()).into_iter().for_each(Ended::log);
    }

    /// A worker has ended: batches on their way to it belong to their source again.
    pub(super) fn travellers_of(&mut self, gone: Generation) {
        let Gone { back, orders } = self.moves.gone(gone);
        orders.into_iter().filter_map(|order| order.waiter).for_each(|waiter| self.end_event(waiter.event));
        for (source, travellers) in back {
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
        if page.last && self.renewal.gate.is_open() && !self.upgrades.is_unpacking() {
            let sessions = self.directory.counts(from).0;
            tracing::warn!(event = "directory-resynchronised", generation = from, sessions);
        }
    }
}

/// What each of the others gets of so many sessions, so that all have the same in the end. The last takes whatever there
/// is then.
pub(super) fn shares(
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
