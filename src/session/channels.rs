//! The channels of a worker and who is subscribed to them.

use super::{ChannelKey, Key};
use crate::model::{Interval, Mono, Symbol, is_roomy};
use bytes::Bytes;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use slab::Slab;
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes that a channel without news may hold for its next messages.
const KEPT: usize = 2 << 10;

/// Content of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Prices of a symbol: state, the newest counts. At most one in `every`, zero for all.
    Price {
        symbol: Symbol,
        /// The least time between two.
        every: Duration,
    },
    /// Candles of a symbol: state, the newest one counts.
    Candle { symbol: Symbol, interval: Interval },
    /// Statistics: state.
    Stats,
    /// Messages that somebody publishes: each counts.
    Messages {
        /// Whether sessions may.
        anyone: bool,
    },
    /// Messages of a chat room: each counts. There while somebody here is in it.
    Room,
    /// Present users, in a room or at all: state.
    Presence,
    /// Messages of an endpoint to all its sessions. Nobody subscribes or publishes by name.
    Endpoint,
    /// Lines of a file or a program: each counts, and the newest is kept for newcomers. Nobody subscribes or
    /// publishes by name.
    Lines,
}

/// A subscription of a session: the channel, and the session's place in its list of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub channel: ChannelKey,
    place: u32,
}

/// A member of a channel, and how much it has been sent.
#[derive(Clone, Copy, Debug)]
struct Member {
    session: Key,
    /// The value of [`Channel::end`] when the member was last sent something.
    seen: u32,
}

/// A channel, its members, and the walk among them that sends what is new.
///
/// The walk goes round in steps, so that the worker does other things between two of them; what is published meanwhile
/// is joined: a member gets all that it has not seen in one write.
#[derive(Debug)]
pub struct Channel {
    /// As clients call it.
    pub name: Box<str>,
    pub kind: Kind,
    members: Vec<Member>,
    /// Of the members, those that are suspended.
    away: usize,
    frames: Frames,
    /// State: the number of the newest frame. Messages: the number of bytes ever published. Both wrap.
    end: u32,
    /// Messages: where each frame ends.
    ends: VecDeque<u32>,
    /// Lines: the frame of the newest one.
    newest: Vec<u8>,
    /// When a state's frame was made.
    pub made: Mono,
    /// The next member of the walk, and for how many more it goes on.
    at: usize,
    left: usize,
}

/// The next send that the walk asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub session: Key,
    /// The last so many bytes of [`Channel::frames`], at most all.
    pub unseen: usize,
    /// The number of frames in those bytes.
    pub count: u64,
}

/// Frames that are on their way to a channel's members.
#[derive(Debug, Default)]
pub struct Frames {
    /// State: the newest. Messages: those that not all members have seen, joined.
    joined: Vec<u8>,
    /// Numbered messages: each of them, to be kept for who misses it.
    each: VecDeque<Bytes>,
}

impl Frames {
    /// The part that a step is about.
    #[must_use]
    pub fn part(&self, step: &Step) -> &[u8] {
        &self.joined[self.joined.len().saturating_sub(step.unseen)..]
    }

    /// The same, message by message; nothing where they are not numbered.
    pub fn messages(&self, step: &Step) -> impl Iterator<Item = &Bytes> {
        let count = usize::try_from(step.count).unwrap_or(usize::MAX);
        self.each.range(self.each.len().saturating_sub(count)..)
    }
}

impl Kind {
    /// Whether only the newest counts.
    #[must_use]
    pub fn is_state(&self) -> bool {
        !matches!(self, Self::Endpoint | Self::Lines) && !self.is_numbered()
    }

    /// Whether its messages come again to a client that has missed them.
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        matches!(self, Self::Messages { .. } | Self::Room)
    }
}

