//! What tokens allow sessions, and until when. The decisions are those of `access::tokens`.

#[cfg(test)]
mod tests;

use super::parts::session::{Link, Session};
use super::parts::sessions::SessionRef;
use super::rooms::is_companion;
use super::state::State;
use crate::access::tokens::{Action, Channel, Claims, Door, Due, Pass, Refusal, Revocations};
use crate::config::{Carries, Config, Hearers, Publish, Stream};
use crate::model::Boot;
use crate::os::clock;
use crate::protocol::client::{self, Close, ErrorCode, EventText, room};
use crate::protocol::cluster::{Endpoint, ToMaster};
use crate::session::{ChannelKey, Kind, Places};
use serde_json::value::RawValue;
use std::time::Duration;

impl State {
    /// A channel, with what the configuration allows.
    pub(in crate::worker) fn described<'a>(&self, name: &'a str) -> Channel<'a> {
        let configured = self.config.channels.iter().find(|channel| channel.name == name);
        let (hearers, publishers) = match configured {
            Some(channel) => (channel.hearers, channel.publish),
            None if room(name).is_some() => (Hearers::Anyone, Publish::Anyone),
            None => (Hearers::Anyone, Publish::Admin),
        };
        Channel::new(name, hearers, publishers)
    }

    /// What a stream carries, with what the configuration allows. Lines go by the name of the stream.
    pub(in crate::worker) fn carried<'a>(&self, stream: &'a Stream) -> Channel<'a> {
        match &stream.carries {
            Carries::Channel(name) => self.described(name),
            Carries::Lines(_) => Channel::lines(&stream.name),
        }
    }

    /// Whether a session may do that.
    pub(super) fn may(&self, at: SessionRef, action: Action<'_>) -> bool {
        let claims = self.claims(at);
        self.config.trust().decide(Door::Public, claims, action).is_ok()
    }

    /// Whether a session may hear a channel.
    pub(super) fn may_hear(&self, at: SessionRef, name: &str) -> bool {
        self.may(at, Action::Hear(self.described(name)))
    }

    /// Of the places where a session was, those that its token still allows.
    pub(super) fn allowed(&self, at: SessionRef, mut places: Places) -> Places {
        places.retain(|name| self.may_stay(at, name));
        places.entering.retain(|name| self.may_stay(at, name));
        places
    }

    /// Whether a client with that pass may hear what a session has missed on these channels. Which channel each message is
    /// of is not known any more, so it may hear all of them or none.
    pub(super) fn may_hear_missed<'a>(
        &self,
        pass: Option<&Pass>,
        mut channels: impl Iterator<Item = &'a str>,
    ) -> bool {
        let is_kept = |name: &str| {
            self.channels.find(name).is_none_or(|channel| self.channels.get(channel).kind.is_numbered())
        };
        let claims = pass.and_then(Pass::claims);
        channels.all(|name| {
            let hears = || Action::Hear(self.described(name));
            !is_kept(name)
                || is_companion(name)
                || self.config.trust().decide(Door::Public, claims, hears()).is_ok()
        })
    }

    /// The same for one that comes from a worker that may have another configuration, and the channels that it loses.
    pub(super) fn allowed_here(&self, at: SessionRef, places: Places) -> (Places, Vec<Box<str>>) {
        let before = places.channels.clone();
        let places = self.allowed(at, places);
        let lost = before.into_iter().filter(|name| !places.channels.contains(name)).collect();
        (places, lost)
    }

    /// Whether a session may be on a channel that it is on. That of its endpoint is the endpoint's matter, and what comes
    /// along with a room goes with it.
    pub(super) fn may_stay(&self, at: SessionRef, name: &str) -> bool {
        match self.channels.find(name).map(|channel| &self.channels.get(channel).kind) {
            Some(Kind::Endpoint) => true,
            Some(Kind::Lines) => self.may_hear_stream(at),
            _ => is_companion(name) || self.may_hear(at, name),
        }
    }

    /// Whether a session may hear what its stream carries. A stream that is no more ends for that reason.
    pub(super) fn may_hear_stream(&self, at: SessionRef) -> bool {
        let session = self.sessions.get(at);
        let stream = session.and_then(|session| self.config.stream(session.identity.stream.as_deref()?));
        stream.is_none_or(|stream| self.may(at, Action::Hear(self.carried(stream))))
    }

    /// Ends the subscriptions of a session that it may not have any more, and tells its client.
    pub(super) fn confine(&mut self, at: SessionRef) {
        let Some(session) = self.sessions.get(at) else { return };
        let (is_away, is_stream) = (session.is_away(), session.identity.endpoint == Endpoint::Stream);
        let own: Vec<ChannelKey> = session.subscriptions.iter().map(|own| own.channel).collect();
        let mut lost = Vec::new();
        for channel in own {
            let name = self.channels.get(channel).name.clone();
            if self.may_stay(at, &name) {
                continue;
            }
            match room(&name) {
                Some(_) if !is_away => self.leave_room(at, &name),
                _ => self.unsubscribe(at, channel),
            }
            lost.push(name);
        }
        // What it has missed there until now it may have when it comes back.
        if let Some(Link::Away(away)) = self.sessions.get_mut(at).map(|session| &mut session.link) {
            away.places.retain(|name| !lost.iter().any(|lost| **lost == *name));
        }
        match is_stream && !lost.is_empty() {
            _ if is_away => {}
            true => self.end_unheard(at),
            false => self.tell_lost(at, &lost),
        }
    }

    /// Tells a client which subscriptions its session has no more.
    pub(super) fn tell_lost(&mut self, at: SessionRef, lost: &[Box<str>]) {
        let lost: Vec<&str> = lost.iter().map(|name| &**name).collect();
        if !lost.is_empty() {
            self.say_if_it_fits(at, &client::unsubscribed(&lost));
        }
    }

    /// Ends a stream whose channel its client may not hear.
    pub(super) fn end_unheard(&mut self, at: SessionRef) {
        let close = match self.claims(at) {
            None if self.config.trust().asks() => Close::TokenInvalid,
            _ => Close::Forbidden,
        };
        let reason = "this stream's channel may not be heard any more";
        self.end_saying(at, close, &EventText { close, reason, reconnect_in_ms: None });
    }

    /// The configuration allows less, or something else.
    pub(super) fn confine_all(&mut self, old: &Config) {
        self.end_refused();
        let hearers = |config: &Config| -> Vec<_> {
            config.channels.iter().map(|channel| (channel.name.clone(), channel.hearers)).collect()
        };
        let (was, is) = (&old.auth, &self.config.auth);
        if was.mode != is.mode || was.anonymous != is.anonymous || hearers(old) != hearers(&self.config) {
            let all: Vec<_> = self.sessions.iter().map(|(at, _)| at).collect();
            all.into_iter().for_each(|at| self.confine(at));
        }
    }

    fn claims(&self, at: SessionRef) -> Option<&Claims> {
        self.sessions.get(at).and_then(|session| session.pass.as_ref()).and_then(|pass| pass.claims())
    }

    /// Why a session may not go on, whatever the time is: no token was asked for when it was admitted, and now one is;
    /// nothing is free to everybody any more; or its token was revoked.
    fn refusal(&self, session: &Session) -> Option<Close> {
        let trust = self.config.trust();
        let refused = match session.pass.as_deref() {
            None => trust.asks(),
            Some(Pass::Anonymous) => trust.decide(Door::Public, None, Action::Open(None)).is_err(),
            Some(Pass::Token { claims, .. }) => {
                return trust.is_revoked(claims).then_some(Close::TokenRevoked);
            }
        };
        refused.then_some(Close::TokenInvalid)
    }

    /// When a session needs a look next; `None`: never.
    fn next_look(&self, session: &Session) -> Option<Boot> {
        if self.refusal(session).is_some() {
            return Some(clock::boot());
        }
        session.pass.as_ref()?.life().map(|life| life.next(self.config.trust().notice()))
    }

    /// Ends the sessions that may not go on.
    pub(super) fn end_refused(&mut self) {
        let refused = self.sessions.iter().filter(|(_, session)| self.refusal(session).is_some());
        let refused: Vec<_> = refused.map(|(at, _)| at).collect();
        refused.into_iter().for_each(|at| self.watch_life(at));
        self.look_at_lives(clock::boot());
        self.settle();
    }

    /// Watches over the end of a session's token.
    pub(super) fn watch_life(&mut self, at: SessionRef) {
        let Some(session) = self.sessions.get(at) else { return };
        if let Some(next) = self.next_look(session) {
            self.lives.watch(next, at.key(), session.id());
        }
    }

    /// Tokens are revoked: refused from now on, and their sessions end. Sessions that are on their way here are looked
    /// at when they come.
    pub(in crate::worker) fn revoke_tokens(&mut self, bytes: &[u8]) {
        match Revocations::decode(bytes) {
            Some(more) => self.config.revoked().take(more),
            None => {
                tracing::error!(event = "revocation-lost", "a revocation of the master is not understood")
            }
        }
        self.end_refused();
    }

    /// Tells the master when revoked tokens end that were shown here, and forgets those that have ended.
    pub(super) fn tidy_revocations(&mut self) {
        if let Some(news) = self.config.revoked().take_news() {
            self.uplink.tell(&ToMaster::Learnt(&news.encode()));
        }
        self.config.revoked().tidy(clock::wall());
    }

    /// Tells sessions that their tokens end soon, and ends those whose tokens have ended.
    pub(super) fn look_at_lives(&mut self, now: Boot) {
        let notice = self.config.trust().notice();
        if self.lives.is_crowded(self.population() + self.suspended.len()) {
            let moment = |(at, session): (SessionRef, &Session)| {
                Some((self.next_look(session)?, at.key(), session.id()))
            };
            let moments: Vec<_> = self.sessions.iter().filter_map(moment).collect();
            self.lives.renew(moments.into_iter());
        }
        while let Some((key, id)) = self.lives.due(now) {
            let Some(at) = self.sessions.known(key, id) else { continue };
            let Some(session) = self.sessions.get(at) else { continue };
            let is_away = session.is_away();
            if let Some(close) = self.refusal(session) {
                match is_away {
                    true => self.discard(at, None),
                    false => self.end_for(at, close),
                }
                continue;
            }
            let session = self.sessions.get_mut(at);
            let Some(life) = session.and_then(|session| session.pass.as_mut()?.life_mut()) else { continue };
            let (due, left) = (life.due(notice, now), life.left(now));
            match due {
                Some(Due::End) if is_away => self.discard(at, None),
                Some(Due::End) => self.end_for(at, Close::TokenExpired),
                Some(Due::Notice) => {
                    self.say_if_it_fits(at, &client::token_expiring(left));
                    self.watch_life(at);
                }
                // It has a fresh one since, which is watched over.
                None => {}
            }
        }
    }

    /// Ends a session for what is the matter with its token.
    pub(super) fn end_for(&mut self, at: SessionRef, close: Close) {
        self.send_away(at, close);
    }

    /// A session has a fresh token of the same user: subscriptions that it does not allow end.
    pub(super) fn take_pass(&mut self, at: SessionRef, fresh: Pass) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        // What is left of a token is taken once.
        if session.pass.as_ref().is_some_and(|pass| pass.claims() == fresh.claims()) {
            return;
        }
        (session.pass, session.set) = (Some(Box::new(fresh)), None);
        self.watch_life(at);
        self.touch(at);
        self.confine(at);
    }

    /// `auth`: a client brings a fresh token for its session.
    pub(super) fn renew_pass<'a>(
        &mut self,
        at: SessionRef,
        token: &str,
        id: Option<&'a RawValue>,
    ) -> Result<(), client::Refusal<'a>> {
        let refuse = |code, text: &'static str| Err(client::Refusal::new(code, text, id));
        let trust = self.config.trust().clone();
        if !trust.asks() {
            return refuse(ErrorCode::TokenInvalid, "no token is needed here");
        }
        let (wall, now) = (clock::wall(), clock::boot());
        let refusal = match trust.verify(token, wall) {
            Ok(fresh) if self.sessions.get(at).is_some_and(|session| *session.user() == fresh.user) => {
                let pass = Pass::new(fresh, wall, now);
                let left = pass.life().map_or(Duration::ZERO, |life| life.left(now));
                self.take_pass(at, pass);
                self.reply(at, &client::ack_token(id, left));
                return Ok(());
            }
            Ok(_) => Refusal::Forbidden,
            Err(refusal) if self.await_keys(refusal).is_some() => {
                if self.hold_auth(at, token, id) {
                    return Ok(());
                }
                Refusal::KeysUnavailable
            }
            Err(refusal) => refusal,
        };
        self.counters.count_refused(refusal.slug());
        self.token_refused(refusal);
        match refusal {
            Refusal::Forbidden => {
                let event = EventText {
                    close: Close::Forbidden,
                    reason: "another user's token",
                    reconnect_in_ms: None,
                };
                self.end_saying(at, Close::Forbidden, &event);
                Ok(())
            }
            Refusal::Expired => refuse(ErrorCode::TokenExpired, "the token has expired"),
            Refusal::Revoked => refuse(ErrorCode::TokenRevoked, "the token was revoked"),
            Refusal::KeysUnavailable => {
                refuse(ErrorCode::KeysUnavailable, "no key is there to check it with")
            }
            _ => refuse(ErrorCode::TokenInvalid, "the token is not valid"),
        }
    }
}
