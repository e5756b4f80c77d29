//! Adopts the sessions of a worker that has died. The master says whose they are, what they have to get, and that
//! everything for them comes here from now on; the keeper has their sockets, and what was under way with them.

use super::parts::adoption::{Fate, Known, Order};
use super::parts::session::{Link, Request, Session};
use super::parts::sessions::SessionRef;
use super::parts::survival::Ward;
use super::parts::tickets::MISSED;
use super::send::Sent;
use super::state::{Hub, State};
use crate::access::tokens::Pass;
use crate::model::{Mono, SessionId};
use crate::os::{clock, socket};
use crate::protocol::client::{self, Close, room, session_moved};
use crate::protocol::cluster::{Endpoint, Generation, Handover, Left, ToMaster, ToWorker};
use crate::protocol::keeper::FromKeeper;
use crate::session::cells::names::Set;
use crate::session::cells::{Cell, Cells, recent};
use crate::session::{self, Answer, Framing, Identity, Replay};
use crate::transports::ws::{Closing, Wire};
use crate::ws::frame;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The longest that others wait while sessions are taken in.
const SLICE: Duration = Duration::from_millis(1);

impl State {
    /// The master says what a dead worker left.
    pub(in crate::worker) fn adopt(&mut self, of: Generation, left: Left<'_>) {
        if let Left::Begin { died } = left {
            let until = clock::mono().after(self.config.cluster.worker_timeout);
            return self.survival.wards.push(Ward::new(of, died, until));
        }
        let Some(ward) = self.survival.ward(of) else { return };
        match left {
            Left::Begin { .. } => {}
            Left::Sessions(all) => {
                for open in all {
                    if let Some(known) = Known::of(&open) {
                        ward.adoption.expect(open.session, known);
                    }
                }
            }
            Left::Order { number, message } => match postcard::from_bytes::<ToWorker<'_>>(message) {
                Ok(message) => ward.adoption.order(number, &message),
                Err(error) => tracing::error!(%error, "an order to a dead worker makes no sense"),
            },
            Left::End { before, stable } => {
                ward.adoption.end(before, stable);
                ward.is_whole = true;
                self.open_missed(of);
                match self.survival.line() {
                    Some(line) => line.fetch(u64::from(of), of, None),
                    None => self.give_up_ward(of),
                }
            }
        }
    }

    /// Quotes to the dead worker are reported once each of their sessions has been met.
    fn open_missed(&mut self, of: Generation) {
        let Some(ward) = self.survival.ward(of) else { return };
        let adoption = &ward.adoption;
        let pushes = adoption.missed().filter_map(|order| match order {
            Order::Push { ticket, user, deadline, .. } => Some((*ticket, adoption.reached(user), *deadline)),
            _ => None,
        });
        for (ticket, waiting, deadline) in pushes.collect::<Vec<_>>() {
            let report = self.tickets.open(ticket | MISSED, Default::default(), waiting);
            if report.is_none() {
                self.expect_report(ticket | MISSED, deadline);
            }
            self.uplink.report(report);
        }
        if let Some(ward) = self.survival.ward(of) {
            let tickets = ward.adoption.missed().filter_map(|order| match order {
                Order::Publish { ticket, .. } => Some((*ticket, 0)),
                _ => None,
            });
            ward.counts = tickets.collect();
        }
    }

    /// An order that sessions which are still on their way get, too. Returns how many of them a quote must reach.
    pub(in crate::worker) fn order_for_wards(&mut self, message: &ToWorker<'_>) -> u32 {
        let mut reached = 0;
        let mut full = Vec::new();
        for ward in &mut self.survival.wards {
            let Some(order) = Order::of(message) else { return 0 };
            if let Order::Push { user, .. } = &order {
                reached += ward.adoption.reached(user);
            }
            if !ward.adoption.later(order) {
                full.push(ward.adoption.of);
            }
        }
        full.into_iter().for_each(|of| self.give_up_ward(of));
        reached
    }

    /// A channel message while sessions are on their way: its count is told when they are here. False: none are.
    pub(super) fn count_later(&mut self, ticket: u64, sessions: u32) -> bool {
        let Some(ward) = self.survival.wards.last_mut() else { return false };
        ward.counts.push((ticket, sessions));
        true
    }

    /// The keeper hands over what a dead worker left. Returns whose sessions can be taken in now.
    pub(in crate::worker) fn hear_keeper(
        &mut self,
        said: FromKeeper,
        with: Vec<OwnedFd>,
    ) -> Option<Generation> {
        match said {
            FromKeeper::Cells { of, .. } => {
                let ward = self.survival.ward(of)?;
                let cells = with.into_iter().next().map(Cells::from_descriptor)?;
                ward.cells =
                    cells.inspect_err(|error| tracing::error!(%error, "cells of a dead worker")).ok();
                ward.taken = ward.cells.iter().flat_map(Cells::taken).collect();
                let missed = ward.adoption.missed().filter_map(Order::mark);
                let marks = ward.taken.keys().copied().chain(missed);
                self.uplink.heard.adopt(marks.filter_map(recent::published));
                None
            }
            FromKeeper::Sockets { of, keys, last, .. } => {
                let ward = self.survival.ward(of)?;
                for (key, socket) in keys.into_iter().zip(with) {
                    let cell = ward.cells.as_ref().and_then(|cells| cells.read(key));
                    ward.found.push((cell, socket));
                }
                if !last {
                    return None;
                }
                // Those who spoke last come first: they are taken from the end.
                ward.found.sort_by_key(|(cell, _)| cell.map_or(0, |cell| cell.facts.spoke));
                Some(of)
            }
            FromKeeper::Unkept { key } => {
                self.survival.release(key);
                self.note();
                None
            }
            _ => None,
        }
    }

    /// Takes in sessions for a moment. False: all are here.
    fn take_in(&mut self, hub: &Hub, of: Generation) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < SLICE {
            let Some(mut ward) = self.survival.take_ward(of) else { return false };
            let Some((cell, socket)) = ward.found.pop() else {
                self.survival.wards.push(ward);
                self.give_up_ward(of);
                return false;
            };
            self.meet(hub, &mut ward, cell, socket);
            self.survival.wards.push(ward);
        }
        self.look_at_lives(clock::boot());
        self.settle();
        true
    }

    /// One session of a dead worker goes on, or is closed.
    fn meet(&mut self, hub: &Hub, ward: &mut Ward, cell: Option<Cell>, socket: OwnedFd) {
        // No session in its cell, or one that the dead worker has no more: it has ended, which closes the last copy of its
        // socket, or another worker has it.
        let Some(cell) = cell else { return };
        let (fate, id) = (ward.adoption.fate(&cell, clock::mono()), cell.facts.id);
        let Some(known) = ward.adoption.met(&id) else { return };
        let lost = if fate == Fate::Suspect { Handover::Suspect } else { Handover::Dirty };
        if fate != Fate::GoesOn {
            tracing::debug!(event = "session-not-adopted", session = %crate::log::id(id), ?fate, bits = cell.under_way >> 48);
            match fate {
                // Nothing is half written: its client can be told.
                Fate::Suspect => self.close_suspect(cell.facts.framing, socket),
                _ => socket::shutdown(socket),
            }
            return self.lose(ward, id, &known, lost);
        }
        match self.go_on(ward, &cell, &known, socket) {
            Some(at) => {
                let silence = clock::mono().since(ward.died);
                ward.silence = ward.silence.max(silence);
                ward.results.add(Handover::Held, 1);
                self.counters.handover(Handover::Held, 1);
                self.counters.silence(silence);
                self.tell_adopted(at, silence);
                tokio::spawn(super::inbound::drive(hub.clone(), at));
            }
            None => self.lose(ward, id, &known, lost),
        }
    }

    /// The client of a main session hears that it has moved.
    fn tell_adopted(&mut self, at: SessionRef, silence: Duration) {
        let Some(session) = self.sessions.get(at) else { return };
        if session.identity.endpoint == Endpoint::Ws {
            let (me, moves) = ((self.me.slot, self.me.pid), session.moves);
            self.say_if_it_fits(at, &session_moved(me, silence, moves));
        }
    }

    /// The client of a session that may be what kills workers is told so. Nothing of the session is touched.
    fn close_suspect(&mut self, framing: Framing, socket: OwnedFd) {
        let close = Close::Suspect;
        let Ok(stream) = TcpStream::from_std(socket.into()) else { return };
        let last = match framing {
            Framing::Events(body) => body.end(&client::close(close, None)),
            _ => frame::close(close.code(), close.slug()).into(),
        };
        self.counters.count_closed(close.code());
        tokio::spawn(Closing::new(stream, last).send());
    }

    /// A session of a dead worker has ended with it.
    fn lose(&mut self, ward: &mut Ward, id: SessionId, known: &Known, result: Handover) {
        ward.results.add(result, 1);
        self.counters.handover(result, 1);
        self.uplink.tell(&ToMaster::Closed(id));
        if known.endpoint.reached() {
            let missed = ward.adoption.missed().map(|order| (order, MISSED));
            let later = ward.adoption.owed(u64::MAX).map(|order| (order, 0));
            for (order, bit) in missed.chain(later) {
                if let Order::Push { ticket, user, .. } = order
                    && **user == *known.user.as_str()
                {
                    let report = self.tickets.lost(ticket | bit, true);
                    self.uplink.report(report);
                }
            }
        }
    }

    /// A session goes on here, with all that it has to get.
    fn go_on(&mut self, ward: &mut Ward, cell: &Cell, known: &Known, socket: OwnedFd) -> Option<SessionRef> {
        let facts = &cell.facts;
        let cells = ward.cells.as_ref()?;
        let set: Set = postcard::from_bytes(&cells.set(facts.set)?).ok()?;
        let pass = set.pass.as_ref().and_then(|pass| Pass::join(&known.user, pass, &cells.own(cell.key)));
        let stream = TcpStream::from_std(socket.into()).ok()?;
        let at = self.restore((cell, known), set.stream.clone(), pass, stream);
        for name in set.channels.iter().filter(|name| self.may_stay(at, name)).cloned().collect::<Vec<_>>() {
            match (room(&name), self.channels.find(&name)) {
                (Some(_), _) => _ = self.join_room(at, &name),
                (None, Some(channel)) => self.subscribe(at, channel),
                // The configuration has this channel no more.
                (None, None) => {}
            }
        }
        for order in ward.adoption.had(cell.order) {
            if let Order::Push { ticket, user, .. } = order
                && known.endpoint.reached()
                && **user == *known.user.as_str()
            {
                let report = self.tickets.delivered(ticket | MISSED);
                self.uplink.report(report);
            }
        }
        let missed = ward.adoption.missed_after(cell.order).map(|order| (order, MISSED));
        let later = ward.adoption.owed(u64::MAX).map(|order| (order, 0));
        let counts = &mut ward.counts;
        for order in ward.adoption.missed().chain(ward.adoption.owed(u64::MAX)) {
            if let Order::Publish { ticket, channel, skip, .. } = order
                && set.channels.contains(channel)
                && *skip != Some(facts.id)
            {
                counts.iter_mut().filter(|(of, _)| of == ticket).for_each(|(_, count)| *count += 1);
            }
        }
        let taken = &ward.taken;
        // Another master may say again what the session has.
        let has = |order: &Order| {
            let taken = order.mark().and_then(|mark| taken.get(&mark));
            taken.is_some_and(|taken| *taken <= cell.absolute)
        };
        for (order, bit) in missed.chain(later).filter(|(order, _)| !has(order)) {
            self.hand_on(at, order, bit, &set.channels);
        }
        let states = self.sessions.get(at).map(|own| own.subscriptions.clone()).unwrap_or_default();
        for own in states {
            self.send_state(at, own.channel, true);
        }
        Some(at)
    }

    /// Puts a session into the table as it was, on no channel yet.
    fn restore(
        &mut self,
        (cell, known): (&Cell, &Known),
        stream: Option<Box<str>>,
        pass: Option<Pass>,
        connection: TcpStream,
    ) -> SessionRef {
        let (now, facts) = (clock::mono(), &cell.facts);
        let unheard = socket::unacknowledged(&connection);
        // What the client's machine has not acknowledged may be any of the messages so far.
        let replay = facts.replay.map(|(secret, last)| Replay::adopted(secret, last, unheard.unwrap_or(1)));
        let Known { user, device, endpoint, address, since, .. } = known.clone();
        let mut identity = Identity::new(facts.id, user.clone(), endpoint, address, since);
        (identity.device, identity.stream) = (device.clone(), stream.clone());
        let mut before = session::Session::new(identity, facts.framing, None, now);
        before.moves = u32::from(facts.moves).saturating_add(1);
        let permit = Some(self.crowd.came(address));
        let pass = pass.map(Box::new);
        let (framing, takes_over) = (facts.framing, false);
        let request = Request { user, device, endpoint, stream, address, framing, permit, takes_over, pass };
        let mut own = Session::new(request, Some(&before), replay, now);
        let wire = Wire::resumed(connection, unheard.unwrap_or(1), false);
        let heartbeat = &self.config.heartbeat;
        if let Framing::Events(_) = facts.framing {
            wire.lose_after(heartbeat.timeout.saturating_sub(heartbeat.interval));
        }
        let watch = now.after(heartbeat.interval);
        own.link = Link::Wire(wire);
        let at = self.sessions.insert(own);
        self.timers.watch(at, watch);
        self.watch_life(at);
        self.cover(at, now);
        self.note();
        at
    }

    /// An order that a session has not got.
    fn hand_on(&mut self, at: SessionRef, order: &Order, bit: u64, channels: &[Box<str>]) {
        let Some(session) = self.sessions.get(at) else { return };
        let (id, is_its) = (session.id(), |name: &str| channels.iter().any(|channel| **channel == *name));
        match order {
            Order::Push { user, .. } if **user == *session.user().as_str() => self.hand_quote(at, order, bit),
            Order::Publish { channel, frame, skip, .. } if is_its(channel) && *skip != Some(id) => {
                let channel = self.channels.find(channel).map(|key| self.channels.get(key));
                let each = channel.is_some_and(|channel| channel.kind.is_numbered()).then(|| frame.clone());
                if self.send_numbered(at, frame, each.into_iter(), None) == Sent::Never {
                    self.end_unsent(at);
                }
            }
            Order::Line { of, text, .. } if is_its(of) => {
                let sent = self.send_numbered(at, &frame::text(&**text), std::iter::empty(), None);
                _ = sent == Sent::Never && self.end_unsent(at);
            }
            Order::Kick { session, code } if *session == id => self.kick(id, Close::from_number(*code)),
            _ => {}
        }
    }

    fn hand_quote(&mut self, at: SessionRef, order: &Order, bit: u64) {
        let Order::Push { ticket, id, symbol, frame, deadline, .. } = order else { return };
        if !self.sessions.get(at).is_some_and(|session| session.identity.endpoint.reached()) {
            return;
        }
        let (now, ticket) = (clock::mono(), ticket | bit);
        let known = self.config.price.symbols.iter().find(|known| known.as_str() == &**symbol);
        let answer = known.cloned().map(|symbol| Answer { ticket, id: *id, symbol, made: now });
        let each = std::iter::once(frame.clone());
        // One that comes too late would be a surprise.
        let sent = (now <= *deadline).then(|| self.send_numbered(at, frame, each, answer));
        let report = match sent {
            Some(Sent::Whole) => self.tickets.delivered(ticket),
            Some(Sent::Waiting | Sent::Kept) => None,
            Some(Sent::Never) => self.lose_unanswered(at, ticket),
            None => self.tickets.lost(ticket, false),
        };
        self.uplink.report(report);
    }

    /// All sessions of a dead worker that can go on do so; those that are left have ended.
    fn give_up_ward(&mut self, of: Generation) {
        let Some(mut ward) = self.survival.take_ward(of) else { return };
        for (id, known) in ward.adoption.rest() {
            self.lose(&mut ward, id, &known, Handover::Uncovered);
        }
        for (ticket, sessions) in std::mem::take(&mut ward.counts) {
            self.uplink.tell(&ToMaster::Published { ticket, sessions });
        }
        let (results, silence) = (ward.results, ward.silence);
        self.survival.adopted(of);
        self.uplink.tell(&ToMaster::Adopted { of, results, silence });
        if let Some(line) = self.survival.line() {
            line.forget(of, None);
        }
        self.settle();
    }

    /// Gives up the sessions of dead workers that do not come.
    pub(super) fn look_after_wards(&mut self, now: Mono) {
        let late = self.survival.wards.iter().filter(|ward| ward.until <= now);
        let late: Vec<_> = late.map(|ward| ward.adoption.of).collect();
        late.into_iter().for_each(|of| self.give_up_ward(of));
    }
}

/// Takes in all sessions that a dead worker left, in slices: between two of them everybody else has a turn.
pub(in crate::worker) async fn take_in_all(hub: Hub, of: Generation) {
    while hub.lock().take_in(&hub, of) {
        tokio::task::yield_now().await;
    }
}