impl Channel {
    fn new(name: String, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            members: Vec::new(),
            away: 0,
            frames: Frames::default(),
            end: 0,
            ends: VecDeque::new(),
            newest: Vec::new(),
            made: Mono(0),
            at: 0,
            left: 0,
        }
    }

    /// The number of connected members.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len() - self.away
    }

    /// Whether nobody is there, not even suspended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Counts a member that is suspended from now on, or has been until now.
    pub fn count_away(&mut self, away: bool) {
        self.away = if away { self.away + 1 } else { self.away.saturating_sub(1) };
    }

    /// The frames that wait to be sent; a state's newest.
    #[must_use]
    pub fn frames(&self) -> &[u8] {
        &self.frames.joined
    }

    /// Frame that a newcomer gets at once: a state's newest frame, the newest line; else nothing.
    #[must_use]
    pub fn newest(&self) -> &[u8] {
        if self.kind.is_state() { &self.frames.joined } else { &self.newest }
    }

    /// Keeps a line for those who come. Who is a member already gets it by [`Channel::publish`].
    pub fn keep(&mut self, frame: &[u8]) {
        self.newest.clear();
        self.newest.extend_from_slice(frame);
    }

    /// Bytes that the walk has not brought to all members.
    #[must_use]
    pub fn waiting(&self) -> usize {
        if self.left == 0 { 0 } else { self.frames.joined.len() }
    }

    /// Takes the frames out while they are sent, for [`Channel::put_back`].
    pub fn take(&mut self) -> Frames {
        std::mem::take(&mut self.frames)
    }

    /// Puts them back. Messages that all members have are forgotten: many rooms that say little hold little.
    pub fn put_back(&mut self, frames: Frames) {
        self.frames = frames;
        if self.left == 0 && !self.kind.is_state() && self.frames.joined.capacity() > KEPT {
            self.frames = Frames::default();
            self.ends = VecDeque::new();
        }
    }

    /// Publishes a message to all present members.
    pub fn publish(&mut self, frame: &[u8]) {
        if self.members.is_empty() {
            return;
        }
        if self.left == 0 {
            // All have seen all.
            self.frames.joined.clear();
            self.frames.each.clear();
            self.ends.clear();
        }
        self.frames.joined.extend_from_slice(frame);
        if self.kind.is_numbered() {
            self.frames.each.push_back(Bytes::copy_from_slice(frame));
        }
        self.end = self.end.wrapping_add(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        self.ends.push_back(self.end);
        self.left = self.members.len();
    }

    /// Returns what a member has not seen yet, for the caller to send. Counts as seen.
    pub fn catch_up(&mut self, of: Subscription) -> Option<Step> {
        let end = self.end;
        let member = self.members.get_mut(of.place as usize)?;
        let seen = std::mem::replace(&mut member.seen, end);
        let (session, unseen) = (member.session, end.wrapping_sub(seen) as usize);
        (unseen > 0).then(|| Step { session, unseen, count: self.frames_after(seen) })
    }

    /// Whether a walk has not brought a member the newest state, or all messages.
    #[must_use]
    pub fn owes(&self, of: Subscription) -> bool {
        self.members.get(of.place as usize).is_some_and(|member| member.seen != self.end)
    }

    /// A message for all members but this one, which has seen all before ([`Channel::catch_up`]).
    pub fn publish_but(&mut self, of: Subscription, frame: &[u8]) {
        self.publish(frame);
        if let Some(member) = self.members.get_mut(of.place as usize) {
            member.seen = self.end;
        }
    }

    /// A new state; the walk begins when it is to be `sent`.
    pub fn set(&mut self, frame: &[u8], made: Mono, sent: bool) {
        self.frames.joined.clear();
        self.frames.joined.extend_from_slice(frame);
        self.made = made;
        if sent {
            self.end = self.end.wrapping_add(1);
            self.left = self.members.len();
        }
    }

    /// The next member that has not seen all; `None`: all have.
    pub fn step(&mut self) -> Option<Step> {
        while self.left > 0 {
            self.left -= 1;
            self.at = if self.at + 1 < self.members.len() { self.at + 1 } else { 0 };
            let state = self.kind.is_state();
            let Some(member) = self.members.get_mut(self.at) else { break };
            let unseen = self.end.wrapping_sub(member.seen) as usize;
            let seen = std::mem::replace(&mut member.seen, self.end);
            let session = member.session;
            if unseen > 0 {
                let (unseen, count) = if state { (usize::MAX, 1) } else { (unseen, self.frames_after(seen)) };
                return Some(Step { session, unseen, count });
            }
        }
        None
    }

    fn frames_after(&self, seen: u32) -> u64 {
        // Newest last, all within less than half of the numbers' range.
        let before = self.ends.partition_point(|end| end.wrapping_sub(seen) as i32 <= 0);
        (self.ends.len() - before) as u64
    }
}

