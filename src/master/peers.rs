//! What the master passes on between workers, unread, and chat rooms.

use super::core::Master;
use crate::model::{Mono, SessionId};
use crate::protocol::cluster::{Generation, Step, ToWorker};
use crate::protocol::peer::Peer;

impl Master {
    /// From one worker to another. Where there is no other, the one is told.
    pub(super) fn relay(&self, from: Generation, to: Generation, peer: Peer) {
        let takes = if let Peer::Take { request, .. } = &peer { Some(*request) } else { None };
        let unheard = peer.unheard();
        let is_worker = self.children.0.get(&to).is_some_and(super::children::Child::is_worker);
        if is_worker && self.children.tell(to, &ToWorker::Relay { from, peer }).is_ok() {
            // Both hear it between the same two publications: what the one has heard until now, the other hears from
            // now on.
            if let Some(request) = takes {
                let _ = self.children.tell(from, &ToWorker::Taking { request });
            }
        } else if let Some(peer) = unheard {
            let _ = self.children.tell(from, &ToWorker::Relay { from: to, peer });
        }
    }

    /// A worker has ended: nobody waits for it any more.
    pub(super) fn peer_gone(&mut self, worker: Generation) {
        self.children.tell_workers(&ToWorker::PeerGone(worker));
    }

    /// A session enters a chat room, or does another thing there.
    pub(super) fn room(&mut self, from: Generation, room: &str, session: SessionId, step: Step<'_>, now: Mono) {
        let _ = (from, room, session, step, now);
    }
}
