//! The channels of a worker and who is subscribed to them.

use super::{ChannelKey, Key};
use crate::model::{Mono, Symbol};
use bytes::Bytes;
use std::time::Duration;

/// What a channel carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Prices of a symbol: state, the newest counts. At most one in `every`, zero for all.
    Price {
        /// Which.
        symbol: Symbol,
        /// The least time between two.
        every: Duration,
    },
    /// Statistics: state.
    Stats,
    /// Messages that somebody publishes: each counts.
    Messages {
        /// Whether sessions may.
        anyone: bool,
    },
}

/// One subscription of one session: the channel, and where in its list of members the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which channel.
    pub channel: ChannelKey,
    place: u32,
}

/// A channel and its members.
#[derive(Debug)]
pub struct Channel {
    /// As clients call it.
    pub name: Box<str>,
    /// What it carries.
    pub kind: Kind,
    /// Who is subscribed.
    pub members: Vec<Key>,
    /// State: the newest frame. Messages: all frames of this turn, joined.
    pub frame: Bytes,
    /// Frames of this turn, before they are joined.
    pub turn: Vec<u8>,
    /// How many frames are in `turn`.
    pub turn_frames: u64,
    /// When `frame` was made.
    pub made: Mono,
    /// Something is to be sent to the members.
    pub dirty: bool,
}

/// All channels of a worker: few, and made by the configuration, so that strangers cannot make more.
#[derive(Debug, Default)]
pub struct Channels {
    all: Vec<Channel>,
}

impl Channels {
    /// The channels with these names and kinds, nobody subscribed.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (String, Kind)>) -> Self {
        let make = |(name, kind): (String, Kind)| Channel {
            name: name.into(),
            kind,
            members: Vec::new(),
            frame: Bytes::new(),
            turn: Vec::new(),
            turn_frames: 0,
            made: Mono(0),
            dirty: false,
        };
        Self { all: names.into_iter().map(make).take(usize::from(ChannelKey::MAX)).collect() }
    }

    /// By name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ChannelKey> {
        self.all.iter().position(|c| &*c.name == name).and_then(|at| ChannelKey::try_from(at).ok())
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, key: ChannelKey) -> &Channel {
        &self.all[usize::from(key)]
    }

    /// One of them.
    pub fn get_mut(&mut self, key: ChannelKey) -> &mut Channel {
        &mut self.all[usize::from(key)]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ChannelKey, &Channel)> {
        (0..).zip(&self.all)
    }

    /// `session` becomes a member.
    pub fn join(&mut self, channel: ChannelKey, session: Key) -> Subscription {
        let members = &mut self.get_mut(channel).members;
        members.push(session);
        Subscription { channel, place: u32::try_from(members.len() - 1).unwrap_or(u32::MAX) }
    }

    /// It is no member any more. Returns the session that stands in its place now, whose subscription must be told
    /// by [`Subscription::moved`].
    pub fn leave(&mut self, subscription: Subscription) -> Option<Key> {
        let members = &mut self.get_mut(subscription.channel).members;
        members.swap_remove(subscription.place as usize);
        members.get(subscription.place as usize).copied()
    }
}

impl Subscription {
    /// The member took the place of one that left.
    pub fn moved(&mut self, place: Subscription) {
        self.place = place.place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_and_go_in_any_order() {
        let mut channels = Channels::new([("news".to_owned(), Kind::Messages { anyone: false })]);
        let news = channels.find("news").unwrap();
        assert_eq!(channels.find("olds"), None);
        let mut subs: Vec<_> = (0..5).map(|key| channels.join(news, key)).collect();
        for leaver in [1, 4, 0] {
            if let Some(moved) = channels.leave(subs[leaver]) {
                let place = subs[leaver];
                subs[moved as usize].moved(place);
            }
        }
        let mut members = channels.get(news).members.clone();
        members.sort_unstable();
        assert_eq!(members, [2, 3]);
        for key in [2, 3] {
            assert_eq!(channels.get(news).members[subs[key].place as usize], key as Key);
        }
    }
}
