//! Sessions over long polling: frames wait for the next poll and leave in its answer. A session lives while a poll
//! waits, and for `poll.gap` after it.

use super::arrive::arrive;
use super::opening::Opening;
use super::parts::announced::Refused;
use super::parts::greeting::Greeting;
use super::parts::meanwhile::Came;
use super::parts::polling::{Asked, Look, News, Polling};
use super::parts::prices::OLD;
use super::parts::session::{Link, Request, Session};
use super::parts::sessions::{SessionRef, Sessions};
use super::send::Sent;
use super::state::{Hub, Phase, State};
use crate::access::tokens::Pass;
use crate::model::{Mono, SessionId};
use crate::os::clock;
use crate::protocol::client::{Close, Resume};
use crate::protocol::cluster::{Endpoint, ToMaster};
use crate::protocol::peer::{Poll, Polled};
use crate::session::Framing;
use crate::ws::frame;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::oneshot;

/// A poll is held at least so long, or not at all: the wheel gets a new entry each time.
const SHORTEST: Duration = Duration::from_secs(1);

/// Nanoseconds from an answer to the next poll that no client is blamed for.
const SLOW: u64 = 1_000_000_000;

fn is_absent(sessions: &Sessions, at: SessionRef, since: Mono) -> bool {
    let link = sessions.get(at).map(|session| &session.link);
    matches!(link, Some(Link::Poll(poll)) if poll.is_absent(since))
}

/// A poll that waits. Dropped, its client has gone.
pub(super) struct Waiting {
    hub: Hub,
    at: SessionRef,
    asked: u32,
    answer: oneshot::Receiver<String>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.hub.lock().poll_gone(self.at, self.asked);
    }
}

/// Serves a poll of a session of this worker, or opens one here.
pub(in crate::worker) async fn poll(hub: &Hub, poll: Poll) -> Polled {
    let Ok(pass) = pass_of(&poll) else { return Polled::Refused(None) };
    let again = poll.resume.and_then(|resume| hub.lock().poll_again(hub, &resume, (&poll, pass.as_deref())));
    let waiting = match again {
        Some(waiting) => waiting,
        // No session begins at a worker that ends.
        None if matches!(hub.lock().phase, Phase::Draining | Phase::Stopping) => return Polled::Gone,
        None => match begin(hub, poll, pass).await {
            Ok(waiting) => waiting,
            Err(Refused::Ended(code)) => return Polled::Ended(code),
            Err(Refused::Verdict(verdict)) => return Polled::Refused(verdict),
        },
    };
    let mut waiting = waiting;
    // No answer: the session has ended meanwhile, or its worker does.
    (&mut waiting.answer).await.map_or(Polled::Gone, Polled::Answer)
}

/// The pass that comes with a poll. `Err`: there is one that cannot be read, so nobody knows what its client may do.
fn pass_of(poll: &Poll) -> Result<Option<Box<Pass>>, ()> {
    poll.pass.as_deref().map(|bytes| Pass::decode(bytes).map(Box::new).ok_or(())).transpose()
}

async fn begin(hub: &Hub, poll: Poll, pass: Option<Box<Pass>>) -> Result<Waiting, Refused> {
    let Poll { user, device, channels, address, resume, .. } = poll;
    let endpoint = Endpoint::Ws;
    let (framing, permit) = (Framing::Poll, None);
    let request =
        Request { user, device, endpoint, stream: None, address, framing, permit, takes_over: false, pass };
    let arrival = arrive(hub, request, resume).await?;
    let comes_back = arrival.before.is_some();
    let greeting = Greeting::new(arrival.before, channels);
    arrival.opening.attach_poll(&greeting, comes_back).ok_or(Refused::Verdict(None))
}

impl Opening {
    /// Greets a session and answers its first poll at once. `comes_back`: its client has brought a cursor.
    fn attach_poll(mut self, greeting: &Greeting, comes_back: bool) -> Option<Waiting> {
        let (hub, at) = (self.hub.clone(), self.at);
        self.done = true;
        // Declared first: must not be dropped while the hub is locked.
        let waiting;
        let mut state = hub.lock();
        if !state.sessions.contains(at) {
            return None;
        }
        state.attached(at, greeting);
        if comes_back {
            state.take_up(at);
        }
        waiting = state.wait_for_news(&hub, at, None);
        state.speak_to_poll(at);
        state.settle();
        drop(state);
        waiting
    }
}

