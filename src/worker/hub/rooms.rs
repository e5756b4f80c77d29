//! Chat rooms: channels that exist while a session of this worker is in them. The master knows the members and keeps
//! the last messages. A newcomer hears those first, and then what is said, with nothing between.

use super::parts::entrances::{Deed, Group};
use super::parts::requests::Waiter;
use super::parts::session::Session;
use super::parts::sessions::SessionRef;
use super::send::Sent;
use super::state::State;
use crate::model::SessionId;
use crate::protocol::client::{self, ErrorCode, Refusal};
use crate::protocol::cluster::{NO_RECEIPT, Step, ToMaster};
use crate::session::Kind;
use crate::ws::frame;
use bytes::Bytes;
use serde_json::value::RawValue;

/// The channel of a room's presence. No client can name it: the sign is in no alphabet.
fn companion(room: &str) -> String {
    format!("{room}#")
}

/// Whether a channel is the companion of a room.
pub(super) fn is_companion(channel: &str) -> bool {
    channel.ends_with('#')
}

/// The client's id as it is sent back.
fn raw(id: Option<Box<str>>) -> Option<Box<RawValue>> {
    RawValue::from_string(id?.into()).ok()
}

impl State {
    /// Subscribes a session to what a group names, once it is in all of the rooms.
    pub(super) fn enter_all(&mut self, at: SessionRef, group: Group) {
        let Some(own) = self.sessions.get(at) else { return };
        let (session, channels) = (own.id(), &self.channels);
        let is_in = |room: &str| channels.find(room).is_some_and(|channel| own.is_on(channel));
        let deeds = self.entrances.want((session, at), group, is_in);
        self.carry_out((session, at), deeds);
    }

    /// A session does not want to be in a room any more.
    pub(super) fn leave_room(&mut self, at: SessionRef, room: &str) {
        let Some(session) = self.sessions.get(at).map(Session::id) else { return };
        let deeds = self.entrances.renounce_room(session, room);
        if let Some(channel) = self.channels.find(room) {
            self.unsubscribe(at, channel);
        }
        self.carry_out((session, at), deeds);
    }

    fn carry_out(&mut self, (session, at): (SessionId, SessionRef), deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Ask(room) => self.ask_for_room(at, &room),
                Deed::Decline(room) => {
                    self.uplink.tell(&ToMaster::Room { room: &room, session, step: Step::Leave });
                }
                Deed::Leave(room) => {
                    let channel = self.channels.find(&room);
                    channel.into_iter().for_each(|channel| self.unsubscribe(at, channel));
                }
                Deed::Grant(Group { others, id, .. }) => {
                    self.subscribe_all(at, others, raw(id).as_deref());
                }
                Deed::Refuse(Group { id, .. }) => {
                    let message = "there are as many rooms as there may be";
                    self.reply(at, &client::error(raw(id).as_deref(), ErrorCode::TooManyRooms, message));
                }
            }
        }
    }

    fn ask_for_room(&mut self, at: SessionRef, room: &str) {
        let Some(own) = self.sessions.get(at) else { return };
        let (session, user) = (own.id(), own.user().as_str());
        let request = self.requests.expect(Waiter::Room { session, room: room.into() });
        self.uplink.tell(&ToMaster::Room { room, session, step: Step::Enter { request, user } });
    }

    /// A session that comes back is in its room again, from this moment on.
    pub(super) fn enter_again(&mut self, at: SessionRef, room: &str) {
        if !self.join_room(at, room) {
            return;
        }
        let Some(session) = self.sessions.get(at) else { return };
        let step = Step::Enter { request: NO_RECEIPT, user: session.user().as_str() };
        self.uplink.tell(&ToMaster::Room { room, session: session.id(), step });
    }

    /// Makes a session a member of a room. False: there are no numbers left for more channels.
    pub(super) fn join_room(&mut self, at: SessionRef, room: &str) -> bool {
        for (name, kind) in [(room.to_owned(), Kind::Room), (companion(room), Kind::Presence)] {
            let known = self.channels.find(&name);
            let Some(channel) = known.or_else(|| self.channels.add(name, kind)) else {
                let half = self.channels.find(room);
                half.into_iter().for_each(|channel| self.unsubscribe(at, channel));
                return false;
            };
            self.subscribe(at, channel);
        }
        true
    }

    /// The master lets a session into a room, or not.
    pub(in crate::worker) fn entered(&mut self, request: u64, history: Option<&[u8]>) {
        let Some(Waiter::Room { session, room }) = self.requests.done(request) else { return };
        let at = self.entrances.session(session);
        let joined = at.is_some_and(|at| {
            history.is_some() && self.entrances.wants(session, &room) && self.join_room(at, &room)
        });
        let deeds = self.entrances.answered((session, &room), history.is_some(), joined);
        let Some(at) = at else { return };
        if joined {
            self.tell_history(at, history.unwrap_or_default());
        }
        self.carry_out((session, at), deeds);
        self.touch(at);
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

    /// A room in which nobody of this worker is any more is no channel here. Other channels stay.
    pub(super) fn close_room(&mut self, channel: &str) {
        let room = channel.strip_suffix('#').unwrap_or(channel);
        if client::room(room).is_none() {
            return;
        }
        for name in [room.to_owned(), companion(room)] {
            if let Some(channel) = self.channels.find(&name).filter(|key| self.channels.get(*key).is_empty())
            {
                self.walks.forget(channel);
                self.survival.cover.caught_up(channel);
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

    /// Publishes who is in a room, or in the cluster.
    pub(in crate::worker) fn presence(&mut self, channel: &str, text: &str) {
        let name = if client::room(channel).is_some() { companion(channel) } else { channel.to_owned() };
        let frame = frame::text(text);
        if is_companion(&name) {
            self.note_presence(&name, &frame);
        }
        if let Some(key) = self.channels.find(&name) {
            self.channels.get_mut(key).set(&frame, crate::os::clock::mono(), true);
            self.walks.mark(key);
        }
    }

    /// Refuses what a session says in a room that it is not in.
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
        Err(Refusal::new(
            ErrorCode::Forbidden,
            "only who is in the room may speak there: subscribe first",
            id,
        ))
    }
}
