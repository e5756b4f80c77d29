//! What other workers say, over the master: questions for sessions that are here, polls whose sessions are here, and the
//! answers to ours.

use super::{Hub, State, poll};
use crate::protocol::cluster::Generation;
use crate::protocol::peer::{Peer, Poll, Polled};
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
            state.relay(self.1, Peer::PollGone { request: self.2 });
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
        // Its worker is no more: it begins anew here.
        return poll::poll(hub, Poll { resume: None, ..request }).await;
    }
    poll::poll(hub, request).await
}

async fn forward(hub: &Hub, home: Generation, poll: Poll) -> Polled {
    let (sender, answer) = oneshot::channel();
    let request = {
        let mut state = hub.lock();
        let request = state.requests.number();
        state.forwards.ours.insert(request, (home, sender));
        state.relay(home, Peer::Poll { request, poll });
        request
    };
    let _forwarded = Forwarded(hub, home, request);
    answer.await.unwrap_or(Polled::Gone)
}

impl State {
    /// Hears another worker.
    pub(in crate::worker) fn hear_peer(&mut self, hub: &Hub, from: Generation, peer: Peer) {
        match peer {
            Peer::Take { request, resume, user } => {
                let taken = self.take(&resume, &user);
                self.relay(from, Peer::Taken { request, taken });
            }
            Peer::Taken { request, taken } => self.taken(request, taken),
            Peer::Poll { request, poll } => {
                let hub = hub.clone();
                let task = tokio::spawn(async move {
                    let polled = poll::poll(&hub, poll).await;
                    let mut state = hub.lock();
                    state.forwards.theirs.remove(&(from, request));
                    state.relay(from, Peer::Polled { request, polled });
                });
                self.forwards.theirs.insert((from, request), task.abort_handle());
            }
            Peer::PollGone { request } => {
                if let Some(task) = self.forwards.theirs.remove(&(from, request)) {
                    task.abort();
                }
            }
            Peer::Polled { request, polled } => {
                if let Some((_, waiter)) = self.forwards.ours.remove(&request) {
                    let _ = waiter.send(polled);
                }
            }
        }
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
