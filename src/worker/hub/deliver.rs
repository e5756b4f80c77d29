//! Frames to sessions: answers, channel messages, state. Written at once where nothing waits, else left in the
//! session's outbox for its task.

use super::State;
use crate::model::{Candles, Interval, Mono, RequestId, Symbol};
use crate::os::clock;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::{Skip, Tally, ToMaster};
use crate::session::{Answer, Channel, ChannelKey, Key, Kind, Outbox, Subscription};
use crate::transports::ws::Written;
use crate::ws::frame;
use bytes::Bytes;
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

/// A state or an answer that has waited longer is made anew, so that its age is true.
const OLD: Duration = Duration::from_secs(1);
/// Frames of an outbox that leave in one write.
const JOIN: usize = 16;
/// Bytes of a channel's messages that are joined for those who have not seen them yet.
const JOINED: usize = 32 << 10;
/// With so many watchers statistics may be rarer than `stats.interval` (see `stats::When`).
const STRETCHED: usize = 25;
/// Members of a channel that are served before others have their turn.
const ROUND: usize = 32;
/// A ticket is answered so much before the master gives it up.
const EARLY: Duration = Duration::from_millis(100);

/// An order to deliver of which some answers still wait.
#[derive(Debug)]
pub(super) struct Ticket {
    waiting: u32,
    tally: Tally,
}

/// What became of one frame to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Whole,
    Waiting,
    /// It does not fit, or the connection is gone: the session ends.
    Never,
}

/// An order to deliver, as it came from the master.
#[derive(Debug)]
pub(in crate::worker) struct Push<'a> {
    pub(in crate::worker) ticket: u64,
    pub(in crate::worker) id: RequestId,
    pub(in crate::worker) user: &'a str,
    pub(in crate::worker) symbol: &'a str,
    pub(in crate::worker) frame: &'a [u8],
    pub(in crate::worker) deadline: Mono,
}

impl State {
    /// Delivers to all `/ws` sessions of a user, and reports once each has it or never will.
    pub(in crate::worker) fn push(&mut self, push: &Push<'_>) {
        let now = clock::mono();
        if now > push.deadline {
            return;
        }
        let keys: Vec<Key> = self.users.of(push.user).to_vec();
        let (mut tally, mut waiting) = (Tally::default(), 0);
        for key in keys {
            if !self.sessions[key as usize].endpoint.reached() {
                continue;
            }
            let answer = || {
                let symbol = Symbol::new(push.symbol).ok()?;
                Some(Answer { ticket: push.ticket, id: push.id, symbol, made: now })
            };
            match self.send(key, push.frame, || Bytes::copy_from_slice(push.frame), answer) {
                Sent::Whole => tally.delivered += 1,
                Sent::Waiting => waiting += 1,
                Sent::Never => tally.slow += u32::from(self.end_unsent(key)),
            }
        }
        if waiting == 0 {
            self.tell(&ToMaster::Delivered { ticket: push.ticket, tally });
        } else {
            self.tickets.insert(push.ticket, Ticket { waiting, tally });
            let early = Mono(push.deadline.0.saturating_sub(EARLY.as_nanos() as u64));
            self.timers.expect(push.ticket, early.max(now));
        }
    }

    /// Ends the session that a frame did not fit into. True when it was slow, false when it was gone.
    fn end_unsent(&mut self, key: Key) -> bool {
        let slow = self.sessions[key as usize].outbox.is_some();
        self.doom(key, if slow { Close::Slow } else { Close::Lost });
        slow
    }

    fn ticket_done(&mut self, number: u64, count: impl FnOnce(&mut Tally)) {
        let Some(ticket) = self.tickets.get_mut(&number) else { return };
        ticket.waiting -= 1;
        count(&mut ticket.tally);
        if ticket.waiting == 0 {
            self.ticket_over(number);
        }
    }

    /// A session that was to get an answer ended before it left.
    pub(super) fn ticket_lost(&mut self, number: u64) {
        self.ticket_done(number, |_| {});
    }

    /// Reports a ticket, whatever still waits.
    pub(super) fn ticket_over(&mut self, number: u64) {
        if let Some(ticket) = self.tickets.remove(&number) {
            let tally = Tally { waiting: ticket.waiting, ..ticket.tally };
            self.tell(&ToMaster::Delivered { ticket: number, tally });
        }
    }

