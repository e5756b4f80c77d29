//! What tokens allow sessions, and until when. The decisions are those of `access::tokens`.

use super::parts::session::Session;
use super::parts::sessions::SessionRef;
use super::rooms::is_companion;
use super::state::State;
use crate::access::tokens::{Action, Channel, Claims, Door, Due, Pass, Refusal, Revocations};
use crate::config::{Hearers, Publish};
use crate::model::Boot;
use crate::os::clock;
use crate::protocol::client::{self, Close, ErrorCode, EventText, room};
use crate::protocol::cluster::ToMaster;
use crate::session::{ChannelKey, Kind, Places};
use serde_json::value::RawValue;

impl State {
    /// A channel, with what the configuration allows.
    pub(in crate::worker) fn described<'a>(&self, name: &'a str) -> Channel<'a> {
        let configured = self.config.channels.iter().find(|channel| channel.name == name);
        let (hearers, publishers) = match configured {
            Some(channel) => (channel.hearers, channel.publish),
            None if room(name).is_some() => (Hearers::Anyone, Publish::Anyone),
            None => (Hearers::Anyone, Publish::Admin),
        };
        Channel { name, hearers, publishers }
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
        places.retain(|name| self.may_hear(at, name));
        places.entering.retain(|name| self.may_hear(at, name));
        places
    }

    fn claims(&self, at: SessionRef) -> Option<&Claims> {
        self.sessions.get(at).and_then(|session| session.pass.as_ref()).map(|pass| &pass.claims)
    }

    /// Watches over the end of a session's token.
    pub(super) fn watch_life(&mut self, at: SessionRef) {
        let notice = self.config.trust().notice();
        let Some(session) = self.sessions.get(at) else { return };
        if let Some(pass) = &session.pass {
            let is_revoked = self.config.trust().is_revoked(&pass.claims);
            let next = if is_revoked { clock::boot() } else { pass.life.next(notice) };
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
        let trust = self.config.trust().clone();
        let is_over =
            |session: &Session| session.pass.as_ref().is_some_and(|pass| trust.is_revoked(&pass.claims));
        let all: Vec<_> =
            self.sessions.iter().filter(|(_, session)| is_over(session)).map(|(at, _)| at).collect();
        all.into_iter().for_each(|at| self.watch_life(at));
        self.look_at_lives(clock::boot());
        self.settle();
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
            let all = self.sessions.iter().map(|(at, session)| (at.key(), session));
            let moments = all.filter_map(|(key, session)| {
                Some((session.pass.as_ref()?.life.next(notice), key, session.id()))
            });
            self.lives.renew(moments);
        }
        while let Some((key, id)) = self.lives.due(now) {
            let Some(at) = self.sessions.known(key, id) else { continue };
            let Some(session) = self.sessions.get_mut(at) else { continue };
            let is_away = session.is_away();
            let Some(pass) = &mut session.pass else { continue };
            if self.config.trust().is_revoked(&pass.claims) {
                match is_away {
                    true => self.discard(at, None),
                    false => self.end_for(at, Close::TokenRevoked),
                }
                continue;
            }
            let (due, left) = (pass.life.due(notice, now), pass.life.left(now));
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
        let reason = match close {
            Close::TokenExpired => "the token is past its end",
            Close::TokenRevoked => "the token was revoked",
            _ => "the token is not valid",
        };
        self.end_saying(at, close, &EventText { close, reason, reconnect_in_ms: None });
    }

    /// A session has a fresh token of the same user: subscriptions that it does not allow end.
    pub(super) fn take_pass(&mut self, at: SessionRef, fresh: Pass) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        // What is left of a token is taken once.
        if session.pass.as_ref().is_some_and(|pass| pass.claims == fresh.claims) {
            return;
        }
        (session.pass, session.set) = (Some(Box::new(fresh)), None);
        let own: Vec<ChannelKey> = session.subscriptions.iter().map(|own| own.channel).collect();
        self.watch_life(at);
        self.touch(at);
        let mut lost = Vec::new();
        for channel in own {
            let (name, kind) =
                (self.channels.get(channel).name.clone(), self.channels.get(channel).kind.clone());
            if is_companion(&name) || kind == Kind::Endpoint || self.may_hear(at, &name) {
                continue;
            }
            match room(&name) {
                Some(_) => self.leave_room(at, &name),
                None => self.unsubscribe(at, channel),
            }
            lost.push(name);
        }
        if !lost.is_empty() {
            let lost: Vec<&str> = lost.iter().map(|name| &**name).collect();
            self.say_if_it_fits(at, &client::unsubscribed(&lost));
        }
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
                let left = pass.life.left(now);
                self.take_pass(at, pass);
                self.reply(at, &client::ack_token(id, left));
                return Ok(());
            }
            Ok(_) => Refusal::Forbidden,
            Err(refusal) => refusal,
        };
        self.counters.count_refused(refusal.slug());
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

    /// Tokens are asked for from now on: sessions that have shown none end.
    pub(super) fn end_unknown(&mut self) {
        let is_unknown = |session: &Session| session.pass.is_none();
        let all: Vec<_> =
            self.sessions.iter().filter(|(_, session)| is_unknown(session)).map(|(at, _)| at).collect();
        for at in all {
            match self.sessions.get(at).is_some_and(Session::is_away) {
                true => self.discard(at, None),
                false => self.end_for(at, Close::TokenInvalid),
            }
        }
        self.settle();
    }
}
