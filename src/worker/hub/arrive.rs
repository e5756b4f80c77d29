//! Announces a session to the master: a new one, or a copy of one that is suspended, here or at another worker. What is
//! published on its channels meanwhile is in the copy.

use super::opening::Opening;
use super::send::Sent;
use super::session::{Request, Session};
use super::sessions::SessionRef;
use super::takes::{Answered, Log};
use super::{Hub, State};
use crate::model::Mono;
use crate::protocol::client::{Close, Resume};
use crate::protocol::cluster::{Generation, ToMaster, Verdict};
use crate::protocol::link::LinkError;
use crate::protocol::peer::{Lease, Peer, Taken};
use crate::session::{Answer, Framing, Kept, Kind, Origin, Places, Replay, Snapshot};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Refused {
    /// The master refuses it; `None`: the master has not answered.
    Verdict(Option<Verdict>),
    /// The session has ended with that close code, for good.
    Ended(u16),
}

/// A session that the master has accepted.
#[derive(Debug)]
pub(in crate::worker) struct Arrival {
    pub(in crate::worker) opening: Opening,
    /// Where the session was before; `None`: it is new.
    pub(in crate::worker) before: Option<Before>,
}

/// A session that waits for the verdict of the master.
#[derive(Debug)]
pub(super) struct Announced {
    opening: Opening,
    verdict: oneshot::Receiver<Verdict>,
    before: Option<Before>,
}

/// Channels, and rooms to be entered.
type Before = (Vec<String>, Vec<String>);

/// A client that waits for a session of another worker.
#[derive(Debug)]
pub(super) struct Waiting {
    hub: Hub,
    request: Request,
    waiter: oneshot::Sender<Result<Announced, u16>>,
}

/// A question to another worker. Dropped, its client waits no more.
struct Question<'a>(&'a Hub, u64);

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let waiting = self.0.lock().takes.abandon(self.1);
        // Not while the hub is locked.
        drop(waiting);
    }
}

