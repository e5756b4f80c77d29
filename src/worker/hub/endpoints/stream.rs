//! `/{stream}`: the newest of one state channel, or each line of a file or a program, pushed; what a client sends is
//! ignored. Which one, the configuration says, also while sessions live.

use super::service::Service;
use crate::config::Config;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::Endpoint;
use crate::worker::hub::parts::greeting::Greeting;
use crate::worker::hub::parts::session::{Link, Session};
use crate::worker::hub::parts::sessions::SessionRef;
use crate::worker::hub::state::State;

pub(super) struct Stream;

impl Service for Stream {
    fn greet(&self, state: &mut State, at: SessionRef, _: &Greeting) {
        let id = state.sessions.get(at).map(Session::id);
        if let Some(text) = id.and_then(|id| state.requests.first_words(id)) {
            state.say(at, &text);
        }
        state.tune_in(at);
    }

    fn text(&self, _: &mut State, _: SessionRef, _: &str) {}

    fn binary(&self, _: &mut State, _: SessionRef, _: &[u8]) {}
}

impl State {
    /// Puts a session on its stream's channel as it is configured now.
    fn tune_in(&mut self, at: SessionRef) {
        let stream = self.sessions.get(at).and_then(|session| session.identity.stream.as_deref());
        let name = stream.unwrap_or_default();
        let channel = self.config.stream(name).map(|stream| self.channels.find(&stream.channel()));
        match channel {
            Some(Some(_)) if !self.may_hear_stream(at) => self.end_unheard(at),
            Some(Some(channel)) => {
                self.subscribe(at, channel);
                self.send_newest(at, channel);
            }
            // Its channel is checked with the configuration: there is none of that name only by a defect.
            Some(None) => tracing::error!(event = "stream-without-channel", stream = name),
            None => {
                let close = Close::StreamRemoved;
                let reason = "the configuration has this stream no more";
                self.end_saying(at, close, &client::EventText { close, reason, reconnect_in_ms: None });
            }
        }
    }

    /// A session comes from a worker that may have had another configuration: it goes on with what its stream is here.
    pub(in crate::worker::hub) fn retune_one(&mut self, at: SessionRef) {
        let Some(session) = self.sessions.get(at) else { return };
        if session.identity.endpoint != Endpoint::Stream {
            return;
        }
        let name = session.identity.stream.as_deref().unwrap_or_default();
        let channel = self.config.stream(name).and_then(|stream| self.channels.find(&stream.channel()));
        if channel.is_some_and(|channel| session.is_on(channel)) {
            return;
        }
        let before = session.subscriptions.clone();
        before.into_iter().for_each(|own| self.unsubscribe(at, own.channel));
        self.tune_in(at);
    }

    /// The configuration has changed: sessions of streams that are no more end, others go on with what is theirs now.
    pub(in crate::worker::hub) fn retune(&mut self, old: &Config) {
        if old.streams == self.config.streams {
            return;
        }
        let changed = |session: &Session| {
            let name = session.identity.stream.as_deref().unwrap_or_default();
            session.identity.endpoint == Endpoint::Stream
                && matches!(session.link, Link::Wire(_))
                && old.stream(name) != self.config.stream(name)
        };
        let changed = self.sessions.present().filter(|(_, session)| changed(session));
        let changed = changed.map(|(at, session)| (at, session.subscriptions.clone()));
        for (at, before) in changed.collect::<Vec<_>>() {
            before.into_iter().for_each(|own| self.unsubscribe(at, own.channel));
            self.tune_in(at);
        }
    }
}