impl State {
    /// Serves another poll of a session. `None`: no such session polls here, or it missed messages that are no longer
    /// kept, or that its fresh token may not hear.
    pub(super) fn poll_again(
        &mut self,
        hub: &Hub,
        resume: &Resume,
        (poll, pass): (&Poll, Option<&Pass>),
    ) -> Option<Waiting> {
        self.look_at_lives(clock::boot());
        let at = self.named(&resume.token, &poll.user)?;
        let Link::Poll(_) = &self.sessions.get(at)?.link else { return None };
        if pass.is_some_and(|fresh| !self.may_wait_for(at, fresh)) {
            return None;
        }
        let session = self.sessions.get_mut(at)?;
        let replay = session.replay.as_mut()?;
        if let Some(seen) = resume.seen {
            let _ = replay.after(seen)?;
            replay.confirm(seen);
        }
        session.identity.address = poll.address;
        pass.into_iter().for_each(|fresh| self.take_pass(at, fresh.clone()));
        // Its client has heard of the cursor.
        self.settle_copy(at);
        self.take_up(at);
        let waiting = self.wait_for_news(hub, at, poll.wait);
        if poll.wait == Some(Duration::ZERO) {
            self.speak_to_poll(at);
        }
        self.settle();
        waiting
    }

    /// Whether a client with a fresh pass may hear all that waits for its next poll.
    fn may_wait_for(&self, at: SessionRef, fresh: &Pass) -> bool {
        let Some(session) = self.sessions.get(at) else { return true };
        let is_known = session.pass.as_ref().is_some_and(|pass| pass.claims() == fresh.claims());
        let names = session.subscriptions.iter().map(|own| &*self.channels.get(own.channel).name);
        is_known || self.may_hear_missed(Some(fresh), names)
    }

