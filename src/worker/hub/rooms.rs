//! Chat rooms: channels that are there while a session of this worker is in them. The master knows who is, and keeps the
//! last messages; a newcomer hears them first, and then what is said, with nothing between.

use super::State;
use super::requests::Waiter;
use crate::protocol::client::{self, Refusal};
use crate::protocol::cluster::{NO_RECEIPT, Step, ToMaster};
use crate::session::{ChannelKey, Key, Kind};
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
    key: Key,
    turn: u32,
    /// The client's id, where it wants an `ack`.
    id: Option<Box<str>>,
    others: Vec<ChannelKey>,
    entered: Vec<Box<str>>,
    waits: usize,
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
        key: Key,
        rooms: &[&str],
        others: Vec<ChannelKey>,
        id: Option<&RawValue>,
    ) {
        self.entrances.last += 1;
        let group = self.entrances.last;
        let session = &self.sessions[key as usize];
        let (turn, user, session_id) = (session.turn, session.user.clone(), session.id);
        let id = id.map(|id| id.get().into());
        let waits = rooms.len();
        let subscribing = Subscribing { key, turn, id, others, entered: Vec::new(), waits, full: false };
        self.entrances.open.insert(group, subscribing);
        for room in rooms {
            let request = self.requests.expect(Waiter::Room { group, room: (*room).into() });
            let step = Step::Enter { request, user: user.as_str() };
            self.tell(&ToMaster::Room { room, session: session_id, step });
        }
    }

    /// A session that comes back is in its room again, from this moment on.
    pub(super) fn enter_again(&mut self, key: Key, room: &str) {
        self.join_room(key, room);
        let session = &self.sessions[key as usize];
        let step = Step::Enter { request: NO_RECEIPT, user: session.user.as_str() };
        self.tell(&ToMaster::Room { room, session: session.id, step });
    }

    fn join_room(&mut self, key: Key, room: &str) {
        for (name, kind) in [(room.to_owned(), Kind::Room), (companion(room), Kind::Presence)] {
            let channel = self.channels.find(&name).or_else(|| self.channels.add(name, kind));
            if let Some(channel) = channel {
                self.subscribe(key, channel);
            }
        }
    }

    /// The master lets a session into a room, or not.
    pub(in crate::worker) fn entered(&mut self, request: u64, history: Option<&[u8]>) {
        let Some(Waiter::Room { group, room }) = self.requests.done(request) else { return };
        let Some(subscribing) = self.entrances.open.get_mut(&group) else { return };
        let (key, turn) = (subscribing.key, subscribing.turn);
        subscribing.waits -= 1;
        subscribing.full |= history.is_none();
        let (last, entered) = (subscribing.waits == 0, history.is_some());
        if entered {
            subscribing.entered.push(room.clone());
        }
        if self.session(key, turn).is_some() && entered {
            self.join_room(key, &room);
            for (frame, _) in frame::split(history.unwrap_or_default()) {
                let kept = Bytes::copy_from_slice(frame);
                self.send_numbered(key, frame, std::iter::once(kept), None);
            }
        }
        if last && let Some(subscribing) = self.entrances.open.remove(&group) {
            self.subscribed(subscribing);
        }
    }

    /// All or nothing.
    fn subscribed(&mut self, all: Subscribing) {
        let Subscribing { key, turn, id, others, entered, full, .. } = all;
        let id = id.and_then(|text| RawValue::from_string(text.into()).ok());
        if self.session(key, turn).is_none() {
            return;
        }
        if full {
            for room in entered {
                if let Some(channel) = self.channels.find(&room) {
                    self.unsubscribe(key, channel);
                }
            }
            let message = "there are as many rooms as there may be";
            return self.reply(key, &client::error(id.as_deref(), "too-many-rooms", message));
        }
        for channel in others {
            self.subscribe(key, channel);
            self.send_state(key, channel, true);
        }
        self.acknowledge(key, id.as_deref());
    }

    /// A room in which nobody of this worker is any more is no channel here.
    pub(super) fn close_room(&mut self, room: &str) {
        for name in [room.to_owned(), companion(room)] {
            if let Some(channel) = self.channels.find(&name).filter(|at| self.channels.get(*at).is_empty()) {
                self.walking.retain(|at| *at != channel);
                self.channels.remove(channel);
            }
        }
    }

    /// A session leaves the companion of a room together with the room.
    pub(super) fn leave_companion(&mut self, key: Key, room: &str) {
        if let Some(channel) = self.channels.find(&companion(room)) {
            self.unsubscribe(key, channel);
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
        key: Key,
        room: &str,
        id: Option<&'a RawValue>,
    ) -> Result<(), Refusal<'a>> {
        let channel = self.channels.find(room);
        let is_in = |channel| self.sessions[key as usize].subscriptions.iter().any(|s| s.channel == channel);
        if channel.is_some_and(is_in) {
            return Ok(());
        }
        Err(Refusal::new("forbidden", "only who is in the room may speak there: subscribe first", id))
    }
}
