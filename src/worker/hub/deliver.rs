//! Delivers frames: answers to the sessions of a user, messages and states to the members of a channel.

use super::parts::cover::BUSY;
use super::parts::sessions::SessionRef;
use super::parts::tickets::Report;
use super::send::Sent;
use super::state::State;
use crate::model::{Candles, Interval, Mono, RequestId};
use crate::os::clock;
use crate::protocol::client::{self, Close};
use crate::protocol::cluster::{Generation, Skip, Tally, ToMaster};
use crate::session::cells::recent;
use crate::session::{Answer, ChannelKey, Frames, Kind, Step, Subscription};
use crate::ws::frame;
use bytes::Bytes;
use std::time::Duration;

/// Bytes of a channel's messages that are joined for those who have not seen them yet.
const JOINED: usize = 32 << 10;
/// Members of a channel that are served before others have their turn.
const ROUND: usize = 32;
/// A ticket is answered so much before the master gives it up.
const EARLY: Duration = Duration::from_millis(100);

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

/// Why the answer to a POST has not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    Slow,
    /// The connection is gone. The client hears the answer if it comes back.
    Kept,
    Gone,
}

impl State {
    /// Delivers to all main sessions of a user, and reports once each has it or never will.
    /// `elsewhere`: sessions of the user that are on their way here.
    pub(in crate::worker) fn push(&mut self, push: &Push<'_>, elsewhere: u32) {
        let (now, number) = (clock::mono(), self.survival.cover.next());
        if now > push.deadline {
            return;
        }
        let own: Vec<SessionRef> = self.sessions.of(push.user).collect();
        let (mut tally, mut waiting) = (Tally::default(), 0);
        for at in own {
            if !self.sessions.get(at).is_some_and(|session| session.identity.endpoint.reached()) {
                continue;
            }
            let symbol = self.config.price.symbols.iter().find(|symbol| symbol.as_str() == push.symbol);
            let answer =
                symbol.cloned().map(|symbol| Answer { ticket: push.ticket, id: push.id, symbol, made: now });
            let begun = self.survival.cover.begin(at.key());
            self.catch_up_all(at);
            let each = std::iter::once(Bytes::copy_from_slice(push.frame));
            let sent = self.send_numbered(at, push.frame, each, answer);
            if begun {
                self.survival.cover.finish_with(at.key(), number, self.last_of(at));
            }
            match sent {
                Sent::Whole => tally.delivered += 1,
                Sent::Waiting => waiting += 1,
                Sent::Kept => {}
                Sent::Never => match self.end_unanswered(at) {
                    Unanswered::Slow => tally.slow += 1,
                    Unanswered::Kept => tally.waiting += 1,
                    Unanswered::Gone => {}
                },
            }
        }
        let held = self.hold_push(push);
        tally.slow += held.slow;
        let report = self.tickets.open(push.ticket, tally, waiting + held.waiting + elsewhere);
        if report.is_none() {
            self.expect_report(push.ticket, push.deadline);
        }
        self.uplink.report(report);
    }

    /// A ticket is reported before the master gives it up.
    pub(super) fn expect_report(&mut self, ticket: u64, deadline: Mono) {
        let early = Mono(deadline.0.saturating_sub(EARLY.as_nanos() as u64));
        self.timers.expect(ticket, early.max(clock::mono()));
    }

    /// Ends the session that the answer to a POST did not fit into, or whose connection is gone.
    fn end_unanswered(&mut self, at: SessionRef) -> Unanswered {
        let kept = self.may_be_suspended(at);
        match self.end_unsent(at) {
            true => Unanswered::Slow,
            false if kept => Unanswered::Kept,
            false => Unanswered::Gone,
        }
    }

    /// The same of an answer that was on its way before; reports it.
    pub(super) fn lose_unanswered(&mut self, at: SessionRef, ticket: u64) -> Option<Report> {
        let kept = self.end_unanswered(at) == Unanswered::Kept;
        self.tickets.lost(ticket, kept)
    }

    /// Ends the session that a frame did not fit into. True when it was slow, false when it was gone.
    pub(super) fn end_unsent(&mut self, at: SessionRef) -> bool {
        let slow = self.sessions.get(at).is_some_and(|session| session.outbox.is_some());
        self.later.doom(at, if slow { Close::Slow } else { Close::Lost });
        slow
    }

    /// Sends a session what it has not seen of a channel's messages, so that nothing gets before them.
    pub(super) fn catch_up(&mut self, subscription: Subscription) {
        let channel = self.channels.get_mut(subscription.channel);
        if channel.kind.is_state() {
            return;
        }
        let Some(step) = channel.catch_up(subscription) else { return };
        let frames = channel.take();
        self.send_step(&frames, &step);
        self.channels.get_mut(subscription.channel).put_back(frames);
    }

