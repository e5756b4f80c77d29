//! Frames that wait for one session because its socket was full. Exists only while something waits.
//!
//! Answers and channel messages keep their order and are never dropped: what does not fit is refused, and the
//! caller closes the session. State (prices, statistics) is only noted by its channel, so that a newer one replaces
//! an unsent older one by itself; it leaves after all answers.

use super::ChannelKey;
use crate::model::{Mono, RequestId, Symbol};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

/// The ticket of an answer for which nobody waits.
pub const NO_TICKET: u64 = 0;

/// An answer to a POST that has not left yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The worker's ticket that waits for it. No other worker knows it.
    #[serde(skip)]
    pub ticket: u64,
    /// The number that the client sees.
    pub id: RequestId,
    pub symbol: Symbol,
    /// When its frame was made.
    pub made: Mono,
}

/// Facts about a frame that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The number of the last message in it ([`super::Replay`]); 0: none.
    pub number: u32,
    /// Set if the frame answers a POST.
    pub answer: Option<Box<Answer>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    #[serde(with = "super::octets")]
    frame: Bytes,
    label: Label,
}

/// The frames and states that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    queue: VecDeque<Waiting>,
    /// Bytes of the first frame that have left.
    gone: usize,
    bytes: usize,
    /// Only this worker knows the keys: states move by name ([`Outbox::states`]).
    #[serde(skip)]
    states: Vec<ChannelKey>,
    progress: Mono,
}

impl Outbox {
    /// An empty one; the time for being slow begins now.
    #[must_use]
    pub fn new(now: Mono) -> Self {
        Self { queue: VecDeque::new(), gone: 0, bytes: 0, states: Vec::new(), progress: now }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.states.is_empty()
    }

    /// Whether `more` bytes would stay within `limit`. Something always fits into an empty one.
    #[must_use]
    pub fn fits(&self, more: usize, limit: usize) -> bool {
        self.queue.is_empty() || self.bytes + more <= limit
    }

    /// When something last left, or began to wait.
    #[must_use]
    pub fn progress(&self) -> Mono {
        self.progress
    }

    /// The channels whose state waits.
    #[must_use]
    pub fn states(&self) -> &[ChannelKey] {
        &self.states
    }

