//! What other workers say, over the master: questions for sessions that are here, polls whose sessions are here, and the
//! answers to ours.

use super::suspend::Given;
use super::{Hub, Phase, State, poll};
use crate::protocol::cluster::Generation;
use crate::protocol::peer::{Peer, Poll, Polled, Taken};
use hashbrown::HashMap;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Polls on their way.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    /// Of ours: the worker that holds the session, and who waits for its answer.
    ours: HashMap<u64, (Generation, oneshot::Sender<Polled>), foldhash::fast::RandomState>,
    /// Those of others that wait here.
    theirs: HashMap<(Generation, u64), AbortHandle, foldhash::fast::RandomState>,
}

/// A poll that another worker answers. Dropped, its client has gone.
struct Forwarded<'a>(&'a Hub, Generation, u64);

impl Drop for Forwarded<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.forwards.ours.remove(&self.2).is_some() {
            state.relay(self.1, &Peer::PollGone { request: self.2 });
        }
    }
}

/// A poll of another worker that is being answered. Dropped, it is told what came of it.
struct Answering {
    hub: Hub,
    from: Generation,
    request: u64,
    polled: Polled,
}

impl Answering {
    async fn answer(mut self, poll: Poll) {
        self.polled = poll::poll(&self.hub, poll).await;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let polled = std::mem::replace(&mut self.polled, Polled::Gone);
        let mut state = self.hub.lock();
        if state.forwards.theirs.remove(&(self.from, self.request)).is_some() {
            state.relay(self.from, &Peer::Polled { request: self.request, polled });
        }
    }
}

/// Serves a poll, wherever its session is.
pub(in crate::worker) async fn poll_anywhere(hub: &Hub, request: Poll) -> Polled {
    let here = hub.lock().me.generation;
    if let Some(home) = request.resume.map(|resume| resume.home).filter(|home| *home != here) {
        let polled = forward(hub, home, request.clone()).await;
        if polled != Polled::Gone {
            return polled;
        }
        // Its worker is no more, or takes no polls any more: it is to come here.
    }
    poll::poll(hub, request).await
}

async fn forward(hub: &Hub, home: Generation, poll: Poll) -> Polled {
    let (sender, answer) = oneshot::channel();
    let request = {
        let mut state = hub.lock();
        let request = state.requests.number();
        state.forwards.ours.insert(request, (home, sender));
        state.relay(home, &Peer::Poll { request, poll });
        request
    };
    let _forwarded = Forwarded(hub, home, request);
    let patience = {
        let config = hub.config();
        config.poll.wait + config.ws.handshake_timeout
    };
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(polled)) => polled,
        _ => Polled::Gone,
    }
}

impl State {
    /// Hears another worker.
    pub(in crate::worker) fn hear_peer(&mut self, hub: &Hub, from: Generation, payload: &[u8]) {
        let peer = match Peer::decode(payload) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::error!(event = "peer-garbage", generation = from, %error, "another worker makes no sense");
                return;
            }
        };
        match peer {
            Peer::Take { request, resume, user, polls } => {
                let taken = self.take(&resume, &user, Given { to: from, polls });
                self.relay(from, &Peer::Taken { request, taken });
            }
            Peer::Taken { request, taken } => self.taken(request, taken),
            Peer::Poll { request, poll } => {
                if !self.holds(&poll) && matches!(self.phase, Phase::Draining | Phase::Stopping) {
                    // Nobody begins here any more.
                    return self.relay(from, &Peer::Polled { request, polled: Polled::Gone });
                }
                let answering = Answering { hub: hub.clone(), from, request, polled: Polled::Gone };
                let task = tokio::spawn(answering.answer(poll));
                self.forwards.theirs.insert((from, request), task.abort_handle());
            }
            Peer::PollGone { request } => {
                if let Some(task) = self.forwards.theirs.remove(&(from, request)) {
                    task.abort();
                }
            }
            Peer::GiveUp { secret, place, settled } => self.given_up(secret, place, from, settled),
            Peer::Revoke { secret } => self.revoke(secret),
            Peer::Polled { request, polled } => {
                if let Some((_, waiter)) = self.forwards.ours.remove(&request) {
                    let _ = waiter.send(polled);
                }
            }
        }
    }

    /// The worker that was asked is not there: the question is answered in its place.
    pub(in crate::worker) fn unheard(&mut self, request: u64) {
        self.taken(request, Taken::Gap);
        // Whoever waits for the answer to a poll sees that nobody will give one.
        self.forwards.ours.remove(&request);
    }

    /// Whether a poll's session polls here.
    fn holds(&self, poll: &Poll) -> bool {
        poll.resume.is_some_and(|resume| self.named(&resume, &poll.user).is_some())
    }

    /// A worker is gone: its polls need no answer, and ours that it had get none.
    pub(super) fn forward_gone(&mut self, peer: Generation) {
        self.forwards.ours.retain(|_, (home, _)| *home != peer);
        self.forwards.theirs.retain(|(from, _), task| {
            let gone = *from == peer;
            if gone {
                task.abort();
            }
            !gone
        });
    }
}
