//! How a session begins: announced to the master, as a new one or as one that was there before, here or at another
//! worker. Whatever is published on its channels on the way is in it.

use super::opening::Opening;
use super::send::Sent;
use super::session::{Framing, Request, Session};
use super::sessions::SessionRef;
use super::suspend::Given;
use super::{Hub, State};
use crate::model::Mono;
use crate::protocol::client::{Close, Resume};
use crate::protocol::cluster::{Generation, ToMaster, Verdict};
use crate::protocol::link::LinkError;
use crate::protocol::peer::{Parcel, Peer, Taken};
use crate::session::{Answer, Kind, NO_TICKET};
use crate::ws::frame;
use bytes::Bytes;
use hashbrown::HashMap;
use tokio::sync::oneshot;

/// What is published while a session is on its way is kept here up to so many bytes; past it there is a gap.
const LOGGED: usize = 1 << 20;

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Refused {
    /// The master does not let it be; `None`: it has not answered.
    Verdict(Option<Verdict>),
    /// It has ended with that close code, for good.
    Ended(u16),
}

/// A session that may be attached.
#[derive(Debug)]
pub(in crate::worker) struct Arrival {
    pub(in crate::worker) opening: Opening,
    /// The channels of the session that it was before, and the rooms that it was about to enter; `None`: it is new.
    pub(in crate::worker) before: Option<Before>,
}

/// A session that has been announced.
#[derive(Debug)]
struct Announced {
    opening: Opening,
    verdict: oneshot::Receiver<Verdict>,
    before: Option<Before>,
}

/// Channels, and rooms to be entered.
type Before = (Vec<String>, Vec<String>);

/// What was published, in its order: where, and what.
type Log = Vec<(Box<str>, Bytes)>;

/// A session that was asked for at another worker.
#[derive(Debug)]
pub(super) struct Taking {
    hub: Hub,
    home: Generation,
    asked: (Request, Resume),
    waiter: oneshot::Sender<Result<Announced, u16>>,
    /// What was published since the master has passed the question on.
    log: Option<Log>,
    logged: usize,
}

/// All of them, by the number of the question.
pub(super) type Takes = HashMap<u64, Taking, foldhash::fast::RandomState>;

/// Nobody waits for a session any more, when this is dropped.
struct Question<'a>(&'a Hub, u64);

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let taking = self.0.lock().takes.remove(&self.1);
        drop(taking);
    }
}