    /// Sends one member of a channel the messages that a step of the walk brings.
    fn send_step(&mut self, frames: &Frames, step: &Step) {
        let Some(at) = self.sessions.at(step.session) else { return };
        let sent = self.send_numbered(at, frames.part(step), frames.messages(step).cloned(), None);
        match sent {
            // `write` has counted one.
            Sent::Whole => self.counters.messages_out += step.count - 1,
            Sent::Waiting | Sent::Kept => {}
            Sent::Never => _ = self.end_unsent(at),
        }
    }

    /// A message that another master may have sent before: its subscribers get it once.
    pub(in crate::worker) fn publish_once(
        &mut self,
        of: Option<(Generation, u64)>,
        (ticket, name, bytes): (u64, &str, &[u8]),
        skip: Option<Skip>,
    ) {
        if of.is_none_or(|of| self.uplink.heard.is_new_publication(of)) {
            of.into_iter().for_each(|of| self.survival.cover.takes(recent::publication(of)));
            return self.publish(ticket, name, bytes, skip);
        }
        let members = self.channels.find(name).map_or(0, |key| self.channels.get(key).members());
        let sessions = u32::try_from(members).unwrap_or(u32::MAX);
        self.uplink.tell(&ToMaster::Published { ticket, sessions });
    }

    /// A message to a channel's subscribers but one. A walk brings it to them, joined with what is published meanwhile.
    fn publish(&mut self, ticket: u64, name: &str, bytes: &[u8], skip: Option<Skip>) {
        let mut sessions = 0;
        self.takes.published(name, bytes);
        self.note_meanwhile(name, bytes);
        if let Some(key) = self.channels.find(name) {
            self.make_room(key, bytes);
            let but = skip.and_then(|skip| self.sessions.known(skip.key, skip.session));
            if let Some(at) = but {
                self.bring_up_to_date(at);
            }
            let but = but.and_then(|at| self.sessions.get(at)?.subscription(key));
            let channel = self.channels.get_mut(key);
            if !channel.kind.is_state() {
                let members = channel.members() - usize::from(but.is_some());
                sessions = u32::try_from(members).unwrap_or(u32::MAX);
                match but {
                    Some(but) => channel.publish_but(but, bytes),
                    None => channel.publish(bytes),
                }
                self.fell_behind(key);
            }
        }
        if !self.count_later(ticket, sessions) {
            self.uplink.tell(&ToMaster::Published { ticket, sessions });
        }
    }

    /// A channel has messages that a walk brings to its members.
    fn fell_behind(&mut self, key: ChannelKey) {
        if self.channels.get(key).waiting() > 0 {
            self.survival.cover.fell_behind(key);
        }
        self.walks.mark(key);
    }

    /// Of a channel's messages no more are joined than one write takes: who is behind gets them now.
    fn make_room(&mut self, key: ChannelKey, bytes: &[u8]) {
        if self.channels.get(key).waiting() + bytes.len() > JOINED {
            self.walk(key, usize::MAX);
        }
    }

    /// A line of a file or a program, for all sessions on it and for those who come.
    pub(in crate::worker) fn line(&mut self, of: &str, text: &str, number: u64) {
        if !self.uplink.heard.is_new_line(of, number) {
            return;
        }
        let Some(key) = self.channels.find(of) else { return };
        self.survival.cover.takes(recent::line(of, number));
        let bytes = frame::text(text);
        self.note_meanwhile(of, &bytes);
        self.make_room(key, &bytes);
        let channel = self.channels.get_mut(key);
        channel.keep(&bytes);
        channel.publish(&bytes);
        self.fell_behind(key);
    }

    /// Sends a newcomer the newest state or line of a channel.
    pub(super) fn send_newest(&mut self, at: SessionRef, channel: ChannelKey) {
        if self.channels.get(channel).kind.is_state() {
            return self.send_state(at, channel, true);
        }
        let bytes = Bytes::copy_from_slice(self.channels.get(channel).newest());
        if !bytes.is_empty() {
            self.send_or_end(at, &bytes);
        }
    }

    /// The statistics as JSON: state of the channel `stats`.
    pub(in crate::worker) fn stats(&mut self, json: &str) {
        if let Some(key) = self.channels.find("stats") {
            self.channels.get_mut(key).set(&frame::text(json), clock::mono(), true);
            self.walks.mark(key);
        }
    }

    /// The newest candles of a symbol: states of its three channels.
    pub(in crate::worker) fn candles(&mut self, candles: &Candles) {
        let symbol = &candles.symbol;
        for interval in Interval::ALL {
            let name = format!("candle:{symbol}@{interval}");
            let Some(key) = self.channels.find(&name) else { continue };
            let text = client::candle(&name, interval, candles);
            self.channels.get_mut(key).set(&frame::text(text), clock::mono(), true);
            self.walks.mark(key);
        }
    }