    /// What a session has not got of a channel's messages yet, so that what it gets next is not before them.
    fn catch_up(&mut self, subscription: Subscription) {
        let channel = self.channels.get_mut(subscription.channel);
        let Some(step) = channel.catch_up(subscription) else { return };
        let bytes = Bytes::copy_from_slice(Channel::part(channel.frames(), &step));
        match self.send(step.session, &bytes, || bytes.clone(), || None) {
            Sent::Whole => self.counters.messages_out += step.count - 1,
            Sent::Waiting => {}
            Sent::Never => _ = self.end_unsent(step.session),
        }
    }

    /// A message to a channel's subscribers but one. A walk brings it to them, joined with what is published meanwhile.
    pub(in crate::worker) fn publish(&mut self, ticket: u64, name: &str, bytes: &[u8], skip: Option<Skip>) {
        let mut sessions = 0;
        if let Some(key) = self.channels.find(name) {
            self.make_room(key, bytes);
            let session = skip.and_then(|skip| self.session(skip.key, skip.session));
            let but =
                session.and_then(|session| session.subscriptions.iter().find(|s| s.channel == key).copied());
            but.into_iter().for_each(|but| self.catch_up(but));
            let channel = self.channels.get_mut(key);
            if !channel.is_state() {
                let members = channel.members() - usize::from(but.is_some());
                sessions = u32::try_from(members).unwrap_or(u32::MAX);
                match but {
                    Some(but) => channel.publish_but(but, bytes),
                    None => channel.publish(bytes),
                }
                self.mark(key);
            }
        }
        self.tell(&ToMaster::Published { ticket, sessions });
    }

    /// Of a channel's messages no more are joined than one write takes: who is behind gets them now.
    fn make_room(&mut self, key: ChannelKey, bytes: &[u8]) {
        if self.channels.get(key).waiting() + bytes.len() > JOINED {
            self.walk(key, usize::MAX);
        }
    }

    /// A line of a file or a program, for all sessions on it and for those who come.
    pub(in crate::worker) fn line(&mut self, of: &str, text: &str) {
        let Some(key) = self.channels.find(of) else { return };
        let bytes = frame::text(text);
        self.make_room(key, &bytes);
        let channel = self.channels.get_mut(key);
        channel.keep(&bytes);
        channel.publish(&bytes);
        self.mark(key);
    }

    /// What a channel has for a newcomer.
    pub(super) fn send_newest(&mut self, key: Key, channel: ChannelKey) {
        if self.channels.get(channel).is_state() {
            return self.send_state(key, channel, true);
        }
        let bytes = Bytes::copy_from_slice(self.channels.get(channel).newest());
        if !bytes.is_empty() {
            self.send_or_end(key, &bytes);
        }
    }

    /// The statistics as JSON: state of the channel `stats`.
    pub(in crate::worker) fn stats(&mut self, json: &str) {
        if let Some(key) = self.channels.find("stats") {
            self.channels.get_mut(key).set(&frame::text(json), clock::mono(), true);
            self.mark(key);
        }
    }

    /// The newest candles of a symbol: states of its three channels.
    pub(in crate::worker) fn candles(&mut self, candles: &Candles) {
        let symbol = &candles.symbol;
        for (interval, candle) in Interval::ALL.into_iter().zip(&candles.newest) {
            let name = format!("candle:{symbol}@{interval}");
            let Some(key) = self.channels.find(&name) else { continue };
            let text = client::candle(&name, symbol.as_str(), interval, candle);
            self.channels.get_mut(key).set(&frame::text(text), clock::mono(), true);
            self.mark(key);
        }
    }

    /// A channel has something to send.
    pub(super) fn mark(&mut self, key: ChannelKey) {
        if !self.walking.contains(&key) {
            self.walking.push(key);
        }
        self.walks.notify_one();
    }

    /// One round of the walks: some members of each channel that has something to send. True when there is more.
    pub(in crate::worker) fn walk_on(&mut self) -> bool {
        for key in std::mem::take(&mut self.walking) {
            if self.walk(key, ROUND) && !self.walking.contains(&key) {
                self.walking.push(key);
            }
        }
        self.settle();
        !self.walking.is_empty()
    }