/// All channels of a worker: made by the configuration, and chat rooms, of which the master allows only so many.
#[derive(Debug, Default)]
pub struct Channels {
    all: Slab<Channel>,
    /// Names of rooms come from strangers: the hash is seeded.
    names: HashMap<Box<str>, ChannelKey, RandomState>,
}

impl Channels {
    /// The channels with these names and kinds, nobody subscribed.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = (String, Kind)>) -> Self {
        let mut channels = Self::default();
        for (name, kind) in names {
            let _ = channels.add(name, kind);
        }
        channels
    }

    /// Adds a channel; `None`: there is no number left.
    pub fn add(&mut self, name: String, kind: Kind) -> Option<ChannelKey> {
        let key = ChannelKey::try_from(self.all.vacant_key()).ok().filter(|key| *key < ChannelKey::MAX)?;
        self.names.insert(name.as_str().into(), key);
        self.all.insert(Channel::new(name, kind));
        Some(key)
    }

    /// Takes out a channel, which must be empty: its number is used again.
    pub fn remove(&mut self, key: ChannelKey) {
        let channel = self.all.remove(usize::from(key));
        debug_assert!(channel.is_empty(), "nobody is left behind");
        self.names.remove(&channel.name);
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<ChannelKey> {
        self.names.get(name).copied()
    }

    #[must_use]
    pub fn get(&self, key: ChannelKey) -> &Channel {
        &self.all[usize::from(key)]
    }

    pub fn get_mut(&mut self, key: ChannelKey) -> &mut Channel {
        &mut self.all[usize::from(key)]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ChannelKey, &Channel)> {
        self.all.iter().filter_map(|(key, channel)| Some((ChannelKey::try_from(key).ok()?, channel)))
    }

    /// Adds a member, which is owed nothing that was published before.
    pub fn join(&mut self, channel: ChannelKey, session: Key) -> Subscription {
        let own = self.get_mut(channel);
        own.members.push(Member { session, seen: own.end });
        if own.left > 0 {
            // The new member may stand between the walk and members that wait for it.
            own.left += 1;
        }
        Subscription { channel, place: u32::try_from(own.members.len() - 1).unwrap_or(u32::MAX) }
    }

    /// Takes out a member. Returns the session that stands in its place now, whose subscription must be told by
    /// [`Subscription::moved`].
    pub fn leave(&mut self, subscription: Subscription) -> Option<Key> {
        let own = self.get_mut(subscription.channel);
        own.members.swap_remove(subscription.place as usize);
        if is_roomy(own.members.capacity(), own.members.len()) {
            own.members.shrink_to(own.members.len() * 2);
        }
        if own.left > 0 {
            // The member that moved may stand behind the walk now: the walk goes round once more, and passes by
            // members that have seen all.
            own.left = own.members.len();
        }
        own.members.get(subscription.place as usize).map(|member| member.session)
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
    use proptest::prelude::*;

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
        let mut members: Vec<_> = channels.get(news).members.iter().map(|member| member.session).collect();
        members.sort_unstable();
        assert_eq!(members, [2, 3]);
        for key in [2, 3] {
            let place = subs[key].place as usize;
            assert_eq!(channels.get(news).members[place].session, Key::try_from(key).unwrap());
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Join,
        Leave(usize),
        Publish(usize),
        PublishBut(usize, usize),
        Walk(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            Just(Act::Join),
            (0usize..100).prop_map(Act::Leave),
            (1usize..9).prop_map(Act::Publish),
            (0usize..100, 1usize..9).prop_map(|(who, len)| Act::PublishBut(who, len)),
            (0usize..9).prop_map(Act::Walk),
        ]
    }

    proptest! {
        #[test]
        fn each_member_sees_each_message_once_and_in_order(acts in proptest::collection::vec(act(), 0..200)) {
            let mut channels = Channels::new([("news".to_owned(), Kind::Messages { anyone: false })]);
            // Close to the end of the numbers, where they begin anew.
            channels.get_mut(0).end = u32::MAX - 50;
            let (mut subs, mut owed, mut got) = (Vec::<(Key, Subscription)>::new(), Vec::new(), Vec::new());
            let walk = |channels: &mut Channels, got: &mut Vec<(Vec<u8>, u64)>, most: usize| {
                for _ in 0..most {
                    let Some(step) = channels.get_mut(0).step() else { break };
                    let (bytes, frames) = &mut got[step.session as usize];
                    let sent = &channels.get(0).frames;
                    bytes.extend_from_slice(sent.part(&step));
                    assert_eq!(sent.messages(&step).flatten().copied().collect::<Vec<u8>>(), sent.part(&step));
                    *frames += step.count;
                }
            };
            for act in acts {
                match act {
                    Act::Join => {
                        let key = Key::try_from(owed.len()).unwrap();
                        subs.push((key, channels.join(0, key)));
                        owed.push((Vec::<u8>::new(), 0));
                        got.push((Vec::new(), 0));
                    }
                    Act::Leave(which) if !subs.is_empty() => {
                        let (key, place) = subs.swap_remove(which % subs.len());
                        if let Some(moved) = channels.leave(place) {
                            subs.iter_mut().find(|(key, _)| *key == moved).unwrap().1.moved(place);
                        }
                        // Frames that a removed member had not seen are not counted.
                        owed[key as usize] = got[key as usize].clone();
                    }
                    Act::Leave(_) => {}
                    Act::Publish(len) => {
                        let frame: Vec<u8> = (0..len).map(|_| fastrand::u8(..)).collect();
                        channels.get_mut(0).publish(&frame);
                        for (key, _) in &subs {
                            owed[*key as usize].0.extend_from_slice(&frame);
                            owed[*key as usize].1 += 1;
                        }
                    }
                    Act::PublishBut(who, len) if !subs.is_empty() => {
                        let (but, place) = subs[who % subs.len()];
                        if let Some(step) = channels.get_mut(0).catch_up(place) {
                            let (bytes, frames) = &mut got[but as usize];
                            bytes.extend_from_slice(channels.get(0).frames.part(&step));
                            *frames += step.count;
                        }
                        let frame: Vec<u8> = (0..len).map(|_| fastrand::u8(..)).collect();
                        channels.get_mut(0).publish_but(place, &frame);
                        for (key, _) in subs.iter().filter(|(key, _)| *key != but) {
                            owed[*key as usize].0.extend_from_slice(&frame);
                            owed[*key as usize].1 += 1;
                        }
                    }
                    Act::PublishBut(..) => {}
                    Act::Walk(most) => walk(&mut channels, &mut got, most),
                }
            }
            walk(&mut channels, &mut got, usize::MAX);
            prop_assert_eq!(owed, got);
            prop_assert_eq!(channels.get(0).waiting(), 0);
        }
    }

    #[test]
    fn of_a_state_each_member_sees_the_newest() {
        let mut channels = Channels::new([("stats".to_owned(), Kind::Stats)]);
        (0..3).for_each(|key| _ = channels.join(0, key));
        let stats = channels.get_mut(0);
        stats.set(b"old", Mono(0), true);
        let first = stats.step().unwrap();
        stats.set(b"new", Mono(0), true);
        let rest: Vec<_> = std::iter::from_fn(|| stats.step().map(|step| step.session)).collect();
        assert_eq!(rest.len(), 3, "{first:?} sees both, the others only the newest: {rest:?}");
        assert_eq!(stats.frames(), b"new");
    }
}
