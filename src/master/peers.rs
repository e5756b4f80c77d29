//! What the master passes on: between workers, unread; from one to all, where chat rooms keep it; and who is there.

use super::children::MASTER;
use super::core::Master;
use super::rooms::{self, Entry, Presence};
use super::router::Publication;
use crate::config::Config;
use crate::model::{Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client;
use crate::protocol::cluster::{Generation, NO_RECEIPT, Notice, Step, ToWorker};
use std::time::Duration;

/// The least time between two words about who is in the cluster.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest history of a room, in bytes: it must fit into a message.
const HISTORY: usize = 16 << 20;
/// So many users are named.
const NAMED: usize = 50;

/// What was last said of who is in the cluster, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    told: Mono,
    /// Users, sessions, and all that ever came.
    of: (usize, usize, u64),
}

/// The limits of chat rooms.
pub(super) fn limits(config: &Config) -> rooms::Limits {
    let chat = &config.chat;
    rooms::Limits { history: chat.history as usize, rooms: chat.rooms as usize, bytes: chat.history_bytes }
}

impl Master {
    /// Passes a message on from one worker to another, unread.
    pub(super) fn relay(&self, from: Generation, to: Generation, notice: Notice, payload: &[u8]) {
        let is_worker = self.children.0.get(&to).is_some_and(|child| child.role.worker().is_some());
        let passed = is_worker && self.children.tell(to, &ToWorker::Relayed { from, payload }).is_ok();
        let _ = match notice {
            // Both hear it between the same two publications: what the one has heard until now, the other hears from
            // now on.
            Notice::Passed(request) if passed => self.children.tell(from, &ToWorker::Taking { request }),
            Notice::Passed(request) | Notice::Unheard(request) if !passed => {
                self.children.tell(from, &ToWorker::Unheard { request })
            }
            Notice::None | Notice::Passed(_) | Notice::Unheard(_) => Ok(()),
        };
    }

    /// A worker has ended: nobody waits for it any more, and nobody of it is in a room.
    pub(super) fn peer_gone(&mut self, worker: Generation, now: Mono) {
        self.children.tell_workers(&ToWorker::PeerGone(worker));
        self.rooms.worker_gone(worker, now);
    }

    /// A message for all subscribers of a channel. All workers hear of it, also where a room has no member: a session
    /// on its way there misses nothing.
    pub(super) fn publish(&mut self, from: Generation, publication: &Publication<'_>, now: Mono) {
        if client::room(publication.channel).is_some()
            && self.rooms.publish(publication.channel, publication.frame) == Entry::Full
        {
            tracing::debug!(event = "too-many-rooms", channel = publication.channel);
        }
        let ready: Vec<_> = self.children.ready_workers().collect();
        self.router.publish(from, publication, ready, now, &mut self.children);
    }

    /// A session enters a chat room, or does another thing there.
    pub(super) fn room(
        &mut self,
        from: Generation,
        room: &str,
        session: SessionId,
        step: Step<'_>,
        now: Mono,
    ) {
        match step {
            Step::Away => self.rooms.away(room, from, session, now),
            Step::Leave => self.rooms.leave(room, from, session, now),
            Step::Enter { request, user } => {
                let user = UserId::new(user).ok();
                let entry = user.map(|user| self.rooms.enter(room, from, session, &user, now));
                if request == NO_RECEIPT {
                    return;
                }
                let accepted = entry == Some(Entry::Accepted);
                let joined = accepted.then(|| self.rooms.newest(room, HISTORY));
                let answer = ToWorker::Entered { request, history: joined.as_deref() };
                let _ = self.children.tell(from, &answer);
            }
        }
    }

    /// Tells who is in rooms and in the cluster, where that has changed.
    pub(super) fn tell_presence(&mut self, now: Mono) {
        let (shown, time) = (self.config.stats.users, clock::wall());
        let Self { rooms, children, .. } = self;
        for Presence { room, users, sessions, first, workers } in rooms.due(now) {
            let first = shown.then(|| first.iter().map(|(user, count)| (user.as_str(), *count)));
            let text = client::presence(&room, (users, sessions), first, time);
            for worker in workers {
                let _ = children.tell(worker, &ToWorker::Presence { channel: &room, text: &text });
            }
        }
        let totals = self.directory.totals();
        let of = (totals.users, totals.sessions, self.directory.came());
        if of != self.present.of && now.since(self.present.told) >= PAUSE {
            self.present = Present { told: now, of };
            let first =
                shown.then(|| self.directory.first_users(NAMED).map(|u| (u.user.as_str(), u.sessions)));
            let text = client::presence("presence", (totals.users, totals.sessions), first, time);
            self.children.tell_workers(&ToWorker::Presence { channel: "presence", text: &text });
        }
    }

    /// When there will be something to tell.
    pub(super) fn next_presence(&self) -> Mono {
        self.rooms.next().unwrap_or(Mono(u64::MAX))
    }

    /// A message of the master's own.
    pub(super) fn say(&mut self, request: u64, channel: &str, frame: &[u8], now: Mono) {
        let deadline = now.after(self.config.quotes.timeout);
        self.publish(MASTER, &Publication { request, channel, frame, deadline, skip: None }, now);
    }
}
