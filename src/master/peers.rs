//! Messages that the master passes on: between workers, unread; from one to all, kept by chat rooms; and presence.

use super::children::MASTER;
use super::core::Master;
use super::journal::Record;
use super::rooms::{Entry, NOBODY, Presence, Visitor};
use super::router::Publication;
use crate::log::id;
use crate::model::{Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client;
use crate::protocol::cluster::{Generation, NO_RECEIPT, Notice, Step, To, ToWorker};
use std::os::fd::OwnedFd;

/// Longest history of a room, in bytes: it must fit into a message.
const HISTORY: usize = 16 << 20;
/// Most users named.
const NAMED: usize = 50;

impl Master {
    /// Passes a message on from one worker to another, unread.
    pub(super) fn relay(
        &mut self,
        (from, to): (Generation, To),
        notice: Notice,
        payload: &[u8],
        with: Vec<OwnedFd>,
    ) {
        let children = &mut self.children;
        let to = match to {
            To::Process(process) => Some(process),
            To::Home(token) => self.directory.home(token),
        };
        let to = to.filter(|to| {
            children.is_worker(*to)
                && children.tell_with(*to, &ToWorker::Relayed { from, payload }, with).is_ok()
        });
        let Notice::Passed(request) = notice else { return };
        let _ = match to {
            // Both hear it between the same two publications: what the one has heard until now, the other hears from
            // now on.
            Some(home) => children.tell(from, &ToWorker::Taking { request, home }),
            None => children.tell(from, &ToWorker::Unheard { request }),
        };
    }

    /// A message for all subscribers of a channel. All workers hear of it, also where a room has no member: a session
    /// on its way there misses nothing.
    pub(super) fn publish(&mut self, from: Generation, publication: &Publication<'_>, now: Mono) {
        let timeout = self.in_force.config().quotes.timeout;
        // What was said to a master that hung has waited for this one: its room keeps it, so its members get it.
        let waited = publication.deadline <= now && publication.deadline <= self.renewal.born.after(timeout);
        let deadline = if waited { now.after(timeout) } else { publication.deadline };
        let publication = &Publication { deadline, ..*publication };
        if client::room(publication.channel).is_some() && self.renewal.is_new(publication.of) {
            self.keep_message(publication);
        }
        let ready: Vec<_> = self.children.ready_workers().collect();
        self.router.publish(from, publication, ready, now, &mut self.children);
    }

    /// Keeps a message in its room. A master before may have kept it already: then it is not kept again.
    fn keep_message(&mut self, &Publication { channel, frame, of, .. }: &Publication<'_>) {
        self.journal.write(&Record::Message { room: channel, frame, of });
        if self.rooms.publish(channel, frame) == Entry::Full {
            tracing::debug!(event = "too-many-rooms", channel = %id(channel));
            self.journal.write(&Record::Kept { room: channel, messages: 0 });
        }
        self.note_trimmed();
    }

    /// Writes down which rooms have lost messages.
    pub(super) fn note_trimmed(&mut self) {
        for (room, messages) in self.rooms.take_trimmed() {
            self.journal.write(&Record::Kept { room: &room, messages });
        }
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
        self.step(from, (room, session), step, now);
        self.note_trimmed();
    }

    fn step(&mut self, from: Generation, (room, session): (&str, SessionId), step: Step<'_>, now: Mono) {
        match step {
            Step::Away => self.rooms.away(room, from, session, now),
            Step::Leave => self.rooms.leave(room, from, session, now),
            Step::Enter { request, user } => {
                let user = UserId::new(user).ok();
                // The link is ordered: the session was announced before.
                let address = self.directory.session(session).map_or(NOBODY, |listed| listed.address);
                let entry = user
                    .as_ref()
                    .map(|user| self.rooms.enter(room, from, Visitor { session, user, address }, now));
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
        let (shown, time) = (self.in_force.config().stats.users, clock::wall());
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
        if self.announcer.tells(of, now) {
            let first =
                shown.then(|| self.directory.first_users(NAMED).map(|u| (u.user.as_str(), u.sessions)));
            let text = client::presence("presence", (totals.users, totals.sessions), first, time);
            self.children.tell_workers(&ToWorker::Presence { channel: "presence", text: &text });
        }
    }

    /// The moment of the next message about presence.
    pub(super) fn next_presence(&self) -> Mono {
        self.rooms.next().unwrap_or(Mono(u64::MAX))
    }

    /// A message of the master's own.
    pub(super) fn say(&mut self, request: u64, channel: &str, frame: &[u8], now: Mono) {
        let deadline = now.after(self.in_force.config().quotes.timeout);
        self.publish(MASTER, &Publication { request, channel, frame, deadline, skip: None, of: None }, now);
    }
}
