//! Sessions without a connection. Each waits for its client for `resume.window` and collects what is published to it. A
//! client that comes with its token, to this worker or another, gets a copy.

use super::parts::session::{Away, Link, Session};
use super::parts::sessions::SessionRef;
use super::state::State;
use crate::access::{Hold, Use};
use crate::model::{Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::{Close, EventText, Resume, Token};
use crate::protocol::cluster::{Step, ToMaster, TokenName};
use crate::protocol::peer::{Lease, Peer, Taken};
use crate::session::{self, ChannelKey, Connection, Kind, Origin, Places, Subscription};
use std::time::Duration;

/// A greeting counts as heard if it is acknowledged and its connection lives for so long. (A client that is cut may not
/// have read what its kernel has acknowledged.)
const GLANCE: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn may_be_suspended(&self, at: SessionRef) -> bool {
        let is_main = |session: &Session| session.replay.is_some() && !matches!(session.link, Link::Opening);
        self.sessions.get(at).is_some_and(is_main) && self.config.resumes()
    }

    /// Suspends a session that has lost its connection, of which so many bytes were `acknowledged`.
    pub(super) fn suspend(&mut self, at: SessionRef, acknowledged: Option<u64>, used: Use) {
        let (now, places) = (clock::mono(), self.places(at));
        let Some(session) = self.sessions.get_mut(at) else { return };
        self.entrances.gone(session.id(), at);
        session.detach();
        let Some(replay) = &session.replay else { return };
        let has = acknowledged.map_or(Some(replay.confirmed()), |position| replay.within(position));
        let (numbered, states): (Vec<_>, Vec<_>) = std::mem::take(&mut session.subscriptions)
            .into_iter()
            .partition(|sub| self.channels.get(sub.channel).kind.is_numbered());
        session.subscriptions.clone_from(&numbered);
        let id = session.id();
        for sub in &numbered {
            let channel = self.channels.get_mut(sub.channel);
            channel.count_away(true);
            let (is_room, name) = (channel.kind == Kind::Room, channel.name.clone());
            if is_room {
                self.tell_gone((id, at), sub.channel, &name, Step::Away);
            }
        }
        states.into_iter().for_each(|sub| self.leave(sub, false));
        let Some(session) = self.sessions.get(at) else { return };
        let (owner, base) = (session.identity.address, session.base(&places));
        let away = Away { has, since: now, base, places };
        let Some(at) = self.sessions.suspend(at, Box::new(away)) else { return };
        let bytes = self.sessions.get(at).map_or(base, Session::memory);
        let token = self.sessions.get(at).and_then(|session| session.token());
        // A token whose ending is remembered leads here already.
        if let Some(token) = token.filter(|token| self.suspended.ending(token).is_none()) {
            self.keep(token);
        }
        self.suspended.add(at, Hold { owner, used, bytes }, now);
        self.forget_overdue(now);
    }

    /// Where a session is, without what comes along with a room.
    pub(super) fn places(&self, at: SessionRef) -> Places {
        let Some(session) = self.sessions.get(at) else { return Places::default() };
        let entering = self.entrances.rooms(session.id()).map(Box::from).collect();
        let mut places = session.places(&self.channels, entering);
        places.retain(|name| !super::rooms::is_companion(name));
        places
    }

    /// Forgets the suspended sessions whose time is over, and those that are beyond `resume.sessions` or
    /// `resume.memory`.
    pub(super) fn forget_overdue(&mut self, now: Mono) {
        let overdue = self.suspended.overdue(now, self.config.limits());
        overdue.into_iter().for_each(|at| self.discard(at, None));
    }

    /// Takes a session out of the table. `told`: its client is not to come back, and may not know it yet.
    pub(super) fn discard(&mut self, at: SessionRef, told: Option<Close>) {
        let was_aside = self.sessions.get(at).is_some_and(|session| session.aside);
        let Some(mut session) = self.sessions.remove(at) else { return };
        let (id, away, aside) = (session.id(), session.is_away(), was_aside);
        self.suspended.remove(at);
        for sub in std::mem::take(&mut session.subscriptions) {
            self.depart((id, at), sub, away);
        }
        let Some(token) = session.token() else { return };
        match told {
            Some(close) if !away => self.bury(token, close.number()),
            // One that is aside leads to another worker already.
            _ if away && !aside && self.suspended.ending(&token).is_none() => self.forget(token),
            _ => {}
        }
    }

    /// Remembers for a while how a session has ended.
    pub(super) fn bury(&mut self, token: Token, close: u16) {
        let buried = self.suspended.bury(token, close, clock::mono(), self.config.limits());
        if buried.is_new && !self.is_away(&token) {
            self.keep(token);
        }
        for token in buried.forgotten {
            if !self.is_away(&token) {
                self.forget(token);
            }
        }
    }

    /// The master hears that a token leads here.
    pub(super) fn keep(&mut self, token: Token) {
        self.suspended.note(token.name());
        self.uplink.tell(&ToMaster::Away(token.name()));
    }

    /// The master hears that a token leads here no more.
    pub(super) fn forget(&mut self, token: Token) {
        self.suspended.note(token.name());
        self.uplink.tell(&ToMaster::Gone(token.name()));
    }

    /// The tokens that lead here, beside those of present sessions.
    pub(super) fn kept(&self) -> impl Iterator<Item = TokenName> {
        let away = self.sessions.iter().filter(|(_, session)| session.is_away() && !session.aside);
        let away = away.filter_map(|(_, session)| session.token());
        let away = away.filter(|token| self.suspended.ending(token).is_none());
        away.chain(self.suspended.endings()).map(|token| token.name())
    }

    fn is_away(&self, token: &Token) -> bool {
        let mut all = self.sessions.all_of(token.session);
        all.any(|(_, session)| session.is_away() && session.token() == Some(*token))
    }

    /// The main session of that user with that token.
    pub(super) fn named(&self, token: &Token, user: &UserId) -> Option<SessionRef> {
        let mut all = self.sessions.all_of(token.session);
        all.find(|(_, session)| session.token() == Some(*token) && session.user() == user).map(|(at, _)| at)
    }

    /// Whether a token leads here: to a session of that user, or to how it has ended.
    pub(super) fn knows(&self, token: &Token, user: &UserId) -> bool {
        self.named(token, user).is_some() || self.suspended.ending(token).is_some()
    }

    /// Gives out a copy of a session. The session itself stays, without a connection, until the client is known to have
    /// heard of the copy: if the copy ends before that, the token holds again.
    pub(super) fn take(&mut self, resume: &Resume, user: &UserId, lease: Lease, polls: bool) -> Taken {
        let Some(at) = self.named(&resume.token, user).filter(|at| self.suspended.is_free(*at)) else {
            return self.suspended.ending(&resume.token).map_or(Taken::Gap, Taken::Ended);
        };
        // A client that knows the token has heard of this copy.
        self.settle_copy(at);
        let subscriptions = self.sessions.get(at).map(|own| own.subscriptions.clone()).unwrap_or_default();
        subscriptions.iter().for_each(|sub| self.catch_up(*sub));
        self.acknowledge_all(at);
        let copy = self.pack(at, resume.seen);
        if self.sessions.get(at).is_some_and(|session| !session.is_away()) {
            let (close, reason) = (Close::Replaced, "another connection has taken this session over");
            self.end_saying(at, close, &EventText { close, reason, reconnect_in_ms: None });
        }
        // The end has given the session another reference. Nothing is kept where `resume.window` is 0.
        let here = self.named(&resume.token, user);
        let Some(copy) = copy else {
            here.into_iter().for_each(|at| self.discard(at, None));
            return Taken::Gap;
        };
        here.into_iter().for_each(|at| self.suspended.lend(at, lease, polls));
        Taken::Session(copy)
    }

    /// Ends a copy that its client has not heard of.
    pub(super) fn revoke(&mut self, request: u64) {
        let Some(at) = self.sessions.copy_of(request) else { return };
        let Some((id, is_away)) = self.sessions.get(at).map(|copy| (copy.id(), copy.is_away())) else {
            return;
        };
        self.sessions.take_origin(at);
        if !is_away {
            self.end(at, Close::Replaced);
        }
        // The end has given the session another reference.
        self.sessions.known(at.key(), id).into_iter().for_each(|at| self.discard(at, None));
    }

    /// Tells the home of a copy that a client waits for the copy.
    pub(super) fn accept(&mut self, &Origin { home, lease }: &Origin) {
        if home == self.me.generation {
            self.lease_accepted(lease);
        } else {
            self.uplink.relay(home, &Peer::Accept { lease });
        }
    }

    /// A client waits for a copy that was given out: the others are revoked.
    pub(super) fn lease_accepted(&mut self, lease: Lease) {
        let others = self.suspended.accept(lease);
        self.revoke_all(others);
    }

    fn revoke_all(&mut self, leases: Vec<Lease>) {
        for Lease { holder, request } in leases {
            if holder == self.me.generation {
                self.revoke(request);
            } else {
                self.uplink.relay(holder, &Peer::Revoke { request });
            }
        }
    }

    /// Tells the home of a copy that the copy is no more, or is the session from now on.
    pub(super) fn give_up(&mut self, &Origin { home, lease }: &Origin, settled: bool) {
        if home == self.me.generation {
            self.given_up(lease, settled);
        } else {
            self.uplink.relay(home, &Peer::GiveUp { lease, settled });
        }
    }

    /// Takes back a copy that was given out; or discards the session here if its copy is `settled`.
    pub(super) fn given_up(&mut self, lease: Lease, settled: bool) {
        let Some((at, others)) = self.suspended.give_up(lease, settled) else { return };
        // The copy is in the same rooms: nobody leaves.
        let subscriptions =
            self.sessions.get_mut(at).map(|session| std::mem::take(&mut session.subscriptions));
        for sub in subscriptions.unwrap_or_default() {
            let name = self.channels.get(sub.channel).name.clone();
            self.leave(sub, true);
            self.close_room(&name);
        }
        self.discard(at, None);
        self.revoke_all(others);
    }

    /// Looks from time to time whether the client of a copy has acknowledged the greeting: then the copy is settled.
    pub(super) fn settle_when_heard(&mut self, at: SessionRef) {
        if self.sessions.get(at).is_some_and(|session| session.origin.is_some()) {
            self.timers.look(at, clock::mono().after(GLANCE));
        }
    }

    /// Settles a copy if its client has acknowledged the greeting, else looks again later.
    pub(super) fn look_due(&mut self, at: SessionRef) {
        let Some(session) = self.sessions.get(at) else { return };
        let heard = matches!(&session.link, Link::Wire(wire) if wire.acknowledged() > 0);
        if heard && session.outbox.is_none() {
            self.settle_copy(at);
        } else {
            self.settle_when_heard(at);
        }
    }

    /// Settles a copy: its client has heard of it.
    pub(super) fn settle_copy(&mut self, at: SessionRef) {
        self.sessions.take_origin(at).into_iter().for_each(|origin| self.give_up(&origin, true));
        self.touch(at);
    }

    /// Encodes a copy of a session without the messages that its client has `seen`. `None`: it missed messages that are
    /// no longer kept.
    fn pack(&self, at: SessionRef, seen: Option<u32>) -> Option<Vec<u8>> {
        let session = self.sessions.get(at)?;
        let mut copy = session::Session::clone(session);
        let replay = copy.replay.as_mut()?;
        let (has, since, places) = match &session.link {
            Link::Away(away) => (away.has, away.since, away.places.clone()),
            Link::Wire(wire) => (replay.within(wire.acknowledged()), clock::mono(), self.places(at)),
            Link::Poll(_) | Link::Opening => (Some(replay.confirmed()), clock::mono(), self.places(at)),
        };
        let has = seen.or(has)?;
        let _ = replay.after(has)?;
        replay.confirm(has);
        copy.detach();
        let copy = copy.freeze(places, Connection::Away { has: Some(has), since }).encode();
        copy.inspect_err(|error| tracing::error!(event = "session-unwritable", %error)).ok()
    }

    /// Ends a subscription that a session has no more.
    pub(super) fn depart(&mut self, whose: (SessionId, SessionRef), sub: Subscription, away: bool) {
        let channel = self.channels.get(sub.channel);
        let (is_room, name) = (channel.kind == Kind::Room, channel.name.clone());
        self.leave(sub, away);
        if is_room {
            self.tell_gone(whose, sub.channel, &name, Step::Leave);
        }
        self.close_room(&name);
    }

    /// Tells the master that a session left a room, or is away. The master knows one session of each id: here a copy
    /// and its original may be in the room.
    pub(super) fn tell_gone(
        &self,
        (id, at): (SessionId, SessionRef),
        channel: ChannelKey,
        room: &str,
        step: Step<'_>,
    ) {
        let others = self.sessions.all_of(id).filter(|(other, own)| *other != at && own.is_on(channel));
        let step = match others.map(|(_, other)| other.is_away()).reduce(|all, one| all && one) {
            None => step,
            Some(true) => Step::Away,
            Some(false) => return,
        };
        self.uplink.tell(&ToMaster::Room { room, session: id, step });
    }
}
