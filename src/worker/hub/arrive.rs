//! Announces a session to the master: a new one, or a copy of one that is suspended, here or at another worker. What is
//! published on its channels meanwhile is in the copy.

use super::opening::Opening;
use super::parts::announced::{Announced, Before, Refused, Waiting};
use super::parts::session::{Request, Session};
use super::parts::sessions::SessionRef;
use super::parts::takes::{Answered, Log};
use super::parts::uplink::Uplink;
use super::send::Sent;
use super::state::{Hub, State};
use crate::model::Mono;
use crate::protocol::client::{Close, Resume};
use crate::protocol::cluster::{Generation, Verdict};
use crate::protocol::peer::{Lease, Peer, Taken};
use crate::session::{Answer, Framing, Kept, Kind, Origin, Places, Replay, Snapshot};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// A session that the master has accepted.
#[derive(Debug)]
pub(in crate::worker) struct Arrival {
    pub(in crate::worker) opening: Opening,
    /// Where the session was before; `None`: it is new.
    pub(in crate::worker) before: Option<Before>,
}

/// A question to another worker. Dropped, its client waits no more.
struct Question<'a> {
    hub: &'a Hub,
    number: u64,
    answer: oneshot::Receiver<Result<Announced, u16>>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        drop(state.takes.abandon(self.number));
        // The answer may have come, while nobody took it.
        if let Ok(Ok(unwanted)) = self.answer.try_recv() {
            state.withdraw(unwanted.id, unwanted.at);
        }
    }
}

/// Announces a session and waits for the verdict of the master.
pub(in crate::worker) async fn arrive(
    hub: &Hub,
    request: Request,
    resume: Option<Resume>,
) -> Result<Arrival, Refused> {
    let patience = hub.config().ws.handshake_timeout;
    let (opening, verdict, before) =
        match tokio::time::timeout(patience, announce(hub, request, resume)).await {
            Ok(Ok(Announced { at, id, framing, verdict, before })) => {
                (Opening::new(hub.clone(), at, id, framing), verdict, before)
            }
            Ok(Err(Some(code))) => return Err(Refused::Ended(code)),
            Ok(Err(None)) | Err(_) => return Err(Refused::Verdict(None)),
        };
    match tokio::time::timeout(patience, verdict).await {
        Ok(Ok(Verdict::Accepted)) => Ok(Arrival { opening, before }),
        Ok(Ok(other)) => Err(Refused::Verdict(Some(other))),
        _ => Err(Refused::Verdict(None)),
    }
}

