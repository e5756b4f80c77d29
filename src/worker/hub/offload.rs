//! Hands sessions over to other workers. A session that leaves is not read from the moment at which the master is asked;
//! what comes for it until the master's word is delivered here, what comes then is the other worker's.

use super::parts::connections::Ended;
use super::parts::leaving::{Back, Done, Task};
use super::parts::moving::Traveller;
use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::rooms::is_companion;
use super::state::{Hub, Phase, State};
use crate::model::{Mono, SessionId};
use crate::os::clock;
use crate::protocol::client::{self, Close, EventText};
use crate::protocol::cluster::{BatchId, Generation, Handover, Leaver, ToMaster, Which};
use crate::protocol::peer::{Item, Peer};
use crate::session::{self, Connection, Framing, Kind, Notice, Replay};
use crate::ws::frame;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

/// Bytes of one message of a batch: a batch of sessions with much to send goes in several.
const MESSAGE: usize = 8 << 20;

impl State {
    /// Takes an order of the master to hand sessions over.
    pub(in crate::worker) fn offload(&mut self, order: u64, to: Generation, which: Which) {
        let done = self.moving.leaving.order(order, to, which, clock::mono());
        self.tell_offloaded(done);
        self.offload_next();
    }

    fn tell_offloaded(&self, done: impl IntoIterator<Item = Done>) {
        for Done { order, moved } in done {
            self.uplink.tell(&ToMaster::Offloaded { order, moved });
        }
    }

    /// Whether sessions are to be moved, rather than sent away.
    pub(in crate::worker) fn offloads(&self) -> bool {
        !self.moving.leaving.is_idle()
    }

    /// When a session was last moved from here.
    pub(in crate::worker) fn last_move(&self) -> Mono {
        self.moving.leaving.last_arrival()
    }

    /// No session leaves any more.
    pub(in crate::worker) fn stop_offloading(&mut self) {
        let done = self.moving.leaving.stop(self.population());
        self.tell_offloaded(done);
    }

    /// Asks the master for the next batch, if none is under way.
    pub(in crate::worker) fn offload_next(&mut self) {
        while let Some(task) = self.moving.leaving.task() {
            let (sessions, rest) = self.movable(task);
            let ids = sessions.iter().filter_map(|at| self.sessions.get(*at).map(Session::id)).collect();
            let drains = self.phase == Phase::Draining;
            match self.moving.leaving.begin(ids, (rest, drains), clock::mono()) {
                Ok(batch) => return self.ask_for(batch, task.to, &sessions),
                Err(Some(done)) => self.tell_offloaded([done]),
                Err(None) => return,
            }
        }
    }

    /// Sessions for a batch; if there are none, how many are meant that cannot be moved at the moment.
    fn movable(&self, Task { only, most, all, .. }: Task) -> (Vec<SessionRef>, usize) {
        let (mut found, mut rest) = (Vec::new(), 0);
        let mut ids = BTreeSet::new();
        let mut look = |(at, session): (SessionRef, &Session)| {
            // A batch names sessions by their ids: of a copy and its original it takes one.
            if self.is_movable(at, session) && ids.insert(session.id()) {
                found.push(at);
            } else if all || !session.is_secured() {
                // Of a worker that is emptied those of TLS may soon be suspended, and can be moved then.
                rest += 1;
            }
            // The whole table is not looked through for each batch.
            only.is_some() || found.len() < most
        };
        match only {
            // Of twins those go first that are suspended.
            Some(id) => _ = self.sessions.all_of(id).all(look),
            None => {
                // Suspended ones can wait: their clients find them here until this worker ends.
                let mut pass =
                    |away| self.sessions.iter().filter(|(_, one)| one.is_away() == away).all(&mut look);
                _ = pass(false) && pass(true);
                // Sessions that are about to arrive leave again.
                rest += usize::from(!self.moving.expected.is_empty());
            }
        }
        (found, rest)
    }

