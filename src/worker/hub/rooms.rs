//! Chat rooms: channels that are there while a session of this worker is in them. The master knows who is, and keeps the
//! last messages; a newcomer hears them first, and then what is said, with nothing between.

use super::State;
use super::requests::Waiter;
use super::send::Sent;
use super::sessions::SessionRef;
use crate::model::SessionId;
use crate::protocol::client::{self, Refusal};
use crate::protocol::cluster::{NO_RECEIPT, Step, ToMaster};
use crate::session::{ChannelKey, Kind};
use crate::ws::frame;
use bytes::Bytes;
use hashbrown::HashMap;
use serde_json::value::RawValue;

/// The channel of a room's presence. No client can name it: the sign is in no alphabet.
fn companion(room: &str) -> String {
    format!("{room}#")
}

/// Whether that is one.
pub(super) fn is_companion(channel: &str) -> bool {
    channel.ends_with('#')
}

/// What a client wants to be subscribed to, while it enters the rooms among it.
#[derive(Debug)]
struct Subscribing {
    at: SessionRef,
    session: SessionId,
    /// The client's id, where it wants an `ack`.
    id: Option<Box<str>>,
    others: Vec<ChannelKey>,
    /// Rooms that it is in by now.
    entered: Vec<Box<str>>,
    /// Those that the master has not answered.
    waits: Vec<Box<str>>,
    /// Of them, those that it wants no more.
    unwanted: Vec<Box<str>>,
    full: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Entrances {
    last: u64,
    open: HashMap<u64, Subscribing, foldhash::fast::RandomState>,
}

impl State {
    /// Subscribes a session to these channels and rooms once it is in all of the rooms.
    pub(super) fn enter_all(
        &mut self,
        at: SessionRef,
        rooms: &[&str],
        others: Vec<ChannelKey>,
        id: Option<&RawValue>,
    ) {
        self.entrances.last += 1;
        let group = self.entrances.last;
        let Some(own) = self.sessions.get(at) else { return };
        let (user, session) = (own.user().clone(), own.id());
        let id = id.map(|id| id.get().into());
        let waits = rooms.iter().map(|room| Box::from(*room)).collect();
        let (entered, unwanted) = (Vec::new(), Vec::new());
        let subscribing = Subscribing { at, session, id, others, entered, waits, unwanted, full: false };
        self.entrances.open.insert(group, subscribing);
        for room in rooms {
            let request = self.requests.expect(Waiter::Room { group, room: (*room).into() });
            let step = Step::Enter { request, user: user.as_str() };
            self.tell(&ToMaster::Room { room, session, step });
        }
    }

    /// The rooms that a session is about to enter.
    pub(super) fn entering(&self, at: SessionRef) -> impl Iterator<Item = &str> {
        let own = self.entrances.open.values().filter(move |all| all.at == at);
        own.flat_map(|all| all.waits.iter().filter(|room| !all.unwanted.contains(room)).map(|room| &**room))
    }

    /// It does not want to enter that one any more.
    pub(super) fn turn_back(&mut self, at: SessionRef, room: &str) {
        let own = self.entrances.open.values_mut().filter(|all| all.at == at);
        for all in own.filter(|all| all.waits.iter().any(|waits| **waits == *room)) {
            all.unwanted.push(room.into());
        }
    }

    /// A session that comes back is in its room again, from this moment on.
    pub(super) fn enter_again(&mut self, at: SessionRef, room: &str) {
        if !self.join_room(at, room) {
            return;
        }
        let Some(session) = self.sessions.get(at) else { return };
        let step = Step::Enter { request: NO_RECEIPT, user: session.user().as_str() };
        self.tell(&ToMaster::Room { room, session: session.id(), step });
    }

    /// False: there are no numbers left for more channels.
    fn join_room(&mut self, at: SessionRef, room: &str) -> bool {
        for (name, kind) in [(room.to_owned(), Kind::Room), (companion(room), Kind::Presence)] {
            let known = self.channels.find(&name);
            let Some(channel) = known.or_else(|| self.channels.add(name, kind)) else { return false };
            self.subscribe(at, channel);
        }
        true
    }

