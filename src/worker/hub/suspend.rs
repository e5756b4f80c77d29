//! A session without a connection: it waits for its client for `resume.window`, and collects what is published to it.
//! Whoever comes with its token, to this worker or another, gets it as a parcel, and it is forgotten here.

use super::State;
use super::session::{Link, Session};
use super::sessions::SessionRef;
use crate::model::{Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::{Close, EventText, Resume};
use crate::protocol::cluster::{Generation, Step, ToMaster};
use crate::protocol::peer::{Missed, Parcel, Peer, Taken};
use crate::session::{Bounds, Key, Kind, Subscription};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

/// A connection that lives so long, and whose greeting is acknowledged by then, has been heard. (What its client's kernel has
/// acknowledged, the client may not have read when it is cut.)
const GLANCE: Duration = Duration::from_secs(1);

/// Who has a copy of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// Which process.
    pub(super) to: Generation,
    /// Its client polls: it may come with the old token again, for nobody knows whether the answer has come.
    pub(super) polls: bool,
}

/// What a suspended session has instead of a connection.
#[derive(Debug, Default)]
pub(super) struct Away {
    /// The last numbered message that its client is known to have; `None`: some that are forgotten it has not.
    has: Option<u32>,
    /// Who has a copy of it, as long as it is not sure that the client has heard of that.
    given: Option<Given>,
    /// The state channels that it was on.
    states: Vec<Box<str>>,
    /// The rooms that it was about to enter.
    entering: Vec<String>,
}

/// The suspended ones of this worker, and those that ended for good.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    /// The one suspended longest ago first. Those that are away no more stay until their turn comes.
    order: VecDeque<SessionRef>,
    /// Close codes of ended sessions by their secrets, so that a client that does not know it yet is told.
    ended: HashMap<u128, u16, RandomState>,
    when: VecDeque<(Mono, u128)>,
}

impl State {
    /// Whether sessions are kept for clients that come back.
    pub(super) fn resumes(&self) -> bool {
        let resume = &self.config.resume;
        !resume.window.is_zero() && resume.sessions > 0 && resume.messages > 0
    }

    /// How much is kept of what a session misses.
    pub(super) fn bounds(&self) -> Bounds {
        let resume = &self.config.resume;
        Bounds { messages: resume.messages as usize, bytes: resume.bytes }
    }

    pub(super) fn may_be_suspended(&self, at: SessionRef) -> bool {
        let is_main = |session: &Session| session.replay.is_some() && !matches!(session.link, Link::Opening);
        self.sessions.get(at).is_some_and(is_main) && self.resumes()
    }