    fn is_movable(&self, at: SessionRef, session: &Session) -> bool {
        let is_quiet = match &session.link {
            Link::Opening => false,
            Link::Away(_) => !self.suspended.is_lent(at),
            Link::Poll(poll) => poll.has_begun(),
            Link::Wire(wire) => !wire.is_secured(),
        };
        // A room that is about to be entered, and a copy of which the client may not have heard, are waited for.
        let waits = session.origin.is_some() || self.entrances.session(session.id()).is_some();
        // A twin of the same id goes first: once both were suspended, nobody could tell which one was meant.
        let has_twin = || self.sessions.all_of(session.id()).any(|(other, _)| other != at);
        is_quiet && !waits && !session.aside && (session.is_away() || !has_twin())
    }

    fn ask_for(&mut self, batch: u32, to: Generation, sessions: &[SessionRef]) {
        for at in sessions {
            self.set_aside(*at);
        }
        let leaver = |at: &SessionRef| {
            let session = self.sessions.get(*at)?;
            let channels = session.subscriptions.iter().map(|own| self.channels.get(own.channel));
            let rooms = channels.filter(|channel| channel.kind == Kind::Room).map(|channel| &*channel.name);
            let token = session.token().filter(|_| session.is_away());
            let (session, rooms) = (session.id(), rooms.collect());
            Some(Leaver { session, rooms, away: token.map(|token| token.name()) })
        };
        let sessions = sessions.iter().filter_map(leaver).collect();
        self.uplink.tell(&ToMaster::Hand { batch, to, sessions });
    }

    fn set_aside(&mut self, at: SessionRef) {
        if self.sessions.set_aside(at) {
            self.note_aside(at);
        }
    }

    fn put_back(&mut self, at: SessionRef) {
        if self.sessions.put_back(at) {
            self.note_aside(at);
        }
        if let Some(wire) = self.sessions.get_mut(at).and_then(Session::wire) {
            // Its client is read again.
            wire.wake();
        }
    }

    /// The token of a suspended session does not lead here in beats, or does again.
    fn note_aside(&mut self, at: SessionRef) {
        let session = self.sessions.get(at).filter(|session| session.is_away());
        if let Some(token) = session.and_then(|session| session.token()) {
            self.suspended.note(token.name());
        }
    }

