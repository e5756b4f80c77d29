//! All sessions at once: packed for the processes that come after this one, and unpacked from those before. They are
//! values then, their sockets are with the keeper, and nobody reads or writes them.

use super::parts::entrances::Group;
use super::parts::polling::Polling;
use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::parts::unpacking::{Came, Counts, Part, Unpacking};
use super::state::{Hub, State};
use crate::access::UNUSED;
use crate::model::{Boot, Mono};
use crate::os::clock;
use crate::os::memory_file::MemoryFile;
use crate::protocol::client::{Close, EventText};
use crate::protocol::cluster::ToMaster;
use crate::protocol::keeper::FromKeeper;
use crate::protocol::line::Line;
use crate::session::{Connection, Framing, Key, Notice, Outbox, Packing, Places, Snapshot};
use crate::transports::ws::Wire;
use std::io;
use std::os::fd::OwnedFd;
use tokio::net::TcpStream;

impl State {
    /// The line to the keeper.
    pub(in crate::worker) fn keeper(&self) -> Option<Line> {
        self.survival.line().cloned()
    }

    /// Answers all polls that wait, with what there is: their clients ask again.
    pub(in crate::worker) fn release_polls(&mut self) {
        let polls = |session: &Session| matches!(session.link, Link::Poll(_));
        let all: Vec<_> = self.sessions.present().filter(|(_, own)| polls(own)).map(|(at, _)| at).collect();
        all.into_iter().for_each(|at| self.speak_to_poll(at));
        self.settle();
    }

    /// Takes all sessions out of the table into a pack; the keeper gets their sockets. Returns the pack, and how many
    /// could not be packed.
    pub(in crate::worker) fn pack_all(&mut self, now: Boot) -> (Packing, u32) {
        let (mut packing, mut closed, mut sockets) = (Packing::new(now), 0, Vec::new());
        let all: Vec<_> = self.sessions.iter().map(|(at, _)| at).collect();
        for at in all {
            match self.pack_one(at, &mut sockets) {
                // A client in its handshake has no session yet.
                None => {}
                Some(Ok((key, bytes))) if packing.add(key, &bytes).is_ok() => {}
                Some(_) => closed += 1,
            }
        }
        if let Some(line) = self.survival.line() {
            line.keep_all(sockets);
        }
        (packing, closed)
    }

    fn pack_one(
        &mut self,
        at: SessionRef,
        sockets: &mut Vec<(Key, OwnedFd)>,
    ) -> Option<io::Result<(Key, Vec<u8>)>> {
        let subscriptions = self.sessions.get(at)?.subscriptions.clone();
        subscriptions.into_iter().for_each(|sub| self.catch_up(sub));
        self.settle_copy(at);
        let places = self.places(at);
        let (link, value) = self.sessions.remove(at)?.into_parts();
        let (places, connection) = match link {
            Link::Opening => return None,
            Link::Wire(wire) => {
                let sent = wire.sent();
                match wire.into_socket() {
                    // The keeper has a spare of each that is covered.
                    Ok(_) if self.survival.cover.holds(at.key()) => {}
                    Ok(socket) => sockets.push((at.key(), socket)),
                    Err(error) => return Some(Err(error)),
                }
                (places, Connection::Wire { sent })
            }
            Link::Poll(mut poll) => {
                (places, Connection::Poll { notices: poll.take().0.into_iter().map(Notice).collect() })
            }
            Link::Away(away) => (away.places, Connection::Away { has: away.has, since: away.since }),
        };
        let encoded = value.freeze(places, connection).encode().map_err(io::Error::other);
        Some(encoded.map(|bytes| (at.key(), bytes)))
    }

    /// Begins with a part of a pack: sessions without a socket go on at once, the keeper is asked for the sockets.
    pub(in crate::worker) fn unpack_part(&mut self, part: Part, pack: OwnedFd) {
        let bytes = MemoryFile::from_descriptor(pack).whole().unwrap_or_else(|error| {
            tracing::error!(event = "pack-unreadable", of = part.of, %error);
            Vec::new()
        });
        let request = self.unpacking.number();
        let begun = self.unpacking.begin(request, part, &bytes, clock::boot());
        for snapshot in begun.alone {
            let goes_on = self.thaw(snapshot, None).is_some();
            self.unpacking.settled(request, goes_on);
        }
        if let Some(line) = self.survival.line() {
            line.fetch(request, part.of, Some(begun.keys));
        }
    }

