//! The beginning of a session: announced to the master, attached to its connection, greeted.

use super::ending::sent_away;
use super::parts::greeting::Greeting;
use super::parts::session::{Link, Request, Session};
use super::parts::sessions::{SessionRef, Sessions};
use super::state::{Hub, State};
use crate::log::id as logged;
use crate::model::{Mono, SessionId};
use crate::net::tls::stream::Stream;
use crate::os::clock;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::{Endpoint, Open, RosterPage, ToMaster, roster_pages};
use crate::session::{self, Framing, Replay};
use crate::transports::ws::{Closing, Wire};
use crate::ws::frame;
use std::net::IpAddr;

/// A session between its announcement and its connection. The session ends if this is dropped before it is attached.
/// Must not be dropped while the hub is locked.
#[derive(Debug)]
pub(in crate::worker) struct Opening {
    pub(super) hub: Hub,
    pub(super) at: SessionRef,
    id: SessionId,
    framing: Framing,
    /// Dropping does nothing.
    pub(super) done: bool,
}

impl Opening {
    pub(super) fn new(hub: Hub, at: SessionRef, id: SessionId, framing: Framing) -> Self {
        Self { hub, at, id, framing, done: false }
    }

    /// Gives the session its connection once the handshake is through. It is greeted, and read from now on.
    pub(in crate::worker) fn attach(mut self, stream: Stream, early: &[u8], greeting: &Greeting) {
        let (hub, at) = (self.hub.clone(), self.at);
        self.done = true;
        let mut state = hub.lock();
        let Some(session) = state.sessions.get_mut(at) else {
            let end = state.requests.early_end(self.id);
            let close = end.unwrap_or(Close::Restarting);
            let last = match self.framing {
                Framing::Events(body) => body.end(&client::close(close, None)),
                _ => {
                    let mut last = Vec::new();
                    let event = end.map(|close| client::system(&sent_away(close)));
                    event.into_iter().for_each(|text| frame::push_text(&mut last, text));
                    frame::push_close(&mut last, close.code(), close.slug());
                    last
                }
            };
            tokio::spawn(Box::pin(Closing::new(stream, last).send()));
            return;
        };
        session.link = Link::Wire(Wire::new(stream));
        let said = state.begin_read(at.key());
        state.cover(at, Mono(0));
        state.attached(at, greeting);
        state.flush(at);
        state.settle_when_heard(at);
        if !early.is_empty() {
            state.input(at, &mut early.to_vec());
        }
        state.end_read(at.key(), said);
        state.settle();
        drop(state);
        tokio::spawn(super::inbound::drive(hub, at));
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.hub.lock().withdraw(self.id, self.at);
    }
}

/// Whether a session has a connection of which nothing has come since it was greeted.
fn is_silent(sessions: &Sessions, at: SessionRef) -> bool {
    let session = sessions.get(at).filter(|session| matches!(session.link, Link::Wire(_)));
    session.is_some_and(|session| session.last_in <= session.begun)
}

impl State {
    /// There is little room for connections, or an address has nearly its share: clients that were never heard are
    /// asked, and sessions end of which the clients did not answer.
    pub(in crate::worker) fn shed_silent(&mut self, of: Option<IpAddr>) {
        let sessions = &self.sessions;
        let is_wanted = |at| {
            let address = sessions.get(at).map(|session| session.identity.address);
            of.is_none() || address == of
        };
        let patience = self.config.poll.take_up;
        let looked = self.silent.look(clock::mono(), patience, |at| is_silent(sessions, at), is_wanted);
        looked.ask.into_iter().for_each(|at| self.ping(at));
        for at in looked.end {
            let id = self.sessions.get(at).map(Session::id);
            id.into_iter().for_each(|id| self.gives_way(id));
        }
    }

    /// Makes a new session, or one that comes from elsewhere, and announces it to the master.
    pub(super) fn open(&mut self, request: Request, before: Option<&session::Session>) -> SessionRef {
        let polls = request.framing == Framing::Poll;
        let replays = request.endpoint == Endpoint::Ws && (polls || self.config.resumes());
        let replay = replays.then(|| Replay::new(crate::os::process::secret()));
        let at = self.sessions.insert(Session::new(request, before, replay, clock::mono()));
        self.announce_to_master(at);
        self.note();
        at
    }

    /// Asks the master for a session's place.
    pub(super) fn announce_to_master(&self, at: SessionRef) {
        if let Some(session) = self.sessions.get(at) {
            let open = session.announcement();
            let message = if session.takes_over { ToMaster::OpenOver(open) } else { ToMaster::Open(open) };
            self.uplink.tell(&message);
        }
    }

    /// Ends a session that nobody wants any more before it has begun.
    pub(super) fn withdraw(&mut self, id: SessionId, at: SessionRef) {
        self.requests.forget_open(id, at);
        // Not `Lost`: nobody knows the token.
        self.end(at, Close::Done);
    }

    /// Tells the master all sessions, and the tokens that lead here.
    pub(in crate::worker) fn roster(&self) {
        if !self.moving.expected.is_empty() {
            // It would lack those that are expected: the master asks again.
            return;
        }
        let all = self.sessions.own().map(|(_, session)| session.announcement());
        self.tell_all(all.chain(self.survival.announcements()));
    }

    /// Tells the master these sessions, and that they are all.
    pub(super) fn tell_all<'a>(&self, all: impl Iterator<Item = Open<'a>>) {
        for page in roster_pages(all, self.kept(), RosterPage::LENGTH) {
            if let Err(error) = self.uplink.send(&ToMaster::Roster(page)) {
                // The next beat differs again, and the master asks again.
                return tracing::warn!(event = "roster", %error, "the master did not hear all sessions");
            }
        }
    }

    /// Notes that a client has said nothing yet.
    pub(super) fn listen_for(&mut self, at: SessionRef, now: Mono) {
        let sessions = &self.sessions;
        if is_silent(sessions, at) {
            self.silent.add(at, now, |at| is_silent(sessions, at));
        }
    }

    /// Greets a session, which can be reached from now on.
    pub(super) fn attached(&mut self, at: SessionRef, greeting: &Greeting) {
        self.counters.opened += 1;
        let (now, heartbeat) = (clock::mono(), &self.config.heartbeat);
        let Some(session) = self.sessions.get(at) else { return };
        let (id, user) = (session.id(), session.user());
        let (worker, resumed) = (self.me.slot, greeting.resumed);
        tracing::debug!(event = "session-opened", worker, session = %logged(id), user = %logged(user), resumed);
        match (&session.link, session.framing) {
            (Link::Wire(wire), Framing::Events(_)) => {
                // A comment goes out each interval, so a lost client is found as soon as a silent WebSocket is.
                wire.lose_after(heartbeat.timeout.saturating_sub(heartbeat.interval));
                self.timers.watch(at, now.after(heartbeat.interval));
            }
            (Link::Wire(_), _) => {
                self.timers.watch(at, now.after(heartbeat.interval));
                self.listen_for(at, now);
            }
            _ => {}
        }
        self.watch_life(at);
        self.service(at).greet(self, at, greeting);
        if let Some(session) = self.sessions.get_mut(at) {
            (session.last_in, session.begun) = (now, now);
        }
    }
}