    /// The master lets a session into a room, or not.
    pub(in crate::worker) fn entered(&mut self, request: u64, history: Option<&[u8]>) {
        let Some(Waiter::Room { group, room }) = self.requests.done(request) else { return };
        let Some(all) = self.entrances.open.get_mut(&group) else { return };
        let (at, session) = (all.at, all.session);
        all.waits.retain(|waits| *waits != room);
        let (last, wanted) = (all.waits.is_empty(), !all.unwanted.contains(&room));
        let here = self.sessions.contains(at);
        let joined = history.is_some() && here && wanted && self.join_room(at, &room);
        if history.is_some() && !joined {
            // It has gone, or does not want to any more.
            self.tell(&ToMaster::Room { room: &room, session, step: Step::Leave });
        }
        if let Some(all) = self.entrances.open.get_mut(&group) {
            all.full |= here && wanted && !joined;
            all.entered.extend(joined.then(|| room.clone()));
        }
        if joined {
            self.tell_history(at, history.unwrap_or_default());
        }
        if last && let Some(all) = self.entrances.open.remove(&group) {
            self.subscribed(all);
        }
    }

    /// The last messages of a room, as many as one queue holds.
    fn tell_history(&mut self, at: SessionRef, history: &[u8]) {
        let most = self.config.ws.outbox;
        let frames: Vec<&[u8]> = frame::split(history).map(|(frame, _)| frame).collect();
        let mut size = 0;
        let fits = frames.iter().rev().take_while(|frame| {
            size += frame.len();
            size <= most
        });
        let newest = &frames[frames.len() - fits.count()..];
        if newest.is_empty() {
            return;
        }
        let each = newest.iter().map(|frame| Bytes::copy_from_slice(frame));
        if self.send_numbered(at, &newest.concat(), each, None) == Sent::Never {
            self.end_unsent(at);
        }
    }

    /// All or nothing.
    fn subscribed(&mut self, all: Subscribing) {
        let Subscribing { at, id, others, entered, full, .. } = all;
        let id = id.and_then(|text| RawValue::from_string(text.into()).ok());
        if !self.sessions.contains(at) {
            return;
        }
        if full {
            for room in entered {
                if let Some(channel) = self.channels.find(&room) {
                    self.unsubscribe(at, channel);
                }
            }
            let message = "there are as many rooms as there may be";
            return self.reply(at, &client::error(id.as_deref(), "too-many-rooms", message));
        }
        for channel in others {
            self.subscribe(at, channel);
            self.send_state(at, channel, true);
        }
        self.acknowledge(at, id.as_deref());
    }

    /// A room in which nobody of this worker is any more is no channel here. Other channels stay.
    pub(super) fn close_room(&mut self, channel: &str) {
        let room = channel.strip_suffix('#').unwrap_or(channel);
        if client::room(room).is_none() {
            return;
        }
        for name in [room.to_owned(), companion(room)] {
            if let Some(channel) = self.channels.find(&name).filter(|key| self.channels.get(*key).is_empty())
            {
                self.walking.retain(|at| *at != channel);
                self.channels.remove(channel);
            }
        }
    }

    /// A session leaves the companion of a room together with the room.
    pub(super) fn leave_companion(&mut self, at: SessionRef, room: &str) {
        if let Some(channel) = self.channels.find(&companion(room)) {
            self.unsubscribe(at, channel);
        }
    }

    /// Who is in a room, or in the cluster.
    pub(in crate::worker) fn presence(&mut self, channel: &str, text: &str) {
        let name = if client::room(channel).is_some() { companion(channel) } else { channel.to_owned() };
        if let Some(key) = self.channels.find(&name) {
            self.channels.get_mut(key).set(&frame::text(text), crate::os::clock::mono(), true);
            self.mark(key);
        }
    }

    /// A session says something in a room that it is in.
    pub(super) fn may_speak<'a>(
        &self,
        at: SessionRef,
        room: &str,
        id: Option<&'a RawValue>,
    ) -> Result<(), Refusal<'a>> {
        let channel = self.channels.find(room);
        let is_in = |channel| self.sessions.get(at).is_some_and(|session| session.is_on(channel));
        if channel.is_some_and(is_in) {
            return Ok(());
        }
        Err(Refusal::new("forbidden", "only who is in the room may speak there: subscribe first", id))
    }
}