/// Announces a session and waits for the verdict of the master.
pub(in crate::worker) async fn arrive(
    hub: &Hub,
    request: Request,
    resume: Option<Resume>,
) -> Result<Arrival, Refused> {
    let patience = hub.config().ws.handshake_timeout;
    let announced = tokio::time::timeout(patience, announce(hub, request, resume)).await;
    let Announced { opening, verdict, before } = match announced {
        Ok(Ok(announced)) => announced,
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
    let (number, answer) = {
        let mut state = hub.lock();
        let Some(resume) = resume else { return Ok(state.announce(hub, request, None)) };
        let (holder, polls) = (state.me.generation, request.framing == Framing::Poll);
        let (home, number) = (resume.home, state.requests.number());
        if home == holder {
            let lease = Lease { holder, request: number };
            let taken = state.take(&resume, &request.user, lease, polls);
            state.settle();
            return state
                .received(hub, request, Origin { home, lease }, taken, Some(Log::new()))
                .map_err(Some);
        }
        let question = Peer::Take { request: number, resume, user: request.user.clone(), polls };
        let (waiter, answer) = oneshot::channel();
        state.takes.ask(number, home, Waiting { hub: hub.clone(), request, waiter });
        state.relay(home, &question);
        (number, answer)
    };
    let _question = Question(hub, number);
    match answer.await {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

impl State {
    /// Announces a session, or a copy with what was published since it was made. `Err`: what the client has missed is
    /// more than one session may have.
    fn try_announce(
        &mut self,
        hub: &Hub,
        request: Request,
        from: Option<(Snapshot, Origin, Log)>,
    ) -> Result<Announced, ()> {
        let framing = request.framing;
        let from = from.map(|(snapshot, origin, log)| (snapshot.thaw(), origin, log));
        let at = self.open(request, from.as_ref().map(|((session, ..), ..)| session));
        let Some(id) = self.sessions.get(at).map(Session::id) else { return Err(()) };
        if let Some(((session, places, _), origin, log)) = &from {
            self.sessions.set_origin(at, *origin);
            let missed = session.replay.iter().flat_map(Replay::kept);
            if !self.unpack(at, places, missed, log) {
                self.settle_copy(at);
                self.end(at, Close::Done);
                return Err(());
            }
        }
        let (sender, verdict) = oneshot::channel();
        self.requests.opens.entry(id).or_default().push((at, sender));
        let before = from.map(|((_, places, _), ..)| self.those_there_are(places));
        let opening = Opening { hub: hub.clone(), at, id, framing, done: false };
        Ok(Announced { opening, verdict, before })
    }

    fn announce(&mut self, hub: &Hub, request: Request, from: Option<(Snapshot, Origin, Log)>) -> Announced {
        if let Ok(announced) = self.try_announce(hub, request.clone(), from) {
            return announced;
        }
        self.counters.gaps += 1;
        match self.try_announce(hub, request, None) {
            Ok(announced) => announced,
            // A new session has nothing that could be too much.
            Err(()) => unreachable!(),
        }
    }

    /// Announces what the home of a session, another worker or this one, has given a client that comes back.
    pub(super) fn received(
        &mut self,
        hub: &Hub,
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
                    self.announce(hub, request, Some((snapshot, origin, log)))
                }
                Err(error) => {
                    tracing::warn!(event = "session-unreadable", home = origin.home, %error);
                    self.give_up(&origin, false);
                    self.begin_anew(hub, request)
                }
            }),
            (taken, _) => {
                if matches!(taken, Taken::Session(_)) {
                    self.give_up(&origin, true);
                }
                Ok(self.begin_anew(hub, request))
            }
        }
    }

    /// Announces a new session for a client that comes back: there is a gap.
    fn begin_anew(&mut self, hub: &Hub, request: Request) -> Announced {
        self.counters.gaps += 1;
        self.announce(hub, request, None)
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

    /// The master has passed a question of ours on.
    pub(in crate::worker) fn taking(&mut self, request: u64) {
        self.takes.passed_on(request);
    }

    /// Logs a publication for the copies that are on their way here.
    pub(super) fn log_publication(&mut self, name: &str, bytes: &[u8]) {
        self.takes.published(name, bytes);
    }

    /// The answer to a question for a session.
    pub(super) fn taken(&mut self, home: Generation, request: u64, taken: Taken) {
        let origin = Origin { home, lease: Lease { holder: self.me.generation, request } };
        match self.takes.answered(request, matches!(taken, Taken::Session(_))) {
            Answered::Hand(waiting, log) => self.hand(waiting, origin, taken, log),
            Answered::GiveBack => self.give_up(&origin, false),
            Answered::Nothing => {}
        }
    }

    /// Tells a client what has become of the session that it wants.
    fn hand(&mut self, waiting: Waiting, origin: Origin, taken: Taken, log: Option<Log>) {
        let Waiting { hub, request, waiter } = waiting;
        let announced = self.received(&hub, request, origin, taken, log);
        if let Err(Ok(mut unwanted)) = waiter.send(announced) {
            // The client has gone in the meantime.
            unwanted.opening.done = true;
            self.requests.forget_open(unwanted.opening.id, unwanted.opening.at);
            self.end(unwanted.opening.at, Close::Done);
        }
    }

    /// Ends what waits for a process that is gone, and what that process had.
    pub(in crate::worker) fn peer_gone(&mut self, peer: Generation) {
        for waiting in self.takes.home_gone(peer) {
            let nothing = Origin { home: peer, lease: Lease { holder: self.me.generation, request: 0 } };
            self.hand(waiting, nothing, Taken::Gap, None);
        }
        let (clients, tasks) = self.forwards.peer_gone(peer);
        drop(clients);
        tasks.iter().for_each(AbortHandle::abort);
        self.suspended.holder_gone(peer);
    }

    /// Says something to another worker.
    pub(super) fn relay(&self, to: Generation, peer: &Peer) {
        let sent = peer.encode().map_err(LinkError::Garbage).and_then(|payload| {
            self.uplink.send(&ToMaster::Relay { to, notice: peer.notice(), payload: &payload })
        });
        match (sent, peer.shortened()) {
            (Ok(()), _) => {}
            (Err(LinkError::Oversized(_)), Some(shorter)) => self.relay(to, &shorter),
            (Err(error), _) => tracing::debug!(%error, "another worker does not hear this one"),
        }
    }
}