    /// The master's word on a batch: the sessions that were `taken` go.
    pub(in crate::worker) fn handed(&mut self, batch: u32, taken: Option<&[SessionId]>) {
        let Some(handed) = self.moving.leaving.handed(batch, taken) else { return };
        if taken.is_none() {
            let done = self.moving.leaving.drop_orders(handed.to);
            self.tell_offloaded(done);
        }
        for id in handed.back {
            self.all_aside(id).into_iter().for_each(|at| self.put_back(at));
        }
        if handed.taken.is_empty() {
            return self.offload_next();
        }
        for id in &handed.taken {
            self.all_aside(*id).into_iter().for_each(|at| self.catch_up_leaver(at));
        }
        // Some may have ended by that.
        self.settle();
        let (mut kept, mut gone, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for id in handed.taken {
            match self.freeze(id) {
                Some((traveller, item, socket)) => {
                    kept.push((id, traveller));
                    items.push((item, socket));
                }
                None => gone.push(id),
            }
        }
        self.moving.leaving.keep(kept, gone);
        self.send_batch(handed.to, batch, handed.stopped, items);
    }

    /// The sessions of an id that may leave.
    fn all_aside(&self, id: SessionId) -> Vec<SessionRef> {
        self.sessions.all_of(id).map(|(at, _)| at).collect()
    }

    /// Sends a session all that was published on its channels, and what it waits for of its own.
    fn catch_up_leaver(&mut self, at: SessionRef) {
        let Some(session) = self.sessions.get(at) else { return };
        let (subscriptions, polls) = (session.subscriptions.clone(), matches!(session.link, Link::Poll(_)));
        subscriptions.iter().for_each(|sub| self.catch_up(*sub));
        self.acknowledge_all(at);
        // Who is in a room is told when it changes, and the other worker may not hear of it.
        for sub in subscriptions {
            let channel = self.channels.get(sub.channel);
            let noted = self.sessions.get(at).and_then(|session| session.outbox.as_ref());
            let noted = noted.is_some_and(|outbox| outbox.states().contains(&sub.channel));
            if is_companion(&channel.name) && (noted || channel.owes(sub)) {
                let bytes = bytes::Bytes::copy_from_slice(channel.frames());
                self.send_or_end(at, &bytes);
            }
        }
        if polls {
            // A poll that waits is answered, with nothing if there is nothing.
            self.speak_to_poll(at);
        }
    }

    /// Takes a session out of the table and makes a value of it. `None`: it has ended, or was given out meanwhile.
    fn freeze(&mut self, id: SessionId) -> Option<(Traveller, Item, Option<OwnedFd>)> {
        let (at, is_away) = self.leaver(id)?;
        let places = match self.sessions.get(at).map(|session| &session.link) {
            Some(Link::Away(away)) => away.places.clone(),
            _ => self.places(at),
        };
        let was_aside = self.sessions.get(at).is_some_and(|session| session.aside);
        self.survival.release(at.key());
        let mut session = self.sessions.remove(at)?;
        self.suspended.remove(at);
        let token = session.token().filter(|_| is_away && !was_aside);
        // It was suspended after the master was asked: the master hears that its token leads elsewhere.
        token.into_iter().for_each(|token| self.forget(token));
        self.lose_tickets(&mut session);
        for sub in std::mem::take(&mut session.subscriptions) {
            let name = self.channels.get(sub.channel).name.clone();
            self.leave(sub, is_away);
            self.close_room(&name);
        }
        let (mut acknowledged, mut socket) = (0, None);
        if let Link::Wire(wire) = &session.link {
            acknowledged = wire.acknowledged();
            socket = wire
                .descriptor()
                .try_clone_to_owned()
                .inspect_err(|error| tracing::warn!(event = "descriptor", %error))
                .ok();
            // The task of the connection ends.
            wire.wake();
        }
        let pongs = self.commands.take(at);
        let value = encode(&session, &places, &pongs)?;
        let was_away = is_away && was_aside;
        let item = Item { value, has_socket: socket.is_some(), acknowledged, was_away };
        let traveller = Traveller { session, places, pongs, stopped: None, was_away, cut: None };
        Some((traveller, item, socket))
    }

    /// Finds the session of an id that may go. One that may not is the worker's own again.
    fn leaver(&mut self, id: SessionId) -> Option<(SessionRef, bool)> {
        let mut all = self.all_aside(id);
        // The one that was announced, before one that has its id.
        all.sort_by_key(|at| !self.sessions.get(*at).is_some_and(|session| session.aside));
        for at in all {
            let Some(session) = self.sessions.get(at) else { continue };
            let may_go = match &session.link {
                Link::Opening => false,
                Link::Away(_) => !self.suspended.is_lent(at),
                Link::Wire(_) | Link::Poll(_) => session.aside,
            };
            if may_go {
                return Some((at, session.is_away()));
            }
            if session.aside {
                self.claim(at);
            }
        }
        None
    }

    /// A session that was to leave stays: the master hears that.
    fn claim(&mut self, at: SessionRef) {
        self.put_back(at);
        let Some(session) = self.sessions.get(at) else { return };
        match session.token().filter(|_| session.is_away()) {
            Some(token) => self.uplink.tell(&ToMaster::Away(token.name())),
            None => self.uplink.tell(&ToMaster::Open(session.announcement())),
        }
    }

    /// Answers to POSTs that wait for a session that leaves: whether they arrive, nobody will know here.
    pub(super) fn lose_tickets(&mut self, session: &mut Session) {
        let mut lost = session.outbox.as_mut().map(|outbox| outbox.take_tickets()).unwrap_or_default();
        lost.extend(session.replay.iter_mut().flat_map(Replay::take_tickets));
        for ticket in lost {
            let report = self.tickets.lost(ticket, true);
            self.uplink.report(report);
        }
    }

    /// Sends the values of a batch with their sockets, in as many messages as it takes.
    fn send_batch(
        &mut self,
        to: Generation,
        batch: u32,
        stopped: Mono,
        values: Vec<(Item, Option<OwnedFd>)>,
    ) {
        let (mut items, mut sockets, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (item, socket) in values {
            if bytes + item.value.len() > MESSAGE && !items.is_empty() {
                let items = std::mem::take(&mut items);
                let part = Peer::Arrive { batch, stopped, items, last: false };
                self.uplink.relay_with(to, &part, std::mem::take(&mut sockets));
                bytes = 0;
            }
            bytes += item.value.len();
            items.push(item);
            sockets.extend(socket);
        }
        self.uplink.relay_with(to, &Peer::Arrive { batch, stopped, items, last: true }, sockets);
    }

    /// A batch has arrived. Those that were `refused` live on there without their connections, which end here.
    pub(in crate::worker) fn batch_arrived(&mut self, hub: &Hub, batch: u32, refused: &[SessionId]) {
        let Some((settled, done)) = self.moving.leaving.arrived(batch, refused, clock::mono()) else {
            return;
        };
        for traveller in settled.refused {
            self.cut_off(hub, traveller);
        }
        drop(settled.held);
        self.tell_offloaded(done);
        self.offload_next();
        self.note();
    }

    /// Ends the connection of a session that lives on at another worker: its client comes back to it there.
    fn cut_off(&mut self, hub: &Hub, Traveller { mut session, .. }: Traveller) {
        let close = Close::Restarting;
        self.counters.handover(Handover::Suspended, 1);
        self.counters.count_closed(close.code());
        let (permit, outbox) = (session.permit.take(), session.outbox.take());
        let framing = session.framing;
        let Link::Wire(wire) = session.link else { return };
        let mut last = outbox.map(|outbox| Vec::from(outbox.end(|_| ()))).unwrap_or_default();
        let text =
            client::system(&EventText { close, reason: "the worker is replaced", reconnect_in_ms: None });
        match framing {
            Framing::Events(body) => {
                last.extend(body.events(&frame::text(text), || None::<u32>));
                last.extend(body.end(&client::close(close, None)));
            }
            _ => {
                frame::push_text(&mut last, text);
                frame::push_close(&mut last, close.code(), close.slug());
            }
        }
        let (closing, hub) = (wire.finish(last), hub.clone());
        self.connections.closes();
        tokio::spawn(Box::pin(async move {
            let Ended { closing, permit: _permit, .. } = Ended { closing, replaced: None, permit };
            closing.send().await;
            hub.lock().connections.closed();
        }));
    }

    /// Sessions that were on their way go on here.
    fn go_on_with(&mut self, hub: &Hub, Back { batch, kept, gone, meanwhile }: Back<Traveller>) {
        self.counters.handover(Handover::Returned, kept.len() as u64);
        self.uplink.tell(&ToMaster::TakenBack { batch, gone });
        let travellers = kept.into_iter().map(|(_, traveller)| traveller).collect();
        self.settle_in(hub, travellers, &meanwhile, clock::mono());
    }

    /// The master is gone. A batch that it was asked for stays; of one that was sent, the next master knows what has
    /// become.
    pub(super) fn lose_moves(&mut self) {
        if let Some(asked) = self.moving.leaving.master_lost() {
            self.handed(asked, None);
        }
    }

    /// Batches that were on their way when a master died come to nothing. The master hears all sessions again.
    pub(in crate::worker) fn unfinished(&mut self, hub: &Hub, back: Option<u32>, dropped: &[BatchId]) {
        for batch in dropped {
            if self.moving.expected.drop_batch(*batch) {
                self.complete(hub, *batch);
            }
        }
        if let Some(back) = back.and_then(|number| self.moving.leaving.came_to_nothing(number)) {
            self.go_on_with(hub, back);
        }
        self.roster();
        self.tell_rooms();
        self.offload_next();
    }

    /// A process has ended: what was on its way to it goes on here.
    pub(super) fn target_gone(&mut self, hub: &Hub, target: Generation) {
        let (back, done) = self.moving.leaving.target_gone(target);
        if let Some(back) = back {
            self.go_on_with(hub, back);
        }
        self.tell_offloaded(done);
        self.offload_next();
    }
}

/// The value of a session, with what goes along with its connection.
pub(super) fn encode(session: &Session, places: &session::Places, pongs: &[Mono]) -> Option<Vec<u8>> {
    let connection = match &session.link {
        Link::Wire(wire) => Connection::Wire { sent: wire.sent() },
        Link::Poll(poll) => {
            Connection::Poll { notices: poll.notices().iter().cloned().map(Notice).collect() }
        }
        Link::Away(away) => Connection::Away { has: away.has, since: away.since },
        Link::Opening => return None,
    };
    let more = session.more(pongs.to_vec());
    let value = session::Session::clone(session).freeze(places.clone(), connection).with(more).encode();
    value.inspect_err(|error| tracing::error!(event = "session-unwritable", %error)).ok()
}
