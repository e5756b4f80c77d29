//! `/{stream}`: the newest of one state channel, or each line of a file or a program, pushed; what a client sends is
//! ignored. Which one, the configuration says, also while sessions live.

use super::Service;
use crate::config::Config;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::Endpoint;
use crate::session::Key;
use crate::worker::hub::sessions::{Link, Session};
use crate::worker::hub::{Greeting, State};

pub(super) struct Stream;

impl Service for Stream {
    fn greet(&self, state: &mut State, key: Key, _: &Greeting) {
        state.tune_in(key);
    }

    fn text(&self, _: &mut State, _: Key, _: &str) {}

    fn binary(&self, _: &mut State, _: Key, _: &[u8]) {}
}

impl State {
    /// Puts a session on its stream's channel as it is configured now.
    fn tune_in(&mut self, key: Key) {
        let name = self.sessions[key as usize].stream.as_deref().unwrap_or_default();
        let channel = self.config.stream(name).map(|stream| self.channels.find(&stream.channel()));
        match channel {
            Some(Some(channel)) => {
                self.subscribe(key, channel);
                self.send_newest(key, channel);
            }
            // Its channel is checked with the configuration: there is none of that name only by a defect.
            Some(None) => tracing::error!(event = "stream-without-channel", stream = name),
            None => {
                let close = Close::StreamRemoved;
                let reason = "the configuration has this stream no more";
                self.end_saying(key, close, &client::EventText { close, reason, reconnect_in_ms: None });
            }
        }
    }

    /// The configuration has changed: sessions of streams that are no more end, others go on with what is theirs now.
    pub(in crate::worker::hub) fn retune(&mut self, old: &Config) {
        if old.streams == self.config.streams {
            return;
        }
        let changed = |session: &Session| {
            let name = session.stream.as_deref().unwrap_or_default();
            session.endpoint == Endpoint::Stream
                && matches!(session.link, Link::Wire(_))
                && old.stream(name) != self.config.stream(name)
        };
        let keys = self.sessions.iter().filter(|(_, session)| changed(session));
        for key in keys.filter_map(|(key, _)| Key::try_from(key).ok()).collect::<Vec<_>>() {
            let before: Vec<_> =
                self.sessions[key as usize].subscriptions.iter().map(|s| s.channel).collect();
            before.into_iter().for_each(|channel| self.unsubscribe(key, channel));
            self.tune_in(key);
        }
    }
}
