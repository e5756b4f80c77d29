//! How a session begins: announced to the master, as a new one or as one that was there before, here or at another
//! worker. Whatever is published on its channels on the way is in it.

use super::sessions::{Opening, Request};
use super::{Hub, State};
use crate::model::Mono;
use crate::protocol::client::Resume;
use crate::protocol::cluster::{Generation, NO_RECEIPT, ToMaster, Verdict};
use crate::protocol::peer::{Parcel, Peer, Taken};
use crate::session::{Answer, Key, Kind, NO_TICKET};
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
    /// The channels of the session that it was before; `None`: it is new.
    pub(in crate::worker) channels: Option<Vec<String>>,
}

/// A session that has been announced.
#[derive(Debug)]
struct Announced {
    opening: Opening,
    verdict: oneshot::Receiver<Verdict>,
    channels: Option<Vec<String>>,
}

/// A session that was asked for at another worker.
#[derive(Debug)]
pub(super) struct Taking {
    hub: Hub,
    home: Generation,
    request: Request,
    waiter: oneshot::Sender<Result<Announced, u16>>,
    /// What was published since the master has passed the question on.
    log: Option<Vec<(Box<str>, Bytes)>>,
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
    let Announced { opening, verdict, channels } = match announced {
        Ok(Ok(announced)) => announced,
        Ok(Err(Some(code))) => return Err(Refused::Ended(code)),
        Ok(Err(None)) | Err(_) => return Err(Refused::Verdict(None)),
    };
    match tokio::time::timeout(patience, verdict).await {
        Ok(Ok(Verdict::Accepted)) => Ok(Arrival { opening, channels }),
        Ok(Ok(other)) => Err(Refused::Verdict(Some(other))),
        _ => Err(Refused::Verdict(None)),
    }
}

async fn announce(hub: &Hub, request: Request, resume: Option<Resume>) -> Result<Announced, Option<u16>> {
    let (number, answer) = {
        let mut state = hub.lock();
        let Some(resume) = resume else { return Ok(state.announce(hub, request, None, Vec::new())) };
        if resume.home == state.me.generation {
            let taken = state.take(&resume, &request.user);
            let announced = state.received(hub, request, taken, Some(Vec::new()));
            state.settle();
            return announced.map_err(Some);
        }
        let number = state.requests.number();
        let question = Peer::Take { request: number, resume, user: request.user.clone() };
        let (waiter, answer) = oneshot::channel();
        let (hub, home) = (hub.clone(), resume.home);
        state.takes.insert(number, Taking { hub, home, request, waiter, log: None, logged: 0 });
        state.relay(home, question);
        (number, answer)
    };
    let _question = Question(hub, number);
    match answer.await {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

impl State {
    fn announce(
        &mut self,
        hub: &Hub,
        request: Request,
        parcel: Option<Box<Parcel>>,
        log: Vec<(Box<str>, Bytes)>,
    ) -> Announced {
        let key = self.open(request, parcel.as_deref());
        let session = &self.sessions[key as usize];
        let (id, turn) = (session.id, session.turn);
        let (sender, verdict) = oneshot::channel();
        self.requests.opens.insert(id, (key, sender));
        let channels = parcel.map(|parcel| self.unpack(key, *parcel, log));
        Announced { opening: Opening { hub: hub.clone(), key, turn, id, done: false }, verdict, channels }
    }

    /// What another worker, or this one, has said of a session that a client wants again.
    fn received(
        &mut self,
        hub: &Hub,
        request: Request,
        taken: Taken,
        log: Option<Vec<(Box<str>, Bytes)>>,
    ) -> Result<Announced, u16> {
        match (taken, log) {
            (Taken::Ended(code), _) => Err(code),
            (Taken::Parcel(parcel), Some(log)) => {
                self.counters.resumed += 1;
                Ok(self.announce(hub, request, Some(parcel), log))
            }
            (Taken::Parcel(_) | Taken::Gap, _) => {
                self.counters.gaps += 1;
                Ok(self.announce(hub, request, None, Vec::new()))
            }
        }
    }

    /// Makes a session what it was elsewhere: its channels, what its client has missed, and what was published on the
    /// way. Says which channels that are.
    fn unpack(&mut self, key: Key, parcel: Parcel, log: Vec<(Box<str>, Bytes)>) -> Vec<String> {
        for name in &parcel.channels {
            self.rejoin(key, name);
        }
        for missed in parcel.missed {
            // Its age is not true any more: it is made anew before it leaves.
            let answer =
                missed.answer.map(|(id, symbol)| Answer { ticket: NO_TICKET, id, symbol, made: Mono(0) });
            let frame = Bytes::from(missed.frame);
            self.send_numbered(key, &frame, std::iter::once(frame.clone()), answer);
        }
        for (name, frame) in log.iter().filter(|(name, _)| parcel.channels.iter().any(|own| **own == **name))
        {
            let numbered =
                self.channels.find(name).is_some_and(|at| self.channels.get(at).kind.is_numbered());
            if numbered {
                self.send_numbered(key, frame, std::iter::once(frame.clone()), None);
            }
        }
        parcel.channels
    }

    /// On the channels of messages it is at once, so that it misses none; on the others when it is greeted.
    fn rejoin(&mut self, key: Key, name: &str) {
        if crate::protocol::client::room(name).is_some() {
            return self.enter_again(key, name);
        }
        if let Some(channel) = self.channels.find(name)
            && self.channels.get(channel).kind.is_numbered()
            && self.channels.get(channel).kind != Kind::Room
        {
            self.subscribe(key, channel);
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
        let Some(Taking { hub, request, waiter, log, logged, .. }) = self.takes.remove(&request) else {
            return;
        };
        let whole = log.filter(|_| logged <= LOGGED);
        let announced = self.received(&hub, request, taken, whole);
        if let Err(Ok(mut unwanted)) = waiter.send(announced) {
            // Its client has gone in the meantime.
            unwanted.opening.done = true;
            let (key, id) = (unwanted.opening.key, unwanted.opening.id);
            self.requests.opens.remove(&id);
            self.end(key, crate::protocol::client::Close::Lost);
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
    }

    /// Says something to another worker.
    pub(super) fn relay(&self, to: Generation, peer: Peer) {
        self.tell(&ToMaster::Relay { to, peer });
    }
}

const _: () = assert!(NO_RECEIPT == 0, "requests begin with 1");