    /// Sockets of a pack have come: their sessions go on. Anything else that the keeper says is given back.
    pub(in crate::worker) fn take_sockets(
        &mut self,
        hub: &Hub,
        said: FromKeeper,
        with: Vec<OwnedFd>,
    ) -> Option<(FromKeeper, Vec<OwnedFd>)> {
        let (request, keys, last) = match said {
            FromKeeper::Sockets { request, keys, last, .. } if Unpacking::asked(request) => {
                (request, keys, last)
            }
            other => return Some((other, with)),
        };
        for (key, socket) in keys.into_iter().zip(with) {
            match self.unpacking.came(request, key, socket) {
                Some(Came::Session(value, socket)) => {
                    let at = self.thaw(*value, Some(socket));
                    self.unpacking.settled(request, at.is_some());
                    at.into_iter().for_each(|at| _ = tokio::spawn(super::inbound::drive(hub.clone(), at)));
                }
                Some(Came::Late(value, socket)) => {
                    self.unpacking.settled(request, false);
                    let Some(at) = self.thaw(*value, Some(socket)) else { continue };
                    let reason = "the daemon was away for too long";
                    let event = EventText { close: Close::Restarting, reason, reconnect_in_ms: Some(100) };
                    self.end_saying(at, Close::Restarting, &event);
                    tokio::spawn(super::inbound::drive(hub.clone(), at));
                }
                // The keeper has a copy: closing this one would not end the connection.
                Some(Came::Stranger(socket)) => crate::os::socket::shutdown(socket),
                None => {}
            }
        }
        self.settle();
        if last
            && let Some((part, Counts { held, closed }, silence)) =
                self.unpacking.over(request, clock::boot())
        {
            // The master knows none of them yet.
            self.roster();
            self.note();
            let Part { of, part, parts } = part;
            self.uplink.tell(&ToMaster::Unpacked { of, part, parts, held, closed, silence });
        }
        None
    }

    /// Makes a value a session of this worker. `None`: its socket is of no use.
    fn thaw(&mut self, snapshot: Snapshot, socket: Option<OwnedFd>) -> Option<SessionRef> {
        let (value, places, connection) = snapshot.thaw();
        let now = clock::mono();
        let address = value.identity.address;
        let link = match (&connection, socket) {
            (Connection::Wire { sent }, Some(socket)) => {
                Link::Wire(Wire::resume(stream(socket).ok()?, *sent))
            }
            (Connection::Wire { .. }, None) => return None,
            (Connection::Poll { notices }, _) => {
                Link::Poll(Box::new(Polling::resume(notices.iter().map(|notice| notice.0.clone()), now)))
            }
            // Suspended in a moment.
            (Connection::Away { .. }, _) => Link::Opening,
        };
        let permit = matches!(link, Link::Wire(_)).then(|| self.crowd.came(address));
        let at = self.sessions.insert(Session::resume(value, link, permit, now));
        self.settle_in(at, &places);
        match connection {
            Connection::Wire { .. } => {
                self.watch(at);
                self.cover(at, Mono(0));
            }
            Connection::Poll { .. } => self.await_poll(at),
            Connection::Away { has: None, .. } => {
                self.discard(at, None);
                return None;
            }
            Connection::Away { has: Some(has), .. } => {
                let replay = self.sessions.get_mut(at).and_then(|session| session.replay.as_mut());
                replay.into_iter().for_each(|replay| replay.confirm(has));
                self.suspend(at, None, UNUSED);
            }
        }
        Some(at)
    }

    /// Puts a session on the channels that it was on. It is told nothing.
    fn settle_in(&mut self, at: SessionRef, places: &Places) {
        for name in &places.channels {
            if crate::protocol::client::room(name).is_some() {
                self.enter_again(at, name);
            } else if let Some(channel) = self.channels.find(name) {
                self.subscribe(at, channel);
            }
        }
        for name in &places.owed {
            let (channel, now) = (self.channels.find(name), clock::mono());
            let (Some(channel), Some(session)) = (channel, self.sessions.get_mut(at)) else { continue };
            session.outbox.get_or_insert_with(|| Box::new(Outbox::new(now))).push_state(channel);
        }
        for room in &places.entering {
            self.enter_all(at, Group::new(std::iter::once(room.clone()), Vec::new(), None));
        }
    }

    /// A session has its connection again: what it must do and when is as at its beginning.
    fn watch(&mut self, at: SessionRef) {
        let (now, heartbeat) = (clock::mono(), &self.config.heartbeat);
        let Some(session) = self.sessions.get_mut(at) else { return };
        let waits = session.outbox.is_some();
        if let (Link::Wire(wire), Framing::Events(_)) = (&session.link, session.framing) {
            wire.lose_after(heartbeat.timeout.saturating_sub(heartbeat.interval));
        }
        self.timers.watch(at, now.after(heartbeat.interval));
        if waits {
            self.timers.suspect(at, now.after(self.config.ws.slow_timeout));
        }
    }

    /// A polling session waits for its client's next poll.
    fn await_poll(&mut self, at: SessionRef) {
        let (now, least) = (clock::mono(), Polling::least_gap(&self.config.poll));
        let Some(Link::Poll(poll)) = self.sessions.get_mut(at).map(|session| &mut session.link) else {
            return;
        };
        let gap = now.after(poll.gap(&self.config.poll));
        let look = poll.deadline.set(gap, now.after(least));
        look.into_iter().for_each(|look| self.timers.poll(at, look));
        self.note_absent(at, now);
    }
}

fn stream(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