    /// Tells the master that a polling session has a client, once.
    fn take_up(&mut self, at: SessionRef) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let id = session.id();
        if let Link::Poll(poll) = &mut session.link
            && poll.take_up()
        {
            self.uplink.tell(&ToMaster::TakenUp(id));
        }
    }

    /// The directory has ended a session for another one.
    pub(in crate::worker) fn gives_way(&mut self, id: SessionId) {
        // It may have ended by itself: the master hears of that, too.
        let Some(at) = self.sessions.find(id) else {
            _ = self.hold(id, Came::GiveWay(id));
            return;
        };
        let polls = self.sessions.get(at).is_some_and(|session| matches!(session.link, Link::Poll(_)));
        self.counters.count_gave_way(if polls { "poll" } else { "session" });
        self.notices.session_gave_way(clock::mono());
        self.end(at, Close::Full);
    }

    /// Makes a poll wait from now on, `at_most` so long. A poll that waited is answered with nothing.
    fn wait_for_news(&mut self, hub: &Hub, at: SessionRef, at_most: Option<Duration>) -> Option<Waiting> {
        let now = clock::mono();
        let longest = self.config.poll.wait;
        let wait = at_most.map_or(longest, |wait| wait.max(SHORTEST).min(longest));
        let nothing = self.poll_answer(at, Vec::new());
        let session = self.sessions.get_mut(at)?;
        session.last_in = now;
        let Link::Poll(poll) = &mut session.link else { return None };
        let Asked { number: asked, answer, before } = poll.ask();
        if let Some(before) = before {
            let _ = before.send(nothing);
        }
        let least = Polling::least_gap(&self.config.poll);
        if let Some(look) = poll.deadline.set(now.after(wait), now.after(least)) {
            self.timers.poll(at, look);
        }
        self.news_for_poll(at);
        Some(Waiting { hub: hub.clone(), at, asked, answer })
    }

    /// Notes that something waits for a session, if it polls.
    pub(super) fn news_for_poll(&mut self, at: SessionRef) {
        if let Some(Link::Poll(poll)) = self.sessions.get_mut(at).map(|session| &mut session.link)
            && poll.note()
        {
            self.later.note(at);
        }
    }

    /// Adds a frame that is not numbered to the next answer.
    pub(super) fn note_to_poll(&mut self, at: SessionRef, frame: Bytes) -> Sent {
        if let Some(Link::Poll(poll)) = self.sessions.get_mut(at).map(|session| &mut session.link)
            && !poll.notice(frame)
        {
            return Sent::Never;
        }
        self.news_for_poll(at);
        Sent::Waiting
    }

    /// Says how a session ends, behind all other messages. True if a poll waits for that.
    pub(super) fn last_to_poll(&mut self, at: SessionRef, frames: Vec<Bytes>) -> bool {
        let Some(Link::Poll(poll)) = self.sessions.get_mut(at).map(|session| &mut session.link) else {
            return false;
        };
        poll.close(frames);
        let waits = poll.is_heard();
        self.speak_to_poll(at);
        waits
    }

    /// Answers the polls of sessions for which something has come.
    pub(super) fn answer_polls(&mut self) {
        while let Some(at) = self.later.news() {
            let Some((Link::Poll(poll), own)) = self.sessions.get_mut(at).map(Session::parts) else {
                continue;
            };
            let numbered = own.replay.as_ref().is_some_and(|replay| replay.bytes() > 0);
            let states = own.outbox.as_ref().is_some_and(|outbox| !outbox.is_empty());
            match poll.news(numbered, states, clock::mono()) {
                News::Wait => {}
                News::Answer => self.speak_to_poll(at),
                News::Pace(due) => self.timers.pace(at, due),
            }
        }
    }

    /// State alone may be an answer again.
    pub(super) fn pace_due(&mut self, at: SessionRef) {
        if let Some(Link::Poll(poll)) = self.sessions.get_mut(at).map(|session| &mut session.link) {
            poll.pace_over();
            self.news_for_poll(at);
        }
    }

    /// Answers the waiting poll of a session with all that waits, or with nothing.
    pub(super) fn speak_to_poll(&mut self, at: SessionRef) {
        let now = clock::mono();
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Link::Poll(poll) = &mut session.link else { return };
        let Some(waiter) = poll.answer(now) else { return };
        let gap = now.after(poll.gap(&self.config.poll));
        if let Some(look) = poll.deadline.set(gap, now.after(Polling::least_gap(&self.config.poll))) {
            self.timers.poll(at, look);
        }
        let (mut frames, last) = poll.take();
        let mut tickets = Vec::new();
        if let Some(replay) = &mut session.replay {
            let prices = &self.prices;
            replay.refresh(now, OLD, |answer| {
                prices.answer(&answer.symbol, answer.id, clock::boot()).map(frame::text)
            });
            tickets = replay.take_tickets();
            frames.extend(
                replay.after(replay.confirmed()).into_iter().flatten().map(|kept| kept.frame().clone()),
            );
        }
        let states = session.outbox.as_mut().map(|outbox| outbox.take_states()).unwrap_or_default();
        for channel in states {
            frames.push(Bytes::copy_from_slice(self.prices.fresh(self.channels.get_mut(channel), now)));
        }
        frames.extend(last);
        self.counters.messages_out += frames.len() as u64;
        let _ = waiter.send(self.poll_answer(at, frames));
        for ticket in tickets {
            let report = self.tickets.delivered(ticket);
            self.uplink.report(report);
        }
        self.note_absent(at, now);
    }

    /// The JSON of an answer.
    fn poll_answer(&self, at: SessionRef, frames: Vec<Bytes>) -> String {
        let replay = self.sessions.get(at).and_then(|session| session.replay.as_ref());
        let seen = replay.map(crate::session::Replay::last);
        let token = self.sessions.get(at).and_then(|session| session.token());
        let cursor = token.map(|token| Resume { token, seen }.to_string()).unwrap_or_default();
        let size: usize = frames.iter().map(Bytes::len).sum();
        let mut out = String::with_capacity(size + 96);
        out.push_str(&format!(r#"{{"cursor":"{cursor}","messages":["#));
        let payloads = frames.iter().flat_map(|frame| frame::split(frame));
        for (at, (_, payload)) in payloads.enumerate() {
            out.push_str(if at == 0 { "" } else { "," });
            out.push_str(std::str::from_utf8(payload).unwrap_or("null"));
        }
        out.push_str("]}");
        out
    }

    /// The client of a poll has gone without an answer, or has it.
    fn poll_gone(&mut self, at: SessionRef, asked: u32) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Link::Poll(poll) = &mut session.link else { return };
        let now = clock::mono();
        if poll.gone(asked, now) {
            let gap = now.after(poll.gap(&self.config.poll));
            let look = poll.deadline.set(gap, now.after(Polling::least_gap(&self.config.poll)));
            look.into_iter().for_each(|look| self.timers.poll(at, look));
            self.note_absent(at, now);
        }
    }

    /// A session that comes from another worker waits for a poll.
    pub(super) fn await_poll(&mut self, at: SessionRef, now: Mono) {
        if let Some(Link::Poll(poll)) = self.sessions.get_mut(at).map(|session| &mut session.link) {
            let (gap, least) = (poll.gap(&self.config.poll), Polling::least_gap(&self.config.poll));
            let look = poll.deadline.set(now.after(gap), now.after(least));
            look.into_iter().for_each(|look| self.timers.poll(at, look));
            self.note_absent(at, now);
        }
    }

    /// Notes that the client of a polling session is away.
    pub(super) fn note_absent(&mut self, at: SessionRef, now: Mono) {
        let sessions = &self.sessions;
        self.absent.add(at, now, |at, since| is_absent(sessions, at, since));
    }

    /// Ends the polling session whose client has been away longest: the cluster has little room for polls.
    pub(in crate::worker) fn shed_poll(&mut self) {
        let until = Mono(clock::mono().0.saturating_sub(SLOW));
        let sessions = &self.sessions;
        let Some(at) = self.absent.take(until, |at, since| is_absent(sessions, at, since)) else { return };
        let id = self.sessions.get(at).map(Session::id);
        id.into_iter().for_each(|id| self.gives_way(id));
    }

    /// Looks at the deadline of a polling session: a poll has waited for `poll.wait`, or none has come for `poll.gap`.
    pub(super) fn poll_due(&mut self, at: SessionRef, now: Mono) {
        let Some(Link::Poll(poll)) = self.sessions.get_mut(at).map(|session| &mut session.link) else {
            return;
        };
        match poll.deadline.look(now, now.after(Polling::least_gap(&self.config.poll))) {
            Look::Stale => {}
            Look::Again(then) => self.timers.poll(at, then),
            Look::Over if poll.waits() => self.speak_to_poll(at),
            Look::Over => self.end(at, Close::Silent),
        }
    }
}