async fn announce(hub: &Hub, request: Request, resume: Option<Resume>) -> Result<Announced, Option<u16>> {
    let mut question = {
        let mut state = hub.lock();
        let Some(resume) = resume else { return Ok(state.announce(request, None)) };
        let number = state.requests.number();
        if state.knows(&resume.token, &request.user) {
            let holder = state.me.generation;
            let (home, lease) = (holder, Lease { holder, request: number });
            let taken = state.take(&resume, &request.user, lease, request.framing == Framing::Poll);
            state.settle();
            return state.received(request, Origin { home, lease }, taken, Some(Log::new())).map_err(Some);
        }
        let (waiter, answer) = oneshot::channel();
        let waiting = Waiting { request, resume, waiter };
        waiting.ask(number, &state.uplink);
        state.takes.ask(number, waiting);
        Question { hub, number, answer }
    };
    match (&mut question.answer).await {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

impl Waiting {
    /// Asks wherever the session is.
    pub(super) fn ask(&self, number: u64, uplink: &Uplink) {
        let (user, polls) = (self.request.user.clone(), self.request.framing == Framing::Poll);
        let take = Peer::Take { request: number, resume: self.resume, user, polls };
        uplink.relay_home(&self.resume.token, &take);
    }
}

impl State {
    /// Announces a session, or a copy with what was published since it was made. `Err`: what the client has missed is
    /// more than one session may have, or than its token may hear.
    fn try_announce(
        &mut self,
        request: Request,
        from: Option<(Snapshot, Origin, Log)>,
    ) -> Result<Announced, ()> {
        let framing = request.framing;
        let mut from = from.map(|(snapshot, origin, log)| (snapshot.thaw(), origin, log));
        let at = self.open(request, from.as_ref().map(|((session, ..), ..)| session));
        let mut may_hear = true;
        if let Some(((_, places, _), ..)) = &mut from {
            let own = self.sessions.get(at).and_then(|session| session.pass.as_deref());
            may_hear = self.may_hear_missed(own, places.channels.iter().map(|name| &**name));
            *places = self.allowed(at, std::mem::take(places));
        }
        let Some(id) = self.sessions.get(at).map(Session::id) else { return Err(()) };
        if let Some(((session, places, _), origin, log)) = &from {
            self.sessions.set_origin(at, *origin);
            let missed = session.replay.iter().flat_map(Replay::kept);
            if !may_hear || !self.unpack(at, places, missed, log) {
                self.settle_copy(at);
                self.end(at, Close::Done);
                return Err(());
            }
        }
        let verdict = self.requests.expect_verdict(id, at);
        let before = from.map(|((_, places, _), ..)| self.those_there_are(places));
        Ok(Announced { at, id, framing, verdict, before })
    }

    fn announce(&mut self, request: Request, from: Option<(Snapshot, Origin, Log)>) -> Announced {
        if let Ok(announced) = self.try_announce(request.clone(), from) {
            return announced;
        }
        self.counters.gaps += 1;
        match self.try_announce(request, None) {
            Ok(announced) => announced,
            // A new session has nothing that could be too much.
            Err(()) => unreachable!(),
        }
    }

    /// Announces what the home of a session, another worker or this one, has given a client that comes back.
    pub(super) fn received(
        &mut self,
        request: Request,
        origin: Origin,
        taken: Taken,
        log: Option<Log>,
    ) -> Result<Announced, u16> {
        match (taken, log) {
            (Taken::Ended(code), _) => Err(code),
            (Taken::Session(bytes), Some(log)) => Ok(match Snapshot::decode(&bytes) {
                Ok(snapshot) => {
                    self.accept(&origin);
                    self.counters.resumed += 1;
                    self.announce(request, Some((snapshot, origin, log)))
                }
                Err(error) => {
                    tracing::warn!(event = "session-unreadable", home = origin.home, %error);
                    self.give_up(&origin, false);
                    self.begin_anew(request)
                }
            }),
            (taken, _) => {
                if matches!(taken, Taken::Session(_)) {
                    self.give_up(&origin, true);
                }
                Ok(self.begin_anew(request))
            }
        }
    }

    /// Announces a new session for a client that comes back: there is a gap.
    fn begin_anew(&mut self, request: Request) -> Announced {
        self.counters.gaps += 1;
        self.announce(request, None)
    }

    /// Puts a copy on the channels of the original, with the messages that its client has missed and those that were
    /// published since. False if they do not fit.
    fn unpack<'a>(
        &mut self,
        at: SessionRef,
        places: &Places,
        missed: impl Iterator<Item = &'a Kept>,
        log: &Log,
    ) -> bool {
        for name in &places.channels {
            self.rejoin(at, name);
        }
        let mut fits = true;
        for kept in missed {
            // Made anew before it leaves: the age in it is no longer true.
            let answer = kept.answer().map(|answer| Answer { made: Mono(0), ..answer.clone() });
            let frame = kept.frame();
            fits &= self.send_numbered(at, frame, std::iter::once(frame.clone()), answer) != Sent::Never;
        }
        for (name, frame) in log.iter().filter(|(name, _)| places.channels.contains(name)) {
            let numbered =
                self.channels.find(name).is_some_and(|channel| self.channels.get(channel).kind.is_numbered());
            if numbered {
                fits &= self.send_numbered(at, frame, std::iter::once(frame.clone()), None) != Sent::Never;
            }
        }
        fits
    }

    /// The channels that the configuration still has, and the rooms to be entered.
    fn those_there_are(&self, places: Places) -> Before {
        let channels = places.channels.into_iter().filter(|name| self.channels.find(name).is_some());
        (channels.map(String::from).collect(), places.entering.into_iter().map(String::from).collect())
    }

    /// Subscribes a copy to a channel of numbered messages, so that it misses none. The others wait for the greeting.
    fn rejoin(&mut self, at: SessionRef, name: &str) {
        if crate::protocol::client::room(name).is_some() {
            return self.enter_again(at, name);
        }
        if let Some(channel) = self.channels.find(name)
            && self.channels.get(channel).kind.is_numbered()
            && self.channels.get(channel).kind != Kind::Room
        {
            self.subscribe(at, channel);
        }
    }

    /// The master has passed a question of ours on to that worker.
    pub(in crate::worker) fn taking(&mut self, request: u64, home: Generation) {
        self.takes.passed_on(request, home);
        if self.forwards.passed_on(request, home) {
            self.uplink.relay(home, &Peer::PollGone { request });
        }
    }

    /// The answer to a question for a session.
    pub(super) fn taken(&mut self, home: Generation, request: u64, taken: Taken) {
        if taken == Taken::Again {
            return self.takes.again(request).into_iter().for_each(|asked| asked.ask(request, &self.uplink));
        }
        let origin = Origin { home, lease: Lease { holder: self.me.generation, request } };
        match self.takes.answered(request, matches!(taken, Taken::Session(_))) {
            Answered::Hand(waiting, log) => self.hand(waiting, origin, taken, log),
            Answered::GiveBack => self.give_up(&origin, false),
            Answered::Nothing => {}
        }
    }

    /// Tells a client what has become of the session that it wants.
    fn hand(&mut self, waiting: Waiting, origin: Origin, taken: Taken, log: Option<Log>) {
        let Waiting { request, waiter, .. } = waiting;
        let announced = self.received(request, origin, taken, log);
        if let Err(Ok(unwanted)) = waiter.send(announced) {
            // The client has gone in the meantime.
            self.withdraw(unwanted.id, unwanted.at);
        }
    }

    /// Ends what waits for a process that is gone, and what that process had.
    pub(in crate::worker) fn peer_gone(&mut self, hub: &Hub, peer: Generation) {
        for waiting in self.takes.home_gone(peer) {
            let nothing = Origin { home: peer, lease: Lease { holder: self.me.generation, request: 0 } };
            self.hand(waiting, nothing, Taken::Gap, None);
        }
        let (clients, tasks) = self.forwards.peer_gone(peer);
        drop(clients);
        tasks.iter().for_each(AbortHandle::abort);
        self.suspended.holder_gone(peer);
        self.uplink.heard.peer_gone(peer);
        self.source_gone(hub, peer);
        self.target_gone(hub, peer);
    }
}