    /// Goes on with the walk of a channel for at most so many members. True when there is more.
    fn walk(&mut self, key: ChannelKey, most: usize) -> bool {
        let channel = self.channels.get_mut(key);
        let (state, stats) = (channel.is_state(), channel.kind == Kind::Stats);
        let frames = channel.take();
        let mut more = true;
        for _ in 0..most {
            let Some(step) = self.channels.get_mut(key).step() else {
                more = false;
                break;
            };
            if state && let Some(outbox) = &mut self.sessions[step.session as usize].outbox {
                self.counters.conflated += u64::from(outbox.push_state(key));
                continue;
            }
            let bytes = Channel::part(&frames, &step);
            match self.send(step.session, bytes, || Bytes::copy_from_slice(bytes), || None) {
                Sent::Whole => {
                    // `send` has counted one.
                    self.counters.messages_out += step.count - 1;
                    self.counters.stats_out += u64::from(stats);
                }
                Sent::Waiting => {}
                Sent::Never => _ = self.end_unsent(step.session),
            }
        }
        self.channels.get_mut(key).put_back(frames);
        more
    }

    /// Writes to a session, or lets the rest of the frame wait.
    fn send(
        &mut self,
        key: Key,
        bytes: &[u8],
        shared: impl FnOnce() -> Bytes,
        answer: impl FnOnce() -> Option<Answer>,
    ) -> Sent {
        let session = &mut self.sessions[key as usize];
        if let Some(outbox) = &mut session.outbox {
            if !outbox.fits(bytes.len(), self.config.ws.outbox) {
                return Sent::Never;
            }
            outbox.push(shared(), answer());
            return Sent::Waiting;
        }
        let written = session.wire.as_ref().map_or(Written::Part(0), |wire| wire.write(bytes));
        match written {
            Written::Whole => {
                self.counters.messages_out += 1;
                Sent::Whole
            }
            Written::Part(gone) => {
                let now = clock::mono();
                let mut outbox = Outbox::new(now);
                outbox.begin(shared(), gone, answer());
                session.outbox = Some(Box::new(outbox));
                if let Some(wire) = &session.wire {
                    wire.wake();
                }
                self.timers.suspect(key, session.id, now.after(self.config.ws.slow_timeout));
                Sent::Waiting
            }
            Written::Broken => Sent::Never,
        }
    }

    /// A frame that is nobody's ticket; a session that cannot take it ends.
    pub(super) fn send_or_end(&mut self, key: Key, bytes: &Bytes) {
        if self.send(key, bytes, || bytes.clone(), || None) == Sent::Never {
            self.end_unsent(key);
        }
    }

    /// A text message to one session.
    pub(super) fn say(&mut self, key: Key, text: &str) {
        self.send_or_end(key, &frame::text(text));
    }

    /// The welcome, before whatever waits already.
    pub(super) fn send_first(&mut self, key: Key, welcome: Bytes) {
        match &mut self.sessions[key as usize].outbox {
            Some(outbox) => outbox.push_first(welcome),
            None => self.send_or_end(key, &welcome),
        }
    }

    /// The newest statistics to a newcomer that wants them: where the next will be long in coming, and where they are
    /// from after it was `announced`, so that they count it already and its arrival brings no more. Other ones
    /// would only be wrong: the next come within a second.
    pub(super) fn send_stats(&mut self, key: Key, announced: Mono) {
        let Some(stats) = self.channels.find("stats") else { return };
        let channel = self.channels.get(stats);
        if channel.members() <= STRETCHED && channel.made < announced {
            return;
        }
        let wants = self.sessions[key as usize].subscriptions.iter().any(|s| s.channel == stats);
        self.send_state(key, stats, wants);
    }

    /// The newest candles to a newcomer that wants them: the next may be long in coming.
    pub(super) fn send_candles(&mut self, key: Key) {
        let is_candle =
            |channel: &ChannelKey| matches!(self.channels.get(*channel).kind, Kind::Candle { .. });
        let own = self.sessions[key as usize].subscriptions.iter().map(|s| s.channel);
        for channel in own.filter(is_candle).collect::<Vec<_>>() {
            self.send_state(key, channel, true);
        }
    }