/// Announces a session and waits for the master's word.
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
        let (me, polls) = (state.me.generation, request.framing == Framing::Poll);
        if resume.home == me {
            let taken = state.take(&resume, &request.user, Given { to: me, polls });
            state.settle();
            return state.received(hub, (request, resume), taken, Some(Vec::new())).map_err(Some);
        }
        let number = state.requests.number();
        let question = Peer::Take { request: number, resume, user: request.user.clone(), polls };
        let (waiter, answer) = oneshot::channel();
        let (hub, home) = (hub.clone(), resume.home);
        let asked = (request, resume);
        state.takes.insert(number, Taking { hub, home, asked, waiter, log: None, logged: 0 });
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
    /// A session, and where it comes from elsewhere what it was there and what was published on the way; `Err`: that is
    /// more than one session may have.
    fn try_announce(
        &mut self,
        hub: &Hub,
        request: Request,
        from: Option<(Box<Parcel>, Resume, Log)>,
    ) -> Result<Announced, ()> {
        let (parcel, log) =
            from.as_ref().map_or((None, None), |(parcel, _, log)| (Some(&**parcel), Some(log)));
        let framing = request.framing;
        let at = self.open(request, parcel);
        let Some(id) = self.sessions.get(at).map(Session::id) else { return Err(()) };
        if let (Some(parcel), Some(log)) = (parcel, log)
            && !self.unpack(at, parcel, log)
        {
            self.end(at, Close::Done);
            return Err(());
        }
        let (sender, verdict) = oneshot::channel();
        self.requests.opens.insert(id, (at, sender));
        let (before, origin) = match from {
            Some((parcel, origin, _)) => {
                let channels = self.those_there_are(parcel.channels);
                (Some((channels, parcel.entering)), Some(origin))
            }
            None => (None, None),
        };
        let opening = Opening { hub: hub.clone(), at, id, framing, origin, done: false };
        Ok(Announced { opening, verdict, before })
    }

    fn announce(
        &mut self,
        hub: &Hub,
        request: Request,
        from: Option<(Box<Parcel>, Resume, Log)>,
    ) -> Announced {
        let origin = from.as_ref().map(|(_, origin, _)| *origin);
        if let Ok(announced) = self.try_announce(hub, request.clone(), from) {
            return announced;
        }
        origin.into_iter().for_each(|origin| self.give_up(&origin, true));
        self.counters.gaps += 1;
        match self.try_announce(hub, request, None) {
            Ok(announced) => announced,
            // A new session has nothing that could be too much.
            Err(()) => unreachable!(),
        }
    }

    /// What another worker, or this one, has said of a session that a client wants again.
    fn received(
        &mut self,
        hub: &Hub,
        (request, origin): (Request, Resume),
        taken: Taken,
        log: Option<Log>,
    ) -> Result<Announced, u16> {
        match (taken, log) {
            (Taken::Ended(code), _) => Err(code),
            (Taken::Parcel(parcel), Some(log)) => {
                self.counters.resumed += 1;
                Ok(self.announce(hub, request, Some((parcel, origin, log))))
            }
            (taken, _) => {
                if matches!(taken, Taken::Parcel(_)) {
                    self.give_up(&origin, true);
                }
                self.counters.gaps += 1;
                Ok(self.announce(hub, request, None))
            }
        }
    }

    /// Makes a session what it was elsewhere: its channels, what its client has missed, and what was published on the
    /// way. False when that does not fit.
    fn unpack(&mut self, at: SessionRef, parcel: &Parcel, log: &Log) -> bool {
        for name in &parcel.channels {
            self.rejoin(at, name);
        }
        let mut fits = true;
        for missed in &parcel.missed {
            // Its age is not true any more: it is made anew before it leaves.
            let answer = missed.answer.as_ref().map(|(id, symbol)| Answer {
                ticket: NO_TICKET,
                id: *id,
                symbol: symbol.clone(),
                made: Mono(0),
            });
            let frame = Bytes::copy_from_slice(&missed.frame);
            fits &= self.send_numbered(at, &frame, std::iter::once(frame.clone()), answer) != Sent::Never;
        }
        for (name, frame) in log.iter().filter(|(name, _)| parcel.channels.iter().any(|own| **own == **name))
        {
            let numbered =
                self.channels.find(name).is_some_and(|channel| self.channels.get(channel).kind.is_numbered());
            if numbered {
                fits &= self.send_numbered(at, frame, std::iter::once(frame.clone()), None) != Sent::Never;
            }
        }
        fits
    }

    /// Without those that the configuration has no more.
    fn those_there_are(&self, mut names: Vec<String>) -> Vec<String> {
        names.retain(|name| self.channels.find(name).is_some());
        names
    }

    /// On the channels of messages it is at once, so that it misses none; on the others when it is greeted.
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
        if let Some(taking) = self.takes.get_mut(&request) {
            taking.log = Some(Vec::new());
        }
    }

    /// Something was published: sessions on their way here are told it, too.
    pub(super) fn log_publication(&mut self, name: &str, bytes: &[u8]) {
        for taking in self.takes.values_mut() {
            let Some(log) = &mut taking.log else { continue };
            taking.logged += bytes.len();
            if taking.logged > LOGGED {
                log.clear();
                continue;
            }
            for (frame, _) in frame::split(bytes) {
                log.push((name.into(), Bytes::copy_from_slice(frame)));
            }
        }
    }

    /// The answer to a question for a session.
    pub(super) fn taken(&mut self, request: u64, taken: Taken) {
        let Some(Taking { hub, asked, waiter, log, logged, .. }) = self.takes.remove(&request) else {
            return;
        };
        let whole = log.filter(|_| logged <= LOGGED);
        let announced = self.received(&hub, asked, taken, whole);
        if let Err(Ok(mut unwanted)) = waiter.send(announced) {
            // Its client has gone in the meantime.
            unwanted.opening.done = true;
            self.requests.opens.remove(&unwanted.opening.id);
            self.end(unwanted.opening.at, Close::Done);
            unwanted.opening.origin.into_iter().for_each(|origin| self.give_up(&origin, false));
        }
    }

    /// A process is gone, and all sessions that it had.
    pub(in crate::worker) fn peer_gone(&mut self, peer: Generation) {
        let of: Vec<u64> =
            self.takes.iter().filter(|(_, taking)| taking.home == peer).map(|(number, _)| *number).collect();
        for number in of {
            self.taken(number, Taken::Gap);
        }
        self.forward_gone(peer);
        self.holder_gone(peer);
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
