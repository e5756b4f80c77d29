//! All sessions at once: packed for the processes that come after this one, and unpacked from those before. They are
//! values then, their sockets are with the keeper, and nobody reads or writes them.

use super::parts::meanwhile::Meanwhile;
use super::parts::moving::Traveller;
use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::parts::unpacking::{Came, Counts, Part, Unpacking};
use super::state::{Hub, State};
use crate::model::{Boot, Mono, SessionId};
use crate::os::memory_file::MemoryFile;
use crate::os::{clock, socket};
use crate::protocol::client::{Close, EventText, room};
use crate::protocol::cluster::{Handover, NO_RECEIPT, Step, ToMaster};
use crate::protocol::keeper::FromKeeper;
use crate::protocol::line::Line;
use crate::session::{Key, Packing, Snapshot};
use std::io;
use std::os::fd::OwnedFd;

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

    /// Whether sessions are about to get their connections.
    pub(in crate::worker) fn has_openings(&self) -> bool {
        self.sessions.iter().any(|(_, session)| matches!(session.link, Link::Opening))
    }

    /// Whether sessions are on their way from or to another worker.
    pub(in crate::worker) fn has_travellers(&self) -> bool {
        !self.moving.expected.is_empty() || self.moving.leaving.is_under_way()
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
                Some(Ok(bytes)) if packing.add(at.key(), &bytes).is_ok() => {}
                Some(_) => closed += 1,
            }
        }
        if let Some(line) = self.survival.line() {
            line.keep_all(sockets);
        }
        (packing, closed)
    }

    fn pack_one(&mut self, at: SessionRef, sockets: &mut Vec<(Key, OwnedFd)>) -> Option<io::Result<Vec<u8>>> {
        let subscriptions = self.sessions.get(at)?.subscriptions.clone();
        subscriptions.into_iter().for_each(|sub| self.catch_up(sub));
        self.settle_copy(at);
        let places = match &self.sessions.get(at)?.link {
            Link::Opening => return None,
            Link::Away(away) => away.places.clone(),
            Link::Wire(_) | Link::Poll(_) => self.places(at),
        };
        let pongs = self.commands.take(at);
        let mut session = self.sessions.remove(at)?;
        self.lose_tickets(&mut session);
        let value = super::offload::encode(&session, &places, &pongs);
        if let Link::Wire(wire) = std::mem::replace(&mut session.link, Link::Opening) {
            match wire.into_socket() {
                // The keeper has a spare of each that is covered.
                Ok(_) if self.survival.cover.holds(at.key()) => {}
                Ok(socket) => sockets.push((at.key(), socket)),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(value.ok_or_else(|| io::ErrorKind::InvalidData.into()))
    }

    /// Begins with a part of a pack: sessions without a socket go on at once, the keeper is asked for the sockets.
    pub(in crate::worker) fn unpack_part(&mut self, hub: &Hub, part: Part, pack: OwnedFd) {
        let bytes = MemoryFile::from_descriptor(pack).whole().unwrap_or_else(|error| {
            tracing::error!(event = "pack-unreadable", of = part.of, %error);
            Vec::new()
        });
        let request = self.unpacking.number();
        let begun = self.unpacking.begin(request, part, &bytes, clock::boot());
        let (stopped, count) = (self.stopped(request), begun.alone.len());
        let alone = begun.alone.into_iter().map(|snapshot| self.wake(snapshot, None, stopped)).collect();
        self.settle_in(hub, alone, &Meanwhile::default(), stopped);
        self.unpacking.settled(request, count, true);
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
        let (stopped, mut travellers, mut late) = (self.stopped(request), Vec::new(), Vec::new());
        for (key, socket) in keys.into_iter().zip(with) {
            match self.unpacking.came(request, key, socket) {
                Some(Came::Session(value, socket)) => {
                    let traveller = self.wake(*value, Some(socket), stopped);
                    self.unpacking.settled(request, 1, traveller.cut.is_none());
                    travellers.push(traveller);
                }
                Some(Came::Late(value, socket)) => {
                    let traveller = self.wake(*value, Some(socket), stopped);
                    self.unpacking.settled(request, 1, false);
                    late.push(traveller.session.id());
                    travellers.push(traveller);
                }
                // The keeper has a copy: closing this one would not end the connection.
                Some(Came::Stranger(socket)) => socket::shutdown(socket),
                None => {}
            }
        }
        self.settle_in(hub, travellers, &Meanwhile::default(), stopped);
        self.counters.handover(Handover::Late, late.len() as u64);
        late.into_iter().for_each(|id| self.send_back(id));
        self.settle();
        if last {
            self.end_unpacking(request);
        }
        None
    }

    /// A part of a pack is unpacked: the master hears of its sessions, which it does not know yet.
    fn end_unpacking(&mut self, request: u64) {
        let Some((part, counts, silence)) = self.unpacking.over(request, clock::boot()) else { return };
        self.roster();
        self.note();
        let (Part { of, part, parts }, Counts { held, closed }) = (part, counts);
        self.uplink.tell(&ToMaster::Unpacked { of, part, parts, held, closed, silence });
    }

    /// Tells a client to come back: its session was with nobody for too long.
    fn send_back(&mut self, id: SessionId) {
        let reason = "the daemon was away for too long";
        let event = EventText { close: Close::Restarting, reason, reconnect_in_ms: Some(100) };
        let at = self.sessions.find(id);
        at.into_iter().for_each(|at| self.end_saying(at, Close::Restarting, &event));
    }

    /// When the clients of a pack were last read.
    fn stopped(&self, request: u64) -> Mono {
        let silence = self.unpacking.silence(request, clock::boot());
        Mono(clock::mono().0.saturating_sub(u64::try_from(silence.as_nanos()).unwrap_or(0)))
    }

    /// A session on its way into the table.
    fn wake(&mut self, snapshot: Snapshot, socket: Option<OwnedFd>, stopped: Mono) -> Traveller {
        let mut traveller = self.thaw_value(snapshot, socket, stopped);
        // Nobody is blamed for the time that it was with nobody.
        (traveller.session.last_in, traveller.session.origin) = (clock::mono(), None);
        self.enter_rooms(&traveller);
        traveller
    }

    /// The master has forgotten who is in which room.
    fn enter_rooms(&self, Traveller { session, places, .. }: &Traveller) {
        let user = session.user().as_str();
        for name in places.channels.iter().filter(|name| room(name).is_some()) {
            let step = Step::Enter { request: NO_RECEIPT, user };
            self.uplink.tell(&ToMaster::Room { room: name, session: session.id(), step });
        }
    }
}