    /// The newest state of a channel to one session.
    pub(super) fn send_state(&mut self, key: Key, channel: ChannelKey, wanted: bool) {
        if !wanted || self.channels.get(channel).frames().is_empty() {
            return;
        }
        if matches!(self.channels.get(channel).kind, Kind::Price { .. }) {
            self.encode_price(channel, clock::mono(), false);
        }
        match &mut self.sessions[key as usize].outbox {
            Some(outbox) => _ = outbox.push_state(channel),
            None => {
                let bytes = Bytes::copy_from_slice(self.channels.get(channel).frames());
                self.send_or_end(key, &bytes);
            }
        }
    }

    /// Writes as much of a session's outbox as its socket takes.
    pub(super) fn flush(&mut self, key: Key) {
        let now = clock::mono();
        let mut done = Vec::new();
        loop {
            self.encode_waiting(key, now);
            let session = &mut self.sessions[key as usize];
            let (Some(outbox), Some(wire)) = (&mut session.outbox, &session.wire) else { break };
            if outbox.is_empty() {
                session.outbox = None;
                break;
            }
            let mut slices = [IoSlice::new(&[]); JOIN];
            let count = outbox.slices(&mut slices);
            match wire.write_vectored(&slices[..count]) {
                Ok(n) => {
                    self.counters.messages_out += outbox.wrote(n, now, |answer| done.push(answer.ticket))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.doom(key, Close::Lost);
                    break;
                }
            }
        }
        for ticket in done {
            self.ticket_done(ticket, |tally| tally.delivered += 1);
        }
    }

    /// Turns the noted states into frames once nothing else waits, and makes old answers anew.
    fn encode_waiting(&mut self, key: Key, now: Mono) {
        let Some(outbox) = &mut self.sessions[key as usize].outbox else { return };
        let (prices, rules) = (&self.prices, &self.rules);
        outbox.refresh(now, OLD, |answer| {
            let text = prices.answer(&answer.symbol, answer.id, rules, clock::boot())?;
            Some(frame::text(text))
        });
        for channel in outbox.take_states() {
            if now.since(self.channels.get(channel).made) > OLD
                && matches!(self.channels.get(channel).kind, Kind::Price { .. })
            {
                self.encode_price(channel, now, false);
            }
            let bytes = Bytes::copy_from_slice(self.channels.get(channel).frames());
            if let Some(outbox) = &mut self.sessions[key as usize].outbox {
                outbox.push(bytes, None);
            }
        }
    }

    /// A price channel's frame with the age of now; to be `sent` to all, or only to one who asks.
    pub(super) fn encode_price(&mut self, key: ChannelKey, now: Mono, sent: bool) {
        let channel = self.channels.get_mut(key);
        if let Kind::Price { symbol, .. } = &channel.kind {
            let text = self.prices.message(&channel.name, symbol, &self.rules, clock::boot());
            channel.set(&frame::text(text), now, sent);
        }
    }

    /// Price channels that have something new to say.
    pub(super) fn publish_prices(&mut self, channels: Vec<ChannelKey>) {
        let now = clock::mono();
        for channel in channels {
            self.encode_price(channel, now, true);
            self.mark(channel);
        }
    }

    /// Makes a session a member of a channel; twice is once.
    pub(super) fn subscribe(&mut self, key: Key, channel: ChannelKey) {
        if self.sessions[key as usize].subscriptions.iter().any(|s| s.channel == channel) {
            return;
        }
        let subscription = self.channels.join(channel, key);
        self.sessions[key as usize].subscriptions.push(subscription);
    }

    /// Ends one subscription of a session.
    pub(super) fn unsubscribe(&mut self, key: Key, channel: ChannelKey) {
        let session = &mut self.sessions[key as usize];
        let Some(at) = session.subscriptions.iter().position(|s| s.channel == channel) else { return };
        let subscription = session.subscriptions.swap_remove(at);
        if let Some(outbox) = &mut session.outbox {
            outbox.forget_state(channel);
        }
        self.leave(subscription);
    }

    /// Takes a member out of its channel.
    pub(super) fn leave(&mut self, subscription: Subscription) {
        if let Some(moved) = self.channels.leave(subscription) {
            let theirs = &mut self.sessions[moved as usize].subscriptions;
            if let Some(theirs) = theirs.iter_mut().find(|s| s.channel == subscription.channel) {
                theirs.moved(subscription);
            }
        }
    }
}