    /// A session has lost its connection. Of that so many bytes were `acknowledged`.
    pub(super) fn suspend(&mut self, at: SessionRef, acknowledged: Option<u64>) {
        let entering: Vec<String> = self.entering(at).map(str::to_owned).collect();
        entering.iter().for_each(|room| self.turn_back(at, room));
        let Some(session) = self.sessions.get_mut(at) else { return };
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
                self.tell(&ToMaster::Room { room: &name, session: id, step: Step::Away });
            }
        }
        let mut names = Vec::new();
        for sub in &states {
            let channel = self.channels.get(sub.channel);
            if !super::rooms::is_companion(&channel.name) {
                names.push(channel.name.clone());
            }
            self.leave(*sub, false);
        }
        let away = Away { has, given: None, states: names, entering };
        let Some(at) = self.sessions.suspend(at, Box::new(away)) else { return };
        self.suspended.order.push_back(at);
        self.timers.forget(at, clock::mono().after(self.config.resume.window));
        self.forget_surplus();
    }

    /// Past `resume.sessions` the ones that are away longest are forgotten.
    fn forget_surplus(&mut self) {
        let most = self.config.resume.sessions as usize;
        if self.suspended.order.len() > most.saturating_mul(2) {
            let Self { suspended, sessions, .. } = self;
            suspended.order.retain(|at| sessions.contains(*at));
        }
        while self.sessions.away() > most {
            let Some(at) = self.suspended.order.pop_front() else { break };
            self.forget(at);
        }
    }

    /// A suspended session's time is over.
    pub(super) fn forget(&mut self, at: SessionRef) {
        if self.sessions.get(at).is_some_and(Session::is_away) {
            self.discard(at, None);
        }
    }

    /// Takes a session out of the table. `told`: its client is not to come back, and may not know it yet.
    pub(super) fn discard(&mut self, at: SessionRef, told: Option<Close>) {
        let Some(mut session) = self.sessions.remove(at) else { return };
        let (id, away) = (session.id(), session.is_away());
        for sub in std::mem::take(&mut session.subscriptions) {
            self.depart(id, sub, away);
        }
        if let (Some(replay), Some(close)) = (&session.replay, told) {
            self.bury(replay.secret, close.code());
        }
    }

    /// Remembers for a while how a session has ended.
    pub(super) fn bury(&mut self, secret: u128, code: u16) {
        let (now, resume) = (clock::mono(), &self.config.resume);
        let window = resume.window.max(self.config.poll.gap);
        let Suspended { ended, when, .. } = &mut self.suspended;
        ended.insert(secret, code);
        when.push_back((now, secret));
        let old = |(at, _): &&(Mono, u128)| now.since(*at) > window;
        while when.len() > resume.sessions as usize || when.front().as_ref().is_some_and(old) {
            let Some((_, secret)) = when.pop_front() else { break };
            ended.remove(&secret);
        }
    }

    /// The place of a main session of that user with that token.
    pub(super) fn named(&self, resume: &Resume, user: &UserId) -> Option<SessionRef> {
        let at = self.sessions.at(resume.place)?;
        let session = self.sessions.get(at)?;
        let same = session.replay.as_ref().is_some_and(|replay| replay.secret == resume.secret);
        (same && resume.home == self.me.generation && session.user() == user).then_some(at)
    }

    /// Gives a copy of a session to the process where its client is now. What is here is kept, without a connection,
    /// until the client has lived with the copy for a moment: if that is lost before, the old token holds again.
    pub(super) fn take(&mut self, resume: &Resume, user: &UserId, to: Given) -> Taken {
        let used = |given: Given| !given.polls;
        let is_given =
            |session: &Session| matches!(&session.link, Link::Away(away) if away.given.is_some_and(used));
        let named = self.named(resume, user);
        let Some(at) = named.filter(|at| !self.sessions.get(*at).is_some_and(is_given)) else {
            // A token is good once.
            let ended = self.suspended.ended.get(&resume.secret).copied();
            return ended.map_or(Taken::Gap, Taken::Ended);
        };
        // Who knows its token has heard of it.
        self.settle_copy(at);
        let subscriptions = self.sessions.get(at).map(|own| own.subscriptions.clone()).unwrap_or_default();
        subscriptions.iter().for_each(|sub| self.catch_up(*sub));
        let taken = self.pack(at, resume.seen);
        if let Some(Link::Away(away)) = self.sessions.get_mut(at).map(|session| &mut session.link) {
            if let Some(before) = away.given.take() {
                self.revoke_at(before.to, resume.secret);
            }
        } else {
            let (close, reason) = (Close::Replaced, "another connection has taken this session over");
            self.end_saying(at, close, &EventText { event: close.slug(), reason, reconnect_in_ms: None });
        }
        // An end has given it another reference.
        let Some(at) = self.named(resume, user) else { return taken };
        match self.sessions.get_mut(at).map(|session| &mut session.link) {
            Some(Link::Away(away)) if taken != Taken::Gap => away.given = Some(to),
            Some(Link::Away(_)) => self.discard(at, None),
            // Nothing is kept where `resume.window` is 0.
            _ => {}
        }
        taken
    }

    /// A copy that was given to a process is of no use: its client has come with the old token again.
    fn revoke_at(&mut self, holder: Generation, secret: u128) {
        if holder == self.me.generation {
            self.revoke(secret);
        } else {
            self.relay(holder, &Peer::Revoke { secret });
        }
    }

    /// Ends a copy that its client has not heard of.
    pub(super) fn revoke(&mut self, secret: u128) {
        let Some(at) = self.sessions.copy_of(secret) else { return };
        let Some((id, is_away)) = self.sessions.get(at).map(|copy| (copy.id(), copy.is_away())) else {
            return;
        };
        self.sessions.take_origin(at);
        if !is_away {
            self.end(at, Close::Replaced);
        }
        // An end has given it another reference.
        self.sessions.known(at.key(), id).into_iter().for_each(|at| self.discard(at, None));
    }

    /// Tells whoever has the session that a copy was made of: it is to forget it, or it is on its own again.
    pub(super) fn give_up(&mut self, origin: &Resume, settled: bool) {
        if origin.home == self.me.generation {
            self.given_up(origin.secret, origin.place, self.me.generation, settled);
        } else {
            let (secret, place) = (origin.secret, origin.place);
            self.relay(origin.home, &Peer::GiveUp { secret, place, settled });
        }
    }

    /// The copy that `holder` was given is what counts, or is no more.
    pub(super) fn given_up(&mut self, secret: u128, place: Key, holder: Generation, settled: bool) {
        let Some(at) = self.sessions.at(place) else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        let same = session.replay.as_ref().is_some_and(|replay| replay.secret == secret);
        match &mut session.link {
            Link::Away(away) if same && away.given.is_some_and(|given| given.to == holder) => {
                away.given = None
            }
            _ => return,
        }
        if settled {
            // In its rooms the copy stands for it: nobody leaves.
            for sub in std::mem::take(&mut session.subscriptions) {
                let name = self.channels.get(sub.channel).name.clone();
                self.leave(sub, true);
                self.close_room(&name);
            }
            self.discard(at, None);
        }
    }

    /// A process that had copies is gone: what it was given counts here again.
    pub(super) fn holder_gone(&mut self, holder: Generation) {
        for session in self.sessions.iter_mut() {
            if let Link::Away(away) = &mut session.link
                && away.given.is_some_and(|given| given.to == holder)
            {
                away.given = None;
            }
        }
    }

    /// Looks then, and again, whether the client has acknowledged the greeting: if so, the copy is what counts.
    pub(super) fn settle_when_heard(&mut self, at: SessionRef) {
        if self.sessions.get(at).is_some_and(|session| session.origin.is_some()) {
            self.timers.look(at, clock::mono().after(GLANCE));
        }
    }

    /// It is time to look.
    pub(super) fn look_due(&mut self, at: SessionRef) {
        let Some(session) = self.sessions.get(at) else { return };
        let heard = matches!(&session.link, Link::Wire(wire) if wire.acknowledged() > 0);
        if heard && session.outbox.is_none() {
            self.settle_copy(at);
        } else {
            self.settle_when_heard(at);
        }
    }

    /// The client of a copy has heard of it.
    pub(super) fn settle_copy(&mut self, at: SessionRef) {
        self.sessions.take_origin(at).into_iter().for_each(|origin| self.give_up(&origin, true));
    }

    fn pack(&mut self, at: SessionRef, seen: Option<u32>) -> Taken {
        let Some(session) = self.sessions.get(at) else { return Taken::Gap };
        let channels = &self.channels;
        let own = session.subscriptions.iter().map(|sub| &*channels.get(sub.channel).name);
        let mut names: Vec<_> =
            own.filter(|name| !super::rooms::is_companion(name)).map(str::to_owned).collect();
        let Some(replay) = &session.replay else { return Taken::Gap };
        let mut entering: Vec<String> = self.entering(at).map(str::to_owned).collect();
        let has = match &session.link {
            Link::Away(away) => {
                entering.clone_from(&away.entering);
                names.extend(away.states.iter().map(|name| name.to_string()));
                away.has
            }
            Link::Wire(wire) => replay.within(wire.acknowledged()),
            Link::Poll(_) | Link::Opening => Some(replay.confirmed()),
        };
        let Some(missed) = seen.or(has).and_then(|number| replay.after(number)) else { return Taken::Gap };
        let missed = missed.map(|kept| Missed {
            frame: kept.frame().to_vec(),
            answer: kept.answer().map(|answer| (answer.id, answer.symbol.clone())),
        });
        Taken::Parcel(Box::new(Parcel {
            session: session.id(),
            device: session.device.clone(),
            since: session.since,
            missed: missed.collect(),
            channels: names,
            entering,
        }))
    }

    /// One subscription less of a session that is leaving it.
    pub(super) fn depart(&mut self, session: SessionId, sub: Subscription, away: bool) {
        let channel = self.channels.get(sub.channel);
        let (is_room, name) = (channel.kind == Kind::Room, channel.name.clone());
        self.leave(sub, away);
        if is_room {
            self.tell(&ToMaster::Room { room: &name, session, step: Step::Leave });
        }
        self.close_room(&name);
    }
}
