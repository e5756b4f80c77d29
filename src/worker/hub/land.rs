//! Sessions of other workers that come here: announced by the master, held until they are here, and then as if they had
//! always been here.

use super::parts::expected::{Due, Held};
use super::parts::meanwhile::{Came, HeldPush, Meanwhile};
use super::parts::moving::Traveller;
use super::parts::polling::Polling;
use super::parts::session::{Away, Link, Session};
use super::parts::sessions::SessionRef;
use super::send::Sent;
use super::state::{Hub, State};
use crate::access::Hold;
use crate::model::{Mono, SessionId, UserId};
use crate::os::clock;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::{BatchId, Endpoint, Generation, Handover, Open, Step, ToMaster, TokenName};
use crate::protocol::peer::Item;
use crate::session::{Answer, Connection, Framing, Kind, Outbox, Places, Snapshot};
use crate::transports::ws::Wire;
use bytes::Bytes;
use hashbrown::HashSet;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::net::TcpStream;

/// Looks at whether the kernel has a confirmation before they become rarer.
const AT_ONCE: u32 = 16;
/// The time between two such looks then.
const LOOK: Duration = Duration::from_millis(1);

impl State {
    /// Sessions of another worker belong to this one from now on.
    pub(in crate::worker) fn expect(&mut self, batch: BatchId, sessions: &[Open<'_>], away: &[TokenName]) {
        let nobody = || UserId::new("-").unwrap_or_else(|_| unreachable!());
        let present = sessions.iter().map(|open| Due {
            session: open.session,
            user: UserId::new(open.user).unwrap_or_else(|_| nobody()),
            reached: open.endpoint.reached(),
            away: None,
        });
        let suspended = away.iter().map(|token| Due {
            session: token.session,
            user: nobody(),
            reached: false,
            away: Some(*token),
        });
        away.iter().for_each(|token| self.suspended.note(*token));
        self.moving.expected.expect(batch, present.chain(suspended), clock::mono());
        self.note();
    }

    /// Sessions of a batch have come.
    pub(super) fn come(
        &mut self,
        hub: &Hub,
        batch: BatchId,
        (stopped, last): (Mono, bool),
        items: Vec<Item>,
        sockets: Vec<OwnedFd>,
    ) {
        let wanted = items.iter().filter(|item| item.has_socket).count();
        // Too few descriptors: whose they are, nobody can tell.
        let sockets = if sockets.len() == wanted { sockets } else { Vec::new() };
        let mut sockets = sockets.into_iter();
        let mut travellers = Vec::new();
        for item in items {
            let socket = if item.has_socket { sockets.next() } else { None };
            if let Some(traveller) = self.thaw(item, socket, stopped) {
                travellers.push((traveller.session.id(), traveller));
            }
        }
        let strangers = self.moving.expected.come(batch, travellers);
        if !strangers.is_empty() {
            tracing::error!(event = "session-unexpected", %batch, sessions = strangers.len());
        }
        if last {
            self.complete(hub, batch);
        }
    }

    /// A session of its encoded value, with its connection.
    fn thaw(&mut self, item: Item, socket: Option<OwnedFd>, stopped: Mono) -> Option<Traveller> {
        let snapshot = Snapshot::decode(&item.value)
            .inspect_err(|error| tracing::warn!(event = "session-unreadable", %error))
            .ok()?;
        let mut traveller = self.thaw_value(snapshot, socket, stopped);
        traveller.cut = traveller.cut.map(|_| item.acknowledged);
        traveller.was_away = item.was_away;
        Some(traveller)
    }

    /// A session of its value, with its connection.
    pub(super) fn thaw_value(
        &mut self,
        snapshot: Snapshot,
        socket: Option<OwnedFd>,
        stopped: Mono,
    ) -> Traveller {
        let more = snapshot.more().clone();
        let (mut value, places, connection) = snapshot.thaw();
        let (mut permit, mut cut) = (None, None);
        let link = match connection {
            Connection::Wire { sent } => match socket.and_then(attach) {
                Some(stream) => {
                    // Not the socket's: behind the PROXY protocol that is the proxy's.
                    permit = Some(self.crowd.came(value.identity.address));
                    Link::Wire(Wire::resumed(stream, sent, more.said_all))
                }
                None => {
                    cut = Some(0);
                    Link::Opening
                }
            },
            Connection::Poll { notices } => {
                let notices = notices.into_iter().map(|notice| notice.0).collect();
                let now = clock::mono();
                value.outbox.get_or_insert_with(|| Box::new(Outbox::new(now)));
                Link::Poll(Box::new(Polling::arrived(notices, more.taken_up, now)))
            }
            Connection::Away { has, since } => {
                let away = Away { has, since, base: 0, places: Places::default() };
                Link::Away(Box::new(away))
            }
        };
        let session = Session::arrived(value, link, permit, &more);
        let (pongs, stopped, was_away) = (more.pongs, Some(stopped), false);
        Traveller { session, places, pongs, stopped, was_away, cut }
    }

    /// A batch has come whole: that is confirmed. It lives once the kernel has the confirmation, so that the other worker
    /// can go on with it if this one ends before.
    pub(super) fn complete(&mut self, hub: &Hub, batch: BatchId) {
        let Some(mut gone) = self.moving.expected.complete(batch) else { return };
        // A copy may have opened here that was given out before: the id goes on, and its rooms.
        gone.retain(|session| self.sessions.find(*session).is_none());
        let refused = self.moving.expected.values(batch).filter(|(_, traveller)| traveller.cut.is_some());
        let refused: Vec<_> = refused.map(|(id, _)| *id).collect();
        self.uplink.heard.came(batch, refused.clone());
        self.uplink.tell_at_once(&ToMaster::Arrived { batch, refused, gone });
        let said = self.uplink.said();
        if self.uplink.is_written(said) {
            return self.land(hub, batch);
        }
        let hub = hub.clone();
        tokio::spawn(async move {
            for look in 0u32.. {
                if hub.lock().uplink.is_written(said) {
                    break;
                }
                if look < AT_ONCE {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(LOOK).await;
                }
            }
            hub.lock().land(&hub, batch);
        });
    }

    /// The sessions of a batch begin to live here.
    fn land(&mut self, hub: &Hub, batch: BatchId) {
        let Some(landed) = self.moving.expected.land(batch) else { return };
        for due in &landed.gone {
            self.not_come(due, &landed.meanwhile);
        }
        let travellers = landed.values.into_iter().map(|(_, traveller)| traveller).collect();
        self.settle_in(hub, travellers, &landed.meanwhile, landed.since);
        for came in landed.meanwhile.came() {
            match came {
                Came::Kick(session, code) => self.kick(*session, Close::from_number(*code)),
                Came::GiveWay(session) => self.gives_way(*session),
                Came::Asked { from, payload } => self.asked_early(hub, *from, payload),
                Came::Message { .. } | Came::Presence { .. } | Came::Push(_) => {}
            }
        }
        self.settle();
        self.note();
    }

    /// The sessions of all batches that have come whole begin to live.
    pub(super) fn land_all(&mut self, hub: &Hub) {
        for batch in self.moving.expected.whole() {
            self.land(hub, batch);
        }
    }

    /// A session that was expected has ended: answers to POSTs do not reach it.
    fn not_come(&mut self, due: &Due, meanwhile: &Meanwhile) {
        if let Some(token) = due.away {
            self.suspended.note(token);
            self.uplink.tell(&ToMaster::Gone(token));
        }
        for came in meanwhile.came() {
            if let Came::Push(push) = came
                && due.reached
                && *push.user == *due.user.as_str()
            {
                let report = self.tickets.lost(push.ticket, false);
                self.uplink.report(report);
            }
        }
    }

    /// Sessions live here from now on, with what came for them `since` they left their worker.
    pub(super) fn settle_in(
        &mut self,
        hub: &Hub,
        mut travellers: Vec<Traveller>,
        meanwhile: &Meanwhile,
        since: Mono,
    ) {
        let mut frames = HashSet::default();
        let replays = travellers.iter_mut().filter_map(|traveller| traveller.session.replay.as_mut());
        replays.for_each(|replay| replay.share(&mut frames));
        for traveller in travellers {
            let (stopped, is_away) = (traveller.stopped, matches!(traveller.session.link, Link::Away(_)));
            let Some(at) = self.put(traveller) else { continue };
            self.hear_meanwhile(at, meanwhile);
            if !is_away {
                self.send_changed(at, since);
                self.resume_connection(hub, at, stopped);
            }
        }
        self.look_at_lives(clock::boot());
        self.settle();
        self.note();
    }

    /// Puts a session into the table and on its channels, in silence.
    fn put(&mut self, traveller: Traveller) -> Option<SessionRef> {
        let Traveller { mut session, places, pongs, stopped, was_away, cut } = traveller;
        let away = match std::mem::replace(&mut session.link, Link::Opening) {
            Link::Away(away) => Some(away),
            link => {
                session.link = link;
                None
            }
        };
        session.aside = false;
        let at = self.sessions.insert(session);
        self.watch_life(at);
        let (places, lost) = self.allowed_here(at, places);
        for name in &places.channels {
            self.join_silently(at, name);
        }
        if let Some(away) = away {
            return self.put_away(at, (*away, places), (was_away, stopped.is_some()));
        }
        for name in &places.owed {
            if let Some(channel) = self.channels.find(name) {
                self.send_state(at, channel, true);
            }
        }
        for until in pongs {
            if !self.delay_pong(at, until) {
                self.pong_due(at);
            }
        }
        self.tell_lost(at, &lost);
        match cut {
            Some(acknowledged) => self.put_cut(at, acknowledged),
            None => Some(at),
        }
    }

    /// Suspends a session that came suspended; `was_away`: the master knew it as such when it switched it.
    fn put_away(
        &mut self,
        at: SessionRef,
        (mut away, places): (Away, Places),
        (was_away, moved): (bool, bool),
    ) -> Option<SessionRef> {
        let session = self.sessions.get(at)?;
        away.base = session.base(&places);
        away.places = places;
        let (owner, used, base) = (session.identity.address, session.was_used(), away.base);
        let (id, token, since) = (session.id(), session.token()?, away.since);
        let all = session.subscriptions.clone().into_iter();
        let (numbered, states): (Vec<_>, Vec<_>) =
            all.partition(|own| self.channels.get(own.channel).kind.is_numbered());
        states.into_iter().for_each(|own| self.unsubscribe(at, own.channel));
        for own in numbered {
            let channel = self.channels.get_mut(own.channel);
            channel.count_away(true);
            let (is_room, name) = (channel.kind == Kind::Room, channel.name.clone());
            if is_room && !was_away {
                self.tell_gone((id, at), own.channel, &name, Step::Away);
            }
        }
        let at = self.sessions.suspend(at, Box::new(away))?;
        let bytes = self.sessions.get(at).map_or(base, Session::memory);
        self.suspended.add(at, Hold { owner, used, bytes }, since);
        if !was_away {
            self.keep(token);
            self.tell_closed(id, at);
        } else if !moved {
            self.suspended.note(token.name());
        }
        Some(at)
    }

    /// Suspends a session whose connection did not come along.
    fn put_cut(&mut self, at: SessionRef, acknowledged: u64) -> Option<SessionRef> {
        let session = self.sessions.get(at)?;
        let (id, used, key) = (session.id(), session.was_used(), at.key());
        if session.replay.is_some() && self.config.resumes() {
            self.suspend(at, Some(acknowledged), used);
        } else {
            self.discard(at, None);
        }
        self.tell_closed(id, at);
        self.sessions.known(key, id)
    }

    /// Makes a session that moves a member of a channel. Nobody is told: it was a member elsewhere.
    fn join_silently(&mut self, at: SessionRef, name: &str) {
        let is_room = client::room(name).is_some();
        if is_room && !self.join_room(at, name) {
            let Some(session) = self.sessions.get(at).map(Session::id) else { return };
            return self.uplink.tell(&ToMaster::Room { room: name, session, step: Step::Leave });
        }
        if let Some(channel) = self.channels.find(name).filter(|_| !is_room) {
            self.subscribe(at, channel);
        }
    }

    /// What came for a session while it was on its way.
    fn hear_meanwhile(&mut self, at: SessionRef, meanwhile: &Meanwhile) {
        let mut at = at;
        for came in meanwhile.came() {
            let Some(session) = self.sessions.get(at) else { return };
            match came {
                Came::Message { channel, frame } | Came::Presence { channel, frame } => {
                    let Some(key) = self.channels.find(channel).filter(|key| session.is_on(*key)) else {
                        continue;
                    };
                    let is_numbered = self.channels.get(key).kind.is_numbered();
                    let sent = if is_numbered {
                        self.send_numbered(at, frame, std::iter::once(frame.clone()), None)
                    } else {
                        self.send(at, frame, || frame.clone())
                    };
                    if sent == Sent::Never {
                        _ = self.end_unsent(at);
                    }
                }
                Came::Push(push) => self.hear_push(at, push),
                Came::Kick(..) | Came::GiveWay(_) | Came::Asked { .. } => {}
            }
        }
        let Some(session) = self.sessions.get(at) else { return };
        let channels = session.subscriptions.iter().map(|own| &*self.channels.get(own.channel).name);
        if channels.into_iter().any(|name| meanwhile.has_lost(name)) {
            // The client is told of the gap when it comes back.
            let (key, id, is_away) = (at.key(), session.id(), session.is_away());
            if !is_away {
                self.end(at, Close::Restarting);
            }
            if let Some(left) = self.sessions.known(key, id) {
                at = left;
                self.discard(at, None);
            }
        }
    }

    /// The answer to a POST, for one session of the batch.
    fn hear_push(&mut self, at: SessionRef, push: &HeldPush) {
        let now = clock::mono();
        let Some(session) = self.sessions.get(at) else { return };
        if *session.user().as_str() != *push.user || !session.identity.endpoint.reached() || session.is_away()
        {
            return;
        }
        let symbol = self.config.price.symbols.iter().find(|symbol| *symbol.as_str() == *push.symbol);
        let answer =
            symbol.cloned().map(|symbol| Answer { ticket: push.ticket, id: push.id, symbol, made: now });
        let sent = if now > push.deadline {
            Sent::Kept
        } else {
            self.send_numbered(at, &push.frame, std::iter::once(push.frame.clone()), answer)
        };
        let report = match sent {
            Sent::Whole => self.tickets.delivered(push.ticket),
            Sent::Waiting => None,
            Sent::Kept => self.tickets.lost(push.ticket, true),
            Sent::Never => self.lose_unanswered(at, push.ticket),
        };
        self.uplink.report(report);
    }

    /// Sends the states that have changed since the session left its worker.
    fn send_changed(&mut self, at: SessionRef, since: Mono) {
        let Some(session) = self.sessions.get(at) else { return };
        let changed = |channel: &u16| {
            let channel = self.channels.get(*channel);
            channel.kind.is_state() && channel.made >= since && !super::rooms::is_companion(&channel.name)
        };
        let own = session.subscriptions.iter().map(|own| own.channel);
        for channel in own.filter(changed).collect::<Vec<_>>() {
            self.send_state(at, channel, true);
        }
    }

    /// The client of a session is read and asked for signs of life again.
    fn resume_connection(&mut self, hub: &Hub, at: SessionRef, stopped: Option<Mono>) {
        let now = clock::mono();
        let Some(session) = self.sessions.get(at) else { return };
        let (is_main, moves) = (session.identity.endpoint == Endpoint::Ws, session.moves);
        let progress = session.outbox.as_ref().map(|outbox| outbox.progress());
        match (&session.link, session.framing) {
            (Link::Wire(_), framing) => {
                let interval = self.config.heartbeat.interval;
                let from = if framing == Framing::Websocket { session.last_in } else { now };
                self.timers.watch(at, from.after(interval).max(now));
                if framing == Framing::Websocket {
                    self.listen_for(at, now);
                }
                if let Some(progress) = progress {
                    self.timers.suspect(at, progress.after(self.config.ws.slow_timeout).max(now));
                }
            }
            (Link::Poll(_), _) => self.await_poll(at, now),
            (Link::Opening | Link::Away(_), _) => return,
        }
        self.retune_one(at);
        if let Some(stopped) = stopped {
            let silence = now.since(stopped);
            self.counters.handover(Handover::Held, 1);
            self.counters.silence(silence);
            if is_main {
                let me = (self.me.slot, self.me.pid);
                self.say_if_it_fits(at, &client::session_moved(me, silence, moves));
            }
        }
        if self.sessions.get(at).is_some_and(|session| matches!(session.link, Link::Wire(_))) {
            self.cover(at, Mono(0));
            tokio::spawn(super::inbound::drive(hub.clone(), at));
        }
    }

    /// Says what a client can do without: a slow one is not ended for it.
    pub(super) fn say_if_it_fits(&mut self, at: SessionRef, text: &str) {
        let frame = crate::ws::frame::text(text);
        let limit = self.config.ws.outbox;
        let waits = self.sessions.get(at).and_then(|session| session.outbox.as_ref());
        if waits.is_none_or(|outbox| outbox.fits(frame.len() * 2, limit)) {
            let _ = self.send(at, &frame, || frame.clone());
        }
    }

    /// Holds an answer to a POST for sessions that are expected.
    pub(super) fn hold_push(&mut self, push: &super::deliver::Push<'_>) -> Held {
        if !self.moving.expected.has_user(push.user) {
            return Held::default();
        }
        self.moving.expected.push(&HeldPush {
            ticket: push.ticket,
            id: push.id,
            user: push.user.into(),
            symbol: push.symbol.into(),
            frame: Bytes::copy_from_slice(push.frame),
            deadline: push.deadline,
        })
    }

    /// Notes messages to a channel for sessions that are on their way.
    pub(super) fn note_meanwhile(&mut self, channel: &str, frames: &[u8]) {
        self.moving.expected.published(channel, frames);
        if let Some(meanwhile) = self.moving.leaving.meanwhile() {
            meanwhile.published(channel, frames);
        }
    }

    /// The same of who is in a room.
    pub(super) fn note_presence(&mut self, channel: &str, frame: &Bytes) {
        self.moving.expected.presence(channel, frame);
        if let Some(meanwhile) = self.moving.leaving.meanwhile() {
            meanwhile.presence(channel, frame);
        }
    }

    /// Holds an order about a session that is expected. False: it is not.
    pub(super) fn hold(&mut self, session: SessionId, order: Came) -> bool {
        self.moving.expected.order(session, order)
    }

    /// A process has ended: what it has not sent whole never comes.
    pub(super) fn source_gone(&mut self, hub: &Hub, source: Generation) {
        for batch in self.moving.expected.source_gone(source) {
            self.complete(hub, batch);
        }
    }
}

/// The socket in this process's runtime. `None`: it cannot be had.
fn attach(socket: OwnedFd) -> Option<TcpStream> {
    let stream = TcpStream::from_std(StdTcpStream::from(socket));
    stream.inspect_err(|error| tracing::warn!(event = "descriptor", %error)).ok()
}
