//! Messages of other workers, over the master: questions for sessions and polls of sessions that are here, and answers to
//! the questions of this worker.

use super::parts::meanwhile::Came;
use super::poll;
use super::state::{Hub, Phase, State};
use crate::protocol::client::Token;
use crate::protocol::cluster::{BatchId, Generation};
use crate::protocol::peer::{Lease, Peer, Poll, Polled, Taken};
use bytes::Bytes;
use std::os::fd::OwnedFd;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A poll that another worker answers. Dropped, its client has gone.
struct Forwarded<'a>(&'a Hub, u64);

impl Drop for Forwarded<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let Some(home) = state.forwards.abandon(self.1) {
            state.uplink.relay(home, &Peer::PollGone { request: self.1 });
        }
    }
}

/// A poll of another worker that is being answered. Dropped, that worker is told the result.
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
        if state.forwards.served(self.from, self.request) {
            state.uplink.relay(self.from, &Peer::Polled { request: self.request, polled });
        }
    }
}

/// Serves a poll, wherever its session is.
pub(in crate::worker) async fn poll_anywhere(hub: &Hub, request: Poll) -> Polled {
    let elsewhere = request.resume.filter(|resume| !hub.lock().knows(&resume.token, &request.user));
    if let Some(resume) = elsewhere {
        let polled = forward(hub, &resume.token, request.clone()).await;
        if polled != Polled::Gone {
            return polled;
        }
        // The home is gone, or takes no polls any more: the session comes here.
    }
    poll::poll(hub, request).await
}

async fn forward(hub: &Hub, token: &Token, poll: Poll) -> Polled {
    let patience = {
        let config = hub.config();
        config.poll.wait + config.ws.handshake_timeout
    };
    let until = Instant::now() + patience;
    loop {
        let (sender, answer) = oneshot::channel();
        let request = {
            let mut state = hub.lock();
            let request = state.requests.number();
            state.forwards.ask(request, sender);
            state.uplink.relay_home(token, &Peer::Poll { request, poll: poll.clone() });
            request
        };
        let _forwarded = Forwarded(hub, request);
        match tokio::time::timeout_at(until, answer).await {
            Ok(Ok(Some(polled))) => return polled,
            // The master is gone: the home may not have heard of it, and hears it twice otherwise.
            Ok(Ok(None)) => {}
            _ => return Polled::Gone,
        }
    }
}

impl State {
    /// Hears another worker.
    pub(in crate::worker) fn hear_peer(
        &mut self,
        hub: &Hub,
        from: Generation,
        payload: &[u8],
        with: Vec<OwnedFd>,
    ) {
        let peer = match Peer::decode(payload) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::error!(event = "peer-garbage", generation = from, %error, "another worker makes no sense");
                return;
            }
        };
        if let Some(token) = peer.wanted()
            && self.hold(token.session, Came::Asked { from, payload: Bytes::copy_from_slice(payload) })
        {
            return;
        }
        match peer {
            Peer::Take { request, resume, user, polls } => {
                let taken = self.take(&resume, &user, Lease { holder: from, request }, polls);
                if from == self.me.generation {
                    // The session came here while the question was on its way. What is said of leases here is heard at
                    // once, so this is, too.
                    self.takes.passed_on(request, from);
                    return self.taken(from, request, taken);
                }
                self.uplink.relay(from, &Peer::Taken { request, taken });
            }
            Peer::Taken { request, taken } => self.taken(from, request, taken),
            Peer::Poll { request, poll } => {
                if !self.holds(&poll) && matches!(self.phase, Phase::Draining | Phase::Stopping) {
                    // No session begins at a worker that ends.
                    return self.uplink.relay(from, &Peer::Polled { request, polled: Polled::Gone });
                }
                let answering = Answering { hub: hub.clone(), from, request, polled: Polled::Gone };
                let task = tokio::spawn(answering.answer(poll));
                self.forwards.serve(from, request, task.abort_handle());
            }
            Peer::PollGone { request } => {
                if let Some(task) = self.forwards.gone(from, request) {
                    task.abort();
                }
            }
            Peer::GiveUp { lease, settled } => self.given_up(lease, settled),
            Peer::Revoke { request } => self.revoke(request),
            Peer::Accept { lease } => self.lease_accepted(lease),
            Peer::Arrive { batch, stopped, items, last } => {
                self.come(hub, BatchId { from, number: batch }, (stopped, last), items, with);
            }
            Peer::Polled { request, polled } => {
                if let Some(waiter) = self.forwards.answered(request) {
                    let _ = waiter.send(Some(polled));
                }
            }
        }
    }

    /// Hears a question for a session that was on its way. What was published since is in the session now, and in what the
    /// asker of a copy has noted: it asks again, and notes anew.
    pub(super) fn asked_early(&mut self, hub: &Hub, from: Generation, payload: &[u8]) {
        let Ok(Peer::Take { request, .. }) = Peer::decode(payload) else {
            return self.hear_peer(hub, from, payload, Vec::new());
        };
        if from == self.me.generation {
            return self.taken(from, request, Taken::Again);
        }
        self.uplink.relay(from, &Peer::Taken { request, taken: Taken::Again });
    }

    /// The worker that was asked is not there: the question is answered in its place.
    pub(in crate::worker) fn unheard(&mut self, request: u64) {
        // No copy was made, so it does not matter who was asked.
        self.taken(self.me.generation, request, Taken::Gap);
        // The client of a poll sees that its waiter is dropped.
        drop(self.forwards.answered(request));
    }

    /// Whether a poll's session polls here.
    fn holds(&self, poll: &Poll) -> bool {
        poll.resume.is_some_and(|resume| self.named(&resume.token, &poll.user).is_some())
    }
}