    /// Serves some members of each channel that has something to send. True if there is more.
    pub(in crate::worker) fn walk_on(&mut self) -> bool {
        for _ in 0..self.walks.round() {
            let Some(channel) = self.walks.next() else { continue };
            if self.walk(channel, ROUND) {
                self.walks.go_on(channel);
            }
        }
        self.settle();
        self.note_done();
        !self.walks.is_empty()
    }

    /// Goes on with the walk of a channel for at most so many members. True if there is more.
    fn walk(&mut self, key: ChannelKey, most: usize) -> bool {
        let channel = self.channels.get_mut(key);
        let (state, stats) = (channel.kind.is_state(), channel.kind == Kind::Stats);
        let frames = channel.take();
        let mut more = true;
        for _ in 0..most {
            let Some(step) = self.channels.get_mut(key).step() else {
                more = false;
                break;
            };
            if !state {
                self.bring(&frames, &step, key);
                continue;
            }
            let Some(at) = self.sessions.at(step.session) else { continue };
            if let Some(outbox) = self.sessions.get_mut(at).and_then(|session| session.outbox.as_mut()) {
                self.counters.conflated += u64::from(outbox.push_state(key));
                self.news_for_poll(at);
                continue;
            }
            let bytes = frames.part(&step);
            match self.send(at, bytes, || Bytes::copy_from_slice(bytes)) {
                Sent::Whole => self.counters.stats_out += u64::from(stats),
                Sent::Waiting | Sent::Kept => {}
                Sent::Never => _ = self.end_unsent(at),
            }
        }
        self.channels.get_mut(key).put_back(frames);
        if !more && !state {
            self.survival.cover.caught_up(key);
        }
        more
    }

    /// Brings one member of a channel what a step of the walk says, and what it has not seen of other channels: from
    /// then on it has all orders so far.
    fn bring(&mut self, frames: &Frames, step: &Step, channel: ChannelKey) {
        let begun = self.survival.cover.begin(step.session);
        self.send_step(frames, step);
        let Some(at) = self.sessions.at(step.session) else { return };
        if self.survival.cover.is_behind_beside(Some(channel)) {
            self.catch_up_all(at);
        }
        if begun {
            self.survival.cover.finish_with(at.key(), self.survival.cover.taken(), self.last_of(at));
        }
    }

    /// Brings a session all messages so far.
    fn bring_up_to_date(&mut self, at: SessionRef) {
        let begun = self.survival.cover.begin(at.key());
        self.catch_up_all(at);
        if begun {
            self.survival.cover.finish_with(at.key(), self.survival.cover.taken(), self.last_of(at));
        }
    }

    /// Price channels that have something new to say.
    pub(super) fn publish_prices(&mut self, channels: Vec<ChannelKey>) {
        let now = clock::mono();
        for channel in channels {
            self.prices.encode(self.channels.get_mut(channel), now, true);
            self.walks.mark(channel);
        }
    }

    /// Makes a session a member of a channel; twice is once.
    pub(super) fn subscribe(&mut self, at: SessionRef, channel: ChannelKey) {
        let Some(session) = self.sessions.get_mut(at).filter(|session| !session.is_on(channel)) else {
            return;
        };
        session.subscriptions.push(self.channels.join(channel, at.key()));
        session.set = None;
        self.touch(at);
    }

    /// Ends one subscription of a session.
    pub(super) fn unsubscribe(&mut self, at: SessionRef, channel: ChannelKey) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Some(place) = session.subscriptions.iter().position(|s| s.channel == channel) else { return };
        let subscription = session.subscriptions.swap_remove(place);
        session.set = None;
        self.survival.cover.touch(at.key(), BUSY);
        if let Some(outbox) = &mut session.outbox {
            outbox.forget_state(channel);
        }
        let (id, away) = (session.id(), session.is_away());
        let channel = self.channels.get(channel);
        let room = (channel.kind == Kind::Room).then(|| channel.name.clone());
        if let Some(room) = room {
            self.leave_companion(at, &room);
        }
        self.depart((id, at), subscription, away);
    }

    /// Takes a member out of its channel; `away`: one that is suspended.
    pub(super) fn leave(&mut self, subscription: Subscription, away: bool) {
        if away && self.channels.get(subscription.channel).kind.is_numbered() {
            self.channels.get_mut(subscription.channel).count_away(false);
        }
        if let Some(moved) = self.channels.leave(subscription) {
            let moved = self.sessions.at(moved).and_then(|moved| self.sessions.get_mut(moved));
            let theirs = moved.map(|session| &mut session.subscriptions);
            if let Some(theirs) =
                theirs.and_then(|all| all.iter_mut().find(|s| s.channel == subscription.channel))
            {
                theirs.moved(subscription);
            }
        }
    }
}