    /// Whether the counts agree; a value that comes from elsewhere may be any.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let begun = self.queue.front().map_or(0, |first| first.frame.len());
        let sum: usize = self.queue.iter().map(|waiting| waiting.frame.len()).sum();
        (self.gone == 0 || self.gone < begun) && self.bytes.checked_add(self.gone) == Some(sum)
    }

    /// Whole frames behind all others.
    pub fn push(&mut self, frame: Bytes, label: Label) {
        self.bytes += frame.len();
        self.queue.push_back(Waiting { frame, label });
    }

    /// A frame of which `gone` bytes have left already; only into an empty one.
    pub fn begin(&mut self, frame: Bytes, gone: usize, label: Label) {
        debug_assert!(self.queue.is_empty(), "a started frame is the first");
        self.gone = gone;
        self.push(frame, label);
        self.bytes -= gone;
    }

    /// A frame before all that has not started to leave.
    pub fn push_first(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        let at = usize::from(self.gone > 0);
        self.queue.insert(at, Waiting { frame, label: Label::default() });
    }

    /// The newest state of a channel is to be sent. True when it replaces an unsent older one.
    pub fn push_state(&mut self, channel: ChannelKey) -> bool {
        let known = self.states.contains(&channel);
        if !known {
            self.states.push(channel);
        }
        known
    }

    /// A channel is gone or no longer wanted.
    pub fn forget_state(&mut self, channel: ChannelKey) {
        self.states.retain(|c| *c != channel);
    }

    /// Forgets all states that wait.
    pub fn forget_states(&mut self) {
        self.states.clear();
    }

    /// The channels whose state waits, once nothing else does: to be encoded and pushed by the caller.
    pub fn take_states(&mut self) -> Vec<ChannelKey> {
        if self.queue.is_empty() { std::mem::take(&mut self.states) } else { Vec::new() }
    }

    /// Makes anew each answer that has not begun to leave and was made more than `age` ago.
    pub fn refresh(&mut self, now: Mono, age: Duration, mut make: impl FnMut(&Answer, u32) -> Option<Bytes>) {
        let started = usize::from(self.gone > 0);
        for Waiting { frame, label } in self.queue.iter_mut().skip(started) {
            let Some(answer) = label.answer.as_mut().filter(|a| now.since(a.made) > age) else { continue };
            if let Some(anew) = make(answer, label.number) {
                self.bytes = self.bytes - frame.len() + anew.len();
                *frame = anew;
                answer.made = now;
            }
        }
    }

    /// Takes out the worker's tickets that wait for frames.
    pub fn take_tickets(&mut self) -> Vec<u64> {
        let answers = self.queue.iter_mut().filter_map(|waiting| waiting.label.answer.as_mut());
        let tickets = answers.map(|answer| std::mem::take(&mut answer.ticket));
        tickets.filter(|ticket| *ticket != NO_TICKET).collect()
    }

    /// Fills `slices` with what to write next.
    #[must_use]
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, waiting) in slices.iter_mut().zip(&self.queue) {
            let from = if count == 0 { self.gone } else { 0 };
            *slice = IoSlice::new(&waiting.frame[from..]);
            count += 1;
        }
        count
    }

    /// `n` bytes have left; tells of each frame that is now whole, and how many of the bytes are behind it. Returns how
    /// many frames are.
    pub fn wrote(&mut self, n: usize, now: Mono, mut whole: impl FnMut(&Label, usize)) -> u64 {
        self.progress = now;
        self.bytes -= n;
        self.gone += n;
        let mut frames = 0;
        while let Some(first) = self.queue.front().filter(|first| first.frame.len() <= self.gone) {
            self.gone -= first.frame.len();
            whole(&first.label, self.gone);
            self.queue.pop_front();
            frames += 1;
        }
        frames
    }

    /// The session ends: tells each answer that will never leave, and returns the rest of a frame that has begun to
    /// leave, which must go first, and whole frames that are no answers' business any more.
    pub fn end(self, mut lost: impl FnMut(&Answer)) -> Bytes {
        let started = (self.gone > 0).then(|| self.queue.front().map(|first| first.frame.slice(self.gone..)));
        for waiting in self.queue {
            waiting.label.answer.as_deref().into_iter().for_each(&mut lost);
        }
        started.flatten().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(ticket: u64) -> Label {
        let symbol = Symbol::new("BTC-USD").unwrap();
        let answer = Answer { ticket, id: RequestId(0), symbol, made: Mono(0) };
        Label { number: 0, answer: Some(Box::new(answer)) }
    }

    fn plain() -> Label {
        Label::default()
    }

    #[test]
    fn counts_that_are_no_sum_are_not_sound() {
        let mut outbox = Outbox::new(Mono(0));
        outbox.begin(Bytes::from_static(b"two"), 1, plain());
        assert!(outbox.is_sound());
        outbox.bytes = usize::MAX;
        assert!(!outbox.is_sound());
    }

    fn ticket(label: &Label) -> Option<u64> {
        label.answer.as_ref().map(|answer| answer.ticket)
    }

    fn text(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let n = outbox.slices(&mut slices);
        slices[..n].iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn answers_leave_before_state_and_a_newer_state_replaces_an_older() {
        let mut outbox = Outbox::new(Mono(0));
        assert!(!outbox.push_state(3));
        outbox.begin(Bytes::from_static(b"half"), 2, plain());
        outbox.push(Bytes::from_static(b"answer"), answer(7));
        assert!(outbox.push_state(3));
        assert!(outbox.take_states().is_empty());
        assert_eq!(text(&outbox), b"lfanswer");
        let mut done = vec![];
        assert_eq!(outbox.wrote(3, Mono(5), |a, _| done.extend(ticket(a))), 1);
        assert_eq!(text(&outbox), b"nswer");
        assert_eq!(outbox.wrote(5, Mono(6), |a, _| done.extend(ticket(a))), 1);
        assert_eq!((done, outbox.take_states(), outbox.is_empty()), (vec![7], vec![3], true));
        assert_eq!(outbox.progress(), Mono(6));
    }

    #[test]
    fn an_old_answer_is_made_anew_unless_it_has_begun_to_leave() {
        let mut outbox = Outbox::new(Mono(0));
        outbox.begin(Bytes::from_static(b"old1"), 1, answer(1));
        outbox.push(Bytes::from_static(b"old2"), answer(2));
        let now = Mono(2_000_000_000);
        outbox.refresh(now, Duration::from_secs(1), |a, _| Some(Bytes::from(format!("new-{}", a.ticket))));
        assert_eq!(text(&outbox), b"ld1new-2");
        assert_eq!(outbox.bytes, 8);
        outbox.push_first(Bytes::from_static(b"first"));
        assert_eq!(text(&outbox), b"ld1firstnew-2");
    }

    #[test]
    fn the_end_tells_what_is_lost_and_finishes_what_has_begun() {
        let mut outbox = Outbox::new(Mono(0));
        outbox.begin(Bytes::from_static(b"begun"), 2, answer(1));
        outbox.push(Bytes::from_static(b"x"), answer(2));
        let mut lost = vec![];
        assert_eq!(&outbox.end(|a| lost.push(a.ticket))[..], b"gun");
        assert_eq!(lost, [1, 2]);
    }

    proptest! {
        #[test]
        fn bytes_leave_once_and_in_order(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..20),
            cuts in proptest::collection::vec(1usize..30, 1..200),
        ) {
            let mut outbox = Outbox::new(Mono(0));
            for (n, frame) in frames.iter().enumerate() {
                outbox.push(Bytes::from(frame.clone()), answer(n as u64));
            }
            let (mut out, mut done) = (Vec::new(), Vec::new());
            for cut in cuts.into_iter().cycle() {
                let waiting = text(&outbox);
                if waiting.is_empty() {
                    break;
                }
                let n = cut.min(waiting.len());
                out.extend_from_slice(&waiting[..n]);
                outbox.wrote(n, Mono(1), |a, _| done.extend(ticket(a)));
            }
            prop_assert_eq!(out, frames.concat());
            prop_assert_eq!(done, (0..frames.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(outbox.bytes, 0);
        }
    }
}
